# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as peaks of the ground plane, and map layers."""

import math

import pytest
import torch

from mtl_perception.core import VoxelGrid
from mtl_perception.network.volume.center_head import BoxMaps, CenterHead
from mtl_perception.network.volume.map_segmentation import MapSegmentationHead

GRID = VoxelGrid((-8.0, -4.0, -1.0), 0.5, (31, 17, 4))


def empty_maps(frames: int = 1, classes: int = 3) -> BoxMaps:
    def plane(channels: int, value: float) -> torch.Tensor:
        return torch.full((frames, channels, 31, 17), value)

    return BoxMaps(plane(classes, -9.0), plane(2, 0.0), plane(1, 0.0), plane(3, 0.0), plane(2, 0.0), plane(2, 0.0))


def plant(maps: BoxMaps, frame: int, label: int, centre: tuple[float, float, float], yaw: float) -> None:
    """Write a box 4.2 x 1.8 x 1.5 m, a Gaussian of 1.5 cells in the heatmap."""
    x, y = (centre[0] + 8.0) / 0.5, (centre[1] + 4.0) / 0.5
    i, j = int(x), int(y)
    rows, columns = torch.meshgrid(torch.arange(31), torch.arange(17), indexing="ij")
    gaussian = torch.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * 1.5**2)).clamp(1e-4, 0.95)
    maps.heatmap[frame, label] = torch.maximum(maps.heatmap[frame, label], gaussian.logit())
    maps.offset[frame, :, i, j] = torch.tensor([x - i - 0.5, y - j - 0.5])
    maps.height[frame, 0, i, j] = centre[2]
    maps.log_size[frame, :, i, j] = torch.tensor([4.2, 1.8, 1.5]).log()
    maps.direction[frame, :, i, j] = 2.0 * torch.tensor([math.sin(yaw), math.cos(yaw)])  # need not be of unit length
    maps.velocity[frame, :, i, j] = torch.tensor([1.0, -2.0])


def test_a_planted_box_is_found_with_its_metric_values() -> None:
    maps = empty_maps(2)
    plant(maps, 1, 2, (3.1, -1.7, 0.6), 2.5)
    nothing, box = CenterHead.decode(maps, GRID, 20, 0.3)
    assert nothing.centre.shape == (0, 3)
    torch.testing.assert_close(box.centre, torch.tensor([[3.1, -1.7, 0.6]]))
    torch.testing.assert_close(box.size, torch.tensor([[4.2, 1.8, 1.5]]))
    torch.testing.assert_close(box.yaw, torch.tensor([2.5]))
    torch.testing.assert_close(box.velocity, torch.tensor([[1.0, -2.0]]))
    assert box.label.tolist() == [2]
    torch.testing.assert_close(box.score, torch.tensor([0.95]))


def test_two_boxes_are_two_peaks_with_the_surer_one_first() -> None:
    maps = empty_maps()
    plant(maps, 0, 0, (-6.0, -3.0, 0.5), 0.0)
    plant(maps, 0, 1, (5.0, 3.0, 0.5), -3.0)
    maps.heatmap[0, 1] -= 1.0
    (boxes,) = CenterHead.decode(maps, GRID, 20, 0.5)
    assert boxes.label.tolist() == [0, 1] and boxes.score[0] > boxes.score[1]
    torch.testing.assert_close(boxes.yaw, torch.tensor([0.0, -3.0]))


def test_at_most_top_k_boxes_and_no_more_than_there_are_cells() -> None:
    maps = empty_maps(2)
    assert CenterHead.candidates(maps, GRID, 5).centre.shape == (2, 5, 3)
    assert CenterHead.candidates(maps, GRID, 10**6).score.shape == (2, 3 * 31 * 17)
    assert len(CenterHead.decode(maps, GRID, 5, 0.0)[0].score) == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frames", [1, 3])
def test_maps_and_boxes_of_random_features(dtype: torch.dtype, frames: int) -> None:
    torch.manual_seed(0)
    head = CenterHead(8, 3).eval().to(dtype)
    maps = head(torch.randn(frames, 8, 31, 17, dtype=dtype))
    assert maps.heatmap.shape == (frames, 3, 31, 17) and maps.heatmap.dtype == dtype
    assert [getattr(maps, name).shape[1] for name in ("offset", "height", "log_size", "direction", "velocity")] == [
        2,
        1,
        3,
        2,
        2,
    ]
    assert maps.heatmap.sigmoid().mean() < 0.2  # starts out seeing few boxes
    boxes = CenterHead.candidates(maps, GRID, 10)
    for value in (boxes.centre, boxes.size, boxes.yaw, boxes.velocity, boxes.score):
        assert value.dtype == torch.float32 and value.isfinite().all()
    assert (boxes.score.diff(dim=1) <= 0).all()


def test_frames_do_not_see_each_other_and_all_weights_learn() -> None:
    torch.manual_seed(0)
    head = CenterHead(8, 3).eval()
    planes = torch.randn(3, 8, 31, 17)
    torch.testing.assert_close(head(planes[1:2]).heatmap, head(planes).heatmap[1:2])
    maps = head.train()(planes)
    sum(value.square().sum() for value in vars(maps).values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_map_layers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = MapSegmentationHead(8, 6).eval().to(dtype)
    planes = torch.randn(3, 8, 15, 23, dtype=dtype)
    logits = head(planes)
    assert logits.shape == (3, 6, 15, 23) and logits.dtype == dtype
    torch.testing.assert_close(head(planes[1:2]), logits[1:2])
