# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtl_perception.network.geometry import rays
from mtl_perception.network.motion.displacement import (
    EVIDENCE,
    LARGEST_METRES,
    Displacement,
    measured_displacement,
)
from mtl_perception.network.motion.flow_composition import rigid_flow
from mtl_perception.network.motion.matched_flow import MatchedSceneFlow
from mtl_perception.network.motion.matching import STRIDE, Matches
from mtl_perception.network.motion.se3 import matrix_from_vector

HEIGHT, WIDTH = 12, 20
K = torch.tensor([[60.0, 0, 39.5], [0, 60.0, 23.5], [0, 0, 1]])[None]
MOTION = matrix_from_vector(torch.tensor([[0.0, 0.02, 0.0, 0.1, 0.0, 0.5]]))
DEPTH = torch.full((1, HEIGHT, WIDTH), 8.0)


def _matches(fine: Tensor) -> Matches:
    precision = torch.full(fine.shape[:3], 2.0)
    return Matches(torch.zeros(0, 1, 1), fine, fine, precision, precision)


def _seen_before(moved: Tensor) -> tuple[Tensor, Tensor]:
    """Return where points that have moved by -`moved` (3,) since were in the previous image, and how far off."""
    points = rays(K, HEIGHT, WIDTH, STRIDE) * DEPTH[:, None]
    before = points + rigid_flow(DEPTH, K, MOTION, STRIDE) + moved[None, :, None, None]
    pixels = 60.0 * before[:, :2] / before[:, 2:] + torch.tensor([39.5, 23.5])[None, :, None, None]
    return ((pixels + 0.5) / STRIDE - 0.5).permute(0, 2, 3, 1), before[:, 2]


def test_what_stands_still_is_not_displaced() -> None:
    fine, z = _seen_before(torch.zeros(3))
    found = measured_displacement(_matches(fine), DEPTH, K, K, MOTION, z.mean().expand_as(z))
    assert found.cells.abs().max() < 1e-3
    # The previous depth is taken for the same everywhere here, which it nearly is.
    assert found.metres.abs()[:, :2].max() < 0.1 and found.metres[:, 2].abs().mean() < 0.2


def test_a_displacement_is_measured_in_the_previous_cameras_axes() -> None:
    moved = torch.tensor([0.4, -0.2, 0.0])
    fine, z = _seen_before(moved)
    # The previous depth map is read at the match: with one depth everywhere it is exact across the optical axis.
    found = measured_displacement(_matches(fine), DEPTH, K, K, MOTION, z.mean().expand_as(z))
    middle = found.metres[0, :, 4:8, 7:13].mean(dim=(1, 2))
    torch.testing.assert_close(middle[:2], moved[:2], atol=0.02, rtol=0)
    assert found.evidence().shape == (1, EVIDENCE, HEIGHT, WIDTH)


def test_along_the_optical_axis_the_previous_depth_tells() -> None:
    moved = torch.tensor([0.0, 0.0, 1.0])
    fine, z = _seen_before(moved)
    found = measured_displacement(_matches(fine), DEPTH, K, K, MOTION, z.mean().expand_as(z))
    torch.testing.assert_close(found.metres[0, :, 5:7, 9:11].mean(dim=(1, 2)), moved, atol=0.1, rtol=0)


def test_it_is_bounded_whatever_the_depths() -> None:
    fine, _ = _seen_before(torch.zeros(3))
    found = measured_displacement(_matches(fine), DEPTH, K, K, MOTION, torch.zeros_like(DEPTH))
    assert torch.isfinite(found.metres).all() and found.metres.abs().max() <= LARGEST_METRES


def _measured(moved: Tensor, precision: float) -> tuple[Displacement, Tensor]:
    fine, z = _seen_before(moved)
    found = measured_displacement(_matches(fine), DEPTH, K, K, MOTION, z.mean().expand_as(z))
    return replace(found, log_precision=torch.full_like(DEPTH, precision)), torch.zeros_like(DEPTH)


@pytest.mark.parametrize("moved", [[0.4, -0.2, 0.0], [0.3, 0.0, 0.9], [0.0, 0.0, -1.2]])
def test_a_match_tells_how_far_a_point_has_moved_in_a_direction(moved: list[float]) -> None:
    way = torch.tensor(moved)
    found, nothing = _measured(way, precision=12.0)
    direction = (way / way.norm())[None, :, None, None].expand(1, 3, HEIGHT, WIDTH)
    distance = found.along(direction, nothing, nothing + 1e-3)[0]
    seen = torch.ones_like(distance, dtype=torch.bool)
    seen[4:8, 7:13] = False  # who moves along the line of sight stays where he is in the image
    torch.testing.assert_close(distance[seen], way.norm().expand(int(seen.sum())), atol=0.02, rtol=0)
    torch.testing.assert_close(found.along(-direction, nothing, nothing + 1e-3)[0], -distance)


def test_without_a_precise_match_the_expectation_tells() -> None:
    way = torch.tensor([0.4, 0.0, 0.0])
    found, nothing = _measured(way, precision=-20.0)
    direction = torch.tensor([1.0, 0, 0])[None, :, None, None].expand(1, 3, HEIGHT, WIDTH)
    distance = found.along(direction, nothing + 0.7, nothing + 1.0)
    torch.testing.assert_close(distance, nothing + 0.7, atol=1e-3, rtol=0)


def test_scene_flow_is_bounded_whatever_the_decoder_says() -> None:
    decoder = MatchedSceneFlow(8)
    found, _ = _measured(torch.zeros(3), precision=-20.0)
    last = decoder.decode[-1]
    torch.nn.init.zeros_(last.weight)
    for said in (-1e4, 1e4):
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, 0.0, 1.0, said, said]))
            flow = decoder(torch.randn(1, 8, HEIGHT, WIDTH), found, DEPTH)
        assert torch.isfinite(flow).all() and flow.norm(dim=1).max() <= LARGEST_METRES * 1.001


def test_scene_flow_can_learn_what_the_match_tells() -> None:
    torch.manual_seed(0)
    decoder = MatchedSceneFlow(8)
    moved = torch.tensor([0.4, -0.2, 0.0])
    fine, z = _seen_before(moved)
    found = measured_displacement(_matches(fine), DEPTH, K, K, MOTION, z.mean().expand_as(z))
    shared = torch.randn(1, 8, HEIGHT, WIDTH)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (decoder(shared, found, DEPTH) - moved[None, :, None, None]).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]
