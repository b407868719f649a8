# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene prototypes: boxes and map layers reach the right prototypes, with the right means."""

import math

import pytest
import torch

from mtl_perception.core import VoxelGrid
from mtl_perception.network.volume.center_head import Boxes
from mtl_perception.network.volume.scene_prototypes import ScenePrototypeAggregator

GRID = VoxelGrid((-8.0, -4.0, -1.0), 0.5, (32, 16, 4))
# Two detection classes; map layers 0 and 1 -> prototype 3, layer 2 -> prototypes 3 and 4, layer 3 -> none.
DETECTION = (1, 0)
LAYERS = ((3,), (3,), (3, 4), ())


def boxes(*rows: tuple[float, float, float, float, float, int], frames: int = 1) -> Boxes:
    """Return boxes from x, y, length, width, yaw, label; the same in each frame."""
    table = torch.tensor([row[:5] for row in rows], dtype=torch.float32).expand(frames, -1, -1)
    return Boxes(
        centre=torch.cat([table[..., :2], torch.zeros_like(table[..., :1])], dim=-1),
        size=torch.cat([table[..., 2:4], torch.ones_like(table[..., :1])], dim=-1),
        yaw=table[..., 4],
        velocity=torch.zeros_like(table[..., :2]),
        label=torch.tensor([row[5] for row in rows]).expand(frames, -1),
        score=torch.ones_like(table[..., 0]),
    )


def inputs(frames: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "prototypes": torch.randn(frames, 6, 4),
        "detection_features": torch.randn(frames, 4, 32, 16),
        "map_features": torch.randn(frames, 4, 32, 16),
        "map_mask": torch.zeros(frames, 4, 32, 16, dtype=torch.bool),
    }


@pytest.fixture
def aggregator() -> ScenePrototypeAggregator:
    return ScenePrototypeAggregator(GRID, 6, DETECTION, LAYERS)


def test_nothing_found_adds_nothing(aggregator: ScenePrototypeAggregator) -> None:
    given = inputs()
    queries = aggregator(boxes=boxes((0, 0, 2, 2, 0, 0)), valid=torch.tensor([[False]]), **given)
    torch.testing.assert_close(queries, given["prototypes"])


def test_boxes_of_a_class_are_averaged_and_added_to_its_prototype_only(aggregator: ScenePrototypeAggregator) -> None:
    given = inputs()
    given["detection_features"][:, :, :16] = 1.0  # x < 0
    given["detection_features"][:, :, 16:] = 4.0
    found = boxes((-5, 0, 3, 2, 0.7, 0), (5, 0, 3, 2, 0.3, 0), (5, 1, 2, 1, 0, 1), (5, 1, 2, 1, 0, 0))
    queries = aggregator(boxes=found, valid=torch.tensor([[True, True, False, False]]), **given)
    expected = given["prototypes"].clone()
    expected[:, 1] += 2.5  # class 0's
    torch.testing.assert_close(queries, expected)


def test_the_mean_in_a_constant_box_is_the_constant_even_at_the_border(aggregator: ScenePrototypeAggregator) -> None:
    features = torch.full((1, 4, 32, 16), 3.0)
    means, seen = aggregator.pool(features, boxes((0, 0, 3, 2, 1.0, 0), (8, 4, 4, 4, 0.5, 0), (50, 0, 1, 1, 0, 0)))
    torch.testing.assert_close(means[0, :2], torch.full((2, 4), 3.0))
    assert seen.tolist() == [[True, True, False]] and (means[0, 2] == 0).all()


def test_a_rotated_box_reads_the_place_it_covers(aggregator: ScenePrototypeAggregator) -> None:
    x = (torch.arange(32) + 0.5) * 0.5 - 8.0
    y = (torch.arange(16) + 0.5) * 0.5 - 4.0
    features = torch.zeros(1, 4, 32, 16)
    features[0, 0], features[0, 1] = x[:, None], y[None]
    features[0, 2] = x[:, None].square()
    features[0, 3] = x[:, None] * y[None]
    for yaw, spread in ((0.0, 4.0), (math.pi / 2, 0.0)):
        means, _ = aggregator.pool(features, boxes((2.0, 1.0, 4.0, 0.01, yaw, 0)))
        torch.testing.assert_close(means[0, 0, :2], torch.tensor([2.0, 1.0]))
        variance = means[0, 0, 2] - 4.0
        assert variance > 1.0 if spread else variance < 0.1
    for yaw in (0.6, -0.6):  # turned to the left, y grows with x
        means, _ = aggregator.pool(features, boxes((2.0, 1.0, 4.0, 0.01, yaw, 0), (2.0, 1.0, 0.01, 4.0, yaw, 0)))
        long, wide = means[0, :, 3] - 2.0
        assert long * yaw > 0.2 and wide * yaw < -0.2


def test_map_layers_of_one_prototype_are_averaged_and_others_added(aggregator: ScenePrototypeAggregator) -> None:
    given = inputs()
    given["map_mask"][0, 0, :5] = True
    given["map_mask"][0, 2, 5:9] = True
    given["map_mask"][0, 3] = True
    queries = aggregator(boxes=boxes((0, 0, 2, 2, 0, 0)), valid=torch.tensor([[False]]), **given)
    first = given["map_features"][0, :, :5].mean(dim=(1, 2))
    third = given["map_features"][0, :, 5:9].mean(dim=(1, 2))
    expected = given["prototypes"].clone()
    expected[0, 3] += (first + third) / 2  # layer 1 has no cell and does not count
    expected[0, 4] += third
    torch.testing.assert_close(queries, expected)


def test_detection_classes_of_one_prototype_are_averaged() -> None:
    given = inputs()
    given["detection_features"][:, :, :16], given["detection_features"][:, :, 16:] = 1.0, 4.0
    aggregator = ScenePrototypeAggregator(GRID, 6, (2, 2), LAYERS)
    found = boxes((-5, 0, 2, 2, 0, 0), (-5, 1, 2, 2, 0, 0), (5, 0, 2, 2, 0, 1))
    queries = aggregator(boxes=found, valid=torch.ones(1, 3, dtype=torch.bool), **given)
    torch.testing.assert_close(queries[:, 2], given["prototypes"][:, 2] + 2.5)


def test_frames_do_not_see_each_other(aggregator: ScenePrototypeAggregator) -> None:
    given = inputs(3)
    given["map_mask"][0] = True
    found = boxes((0, 0, 2, 2, 0, 0), frames=3)
    valid = torch.tensor([[True], [False], [False]])
    queries = aggregator(boxes=found, valid=valid, **given)
    torch.testing.assert_close(queries[1:], given["prototypes"][1:])
    assert not torch.allclose(queries[0], given["prototypes"][0])


def test_gradients_reach_features_and_prototypes_but_not_the_geometry_of_boxes(
    aggregator: ScenePrototypeAggregator,
) -> None:
    given = inputs()
    given["map_mask"][:] = True
    learned = [given[name].requires_grad_() for name in ("prototypes", "detection_features", "map_features")]
    found = boxes((0, 0, 2, 2, 0, 0))
    geometry = [found.centre, found.size, found.yaw]
    found = Boxes(*(value.clone().requires_grad_() for value in geometry), found.velocity, found.label, found.score)
    aggregator(boxes=found, valid=torch.tensor([[True]]), **given).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in learned)
    assert found.centre.grad is None and found.size.grad is None and found.yaw.grad is None


def test_bfloat16(aggregator: ScenePrototypeAggregator) -> None:
    given = inputs()
    given["map_mask"][:, :, :20] = True
    arguments = {"boxes": boxes((3.3, 1.2, 4, 2, 0.4, 1)), "valid": torch.tensor([[True]])}
    expected = aggregator(**arguments, **given)
    low = {name: value if value.dtype == torch.bool else value.bfloat16() for name, value in given.items()}
    queries = aggregator.to(torch.bfloat16)(**arguments, **low)
    assert queries.dtype == torch.bfloat16
    torch.testing.assert_close(queries.float(), expected, atol=0.05, rtol=0.05)


def test_a_correspondence_to_no_prototype_is_refused() -> None:
    with pytest.raises(ValueError, match="6 prototypes"):
        ScenePrototypeAggregator(GRID, 6, (1, 6), LAYERS)
