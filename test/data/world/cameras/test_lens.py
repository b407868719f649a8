# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The lenses: against OpenCV's projections, which are another implementation of the same models."""

import cv2
import numpy as np
import pytest

from mtl_perception.core.camera import Camera, pixel_rays
from mtl_perception.data.world.cameras.lens import WIDEST_RAD, pixel_rays_of, project_distorted

STRONG = [
    ("plumb_bob", 110.0, [-0.35, 0.15, 0.002, -0.003]),
    ("plumb_bob", 110.0, [-0.35, 0.15, 0.002, -0.003, -0.03]),
    ("plumb_bob", 60.0, [0.25, -0.1, 0.01, 0.01, 0.3]),
    ("rational_polynomial", 90.0, [0.5, -0.3, 0.001, -0.002, 0.05, 0.8, -0.2, 0.02]),
    ("rational_polynomial", 45.0, [8.0, 4.0, 0.0005, -0.0004, 0.2, 8.3, 6.2, 1.1]),
    ("rational_polynomial", 90.0, [0.5, -0.3, 0.001, -0.002, 0.05, 0.8, -0.2, 0.02, 0.01, -0.005, 0.02, 0.003]),
    ("rational_polynomial", 90.0, [0.5, -0.3, 0.0, 0.0, 0.05, 0.8, -0.2, 0.02, 0.01, -0.005, 0.02, 0.003, 0.05, -0.08]),
    ("equidistant", 70.0, [0.0, 0.0, 0.0, 0.0]),
    ("equidistant", 60.0, [-0.02, 0.005, -0.003, 0.0004]),
    ("equidistant", 75.0, [0.1, -0.08, 0.03, -0.01]),
]
"""Model, focal length in pixels and coefficients: wide views, barrels and cushions, a prism, a tilted sensor."""


def camera_of(model, focal_length, distortion, width=224, height=128):
    K = np.array([[focal_length, 0, 108.3], [0, 1.02 * focal_length, 66.1], [0, 0, 1.0]])
    return Camera("c", width, height, K, np.eye(4), model, np.array(distortion, np.float64))


def opencv_pixels(camera, points):
    still = np.zeros(3)
    project = cv2.fisheye.projectPoints if camera.distortion_model == "equidistant" else cv2.projectPoints
    pixels, _ = project(points.reshape(-1, 1, 3), still, still, camera.K, camera.distortion)
    return pixels.reshape(-1, 2)


@pytest.mark.parametrize(("model", "focal_length", "distortion"), STRONG)
def test_rays_land_on_their_pixels_in_opencv(model, focal_length, distortion):
    camera = camera_of(model, focal_length, distortion)
    rays = pixel_rays_of(camera)
    assert rays.shape == (128, 224, 3) and rays.dtype == np.float32
    seen = np.isfinite(rays).all(axis=-1)
    assert seen.mean() > 0.4
    v, u = np.nonzero(seen)
    landed = opencv_pixels(camera, rays[seen].astype(np.float64))
    assert np.abs(landed - np.stack([u, v], axis=1)).max() < 1e-4
    np.testing.assert_array_equal(rays[seen][:, 2], 1.0)


@pytest.mark.parametrize(("model", "focal_length", "distortion"), STRONG)
def test_projection_is_opencvs_and_the_inverse_of_rays(model, focal_length, distortion):
    camera = camera_of(model, focal_length, distortion)
    rays = pixel_rays_of(camera).reshape(-1, 3).astype(np.float64)
    seen = np.flatnonzero(np.isfinite(rays[:, 0]))
    depths = np.random.default_rng(0).uniform(0.1, 50.0, len(seen))
    points = rays[seen] * depths[:, None]
    pixels, depth = project_distorted(camera, points)
    np.testing.assert_allclose(depth, depths)
    assert np.abs(pixels - opencv_pixels(camera, points)).max() < 1e-6
    assert np.abs(pixels - np.stack([seen % 224, seen // 224], axis=1)).max() < 1e-4


@pytest.mark.parametrize(("model", "focal_length", "distortion"), STRONG)
def test_every_direction_that_lands_in_the_image_has_a_pixel_that_sees_it(model, focal_length, distortion):
    """No hole: whatever projects well inside the image is found again by the rays of the pixels around it."""
    camera = camera_of(model, focal_length, distortion)
    angle = np.linspace(0, 2 * np.pi, 73)
    # A ring well inside the widest circle of directions that all the lenses above still bend one to one.
    for radius in np.tan(np.linspace(0.02, 0.6, 12)):
        ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones_like(angle)], axis=1)
        pixels, _ = project_distorted(camera, ring)
        u, v = np.rint(pixels).astype(int).T
        inside = (u >= 0) & (u < 224) & (v >= 0) & (v < 128)
        assert inside.any()
        rays = pixel_rays_of(camera)[v[inside], u[inside]]
        assert np.isfinite(rays).all()
        # Half a pixel's diagonal away at most.
        assert np.abs(project_distorted(camera, rays)[0] - pixels[inside]).max() <= 0.5 + 1e-4


def test_neighbouring_rays_keep_their_order():
    """Inside the valid region the lens is one to one: further right is further right."""
    for model, focal_length, distortion in STRONG:
        rays = pixel_rays_of(camera_of(model, focal_length, distortion))
        right, down = np.diff(rays[..., 0], axis=1), np.diff(rays[..., 1], axis=0)
        assert (right[np.isfinite(right)] > 0).all() and (down[np.isfinite(down)] > 0).all(), (model, distortion)


def test_without_distortion_rays_are_the_pinholes():
    camera = camera_of("", 100.0, [])
    np.testing.assert_allclose(pixel_rays_of(camera), pixel_rays(camera), atol=1e-6)
    zeros = camera_of("plumb_bob", 100.0, [0.0] * 5)
    np.testing.assert_allclose(pixel_rays_of(zeros), pixel_rays(camera), atol=1e-6)


def test_skew_is_part_of_the_rays():
    camera = camera_of("plumb_bob", 100.0, [-0.1, 0.02, 0.0, 0.0])
    camera.K[0, 1] = 3.0
    rays = pixel_rays_of(camera).reshape(-1, 3)
    pixels, _ = project_distorted(camera, rays)
    v, u = np.divmod(np.arange(len(rays)), 224)
    assert np.abs(pixels - np.stack([u, v], axis=1)).max() < 1e-4
    assert not np.allclose(pixel_rays_of(camera_of("plumb_bob", 100.0, [-0.1, 0.02, 0.0, 0.0])), pixel_rays_of(camera))


def test_pixels_that_the_model_cannot_reach_are_nan():
    """r (1 - r²/2) grows up to r = sqrt(2/3) only, where it is 0.544."""
    camera = camera_of("plumb_bob", 100.0, [-0.5, 0.0, 0.0, 0.0])
    rays = pixel_rays_of(camera)
    v, u = np.mgrid[0:128, 0:224]
    radius = np.hypot((u - 108.3) / 100.0, (v - 66.1) / 102.0)
    limit = np.sqrt(2 / 3) * (2 / 3)
    assert np.isnan(rays[radius > limit + 0.01]).all()
    assert np.isfinite(rays[radius < limit - 0.01]).all()
    beyond, _ = project_distorted(camera, np.array([[1.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(beyond).all()


def test_a_fisheye_of_more_than_a_half_sphere_ends_at_the_widest_ray():
    camera = camera_of("equidistant", 40.0, [0.0] * 4)
    rays = pixel_rays_of(camera)
    v, u = np.mgrid[0:128, 0:224]
    angle = np.hypot((u - 108.3) / 40.0, (v - 66.1) / 40.8)
    assert np.isnan(rays[angle > WIDEST_RAD + 0.02]).all()
    assert np.isfinite(rays[angle < WIDEST_RAD - 0.02]).all()
    seen = np.isfinite(rays[..., 0])
    np.testing.assert_allclose(
        np.arctan(np.hypot(rays[seen][:, 0], rays[seen][:, 1]).astype(np.float64)), angle[seen], atol=1e-5
    )


def test_rays_are_kept_and_cannot_be_changed():
    first = pixel_rays_of(camera_of(*STRONG[0]))
    assert np.shares_memory(pixel_rays_of(camera_of(*STRONG[0])), first)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0, 0] = 1.0
