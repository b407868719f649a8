# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Consistency and self-supervised losses: exact on planes, right at the truth, worse beside it."""

import math

import pytest
import torch

from mtl_perception.network.geometry import rays, reproject
from mtl_perception.network.motion.se3 import matrix_from_vector
from mtl_perception.training.losses.consistency import (
    class_borders,
    depth_normal_loss,
    edge_semantic_loss,
    normals_from_depth,
)
from mtl_perception.training.losses.self_supervised import (
    above_ground_loss,
    motion_consistency_loss,
    motion_sparsity_loss,
    photometric_error,
    photometric_loss,
    smoothness_loss,
    warp,
)

K = torch.tensor([[[40.0, 0, 23.5], [0, 40, 15.5], [0, 0, 1]]])
MOUNT = torch.tensor([[[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]])


def plane(normal: torch.Tensor, distance: float, stride: int = 1) -> torch.Tensor:
    """Return the depth (1, h, w) of a plane: normal . P = -distance."""
    across = torch.einsum("c,nchw->nhw", normal, rays(K, 32 // stride, 48 // stride, stride))
    return torch.where(across < -1e-3, -distance / across, torch.nan)


@pytest.mark.parametrize("stride", [1, 2])
def test_normals_of_a_plane_are_exact_everywhere(stride: int) -> None:
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, -1.0]), dim=0)
    found = normals_from_depth(plane(normal, 4.0, stride), K, stride)
    cosine = torch.einsum("c,nchw->nhw", normal, found)
    assert torch.isfinite(cosine).float().mean() > 0.9  # steep parts are taken for two surfaces
    assert math.degrees(float(cosine[torch.isfinite(cosine)].clamp(max=1).min().acos())) < 0.1


def test_a_border_between_surfaces_has_no_normal_and_gives_depth_no_gradient() -> None:
    depth = torch.full((1, 8, 8), 3.0)
    depth[:, :, 4:], depth[:, 0, 0] = 5.0, torch.nan
    found = torch.isfinite(normals_from_depth(depth, K)).all(dim=1)[0]
    assert not found[:, 3:5].any() and not found[0, 0] and not found[0, 1]
    assert found[2:, :3].all() and found[:, 5:].all()
    depth = depth.requires_grad_()
    normals = torch.zeros(1, 3, 8, 8).index_fill(1, torch.tensor([2]), -1.0).requires_grad_()
    loss = depth_normal_loss(normals, depth, K, 1)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6) and depth.grad is None
    assert normals.grad is not None and torch.isfinite(normals.grad).all()
    assert float(depth_normal_loss(-normals, depth, K, 1).detach()) == pytest.approx(2.0, abs=1e-5)


def test_edges_agree_with_the_borders_of_the_most_likely_classes() -> None:
    labels = torch.zeros(1, 4, 6, dtype=torch.int64)
    labels[:, :, 3:], labels[0, 3] = 1, 2
    borders = class_borders(labels)
    assert borders[0].int().tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [1] * 6, [1] * 6]
    semantic = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float().requires_grad_()
    edges = (40.0 * borders - 20.0).requires_grad_()
    assert float(edge_semantic_loss(edges, semantic).detach()) == pytest.approx(0.0, abs=1e-6)
    wrong = edge_semantic_loss(-edges, semantic)
    wrong.backward()
    assert float(wrong.detach()) == pytest.approx(1.0, abs=1e-6) and semantic.grad is None


def pattern(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.stack([0.5 + 0.4 * torch.sin(k * x + (3 - k) * y) for k in (1.0, 2.0, 3.0)], dim=1)


def test_the_true_depth_makes_images_look_alike_and_a_wrong_one_does_not() -> None:
    motion = matrix_from_vector(torch.tensor([[0.0, 0.0, 0.0, 0.4, 0.0, 0.0]]))
    ray = rays(K, 32, 48)
    target = pattern(4.0 * ray[:, 0], 4.0 * ray[:, 1])  # painted on a wall 4 m away
    previous = pattern(4.0 * ray[:, 0] - 0.4, 4.0 * ray[:, 1])

    def loss(depth: float) -> float:
        warped, seen = warp(previous, *reproject(torch.full((1, 32, 48), depth), K, motion, K, 1))
        return float(photometric_loss(warped[None], seen[None], previous[None], target))

    assert loss(4.0) < 0.002 < 0.02 < min(loss(3.0), loss(6.0))


def test_photometric_error_is_that_of_its_parts() -> None:
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(photometric_error(image, image), torch.zeros(1, 8, 8))
    grey = torch.full((1, 3, 8, 8), 0.5)
    similarity = (2 * 0.5 * 0.7 + 1e-4) / (0.5**2 + 0.7**2 + 1e-4)
    expected = 0.85 * (1 - similarity) / 2 + 0.15 * 0.2
    torch.testing.assert_close(photometric_error(grey, grey + 0.2), torch.full((1, 8, 8), expected), atol=1e-4, rtol=0)


def test_the_best_source_counts_and_pixels_that_stand_still_do_not() -> None:
    target = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    other = 0.8 * target
    both, seen = torch.stack([other, target]), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    assert float(photometric_loss(both, seen, torch.stack([other, other]), target)) == 0.0
    hidden = torch.stack([seen[0], ~seen[0]])
    assert float(photometric_loss(both, hidden, torch.zeros(2, 1, 3, 8, 8), target)) > 0.01
    still = photometric_loss(other[None].requires_grad_(), seen[:1], target[None], target)
    still.backward()
    assert float(still.detach()) == 0.0


def test_smoothness_costs_less_where_the_image_changes() -> None:
    values = torch.zeros(1, 1, 4, 8)
    values[..., 4:] = 1.0
    image = torch.zeros(1, 3, 4, 8)
    flat = float(smoothness_loss(values, image))
    image[..., 4:] = 1.0
    assert flat == pytest.approx(1 / 7)
    assert float(smoothness_loss(values, image)) == pytest.approx(math.exp(-1) / 7)


def test_static_flow_is_the_cameras_and_the_mask_is_not_rewarded_for_hiding_it() -> None:
    rigid = torch.zeros(1, 3, 2, 2)
    complete = rigid.clone()
    complete[0, 0, 0, 0] = 1.0
    complete.requires_grad_()
    static = torch.full((1, 2, 2), -20.0, requires_grad=True)
    loss = motion_consistency_loss(complete, rigid, static)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.25) and static.grad is None
    moving = torch.full((1, 2, 2), -20.0)
    moving[0, 0, 0] = 20.0
    assert float(motion_consistency_loss(complete, rigid, moving).detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(motion_sparsity_loss(complete, rigid, moving)) == pytest.approx(0.0, abs=1e-6)
    assert float(motion_sparsity_loss(complete, rigid, -moving)) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("known", [True, False])
def test_points_below_the_ground_cost_and_those_on_it_or_above_do_not(known: bool) -> None:
    road = plane(torch.tensor([0.0, -1.0, 0.0]), 1.5)
    depth = torch.where(torch.isfinite(road), road, torch.full_like(road, 30.0)).clamp(max=30.0)
    ground = torch.tensor([known])
    assert float(above_ground_loss(depth, K, MOUNT, ground, 1)) == pytest.approx(0.0, abs=1e-6)
    sunken = depth.clone()
    sunken[0, 24:28, 10:20] *= 1.8
    sunken.requires_grad_()
    loss = above_ground_loss(sunken, K, MOUNT, ground, 1)
    loss.backward()
    assert float(loss.detach()) > 1e-4
    # What it wants is a smaller depth, there and nowhere else.
    assert sunken.grad is not None and bool((sunken.grad[0, 24:28, 10:20] >= 0).all())
    assert float(sunken.grad[0, :20].abs().max()) == 0.0
