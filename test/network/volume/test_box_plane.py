# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes on a plane of their own: fine cells keep their place, and the whole network finds boxes on that grid."""

import pytest
import torch
from pydantic import ValidationError

from mtl_perception.core import LabelSpace, VoxelGrid
from mtl_perception.network import CameraBatch, MultiTaskNetwork, NetworkConfig, NetworkOutput
from mtl_perception.network.volume.box_plane import BoxPlane
from mtl_perception.network.volume.center_head import BoxMaps
from mtl_perception.postprocessing import Postprocessing
from mtl_perception.resources import config_file

FINE = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))
COARSE = VoxelGrid((-12.0, -20.0, -1.0), 1.0, (32, 36, 4))
BOX_GRID = {"origin": COARSE.origin, "voxel_size": COARSE.voxel_size, "shape": COARSE.shape}


@pytest.fixture
def far_config(tiny_config: NetworkConfig) -> NetworkConfig:
    """Return a network whose boxes and map have all that is optional."""
    content = tiny_config.model_dump()
    content["tasks"] = ("depth", "occupancy", "bev_map", "detections")
    content["volume"] |= {"box_grid": BOX_GRID, "box_width": 12, "ground_width": 4}
    return NetworkConfig.model_validate(content)


def test_a_fine_cell_is_part_of_the_coarse_cell_around_it() -> None:
    plane = BoxPlane(FINE, COARSE, 3, 6)
    torch.nn.init.ones_(plane.near.weight)
    extras: list[torch.Tensor] = []
    plane.backbone.register_forward_pre_hook(lambda _, inputs: extras.append(inputs[1]))
    point = torch.tensor([3.3, -5.2, 0.1])
    x, y, z = ((point - torch.tensor(FINE.origin)) / FINE.voxel_size).long().tolist()
    fine = torch.zeros(1, 3, *FINE.shape)
    fine[0, 0, x, y, z] = 1.0
    assert plane(fine, torch.zeros(1, 3, *COARSE.shape)).shape == (1, 6, 32, 36)
    column, row = ((point - torch.tensor(COARSE.origin)) / COARSE.voxel_size).long().tolist()[:2]
    assert extras[0][0, 0].nonzero().tolist() == [[column, row]]


@pytest.mark.parametrize(
    "coarse",
    [
        VoxelGrid((-12.0, -20.0, -1.0), 0.75, (48, 48, 4)),  # no whole number of fine cells
        VoxelGrid((-12.25, -20.0, -1.0), 1.0, (32, 36, 4)),  # its borders lie elsewhere
        VoxelGrid((-6.0, -20.0, -1.0), 1.0, (32, 36, 4)),  # it leaves some out
        VoxelGrid((-12.0, -12.0, -1.0), 1.0, (32, 16, 4)),
    ],
)
def test_grids_that_do_not_fit_are_refused(coarse: VoxelGrid) -> None:
    with pytest.raises(ValueError, match="do not line up with, or do not cover"):
        BoxPlane(FINE, coarse, 3, 6)


def test_boxes_are_found_on_their_own_grid(far_config: NetworkConfig, batch: CameraBatch) -> None:
    torch.manual_seed(0)
    network = MultiTaskNetwork(far_config).eval()
    with torch.no_grad():
        output = network(batch, far_config.tasks)
        alone = network(batch, ("detections",))
    assert output.boxes is not None and output.map_logits is not None and output.occupancy_logits is not None
    assert output.boxes.heatmap.shape == (2, 2, 32, 36) and output.map_logits.shape == (2, 2, 32, 32)
    assert output.occupancy_logits.shape == (2, 17, 32, 32, 8)
    assert alone.boxes is not None and alone.map_logits is None
    torch.testing.assert_close(alone.boxes.heatmap, output.boxes.heatmap)
    assert far_config.box_grid.to_grid() == COARSE and far_config.grid.to_grid() == FINE


def test_cells_of_that_grid_become_metres(far_config: NetworkConfig, batch: CameraBatch) -> None:
    maps = [torch.zeros(1, count, 32, 36) for count in (2, 2, 1, 3, 2, 2)]
    maps[0] -= 10.0
    maps[0][0, 1, 30, 1] = 10.0
    maps[1][0, :, 30, 1] = torch.tensor([0.25, -0.5])
    labels = LabelSpace.load(config_file("labels", "default"))
    found = Postprocessing(far_config, labels).rig(NetworkOutput(boxes=BoxMaps(*maps)), ("detections",), batch, None)[
        "detections"
    ]
    assert len(found) == 1 and found[0].label == far_config.volume.detection_labels[1]
    # The cell's centre, and the offset in cells of 1 m.
    assert found[0].centre == pytest.approx((-12.0 + 30.5 + 0.25, -20.0 + 1.5 - 0.5, 0.0))


def test_what_does_not_go_together_is_refused(tiny_config: NetworkConfig) -> None:
    for change, message in (
        ({"prototypes": True, "box_grid": BOX_GRID}, "prototypes has no use for volume.box_grid"),
        ({"prototypes": True, "ground_width": 4}, "and volume.ground_width"),
        ({"box_width": 8}, "box_width needs volume.box_grid"),
    ):
        content = tiny_config.model_dump()
        content["volume"] |= change
        with pytest.raises(ValidationError, match=message):
            NetworkConfig.model_validate(content)


def test_the_map_sees_the_ground_and_learns_from_it(far_config: NetworkConfig, batch: CameraBatch) -> None:
    torch.manual_seed(0)
    network = MultiTaskNetwork(far_config).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(batch, ("bev_map", "detections"))
    assert output.map_logits is not None and output.boxes is not None
    (output.map_logits.float().square().mean() + output.boxes.heatmap.float().square().mean()).backward()
    volume = network.volume
    for parameter in (volume.ground_context.weight, volume.context.weight, volume.heads.box_plane.near.weight):
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0
