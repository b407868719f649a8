# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo to Camera and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from mtl_perception.core.camera import DISTORTION_COEFFICIENTS, Camera
from mtl_perception.core.transforms import Transform
from mtl_perception.messages.stamps import to_header
from mtl_perception.messages.texts import one_line

# What drivers write besides sensor_msgs/distortion_models.hpp.
_MODEL_ALIASES = {"none": "", "fisheye": "equidistant", "radtan": "plumb_bob"}


def camera_from_info(
    name: str, info: Any, base_from_camera: Transform, topic: str = "camera_info", *, rectified: bool = False
) -> Camera:
    """Return the camera whose images a CameraInfo describes; `base_from_camera` is the pose of its optical frame on the
    robot.

    Where `roi` or `binning` say that images are a part of the sensor's or reduced, so are the camera's. With
    `rectified`, images are undistorted already, as those of image_proc: K is the left of P, and there is no distortion.
    (R and the last column of P are not used: TF tells where the camera is.)

    Raises:
        ValueError: the camera is not calibrated (K is zero), its roi is not within the image, or it has an unknown
            distortion model; names `topic`, field and value.
    """
    field = "p" if rectified else "k"
    K = np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3] if rectified else np.asarray(info.k, dtype=np.float64)
    if not np.any(K):
        raise ValueError(f"{topic}: {field} is all zero, so camera '{name}' is not calibrated")
    model = "" if rectified or not len(info.d) else str(info.distortion_model)
    model = _MODEL_ALIASES.get(model.lower(), model)
    try:
        K, width, height = _as_published(K.reshape(3, 3), info)
        return Camera(
            name=name,
            width=width,
            height=height,
            K=K,
            base_from_camera=base_from_camera,
            distortion_model=model,
            distortion=np.zeros(0) if rectified else _coefficients(model, info.d),
            frame_id=str(info.header.frame_id),
        )
    except ValueError as error:
        raise ValueError(one_line(f"{topic}: {error}")) from error


def to_camera_info(camera: Camera, stamp_ns: int) -> CameraInfo:
    """Return a camera as CameraInfo, in its own optical frame; P is K without rectification."""
    info = CameraInfo()
    info.header = to_header(stamp_ns, camera.frame_id)
    info.width, info.height = camera.width, camera.height
    # RViz and image_geometry want a model's name even when there is no distortion.
    has_lens = bool(camera.distortion_model) and len(camera.distortion) > 0
    info.distortion_model = camera.distortion_model if has_lens else "plumb_bob"
    info.d = camera.distortion.tolist() if has_lens else [0.0] * 5
    info.k = camera.K.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.hstack([camera.K, np.zeros((3, 1))]).ravel().tolist()
    return info


def _coefficients(model: str, d: Any) -> NDArray[np.float64]:
    """Return the coefficients without zeros that a model has no use for: some drivers write five with every model."""
    coefficients = np.asarray(d, dtype=np.float64)
    most = max(DISTORTION_COEFFICIENTS.get(model, (len(coefficients),)))
    return coefficients if coefficients[most:].any() else coefficients[:most]


def _as_published(K: NDArray[np.float64], info: Any) -> tuple[NDArray[np.float64], int, int]:
    """Return K, width and height of images that are the part `roi` of the sensor's, reduced by `binning`.

    A pixel of a binned image covers several, so its centre is in the middle of theirs.
    """
    roi = info.roi
    width, height = int(roi.width) or int(info.width), int(roi.height) or int(info.height)
    if roi.x_offset + width > info.width or roi.y_offset + height > info.height:
        part = f"{width}x{height} at ({roi.x_offset}, {roi.y_offset})"
        raise ValueError(f"roi {part} is not within {info.width}x{info.height}")
    K = K.copy()
    for axis, offset, binning in ((0, roi.x_offset, info.binning_x or 1), (1, roi.y_offset, info.binning_y or 1)):
        K[axis, 2] = (K[axis, 2] - offset + 0.5) / binning - 0.5
        K[axis, :2] /= binning
    return K, width // (info.binning_x or 1), height // (info.binning_y or 1)
