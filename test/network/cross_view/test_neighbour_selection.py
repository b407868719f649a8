# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who becomes whose neighbour."""

import math
from dataclasses import replace

import pytest
import torch

from mtl_perception.network import CameraBatch, PreviousFrame
from mtl_perception.network.cross_view.neighbours import select_neighbours

FORWARD = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
RANGE = (1.0, 50.0)


def rig(yaws: list[float], field_of_view: float = 90.0, frames: list[int] | None = None) -> CameraBatch:
    """Return cameras that look in the directions `yaws` (degrees, to the left) from 0.5 m around the middle."""
    focal = 48 / math.tan(math.radians(field_of_view) / 2)
    K = torch.tensor([[focal, 0, 47.5], [0, focal, 31.5], [0, 0, 1]])
    poses = []
    for yaw in yaws:
        turn = torch.eye(4)
        cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        turn[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]])
        turn[:2, 3] = 0.5 * torch.tensor([cos, sin])
        poses.append(turn @ FORWARD)
    frame_index = torch.tensor(frames or [0] * len(yaws))
    count = len(yaws)
    return CameraBatch(
        torch.rand(count, 3, 64, 96),
        K.repeat(count, 1, 1),
        torch.stack(poses),
        torch.ones(count, dtype=torch.bool),
        frame_index,
        int(frame_index.max()) + 1,
    )


def before(batch: CameraBatch, forward: float = 0.8) -> PreviousFrame:
    count = len(batch.K)
    pose = torch.eye(4).repeat(count, 1, 1)
    pose[:, 2, 3] = forward
    return PreviousFrame({}, batch.K * 1.1, pose, torch.ones(count, dtype=torch.bool))


def test_the_previous_frame_and_the_two_adjacent_cameras_of_a_surround_rig() -> None:
    batch = rig([0, 60, 120, 180, 240, 300])
    previous = before(batch)
    neighbours = select_neighbours(batch, previous, *RANGE)
    assert neighbours.valid.all()
    for row in range(6):
        assert neighbours.index[row, 0] == 6 + row
        assert set(neighbours.index[row, 1:].tolist()) == {(row + 1) % 6, (row - 1) % 6}
    torch.testing.assert_close(neighbours.K[:, 0], previous.K)
    torch.testing.assert_close(neighbours.K[:, 1], batch.K)
    torch.testing.assert_close(neighbours.other_from_this[:, 0], previous.previous_from_current)
    for row in range(6):
        for slot in (1, 2):
            expected = batch.base_from_camera[neighbours.index[row, slot]].inverse() @ batch.base_from_camera[row]
            torch.testing.assert_close(neighbours.other_from_this[row, slot], expected, rtol=1e-4, atol=1e-5)


def test_cameras_that_share_nothing_are_no_neighbours_and_alone_one_is_its_own() -> None:
    neighbours = select_neighbours(rig([0, 180, 40]), None, *RANGE)
    assert neighbours.index.tolist() == [[0, 2, 0], [1, 1, 1], [2, 0, 2]]
    assert neighbours.valid.tolist() == [[False, True, False], [True, False, False], [False, True, False]]
    torch.testing.assert_close(neighbours.other_from_this[1], torch.eye(4).expand(3, 4, 4))


@pytest.mark.parametrize("with_previous", [False, True])
def test_a_single_image(with_previous: bool) -> None:
    batch = rig([0])
    neighbours = select_neighbours(batch, before(batch) if with_previous else None, *RANGE)
    assert neighbours.index.tolist() == [[1 if with_previous else 0, 0, 0]]
    assert neighbours.valid.tolist() == [[True, False, False]]


def test_previous_images_without_a_valid_image_or_pose_do_not_count() -> None:
    batch = rig([0, 120, 240])
    previous = before(batch)
    pose = previous.previous_from_current.clone()
    pose[1, 0, 0] = float("nan")
    previous = replace(previous, previous_from_current=pose, valid=torch.tensor([True, True, False]))
    neighbours = select_neighbours(batch, previous, *RANGE)
    assert neighbours.index[:, 0].tolist() == [3, 1, 2]
    assert neighbours.other_from_this.isfinite().all()
    torch.testing.assert_close(neighbours.K[1:, 0], batch.K[1:])


def test_cameras_of_other_frames_are_no_neighbours() -> None:
    neighbours = select_neighbours(rig([0, 40, 0, 40], frames=[0, 0, 1, 1]), None, *RANGE)
    assert neighbours.index[:, 1].tolist() == [1, 0, 3, 2]
    assert neighbours.valid.sum() == 4


def test_an_unrelated_camera_changes_nothing() -> None:
    batch = rig([0, 50, 20, 180], frames=[0, 0, 1, 0])
    previous = before(batch)
    rows = torch.arange(2)
    fewer = PreviousFrame({}, *(getattr(previous, name)[:2] for name in ("K", "previous_from_current", "valid")))
    more, less = select_neighbours(batch, previous, *RANGE), select_neighbours(batch.select(rows), fewer, *RANGE)
    assert more.valid[:2].equal(less.valid)
    assert more.index[:2, 1:].equal(less.index[:, 1:])
    assert (more.index[:2, 0] - 4).equal(less.index[:, 0] - 2)
    torch.testing.assert_close(more.other_from_this[:2], less.other_from_this)


def test_the_two_that_see_most_are_taken() -> None:
    neighbours = select_neighbours(rig([0, 60, 10, -20]), None, *RANGE)
    assert neighbours.index[0].tolist() == [0, 2, 3]


def test_bfloat16_batches_keep_exact_poses() -> None:
    batch = rig([0, 60, 120])
    half = replace(batch, images=batch.images.bfloat16())
    assert select_neighbours(half, None, *RANGE).index.equal(select_neighbours(batch, None, *RANGE).index)
    assert select_neighbours(half, None, *RANGE).other_from_this.dtype == torch.float32


def test_without_poses_the_previous_frame_does_not_count() -> None:
    batch = rig([0, 180])
    blind = PreviousFrame({}, batch.K, None, torch.ones(2, dtype=torch.bool))
    neighbours = select_neighbours(batch, blind, *RANGE)
    assert neighbours.index[:, 0].tolist() == [0, 1]
