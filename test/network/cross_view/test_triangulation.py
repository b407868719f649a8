# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth from matches: the profile peaks at the true depth, as sharply as the camera's motion allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, PreviousFrame
from mtl_perception.network.cross_view.triangulation import CHANNELS_BESIDE, Triangulation, profile
from mtl_perception.network.example import example_batch
from mtl_perception.network.geometry import rays, reproject
from mtl_perception.network.motion.matching import STRIDE, Matches
from mtl_perception.network.motion.se3 import matrix_from_vector
from mtl_perception.resources import config_file

HEIGHT, WIDTH, BINS = 12, 20, 40
K = torch.tensor([[60.0, 0, 39.5], [0, 60.0, 23.5], [0, 0, 1]])[None]
DEPTHS = torch.logspace(0, 1.6, BINS)[None]
SIDEWAYS = matrix_from_vector(torch.tensor([[0.0, 0.02, 0.0, 0.4, 0.0, 0.1]]))
EVERY = torch.ones(1, dtype=torch.bool)


def matched(depth: Tensor, motion: Tensor, log_precision: float = 4.0) -> Matches:
    fine, _ = reproject(depth, K, motion, K, STRIDE)
    precision = torch.full(fine.shape[:3], log_precision)
    return Matches(torch.zeros(0, 1, 1), fine, fine, -precision, precision)


def likely(matches: Matches, motion: Tensor, valid: Tensor = EVERY) -> Tensor:
    return profile(matches, DEPTHS, K, K, motion, valid)


@pytest.mark.parametrize("index", [5, 14, 20])
def test_the_profile_peaks_at_the_true_depth(index: int) -> None:
    depth = DEPTHS[0, index].expand(1, HEIGHT, WIDTH)
    found = likely(matched(depth, SIDEWAYS), SIDEWAYS)
    assert found.shape == (1, BINS + CHANNELS_BESIDE, HEIGHT, WIDTH)
    assert (found[:, :BINS].argmax(dim=1) == index).all()
    torch.testing.assert_close(found[:, :BINS].sum(dim=1), torch.ones(1, HEIGHT, WIDTH))


def test_near_depths_are_told_more_sharply_than_far_ones_and_precise_matches_than_vague_ones() -> None:
    def peak(metres: float, log_precision: float) -> float:
        depth = torch.full((1, HEIGHT, WIDTH), metres)
        return float(likely(matched(depth, SIDEWAYS, log_precision), SIDEWAYS)[:, :BINS].amax(dim=1).mean())

    assert peak(2.0, 4.0) > 2 * peak(15.0, 4.0)
    assert peak(2.0, 4.0) > 2 * peak(2.0, 0.0)


def test_a_camera_that_has_not_moved_says_nothing_of_depth() -> None:
    still = torch.eye(4)[None]
    found = likely(matched(torch.full((1, HEIGHT, WIDTH), 5.0), still), still)
    torch.testing.assert_close(found[:, :BINS], torch.full((1, BINS, HEIGHT, WIDTH), 1.0 / BINS))


def test_at_the_epipole_nothing_is_said_and_beside_it_something() -> None:
    forward = matrix_from_vector(torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.5]]))
    K_on_pixel = K.clone()
    K_on_pixel[0, :2, 2] = torch.tensor([41.5, 25.5])  # where the pixel (10, 6) looks
    fine, _ = reproject(torch.full((1, HEIGHT, WIDTH), 3.0), K_on_pixel, forward, K_on_pixel, STRIDE)
    precision = torch.full(fine.shape[:3], 4.0)
    matches = Matches(torch.zeros(0, 1, 1), fine, fine, precision, precision)
    found = profile(matches, DEPTHS, K_on_pixel, K_on_pixel, forward, EVERY)[0, :BINS].amax(dim=0)
    assert found[6, 10] == pytest.approx(1 / BINS, rel=0.01)
    assert found[0, 0] > 3 / BINS


def test_what_fits_no_depth_is_told_apart() -> None:
    depth = torch.full((1, HEIGHT, WIDTH), 5.0)
    right = matched(depth, SIDEWAYS)
    off_the_line = Matches(
        right.similarity,
        right.coarse,
        right.fine + torch.tensor([0.0, 3.0]),
        right.log_precision,
        right.still_log_precision,
    )
    assert likely(right, SIDEWAYS)[:, BINS].max() < 0.1 and likely(off_the_line, SIDEWAYS)[:, BINS].min() > 1.0


def test_images_without_one_before_have_no_evidence_whatever_their_row_holds() -> None:
    depth = torch.full((1, HEIGHT, WIDTH), 5.0)
    found = profile(matched(depth, SIDEWAYS), DEPTHS, K, torch.zeros_like(K), SIDEWAYS, ~EVERY)
    assert (found == 0).all()


def test_it_starts_as_if_it_were_not_there_and_learns() -> None:
    torch.manual_seed(0)
    module = Triangulation(8, BINS)
    finest = torch.randn(1, 8, HEIGHT, WIDTH)
    matches = matched(5.0 * rays(K, HEIGHT, WIDTH)[:, 2], SIDEWAYS)
    out = module(finest, matches, DEPTHS, K, K, SIDEWAYS, EVERY)
    torch.testing.assert_close(out, finest)
    out.square().mean().backward()
    assert module.join.weight.grad is not None and module.join.weight.grad.abs().max() > 0


def test_depth_hears_of_the_frame_before_only_where_its_motion_is_known_or_estimated() -> None:
    torch.manual_seed(0)
    preset = NetworkConfig.load(config_file("networks", "nano"))
    config = preset.model_copy(update={"input_pixels": 64 * 64, "cross_view": None})
    network = MultiTaskNetwork(config.restricted(("depth", "ego_motion"))).eval()
    torch.nn.init.normal_(network.triangulation.join.weight)
    now, before = example_batch(config, 1, (64, 64), seed=0), example_batch(config, 1, (64, 64), seed=1)
    with torch.no_grad():
        kept = network.memory_of(before)

        def depth(motion: Tensor | None, valid: bool = True, tasks: tuple[str, ...] = ("depth",)) -> Tensor:
            previous = PreviousFrame(kept, before.K, motion, torch.full((1,), valid))
            result = network(now, tasks, previous).depth
            assert result is not None
            return result

        alone = network(now, ("depth",)).depth
        assert alone is not None
        moved, still = depth(SIDEWAYS), depth(torch.eye(4)[None])
        assert not torch.allclose(moved, still)
        estimated = network(now, ("ego_motion",), PreviousFrame(kept, before.K, None, EVERY)).ego_motion
        assert estimated is not None
        torch.testing.assert_close(depth(None), depth(estimated.previous_from_current))
        torch.testing.assert_close(depth(SIDEWAYS, tasks=("depth", "ego_motion")), moved)
    assert alone.shape == moved.shape
