# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images that become the truth of a camera that may be another one."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import transform_from
from mtl_perception.evaluation.judged import SparseDepth
from mtl_perception.evaluation.truth.depth_camera import depth_for

COLOUR = Camera("colour", 80, 60, np.array([[70.0, 0, 39.5], [0, 70.0, 29.5], [0, 0, 1]]), np.eye(4), frame_id="colour")


def test_a_registered_image_is_taken_as_it_is() -> None:
    depth = np.random.default_rng(0).uniform(1, 5, (60, 80)).astype(np.float32)
    depth[3, 4] = np.nan
    found = depth_for(COLOUR, depth, replace(COLOUR, name="depth"), np.eye(4))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, depth)


def test_another_size_of_the_same_view_takes_the_nearest_pixels() -> None:
    """Half the size: each pixel stands for four, and depths at edges are not mixed."""
    half = COLOUR.resized(40, 30)
    depth = np.where(np.arange(40) < 20, 2.0, 5.0)[None].repeat(30, axis=0).astype(np.float32)
    found = depth_for(COLOUR, depth, half, np.eye(4))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, np.where(np.arange(80) < 40, 2.0, 5.0)[None].repeat(60, axis=0))


def test_a_narrower_depth_camera_leaves_the_border_unknown() -> None:
    """Twice the focal length: the depth image covers the middle half of the columns and rows."""
    narrow = replace(COLOUR, K=COLOUR.K @ np.diag([2.0, 2.0, 1.0]))
    found = depth_for(COLOUR, np.full((60, 80), 3.0, np.float32), narrow, np.eye(4))
    assert isinstance(found, np.ndarray)
    known = np.isfinite(found)
    assert known[16:44, 21:59].all()
    assert not known[:14].any()
    assert not known[:, :19].any()


def test_a_distorted_camera_takes_depth_along_its_rays() -> None:
    """A plane that is slanted in the rectified depth image is the same plane in the distorted one."""
    distorted = replace(COLOUR, distortion_model="plumb_bob", distortion=np.array([-0.2, 0.05, 0.0, 0.0]))
    x = (np.arange(800) - 399.5) / 350.0  # finer and wider than the camera
    fine = Camera("depth", 800, 600, np.array([[350.0, 0, 399.5], [0, 350.0, 299.5], [0, 0, 1]]), np.eye(4))
    plane = (4.0 / (1.0 - 0.5 * x))[None].repeat(600, axis=0).astype(np.float32)
    found = depth_for(distorted, plane, fine, np.eye(4))
    assert isinstance(found, np.ndarray)
    # By hand: at the right end of the middle row, r * (1 - 0.2 r^2 + 0.05 r^4) = 39.5 / 70 has the root r = 0.6106.
    roots = np.roots([0.05, 0.0, -0.2, 0.0, 1.0, -39.5 / 70])
    radius = min(root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 0)
    np.testing.assert_allclose(found[29, 79], 4.0 / (1.0 - 0.5 * radius), rtol=3e-3)


def test_a_depth_camera_beside_gives_sparse_depth_without_what_is_hidden() -> None:
    """A post before a wall: beside it, the depth camera (0.3 m to the left) sees wall that the camera does not."""
    depth = np.full((60, 80), 4.0, np.float32)
    depth[:, 30:50] = 1.0
    camera_from_depth = transform_from([-0.3, 0.0, 0.0], [0, 0, 0, 1])
    found = depth_for(COLOUR, depth, replace(COLOUR, name="depth", frame_id="depth"), camera_from_depth)
    assert isinstance(found, SparseDepth)
    # By hand: the wall moves left by 0.3 / 4 * 70 = 5.25 pixels, the post by 21, so that it covers columns 9 to 28.
    post = (found.pixels[:, 0] > 9.5) & (found.pixels[:, 0] < 27.5)
    assert set(found.depth[post]) == {1.0}
    assert set(found.depth[~post & (found.pixels[:, 0] > 30)]) == {4.0}
    np.testing.assert_allclose(np.unique(found.pixels[found.depth == 1.0, 0]), np.arange(9, 29), atol=1e-4)
    # What is left: the post's 20 columns, 30 of the wall to its right, 10 to its left, less those that touch it.
    assert 0.95 * 60 * 60 < len(found.depth) <= 60 * 60


def test_sizes_that_differ_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"camera 'colour': depth is \(30, 40\), its CameraInfo says 60x80"):
        depth_for(COLOUR, np.zeros((30, 40), np.float32), COLOUR, np.eye(4))
