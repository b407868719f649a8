# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CameraInfo: there and back, parts of a sensor, images that are rectified already, and what is refused by name."""

import cv2
import numpy as np
import pytest

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.messages.cameras import camera_from_info, to_camera_info

K = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
CAMERA = Camera("front", 640, 480, K, BODY_FROM_OPTICAL, "plumb_bob", np.array([0.1, 0, 0, 0.01, 0]), "front_optical")


def test_a_camera_there_and_back() -> None:
    camera = camera_from_info("front", to_camera_info(CAMERA, 7), BODY_FROM_OPTICAL)
    assert camera.has_lens_of(CAMERA) and (camera.name, camera.frame_id) == ("front", "front_optical")


@pytest.mark.parametrize(
    ("model", "coefficients", "expected"),
    [
        ("equidistant", [0.0] * 4, "equidistant"),
        ("fisheye", [0.1] * 4, "equidistant"),
        ("Radtan", [0.1] * 5, "plumb_bob"),
        ("rational_polynomial", [0.1] * 8, "rational_polynomial"),
        ("none", [], ""),
        ("whatever", [], ""),
    ],
)
def test_names_of_models(model: str, coefficients: list[float], expected: str) -> None:
    info = to_camera_info(CAMERA, 7)
    info.distortion_model, info.d = model, coefficients
    camera = camera_from_info("front", info, BODY_FROM_OPTICAL)
    assert camera.distortion_model == expected
    np.testing.assert_array_equal(camera.distortion, coefficients)


@pytest.mark.parametrize(
    ("model", "coefficients", "expected"),
    [
        ("equidistant", [0.1, 0.2, 0.3, 0.4, 0.0], [0.1, 0.2, 0.3, 0.4]),  # as realsense2_camera writes a fisheye lens
        ("plumb_bob", [0.1, 0.2, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0], [0.1, 0.2, 0.0, 0.0, 0.3]),
        ("rational_polynomial", [0.0] * 8, [0.0] * 8),
        ("", [0.0] * 5, []),
        ("none", [0.0] * 5, []),
    ],
)
def test_zeros_that_a_model_has_no_use_for_do_no_harm(model: str, coefficients: list[float], expected) -> None:
    info = to_camera_info(CAMERA, 7)
    info.distortion_model, info.d = model, coefficients
    np.testing.assert_array_equal(camera_from_info("front", info, BODY_FROM_OPTICAL).distortion, expected)


@pytest.mark.parametrize(
    "camera",
    [
        Camera("front", 640, 480, K, BODY_FROM_OPTICAL),
        Camera("front", 640, 480, K, BODY_FROM_OPTICAL, "equidistant"),
        Camera("front", 640, 480, K, BODY_FROM_OPTICAL, "equidistant", np.zeros(4)),
    ],
)
def test_a_camera_without_coefficients_is_none_with_other_ones(camera: Camera) -> None:
    info = to_camera_info(camera, 7)
    assert info.distortion_model and len(info.d)
    assert camera_from_info("front", info, BODY_FROM_OPTICAL).has_lens_of(camera)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("k", [0.0] * 9, "front/camera_info: k is all zero, so camera 'front' is not calibrated"),
        ("k", [float("nan")] * 9, "front/camera_info: camera 'front': K must be 3x3, finite"),
        ("k", [500.0, 0, 320, 0, 510, 240, 0, 0, 2], "front/camera_info: .*last row 0 0 1"),
        ("width", 0, "front/camera_info: camera 'front': size 0x480"),
        ("distortion_model", "wobbly", "front/camera_info: .*'wobbly'"),
        ("d", [0.1] * 3, "front/camera_info: .*3 coefficients"),
        ("d", [0.1] * 6, "front/camera_info: .*6 coefficients do not fit 'plumb_bob'"),
        ("d", [0.1, 0.1, 0.1, 0.1, float("inf")], "front/camera_info: .*distortion must be finite"),
        ("binning_x", 1000, "front/camera_info: camera 'front': size 0x480"),
    ],
)
def test_what_is_no_calibrated_camera_is_refused_by_name(field: str, value: object, message: str) -> None:
    info = to_camera_info(CAMERA, 7)
    setattr(info, field, value)
    with pytest.raises(ValueError, match=message):
        camera_from_info("front", info, BODY_FROM_OPTICAL, "front/camera_info")


def test_a_part_that_is_not_within_the_sensor_is_refused() -> None:
    info = to_camera_info(CAMERA, 7)
    info.roi.x_offset, info.roi.width, info.roi.height = 100, 541, 480
    with pytest.raises(ValueError, match=r"front/camera_info: roi 541x480 at \(100, 0\) is not within 640x480"):
        camera_from_info("front", info, BODY_FROM_OPTICAL, "front/camera_info")


@pytest.mark.parametrize(
    ("binning", "roi"), [((1, 1), (64, 32, 200, 300)), ((2, 2), (0, 0, 0, 0)), ((4, 2), (8, 6, 320, 240))]
)
def test_a_part_of_the_sensor_or_a_binned_image_sees_points_where_they_are(binning, roi) -> None:
    info = to_camera_info(CAMERA, 7)
    info.binning_x, info.binning_y = binning
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = roi
    camera = camera_from_info("front", info, BODY_FROM_OPTICAL)
    x, y, width, height = roi if roi[2] else (0, 0, 640, 480)
    assert (camera.width, camera.height) == (width // binning[0], height // binning[1])
    # The sensor's pixels, of which each of the image covers a block: its centre is the mean of theirs.
    points = np.random.default_rng(0).uniform([-0.5, -0.4, 1.0], [0.5, 0.4, 3.0], (20, 3))
    on_sensor = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, CAMERA.distortion)[0].reshape(-1, 2)
    in_image = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.K, camera.distortion)[0].reshape(-1, 2)
    np.testing.assert_allclose(in_image * binning + (np.array(binning) - 1) / 2 + [x, y], on_sensor, atol=1e-6)


def test_images_that_are_rectified_already_have_p_and_no_distortion() -> None:
    info = to_camera_info(CAMERA, 7)
    info.p = [400.0, 0, 310, -48.0, 0, 405, 235, 0, 0, 0, 1, 0]
    camera = camera_from_info("front", info, BODY_FROM_OPTICAL, rectified=True)
    assert camera.is_rectified and (camera.width, camera.height) == (640, 480)
    np.testing.assert_array_equal(camera.K, [[400, 0, 310], [0, 405, 235], [0, 0, 1]])
    info.p = [0.0] * 12
    with pytest.raises(ValueError, match="front/camera_info: p is all zero"):
        camera_from_info("front", info, BODY_FROM_OPTICAL, "front/camera_info", rectified=True)
