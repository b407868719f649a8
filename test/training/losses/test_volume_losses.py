# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of BEV map, boxes, prototypes and suppression: by hand, and a head that learns from them."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mtl_perception.core import FREE, UNLABELLED, UNOBSERVED, VoxelGrid
from mtl_perception.network.volume.center_head import BoxMaps, CenterHead
from mtl_perception.training.losses.volume import (
    boxes_loss,
    map_loss,
    prototype_loss,
    region_of_boxes,
    region_of_map,
    region_of_occupancy,
    suppression_loss,
)
from mtl_perception.training.samples import BoxTruth

GRID = VoxelGrid((-16.0, -16.0, -1.0), 1.0, (32, 32, 4))
CLASSES = (8, 10)
NOT_KNOWN = float("nan")


def boxes(*rows: tuple[float, ...], labels: tuple[int, ...], seen: tuple[bool, ...] | None = None) -> BoxTruth:
    """Return boxes from rows of centre, size, yaw, velocity."""
    table = np.array(rows, np.float32).reshape(-1, 9)
    return BoxTruth(
        centre=table[:, :3],
        size=table[:, 3:6],
        yaw=table[:, 6],
        velocity=table[:, 7:],
        label=np.array(labels, np.int64),
        seen=np.array([True] * len(table) if seen is None else seen, np.bool_),
    )


CAR = (5.25, -3.5, 0.8, 4.5, 1.9, 1.6, 2.0, 1.5, -2.0)
PEDESTRIAN = (-4.9, 7.3, 0.9, 0.5, 0.6, 1.8, -1.0, NOT_KNOWN, NOT_KNOWN)


def perfect(certainty: float = 12.0) -> BoxMaps:
    """Return the maps of `CAR` and `PEDESTRIAN`."""
    maps = [torch.zeros(1, count, 32, 32) for count in (2, 2, 1, 3, 2, 2)]
    maps[0] -= certainty
    for channel, (x, y, z, *size, yaw, vx, vy) in enumerate((CAR, PEDESTRIAN)):
        cell = math.floor(x + 16), math.floor(y + 16)
        maps[0][0, channel, cell[0], cell[1]] = certainty
        values = [
            [x + 16 - cell[0] - 0.5, y + 16 - cell[1] - 0.5],
            [z],
            [math.log(side) for side in size],
            [math.sin(yaw), math.cos(yaw)],
            [0.0 if math.isnan(vx) else vx, 0.0 if math.isnan(vy) else vy],
        ]
        for part, value in zip(maps[1:], values, strict=True):
            part[0, :, cell[0], cell[1]] = torch.tensor(value)
    return BoxMaps(*maps)


TRUTH = boxes(CAR, PEDESTRIAN, labels=CLASSES)


def test_perfect_boxes_cost_nothing_and_each_error_what_it_weighs() -> None:
    assert float(boxes_loss(perfect(), [TRUTH], GRID, CLASSES)) == pytest.approx(0.0, abs=1e-4)
    cell = (slice(None), slice(None), 21, 12)  # the car's
    for name, weight in (("offset", 2.0), ("height", 1.0), ("log_size", 3.0), ("direction", 2.0), ("velocity", 0.4)):
        wrong = perfect()
        getattr(wrong, name)[cell] += 0.5
        # A quarter of L1, over two boxes.
        assert float(boxes_loss(wrong, [TRUTH], GRID, CLASSES)) == pytest.approx(weight * 0.5 / 8, abs=1e-4), name
    elsewhere = perfect()
    for field in fields(elsewhere)[1:]:
        getattr(elsewhere, field.name)[0, :, 3, 3] = 99.0
    elsewhere.velocity[0, :, 11, 23] = 99.0  # the pedestrian's is not known
    assert float(boxes_loss(elsewhere, [TRUTH], GRID, CLASSES)) == pytest.approx(0.0, abs=1e-4)


def test_the_heatmap_is_focal_and_gaussian() -> None:
    half = math.log(2.0) / 4  # focal loss of a probability of 0.5
    base = float(boxes_loss(perfect(), [TRUTH], GRID, CLASSES))
    found = {}
    for name, place in (("centre", (21, 12)), ("beside", (22, 12)), ("diagonal", (20, 13)), ("far", (23, 12))):
        maps = perfect()
        maps.heatmap[0, 0, place[0], place[1]] = 0.0
        found[name] = 2 * (float(boxes_loss(maps, [TRUTH], GRID, CLASSES)) - base)
    near, corner = math.exp(-2.0), math.exp(-4.0)  # a radius of 1 cell: a deviation of half a cell
    assert found["centre"] == pytest.approx(half, rel=1e-3) and found["far"] == pytest.approx(half, rel=1e-3)
    assert found["beside"] == pytest.approx(half * (1 - near) ** 4, rel=1e-3)
    assert found["diagonal"] == pytest.approx(half * (1 - corner) ** 4, rel=1e-3)


def test_a_finer_plane_has_wider_gaussians() -> None:
    fine = VoxelGrid((-2.0, -2.0, -1.0), 0.1, (40, 40, 4))
    truth = boxes((0.05, 0.05, 0.8, 2.0, 2.0, 1.6, 0.0, 0.0, 0.0), labels=(8,))
    heatmap = torch.full((1, 1, 40, 40), -12.0)
    maps = BoxMaps(heatmap.requires_grad_(), *(torch.zeros(1, count, 40, 40) for count in (2, 1, 3, 2, 2)))
    with torch.no_grad():
        heatmap[:] = 0.0
    boxes_loss(maps, [truth], fine, (8,)).backward()
    assert heatmap.grad is not None
    # Squares of 20 cells shrunk at both corners by r overlap by a tenth: (20 - 2 r)^2 = 40, r = 6.8; deviation 13 / 6.
    gaussian = 1 - (heatmap.grad[0, 0, :, 20] / heatmap.grad[0, 0, 0, 0]).clamp(min=0) ** 0.25
    assert gaussian[24] == pytest.approx(math.exp(-(4**2) / (2 * (13 / 6) ** 2)), rel=1e-3)
    assert heatmap.grad[0, 0, 20, 20] < 0 and gaussian[27].abs() < 1e-6


def test_what_no_image_shows_is_neither_right_nor_wrong() -> None:
    hidden = boxes(CAR, PEDESTRIAN, labels=CLASSES, seen=(False, True))
    empty = perfect()
    empty.heatmap[0, 0] = -12.0
    both = [float(boxes_loss(maps, [hidden], GRID, CLASSES)) for maps in (perfect(), empty)]
    assert both == pytest.approx([0.0, 0.0], abs=1e-4)
    other = perfect()
    other.heatmap[0, 1, 21, 12] = 12.0  # a pedestrian where the hidden car is, however, is wrong
    assert float(boxes_loss(other, [hidden], GRID, CLASSES)) > 5


def test_other_classes_and_places_outside_are_no_boxes() -> None:
    more = boxes(CAR, PEDESTRIAN, CAR, (17.0, *CAR[1:]), labels=(*CLASSES, 9, 8))
    assert float(boxes_loss(perfect(), [more], GRID, CLASSES)) == pytest.approx(0.0, abs=1e-4)


def test_frames_without_annotation_do_not_count() -> None:
    maps = perfect()
    two = BoxMaps(
        *(torch.cat([getattr(maps, field.name), torch.zeros_like(getattr(maps, field.name))]) for field in fields(maps))
    )
    two = replace(two, heatmap=two.heatmap.requires_grad_())
    loss = boxes_loss(two, [TRUTH, None], GRID, CLASSES)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-4)
    assert float(boxes_loss(two, [TRUTH, boxes(labels=())], GRID, CLASSES).detach()) > 100  # here nothing is there
    boxes_loss(two, [None, None], GRID, CLASSES).backward()
    assert two.heatmap.grad is not None and (two.heatmap.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_learns_the_boxes_of_a_frame(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    truth = boxes(
        CAR,
        PEDESTRIAN,
        (-11.2, -9.8, 1.5, 8.0, 2.5, 3.0, 0.4, 0.0, 5.0),
        (2.0, 12.6, 0.9, 0.6, 0.6, 1.7, 3.0, 1.0, 0.0),
        labels=(8, 10, 8, 10),
    )
    head, plane = CenterHead(16, 2), torch.randn(1, 16, 32, 32)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            maps = head(plane)
        loss = boxes_loss(maps, [truth], GRID, CLASSES)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = CenterHead.decode(head(plane), GRID, 10, 0.3)[0]
    assert sorted(found.label.tolist()) == [0, 0, 1, 1]
    for index in range(len(truth)):
        distance = np.linalg.norm(found.centre.numpy() - truth.centre[index], axis=1)
        nearest = int(distance.argmin())
        assert distance[nearest] < 0.3 and CLASSES[int(found.label[nearest])] == truth.label[index]
        assert abs(math.remainder(float(found.yaw[nearest]) - truth.yaw[index], math.tau)) < 0.2
        assert np.allclose(found.size[nearest].numpy(), truth.size[index], rtol=0.2)


def test_map_layers_by_hand() -> None:
    truth = torch.full((1, 3, 2, 2), NOT_KNOWN)
    truth[0, 0] = torch.tensor([[1.0, 0.0], [0.0, NOT_KNOWN]])
    truth[0, 1] = 0.0
    logits = torch.zeros(1, 3, 2, 2)
    focal = math.log(2.0) / 4
    dice = [1 - (2 * 0.5 + 1) / (1.5 + 1 + 1), 1 - 1 / 3]
    assert float(map_loss(logits, truth)) == pytest.approx(focal + sum(dice) / 2, rel=1e-5)
    right = torch.where(truth == 1.0, 20.0, -20.0)
    assert float(map_loss(right, truth)) == pytest.approx(0.0, abs=1e-5)
    right[0, 2], right[0, 0, 1, 1] = 20.0, 20.0  # not known
    assert float(map_loss(right, truth)) == pytest.approx(0.0, abs=1e-5)


def test_a_cell_of_a_thin_layer_pulls_more_than_one_of_a_wide_one() -> None:
    truth = torch.zeros(1, 2, 64, 64)
    truth[0, 0, :32], truth[0, 1, 5] = 1.0, 1.0
    logits = torch.full_like(truth, -4.0).requires_grad_()
    map_loss(logits, truth).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0, 0] < 0 and logits.grad[0, 1, 5, 0] < 0
    assert logits.grad[0, 1, 5, 0] < 1.5 * logits.grad[0, 0, 0, 0]


def test_prototypes_by_hand() -> None:
    truth = torch.tensor([0, 2, FREE, FREE, UNLABELLED, UNOBSERVED], dtype=torch.uint8).view(1, 6, 1, 1)
    right = torch.zeros(1, 4, 6, 1, 1)
    for voxel, index in enumerate((0, 2, 3, 3)):
        right[0, index, voxel] = 30.0
    right[0, 1, 4:] = 30.0  # where nothing is known
    assert float(prototype_loss(right, truth)) == pytest.approx(0.0, abs=1e-5)
    # All free: class 3 has Dice (2 * 2 + 1) / (4 + 2 + 1) and IoU 2 / 4; classes 0 and 2 Dice 1 / 2 and IoU 0.
    free = torch.zeros(1, 4, 6, 1, 1)
    free[0, 3] = 30.0
    expected = (2 * (1 - 1 / 2 + 1) + 1 - 5 / 7 + 1 - 2 / 4) / 3
    assert float(prototype_loss(free, truth)) == pytest.approx(expected, rel=1e-4)


def test_suppression_is_supervised_where_the_region_is_known() -> None:
    region = torch.tensor([[[1.0, 0.0, NOT_KNOWN]]])
    assert float(suppression_loss(torch.zeros(1, 1, 3), region)) == pytest.approx(math.log(2.0) / 4)
    assert float(suppression_loss(torch.tensor([[[20.0, -20.0, 5.0]]]), region)) == pytest.approx(0.0, abs=1e-5)


def test_regions_of_interest() -> None:
    truth = boxes(
        (0.0, 4.0, 1.0, 6.0, 2.0, 1.0, math.pi / 4, 0.0, 0.0), CAR, CAR, labels=(8, 10, 3), seen=(True, False, True)
    )
    region = region_of_boxes([truth, None], GRID, CLASSES)
    assert region.shape == (2, 32, 32) and region[1].isnan().all()
    axis = torch.arange(32) - 15.5
    x, y = axis[:, None], axis[None]
    along, across = (x + (y - 4)) / math.sqrt(2), (y - 4 - x) / math.sqrt(2)
    torch.testing.assert_close(region[0] == 1, (along.abs() <= 3) & (across.abs() <= 1))
    assert region[0, 21, 12].isnan() and (region[0].nan_to_num(0.0) >= 0).all()
    bev_map = torch.tensor([[[[1.0, 0.0, NOT_KNOWN]], [[0.0, 0.0, NOT_KNOWN]]]])
    torch.testing.assert_close(region_of_map(bev_map), torch.tensor([[[1.0, 0.0, NOT_KNOWN]]]), equal_nan=True)
    occupancy = torch.tensor([3, FREE, UNOBSERVED, UNLABELLED], dtype=torch.uint8)
    expected = torch.tensor([1.0, 0.0, NOT_KNOWN, 1.0])
    torch.testing.assert_close(region_of_occupancy(occupancy), expected, equal_nan=True)


def test_nothing_known_is_zero_with_a_gradient() -> None:
    logits = torch.zeros(1, 4, 6, 1, 1, requires_grad=True)
    nothing = torch.full((1, 6, 1, 1), UNOBSERVED, dtype=torch.uint8)
    plane = torch.zeros(1, 2, 3, 3, requires_grad=True)
    unknown = torch.full((1, 2, 3, 3), NOT_KNOWN)
    loss = prototype_loss(logits, nothing) + map_loss(plane, unknown) + suppression_loss(plane, unknown)
    assert float(loss.detach()) == 0.0
    loss.backward()
    for tensor in (logits, plane):
        assert tensor.grad is not None and (tensor.grad == 0).all()
