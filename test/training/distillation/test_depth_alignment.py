# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Relative depth is brought to metres, and only where that can be trusted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mtl_perception.core.transforms import BODY_FROM_OPTICAL, inverse
from mtl_perception.training.distillation.alignment import align
from mtl_perception.training.distillation.anchors import ground_anchors, tracked_anchors

K = np.array([[120.0, 0.0, 79.5], [0.0, 120.0, 59.5], [0.0, 0.0, 1.0]])


def test_scale_and_shift_are_found_among_outliers() -> None:
    random = np.random.default_rng(0)
    depth = random.uniform(2.0, 40.0, 400)
    relative = (1.0 / depth - 0.01) / 0.2
    wrong = random.random(400) < 0.2
    told = np.where(wrong, depth * random.uniform(1.5, 3.0, 400), depth)
    alignment = align(relative, told)
    assert alignment is not None
    assert alignment.scale == pytest.approx(0.2, rel=0.02) and alignment.shift == pytest.approx(0.01, abs=1e-3)
    np.testing.assert_allclose(alignment.depth(relative), depth, rtol=0.05)
    assert alignment.depth(np.array([-10.0])) == pytest.approx(1000.0)  # behind infinity


def test_the_sky_is_infinitely_far() -> None:
    """Near things alone leave the shift open where they are told with an error that depends on their distance."""
    depth = np.linspace(3.0, 10.0, 100)
    relative, told = 1.0 / depth, depth * np.linspace(1.0, 1.1, 100)
    alone = align(relative, told)
    with_sky = align(np.append(relative, np.zeros(50)), np.append(told, np.full(50, np.inf)))
    assert alone is not None and with_sky is not None
    assert abs(with_sky.shift) < 0.3 * abs(alone.shift)


@pytest.mark.parametrize("case", ["few", "one depth", "reversed", "another scene", "unknown"])
def test_what_cannot_be_trusted_gives_nothing(case: str) -> None:
    random = np.random.default_rng(0)
    depth = random.uniform(2.0, 40.0, 400)
    relative = 1.0 / depth
    if case == "few":
        depth, relative = depth[:20], relative[:20]
    elif case == "one depth":
        depth = random.uniform(5.0, 5.5, 400)
        relative = 1.0 / depth
    elif case == "reversed":
        relative = -relative
    elif case == "another scene":
        relative = random.permutation(relative)
    else:
        depth = np.full(400, np.nan)
    assert align(relative, depth) is None


def test_the_ground_is_where_its_plane_is() -> None:
    mount = BODY_FROM_OPTICAL.copy()
    mount[2, 3] = 1.5
    ground = np.zeros((120, 160), bool)
    ground[40:] = True
    anchors = ground_anchors(K, mount, ground)
    rays = np.concatenate([(anchors.pixels - K[:2, 2]) / 120.0, np.ones((len(anchors.depth), 1))], axis=1)
    points = (rays * anchors.depth[:, None]) @ mount[:3, :3].T + mount[:3, 3]
    np.testing.assert_allclose(points[:, 2], 0.0, atol=1e-9)
    assert len(points) > 1000 and points[:, 0].max() < 25.1 and points[:, 0].min() > 0.3


def test_corners_tell_the_depth_of_a_wall_that_the_camera_passes() -> None:
    """A textured wall 6 m away, seen after a step of 0.3 m to the right and a turn."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8), (0, 0), 1.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    angle, previous_from_current = 0.02, np.eye(4)
    previous_from_current[:3, :3] = cv2.Rodrigues(np.array([0.0, angle, 0.0]))[0]
    previous_from_current[:3, 3] = [0.3, 0.0, 0.02]
    normal = np.array([0.0, 0.0, 1.0])
    plane = previous_from_current[:3, :3] + np.outer(previous_from_current[:3, 3], normal) / 6.0
    previous = cv2.warpPerspective(texture, K @ plane @ np.linalg.inv(K), (160, 120))
    still = np.ones((120, 160), bool)
    anchors = tracked_anchors(texture, previous, K, previous_from_current, still)
    assert len(anchors.depth) > 50
    assert np.median(anchors.depth) == pytest.approx(6.0, rel=0.03)
    assert np.quantile(np.abs(anchors.depth - 6.0), 0.9) < 0.6
    # Poses of another motion contradict the images; without a motion there is no parallax.
    assert len(tracked_anchors(texture, previous, K, inverse(previous_from_current), still).depth) == 0
    assert len(tracked_anchors(texture, texture, K, np.eye(4), still).depth) == 0
    assert len(tracked_anchors(texture, previous, K, previous_from_current, ~still).depth) == 0
