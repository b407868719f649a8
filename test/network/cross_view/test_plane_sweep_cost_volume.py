# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The plane sweep: where it samples, what it averages, and that it peaks at the true depth."""

import math

import pytest
import torch
from torch.nn import functional

from mtl_perception.network.cross_view import cost_volume
from mtl_perception.network.cross_view.cost_volume import PlaneSweepCostVolume
from mtl_perception.network.cross_view.neighbours import Neighbours

K = torch.tensor([[160.0, 0, 95.5], [0, 160, 63.5], [0, 0, 1]])


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> torch.Tensor:
    """Return other_from_this for a turn about the vertical axis of an optical frame, and a translation."""
    pose = torch.eye(4)
    pose[0, 0] = pose[2, 2] = math.cos(yaw)
    pose[0, 2], pose[2, 0] = math.sin(yaw), -math.sin(yaw)
    pose[:3, 3] = torch.tensor([x, y, z])
    return pose


def neighbours(index: list[list[int]], poses: list[list[torch.Tensor]], intrinsics: torch.Tensor = K) -> Neighbours:
    return Neighbours(
        index=torch.tensor(index),
        valid=torch.ones(len(index), len(index[0]), dtype=torch.bool),
        other_from_this=torch.stack([torch.stack(row) for row in poses]),
        K=intrinsics.expand(len(index), len(index[0]), 3, 3),
    )


def by_warping(
    sweep: PlaneSweepCostVolume, features: torch.Tensor, views: torch.Tensor, seen: Neighbours
) -> torch.Tensor:
    """Return the cost volume the slow way: by the formula, plane after plane, warping features."""
    count, channels, height, width = features.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([(u + 0.5) * sweep.stride - 0.5, (v + 0.5) * sweep.stride - 0.5, torch.ones_like(u)]).float()
    planes = []
    for depth in sweep.depths():
        total, hits = torch.zeros(2, count, height, width)
        for row in range(count):
            for slot in range(seen.index.shape[1]):
                points = depth * torch.einsum("ij,jhw->ihw", K.inverse(), pixels)
                pose = seen.other_from_this[row, slot]
                points = torch.einsum("ij,jhw->ihw", pose[:3, :3], points) + pose[:3, 3, None, None]
                projected = torch.einsum("ij,jhw->ihw", seen.K[row, slot], points)
                across, down = (projected[:2] / projected[2] + 0.5) / sweep.stride - 0.5
                grid = torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], dim=-1)
                valid = (points[2] > 0.05) & (grid.abs() <= 1).all(dim=-1) & seen.valid[row, slot]
                warped = functional.grid_sample(views[seen.index[row, slot]][None], grid[None], align_corners=False)[0]
                total[row] += (features[row] * warped).sum(dim=0) / math.sqrt(channels) * valid
                hits[row] += valid
        planes.append(total / hits.clamp(min=1))
    return torch.stack(planes, dim=1)


@pytest.mark.parametrize("largest", [2**26, 1000])  # at once, or few pixels at a time
def test_it_is_what_the_formula_says(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    monkeypatch.setattr(cost_volume, "LARGEST_CORRELATION", largest)
    torch.manual_seed(0)
    sweep = PlaneSweepCostVolume(5, 2.0, 40.0)
    features, previous = torch.randn(3, 6, 15, 23), torch.randn(3, 6, 15, 23)
    poses = [[moved(0.3, -0.1, 1.0, 0.1), moved(-0.8, yaw=yaw)] for yaw in (0.4, -0.5, 3.0)]
    seen = neighbours([[3, 1], [4, 2], [5, 0]], poses)
    seen.valid[1, 0] = False
    cost = sweep(features, K.expand(3, 3, 3), seen, previous)
    assert cost.shape == (3, 5, 15, 23)
    expected = by_warping(sweep, features, torch.cat([features, previous]), seen)
    torch.testing.assert_close(cost, expected, rtol=1e-3, atol=1e-4)
    assert (cost == 0).float().mean() < 0.5


def test_planes_are_uniform_in_inverse_depth_from_near_to_far() -> None:
    depths = PlaneSweepCostVolume(5, 2.0, 10.0).depths()
    torch.testing.assert_close(1 / depths, torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1]))


def test_it_samples_the_projected_pixel_of_another_camera() -> None:
    """The neighbour's features are its own pixel coordinates, which bilinear sampling reproduces exactly."""
    sweep = PlaneSweepCostVolume(4, 3.0, 30.0)
    other_K = torch.tensor([[120.0, 0, 80.0], [0, 130, 50.0], [0, 0, 1]])
    pose = moved(0.5, 0.2, -0.4, 0.1)
    coordinate = (torch.arange(24) + 0.5) * 8 - 0.5
    other = torch.stack([coordinate[None, :].expand(16, 24), coordinate[:16, None].expand(16, 24)])
    for channel in range(2):
        this = torch.zeros(2, 16, 24)
        this[channel] = math.sqrt(2)
        seen = neighbours([[1], [0]], [[pose], [pose.inverse()]], other_K)
        cost = sweep(torch.stack([this, other]), K.expand(2, 3, 3), seen)[0]
        for row, column in ((8, 12), (5, 9), (9, 15)):
            pixel = torch.tensor([8 * column + 3.5, 8 * row + 3.5, 1.0])
            for plane, depth in enumerate(sweep.depths()):
                point = pose[:3, :3] @ (depth * K.inverse() @ pixel) + pose[:3, 3]
                projected = (other_K @ point / point[2])[channel]
                assert cost[plane, row, column] == pytest.approx(float(projected), abs=0.01)


@pytest.mark.parametrize("cells", [1, 3, 6])
def test_shifted_texture_peaks_at_exactly_the_right_plane(cells: int) -> None:
    torch.manual_seed(0)
    sweep = PlaneSweepCostVolume(8, 160.0 * 0.5 / 64, 160.0 * 0.5 / 8)  # a baseline of 0.5 m: disparities 64, 56 .. 8
    left = functional.normalize(torch.randn(32, 15, 24), dim=0)
    right = left.roll(-cells, dims=2)
    seen = neighbours([[1], [0]], [[moved(-0.5)], [moved(0.5)]])
    cost = sweep(torch.stack([left, right]), K.expand(2, 3, 3), seen)
    assert (cost[0, :, :, cells:].argmax(dim=0) == 8 - cells).all()
    assert (cost[1, :, :, : 24 - cells].argmax(dim=0) == 8 - cells).all()
    torch.testing.assert_close(cost[0, 8 - cells, :, cells:], torch.full((15, 24 - cells), 1 / math.sqrt(32)))


def test_the_previous_frame_of_the_same_camera_works_the_same() -> None:
    torch.manual_seed(0)
    sweep = PlaneSweepCostVolume(8, 160.0 * 0.5 / 64, 160.0 * 0.5 / 8)
    current = functional.normalize(torch.randn(2, 32, 15, 24), dim=1)
    previous = current.roll(-2, dims=3)
    cost = sweep(current, K.expand(2, 3, 3), neighbours([[2], [3]], [[moved(-0.5)]] * 2), previous)
    assert (cost[..., 2:].argmax(dim=1) == 6).all()


def test_only_valid_projections_are_averaged() -> None:
    torch.manual_seed(0)
    sweep = PlaneSweepCostVolume(6, 2.0, 40.0)
    features = torch.randn(3, 8, 15, 23)
    near, behind = moved(0.4, yaw=0.1), moved(yaw=math.pi)
    alone = sweep(features, K.expand(3, 3, 3), neighbours([[1]] * 3, [[near]] * 3))
    both = sweep(features, K.expand(3, 3, 3), neighbours([[1, 2]] * 3, [[near, behind]] * 3))
    torch.testing.assert_close(both, alone)
    beside = sweep(features, K.expand(3, 3, 3), neighbours([[1, 2]] * 3, [[near, moved(yaw=math.pi / 2)]] * 3))
    torch.testing.assert_close(beside, alone)
    masked = neighbours([[1, 2]] * 3, [[near, near]] * 3)
    masked.valid[:, 1] = False
    torch.testing.assert_close(sweep(features, K.expand(3, 3, 3), masked), alone)
    nothing = sweep(features, K.expand(3, 3, 3), neighbours([[2]] * 3, [[behind]] * 3))
    assert (nothing == 0).all() and (alone != 0).any()


def test_what_is_behind_the_neighbour_is_not_seen_even_on_its_axis() -> None:
    centred = torch.tensor([[160.0, 0, 99.5], [0, 160, 59.5], [0, 0, 1]])  # the axis goes through the middle of a cell
    behind = neighbours([[0]], [[moved(yaw=math.pi)]], centred)
    cost = PlaneSweepCostVolume(6, 2.0, 40.0)(torch.ones(1, 8, 15, 24), centred[None], behind)
    assert (cost == 0).all()


def test_an_image_that_is_its_own_neighbour_gives_the_same_on_all_planes() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 8, 15, 23)
    cost = PlaneSweepCostVolume(6, 2.0, 40.0)(features, K[None], neighbours([[0]], [[torch.eye(4)]]))
    expected = features.square().sum(dim=1, keepdim=True) / math.sqrt(8)
    torch.testing.assert_close(cost, expected.expand_as(cost), rtol=1e-3, atol=1e-3)


def test_gradients_reach_the_features_of_both_views_but_not_the_geometry() -> None:
    torch.manual_seed(0)
    current, previous = torch.randn(2, 1, 8, 15, 23).unbind()
    intrinsics, seen = K[None].clone(), neighbours([[1]], [[moved(0.5)]])
    for tensor in (current, previous, intrinsics, seen.other_from_this):
        tensor.requires_grad_()
    PlaneSweepCostVolume(6, 2.0, 40.0)(current, intrinsics, seen, previous).square().sum().backward()
    assert current.grad.abs().sum() > 0 and previous.grad.abs().sum() > 0
    assert intrinsics.grad is None and seen.other_from_this.grad is None


def test_bfloat16_features_are_sampled_at_exact_places() -> None:
    torch.manual_seed(0)
    sweep = PlaneSweepCostVolume(8, 160.0 * 0.5 / 64, 160.0 * 0.5 / 8).to(torch.bfloat16)
    left = functional.normalize(torch.randn(32, 15, 23), dim=0).bfloat16()
    seen = neighbours([[1], [0]], [[moved(-0.5)], [moved(0.5)]])
    cost = sweep(torch.stack([left, left.roll(-3, dims=2)]), K.expand(2, 3, 3), seen)
    assert cost.dtype == torch.bfloat16
    assert (cost[0, :, :, 3:].argmax(dim=0) == 5).all()


@pytest.mark.parametrize(("planes", "nearest", "farthest"), [(1, 1.0, 2.0), (8, 2.0, 2.0), (8, 0.0, 2.0)])
def test_impossible_planes_are_refused(planes: int, nearest: float, farthest: float) -> None:
    with pytest.raises(ValueError, match="cannot sweep"):
        PlaneSweepCostVolume(planes, nearest, farthest)
