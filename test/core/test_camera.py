# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras and rigs: projection, resizing, refusals that name the camera and the value."""

import numpy as np
import pytest

from mtl_perception.core import Camera, Rig, backproject, pixel_rays, project


def camera(**changes: object) -> Camera:
    arguments: dict = {
        "name": "front",
        "width": 64,
        "height": 48,
        "K": np.array([[50.0, 0, 31.5], [0, 52.0, 23.5], [0, 0, 1]]),
        "base_from_camera": np.eye(4),
    }
    return Camera(**(arguments | changes))


def test_projection_undoes_backprojection() -> None:
    depth = np.random.default_rng(0).uniform(1, 20, (48, 64))
    pixels, depths = project(camera(), backproject(camera(), depth).reshape(-1, 3))
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=-1).reshape(-1, 2), atol=1e-9)
    np.testing.assert_allclose(depths, depth.ravel())


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels, depths = project(camera(), np.array([[0.0, 0.0, -1.0]]))
    assert np.isnan(pixels).all() and depths[0] == -1.0


def test_resizing_keeps_the_view() -> None:
    half = camera().resized(32, 24)
    corner, corner_half = pixel_rays(camera())[:2, :2].mean(axis=(0, 1)), pixel_rays(half)[0, 0]
    np.testing.assert_allclose(corner_half, corner, atol=1e-12)  # one small pixel looks where four large ones did


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "size 0x48"),
        ({"K": np.zeros((3, 3))}, "focal lengths"),
        ({"base_from_camera": np.full((4, 4), np.nan)}, "base_from_camera"),
        ({"distortion_model": "fisheye"}, "'fisheye' is not one of"),
        ({"distortion_model": "plumb_bob", "distortion": np.zeros(3)}, "3 coefficients"),
        ({"distortion_model": "plumb_bob", "distortion": np.full(4, np.nan)}, "distortion must be finite"),
        ({"K": np.array([[50.0, 0, 31.5], [1, 52.0, 23.5], [0, 0, 1]])}, "upper triangular"),
        ({"K": np.array([[50.0, 0, 31.5], [0, 52.0, 23.5], [0, 0, 0]])}, "last row 0 0 1"),
    ],
)
def test_what_cannot_be_a_camera_is_refused_by_name(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"camera 'front'.*{message}"):
        camera(**changes)


@pytest.mark.parametrize(
    ("model", "coefficients", "expected"),
    [
        ("", [], True),
        ("plumb_bob", [0.0] * 5, True),
        ("plumb_bob", [0.0, 0.0, 0.001, 0.0, 0.0], False),
        ("rational_polynomial", [0.0] * 8, True),
        ("equidistant", [], True),
        ("equidistant", [0.0] * 4, False),  # a fisheye lens without faults is one still
    ],
)
def test_what_is_the_image_of_a_pinhole(model: str, coefficients: list[float], expected: bool) -> None:
    assert camera(distortion_model=model, distortion=np.array(coefficients)).is_rectified == expected


def test_a_lens_is_the_same_wherever_the_camera_is() -> None:
    moved = np.eye(4)
    moved[0, 3] = 1.0
    assert camera().has_lens_of(camera(name="back", base_from_camera=moved))
    other = np.array([[50.0, 0, 31.5], [0, 52.0, 23.0], [0, 0, 1]])
    assert not any(camera().has_lens_of(camera(**change)) for change in ({"width": 65}, {"K": other}))
    bent = camera(distortion_model="plumb_bob", distortion=np.full(4, 0.1))
    assert not bent.has_lens_of(camera()) and bent.has_lens_of(bent)
    assert camera().has_lens_of(camera(distortion_model="plumb_bob", distortion=np.zeros(5)))


def test_depth_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"camera 'front': depth is \(10, 10\)"):
        backproject(camera(), np.ones((10, 10)))


def test_a_rig_finds_cameras_by_name_and_refuses_doubles() -> None:
    rig = Rig((camera(), camera(name="back")))
    assert rig["back"].name == "back" and rig.names == ("front", "back") and len(rig) == 2
    with pytest.raises(KeyError, match="no camera 'left'"):
        rig["left"]
    with pytest.raises(ValueError, match="repeated: front"):
        Rig((camera(), camera()))
    with pytest.raises(ValueError, match="at least one"):
        Rig(())
