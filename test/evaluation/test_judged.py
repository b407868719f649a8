# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions at the cameras' own pixels."""

import cv2
import numpy as np
import pytest

from mtl_perception.core import Camera, CameraPrediction, Prediction, Rig, RigFrame, pixel_rays
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth
from mtl_perception.evaluation.judged import JudgedCamera, SparseDepth, judged
from mtl_perception.rectification import Rectification

K = np.array([[90.0, 0, 59.5], [0, 90.0, 39.5], [0, 0, 1]])
PINHOLE = Camera("front", 120, 80, K, np.eye(4))
BARREL = Camera("front", 120, 80, K, np.eye(4), "plumb_bob", np.array([-0.25, 0.05, 0.001, -0.002, 0.0]))
STRONG = Camera("front", 120, 80, K, np.eye(4), "plumb_bob", np.array([-0.32, 0.1, 0.0, 0.0, 0.0]))
FISHEYE = Camera("front", 120, 80, K, np.eye(4), "equidistant", np.array([0.02, -0.01, 0.0, 0.0]))


def predicted(camera: Camera, **images: np.ndarray) -> CameraPrediction:
    return CameraPrediction(camera, 0, None, np.zeros((camera.height, camera.width, 3), np.uint8), **images)


def beside(native: Camera, prediction: CameraPrediction) -> JudgedCamera:
    return JudgedCamera(native, prediction, CameraTruth())


def test_at_the_cameras_own_size_nothing_is_touched():
    depth = np.random.default_rng(1).random((80, 120)).astype(np.float32)
    assert beside(PINHOLE, predicted(PINHOLE.resized(120, 80), depth=depth)).predicted("depth") is depth


def test_values_are_interpolated_and_labels_are_not():
    small = PINHOLE.resized(60, 40)
    column = np.broadcast_to(np.arange(60, dtype=np.float32), (40, 60)).copy()
    camera = beside(PINHOLE, predicted(small, depth=column, semantic=(column // 20).astype(np.uint8)))
    depth, labels = camera.predicted("depth"), camera.predicted("semantic")
    assert depth[40, 60] == pytest.approx((60 + 0.5) / 2 - 0.5)
    assert set(np.unique(labels)) == {0, 1, 2} and labels[0, 39] == 0 and labels[0, 40] == 1


def test_next_to_a_gap_the_nearest_value_counts():
    depth = np.full((40, 60), 2.0, np.float32)
    depth[:, 30:] = np.nan
    native = beside(PINHOLE, predicted(PINHOLE.resized(60, 40), depth=depth)).predicted("depth")
    assert np.all(native[:, :60] == 2.0) and np.isnan(native[:, 60:]).all()


def exact_rays(lens: Camera, pixels: np.ndarray) -> np.ndarray:
    """Where pixels look (x and y at z = 1), by Newton's method on OpenCV's projection."""
    project = cv2.fisheye.projectPoints if lens.distortion_model == "equidistant" else cv2.projectPoints
    still = np.zeros(3)

    def seen_at(rays: np.ndarray) -> np.ndarray:
        points = np.column_stack([rays, np.ones(len(rays))])[:, None]
        return project(points, still, still, lens.K, lens.distortion)[0][:, 0]

    rays = (pixels - lens.K[:2, 2]) / lens.K[[0, 1], [0, 1]]
    step = 1e-5
    for _ in range(20):
        columns = [(seen_at(rays + step * axis) - seen_at(rays - step * axis)) / (2 * step) for axis in np.eye(2)]
        rays = rays - np.linalg.solve(np.stack(columns, axis=-1), (seen_at(rays) - pixels)[..., None])[..., 0]
    assert np.abs(seen_at(rays) - pixels).max() < 1e-6
    return rays


@pytest.mark.parametrize("lens", [BARREL, STRONG, FISHEYE])
def test_a_distorted_image_gets_what_the_rectified_one_shows_there(lens):
    """A plane's depth varies with the ray: what the network sees rectified must come back at the distorted pixels."""
    target = Rectification.prepare(lens, 112, 64).target
    rays = pixel_rays(target)
    plane = (1.0 / (0.2 + 0.1 * rays[..., 0] + 0.05 * rays[..., 1])).astype(np.float32)
    camera = beside(lens, predicted(target, depth=plane, semantic=np.zeros((64, 112), np.uint8)))
    native = camera.predicted("depth")
    seen = np.isfinite(native)
    assert seen[20:60, 20:100].all()
    pixels = np.argwhere(seen)[:, ::-1].astype(np.float64)
    rays_there = exact_rays(lens, pixels)
    expected = 1.0 / (0.2 + 0.1 * rays_there[:, 0] + 0.05 * rays_there[:, 1])
    error = np.abs(native[seen] - expected) / expected
    inner = (np.abs(pixels - [59.5, 39.5]) < [45, 30]).all(axis=1)
    assert error[inner].max() < 0.003
    assert np.all(camera.predicted("semantic")[~seen] == 255)


@pytest.mark.parametrize("lens", [PINHOLE, BARREL])
def test_at_single_pixels_is_what_is_in_the_image(lens):
    target = Rectification.prepare(lens, 112, 64).target
    rays = pixel_rays(target)
    depth = (5 + np.sin(9 * rays[..., 0]) + np.cos(7 * rays[..., 1])).astype(np.float32)
    camera = beside(lens, predicted(target, depth=depth))
    image = camera.predicted("depth")
    pixels = np.stack(np.meshgrid(np.arange(5, 115), np.arange(5, 75)), axis=-1).reshape(-1, 2)
    values = camera.predicted_at("depth", pixels)
    assert np.allclose(values, image[pixels[:, 1], pixels[:, 0]], rtol=1e-3, equal_nan=True)


def test_more_points_than_opencv_has_columns():
    camera = beside(PINHOLE, predicted(PINHOLE.resized(60, 40), depth=np.full((40, 60), 3.0, np.float32)))
    pixels = np.tile([[30.0, 20.0], [500.0, 20.0]], (20000, 1))
    values = camera.predicted_at("depth", pixels)
    assert np.all(values[::2] == 3.0) and np.isnan(values[1::2]).all()
    assert camera.predicted_at("depth", np.zeros((0, 2))).shape == (0,)


def test_normals_keep_their_length():
    normals = np.zeros((40, 60, 3), np.float32)
    normals[:, :30, 2], normals[:, 30:, 0] = -1, 1
    native = beside(PINHOLE, predicted(PINHOLE.resized(60, 40), normals=normals)).predicted("normals")
    assert np.allclose(np.linalg.norm(native, axis=2), 1)


def test_what_was_not_predicted_is_none():
    camera = beside(PINHOLE, predicted(PINHOLE))
    assert camera.predicted("depth") is None and camera.predicted_at("depth", np.zeros((1, 2))) is None


def test_only_cameras_with_a_truth_are_judged():
    rig = Rig(tuple(Camera(n, 120, 80, K, np.eye(4)) for n in ("a", "b", "c")))
    images = {name: np.zeros((80, 120, 3), np.uint8) for name in rig.names}
    frame = RigFrame(rig, 5, images, dict.fromkeys(rig.names, 5), {}, None)
    prediction = Prediction(5, {name: predicted(rig[name]) for name in rig.names}, "base_link", "odom", None)
    sparse = {"c": SparseDepth(np.zeros((1, 2), np.float32), np.ones(1, np.float32))}
    both = judged(prediction, frame, GroundTruth({"a": CameraTruth()}), sparse)
    assert set(both.cameras) == {"a", "c"} and both.cameras["c"].sparse_depth is sparse["c"]
