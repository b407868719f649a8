# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rectification: distorted images come out as the ideal pinhole sees the scene."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mtl_perception.core import Camera
from mtl_perception.rectification import Rectification

K = np.array([[220.0, 0, 159.5], [0, 220.0, 119.5], [0, 0, 1]])
# Straight lines of the world, as the pinhole camera sees them: a grid 2 m away.
AT = np.arange(-3, 3.1, 0.5)
LINES = [((x, -3.0), (x, 3.0)) for x in AT] + [((-3.0, y), (3.0, y)) for y in AT]


def drawn(project: object) -> np.ndarray:
    """Draw the grid with a projection of points (N, 3) to pixels (N, 2)."""
    image = np.zeros((240, 320, 3), np.uint8)
    for (x0, y0), (x1, y1) in LINES:
        t = np.linspace(0, 1, 60)
        points = np.stack([x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, np.full(60, 2.0)], axis=-1)
        pixels = project(points).reshape(-1, 1, 2)  # type: ignore[operator]
        cv2.polylines(image, [np.round(pixels * 16).astype(np.int32)], False, (255, 255, 255), 3, cv2.LINE_AA, 4)
    return image


def pinhole(points: np.ndarray) -> np.ndarray:
    return (points / points[:, 2:] @ K.T)[:, :2]


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", [-0.28, 0.08, 0.001, -0.001, 0.0]),
        ("rational_polynomial", [-0.2, 0.05, 0.0, 0.0, 0.01, 0.1, 0.0, 0.0]),
        ("equidistant", [0.02, -0.005, 0.001, 0.0]),
        ("equidistant", [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_a_distorted_image_comes_out_as_the_pinhole_sees_it(model: str, coefficients: list[float]) -> None:
    distortion = np.array(coefficients)

    def distorted(points: np.ndarray) -> np.ndarray:
        project = cv2.fisheye.projectPoints if model == "equidistant" else None
        if project is not None:
            return project(points[:, None], np.zeros(3), np.zeros(3), K, distortion)[0].reshape(-1, 2)
        return cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, distortion)[0].reshape(-1, 2)

    camera = Camera("front", 320, 240, K, np.eye(4), model, distortion)
    rectification = Rectification.prepare(camera, 320, 240)
    result, expected = rectification.apply(drawn(distorted)), drawn(pinhole)
    inner = (slice(40, 200), slice(60, 260))
    raw = np.abs(drawn(distorted)[inner].astype(float) - expected[inner]).mean()
    assert np.abs(result[inner].astype(float) - expected[inner]).mean() < 0.35 * raw
    assert rectification.target.is_rectified


def test_what_the_source_does_not_see_is_marked() -> None:
    camera = Camera("front", 320, 240, K, np.eye(4), "plumb_bob", np.array([0.35, 0.0, 0.0, 0.0]))
    valid = Rectification.prepare(camera, 160, 120).valid
    assert valid is not None and not valid[0, 0] and valid[60, 80]


def test_an_ideal_camera_is_only_resized() -> None:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    rectification = Rectification.prepare(Camera("front", 320, 240, K, np.eye(4)), 160, 120)
    resized = cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(rectification.apply(image), resized)
    assert rectification.valid is None


def test_a_camera_that_only_moves_keeps_its_maps(monkeypatch) -> None:
    camera = Camera("front", 320, 240, K, np.eye(4), "plumb_bob", np.array([-0.28, 0.08, 0.001, -0.001, 0.0]))
    first = Rectification.prepare(camera, 160, 120)
    moved_pose = np.eye(4)
    moved_pose[:3, 3] = 1.0, 2.0, 3.0
    moved = replace(camera, base_from_camera=moved_pose)
    for model in ("initUndistortRectifyMap", "fisheye.initUndistortRectifyMap"):
        monkeypatch.setattr(f"cv2.{model}", lambda *_: pytest.fail("maps are made again"))
    assert first.renewed(camera, 160, 120) is first
    second = first.renewed(moved, 160, 120)
    assert second.source is moved
    np.testing.assert_array_equal(second.target.base_from_camera, moved_pose)
    np.testing.assert_array_equal(second.target.K, first.target.K)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    np.testing.assert_array_equal(second.apply(image), first.apply(image))


def test_another_lens_or_size_has_other_maps() -> None:
    camera = Camera("front", 320, 240, K, np.eye(4), "plumb_bob", np.array([-0.28, 0.08, 0.001, -0.001, 0.0]))
    first = Rectification.prepare(camera, 160, 120)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    longer = K.copy()
    longer[:2, :2] *= 1.5
    changes = (
        {"K": longer},
        {"distortion": np.array([0.1, 0.0, 0.0, 0.0])},
        {"distortion_model": "", "distortion": np.zeros(0)},
    )
    for change in changes:
        other = replace(camera, **change)
        expected = Rectification.prepare(other, 160, 120).apply(image)
        np.testing.assert_array_equal(first.renewed(other, 160, 120).apply(image), expected)
        assert (expected != first.apply(image)).any()
    assert first.renewed(camera, 80, 60).apply(image).shape == (60, 80, 3)


def test_a_lens_that_no_camera_has_gives_a_picture_all_the_same() -> None:
    random = np.random.default_rng(1)
    image = random.integers(0, 255, (24, 32, 3), np.uint8)
    for model, count in (("plumb_bob", 5), ("rational_polynomial", 8), ("rational_polynomial", 14), ("equidistant", 4)):
        for _ in range(25):
            wild = np.diag([*10 ** random.uniform(-200, 200, 2), 1.0])
            wild[:2, 2] = random.normal(size=2) * 10 ** random.uniform(-5, 200)
            distortion = random.normal(size=count) * 10 ** random.uniform(-5, 200)
            rectification = Rectification.prepare(Camera("front", 32, 24, wild, np.eye(4), model, distortion), 16, 12)
            assert rectification.apply(image).shape == (12, 16, 3)
