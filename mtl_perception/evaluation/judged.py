# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A prediction beside the truth, at the pixels of the cameras themselves.

Predictions come in the size of the network's rectified images; the truth has the cameras' own pixels. Benchmarks score
at the latter, so predictions are brought there: values bilinearly, labels from the nearest pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import UNKNOWN, Camera, CameraPrediction, Prediction
from mtl_perception.core.camera import Rig
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth

_NEAREST: Mapping[str, float] = {"semantic": UNKNOWN, "panoptic": -1, "edges": 0, "motion_mask": 0}
"""The images of a prediction that cannot be interpolated, with what they hold where nothing is predicted."""
_EXACT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-9)
"""When undistorting ends: OpenCV's own five steps leave pixels of error in the corners of a wide lens."""
_COLUMNS = 4096  # OpenCV's remap takes no image wider than 32767


@dataclass(frozen=True, eq=False)
class SparseDepth:
    """Depth that is known at single places of an image: LiDAR, or a depth camera that sits elsewhere.

    Attributes:
        pixels: (N, 2) column and row in the camera's own (distorted) image, pixel centres at integers.
        depth: (N,) metres along the optical axis.
    """

    pixels: NDArray[np.float32]
    depth: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class JudgedCamera:
    """One camera's prediction with what is true of its image.

    Attributes:
        camera: as calibrated; the truth has its pixels.
        prediction: at the size of `prediction.camera`.
        truth: images of the size of `camera`.
        sparse_depth: where depth is known at some places only.
    """

    camera: Camera
    prediction: CameraPrediction
    truth: CameraTruth
    sparse_depth: SparseDepth | None = None
    _cache: dict[str, NDArray] = field(default_factory=dict, repr=False)

    def predicted(self, name: str) -> NDArray | None:
        """Return an image of the prediction (a field of CameraPrediction) at the camera's own pixels, or None.

        Float images are interpolated (normals brought to unit length again); next to an invalid value (NaN), and in
        images of labels and masks, the nearest pixel counts. Where the prediction does not reach, floats are NaN and
        labels unknown.
        """
        image = getattr(self.prediction, name)
        if image is None:
            return None
        if name not in self._cache:
            self._cache[name] = self._native(name, image)
        return self._cache[name]

    def predicted_at(self, name: str, pixels: NDArray) -> NDArray | None:
        """Return a float image's or label image's values (N, ...) at pixels (N, 2) of the camera's own image, or None.

        As `predicted` otherwise.
        """
        image = getattr(self.prediction, name)
        if image is None:
            return None
        if not len(pixels):
            return np.zeros((0, *image.shape[2:]), image.dtype)
        places = _places(self.camera, self.prediction.camera, np.asarray(pixels, dtype=np.float64))
        rows = -(-len(places) // _COLUMNS)
        padded = np.full((rows * _COLUMNS, 2), -1e6, np.float32)
        padded[: len(places)] = places
        u, v = np.ascontiguousarray(padded.reshape(rows, _COLUMNS, 2).transpose(2, 0, 1))
        return _remapped(name, image, u, v).reshape(rows * _COLUMNS, *image.shape[2:])[: len(places)]

    def _native(self, name: str, image: NDArray) -> NDArray:
        source, target = self.prediction.camera, self.camera
        size = (target.width, target.height)
        if target.is_rectified and _same_view(_key(source), _key(target)):
            if (source.width, source.height) == size:
                return image
            return _resized(name, image, size)
        u, v = _map(_key(target), _key(source))
        return _remapped(name, image, u, v)


@dataclass(frozen=True, eq=False)
class JudgedFrame:
    """One frame's prediction with what is true of it.

    Attributes:
        prediction: what was predicted.
        truth: of the frame; what is known per camera is in `cameras`, too.
        cameras: per camera that was predicted and of which something is known.
        rig: the cameras as calibrated.
    """

    prediction: Prediction
    truth: GroundTruth
    cameras: Mapping[str, JudgedCamera]
    rig: Rig


def judged(
    prediction: Prediction,
    frame: RigFrame,
    truth: GroundTruth,
    sparse_depth: Mapping[str, SparseDepth] | None = None,
) -> JudgedFrame:
    """Put a prediction beside the truth of the frame that it was made from."""
    sparse = sparse_depth or {}
    cameras = {
        name: JudgedCamera(frame.rig[name], camera, truth.cameras.get(name, CameraTruth()), sparse.get(name))
        for name, camera in sorted(prediction.cameras.items())  # sums must not depend on how a rig is written down
        if name in truth.cameras or name in sparse
    }
    return JudgedFrame(prediction, truth, cameras, frame.rig)


def _resized(name: str, image: NDArray, size: tuple[int, int]) -> NDArray:
    if name in _NEAREST:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT))
    smooth = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))
    gaps = np.isnan(smooth)
    if gaps.any():
        smooth[gaps] = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)[gaps]
    return _finished(name, smooth)


def _remapped(name: str, image: NDArray, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray:
    height, width = image.shape[:2]
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    nearest = np.asarray(cv2.remap(image, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
    if name in _NEAREST:
        nearest[~inside] = _NEAREST[name]
        return nearest
    smooth = np.asarray(cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    smooth = np.where(np.isnan(smooth), nearest, smooth)
    smooth[~inside] = np.nan
    return _finished(name, smooth)


def _finished(name: str, image: NDArray) -> NDArray:
    if name == "normals":
        length = np.linalg.norm(image, axis=-1, keepdims=True)
        return np.divide(image, length, out=np.full_like(image, np.nan), where=length > 0)
    return image


_CameraKey = tuple[int, int, bytes, str, bytes]


def _key(camera: Camera) -> _CameraKey:
    K = np.asarray(camera.K, dtype=np.float64)
    distortion = np.asarray(camera.distortion, dtype=np.float64)
    return camera.width, camera.height, K.tobytes(), camera.distortion_model, distortion.tobytes()


@lru_cache(maxsize=32)
def _same_view(first: _CameraKey, second: _CameraKey) -> bool:
    """Whether two rectified cameras of perhaps different sizes see exactly the same rectangle of the world."""
    one, other = (Camera("", *key[:2], np.frombuffer(key[2]).reshape(3, 3), np.eye(4)) for key in (first, second))
    return np.allclose(one.K, other.resized(one.width, one.height).K, rtol=1e-6, atol=1e-6)


@lru_cache(maxsize=32)
def _map(target: _CameraKey, source: _CameraKey) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return, for every pixel of the target camera, column and row in the source's rectified image."""
    width, height = target[:2]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float64)
    places = _seen_at(target, source, pixels).reshape(height, width, 2)
    return np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])


def _places(target: Camera, source: Camera, pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    return _seen_at(_key(target), _key(source), pixels)


def _seen_at(target: _CameraKey, source: _CameraKey, pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return where the source's rectified image shows what pixels (N, 2) of the target's image show."""
    K = np.frombuffer(target[2]).reshape(3, 3)
    source_K = np.frombuffer(source[2]).reshape(3, 3)
    model, distortion = target[3], np.frombuffer(target[4])
    points = np.ascontiguousarray(pixels[:, None])
    if model == "equidistant" and distortion.any():
        straight = cv2.fisheye.undistortPoints(points, K, distortion, P=source_K)
    else:
        lens = distortion if distortion.any() else np.zeros(4)
        straight = cv2.undistortPointsIter(points, K, lens, R=np.eye(3), P=source_K, criteria=_EXACT)
    return straight[:, 0].astype(np.float32)
