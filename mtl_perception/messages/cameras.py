# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo to Camera and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform
from mtl_perception.messages.stamps import to_header

# What drivers write besides sensor_msgs/distortion_models.hpp.
_MODEL_ALIASES = {"none": "", "fisheye": "equidistant", "radtan": "plumb_bob"}


def camera_from_info(name: str, info: Any, base_from_camera: Transform, topic: str = "camera_info") -> Camera:
    """Return the camera that a CameraInfo describes; `base_from_camera` is the pose of its optical frame on the robot.

    Raises:
        ValueError: the camera is not calibrated (K is zero), crops or bins its image, or has an unknown distortion
            model; names `topic`, field and value.
    """
    K = np.asarray(info.k, dtype=np.float64).reshape(3, 3)
    if not np.any(K):
        raise ValueError(f"{topic}: K is all zero, so camera '{name}' is not calibrated")
    if info.binning_x > 1 or info.binning_y > 1:
        raise ValueError(
            f"{topic}: binning {info.binning_x}x{info.binning_y} is not supported, publish the binned image's own K"
        )
    roi = info.roi
    if (roi.width, roi.height) not in ((0, 0), (info.width, info.height)):
        raise ValueError(
            f"{topic}: roi {roi.width}x{roi.height} of {info.width}x{info.height} is not supported, "
            "publish the crop's own K"
        )
    model = str(info.distortion_model)
    try:
        return Camera(
            name=name,
            width=int(info.width),
            height=int(info.height),
            K=K,
            base_from_camera=base_from_camera,
            distortion_model=_MODEL_ALIASES.get(model.lower(), model) if len(info.d) else "",
            distortion=np.asarray(info.d, dtype=np.float64),
            frame_id=str(info.header.frame_id),
        )
    except ValueError as error:
        raise ValueError(f"{topic}: {error}") from error


def to_camera_info(camera: Camera, stamp_ns: int) -> CameraInfo:
    """Return a camera as CameraInfo, in its own optical frame; P is K without rectification."""
    info = CameraInfo()
    info.header = to_header(stamp_ns, camera.frame_id)
    info.width, info.height = camera.width, camera.height
    # RViz and image_geometry want a model's name even when there is no distortion.
    info.distortion_model = camera.distortion_model or "plumb_bob"
    info.d = camera.distortion.tolist() if len(camera.distortion) else [0.0] * 5
    info.k = camera.K.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.hstack([camera.K, np.zeros((3, 1))]).ravel().tolist()
    return info
