# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow of a whole rig as PointCloud2, and back to images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from mtl_perception.core.camera import backproject
from mtl_perception.core.prediction import CameraPrediction, Prediction
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.messages.points import read_point_cloud, to_point_cloud


def to_scene_flow(prediction: Prediction) -> PointCloud2:
    """Return a point for each pixel that has flow, in the base frame at the frame's stamp.

    Fields: x y z, metres, NaN where the prediction has no depth; vx vy vz, m/s, as in the images; `camera`, the index
    in the frame's list of cameras (those of perception/frame); `u` and `v`, column and row in that camera's image.
    """
    parts = [
        _points(index, camera, _base_from_camera(prediction, camera))
        for index, camera in enumerate(prediction.cameras.values())
        if camera.scene_flow is not None
    ]
    empty = {name: np.zeros(0, dtype) for name, dtype in _COLUMNS.items()}
    columns = {name: np.concatenate([part[name] for part in parts]) if parts else empty[name] for name in _COLUMNS}
    xyz = np.stack([columns.pop(axis) for axis in "xyz"], axis=-1)
    return to_point_cloud(xyz, prediction.stamp_ns, prediction.base_frame, fields=columns)


def from_scene_flow(
    message: Any, sizes: Mapping[str, tuple[int, int]], topic: str = "perception/scene_flow"
) -> dict[str, NDArray[np.float32]]:
    """Return, per camera name, the image (height, width, 3) in m/s that `to_scene_flow` was given.

    `sizes` has height and width of every camera of the frame, in the frame's order.

    Raises:
        ValueError: a field is missing or of another type, or a point is of no camera or no pixel; names `topic`.
    """
    points = read_point_cloud(message, topic)
    for name, kind in _COLUMNS.items():
        if name not in (points.dtype.names or ()) or points.dtype[name].newbyteorder("=") != np.dtype(kind):
            raise ValueError(f"{topic}: there is no field '{name}' of {np.dtype(kind)}")
    if len(points) and int(points["camera"].max()) >= len(sizes):
        raise ValueError(f"{topic}: a point is of camera {int(points['camera'].max())}, there are {len(sizes)}")
    images = {}
    for index, (name, (height, width)) in enumerate(sizes.items()):
        mine = points[points["camera"] == index]
        if len(mine) and (mine["u"].max() >= width or mine["v"].max() >= height):
            raise ValueError(f"{topic}: a point of camera '{name}' lies outside of its {width}x{height} pixels")
        images[name] = np.full((height, width, 3), np.nan, np.float32)
        images[name][mine["v"], mine["u"]] = np.stack([mine[f"v{axis}"] for axis in "xyz"], axis=-1)
    return images


_COLUMNS: dict[str, type[np.generic]] = {
    **dict.fromkeys(("x", "y", "z", "vx", "vy", "vz"), np.float32),
    "camera": np.uint8,
    "u": np.uint16,
    "v": np.uint16,
}


def _points(index: int, camera: CameraPrediction, base_from_camera: Transform) -> dict[str, NDArray]:
    flow = camera.scene_flow
    assert flow is not None  # the caller has looked
    v, u = np.nonzero(np.isfinite(flow).all(axis=-1))
    xyz = np.full((len(u), 3), np.nan)
    if camera.depth is not None:
        xyz = transform_points(base_from_camera, backproject(camera.camera, camera.depth)[v, u])
    return {
        **{axis: xyz[:, i].astype(np.float32) for i, axis in enumerate("xyz")},
        **{f"v{axis}": flow[v, u, i] for i, axis in enumerate("xyz")},
        "camera": np.full(len(u), index, np.uint8),
        "u": u.astype(np.uint16),
        "v": v.astype(np.uint16),
    }


def _base_from_camera(prediction: Prediction, camera: CameraPrediction) -> Transform:
    """Return where the camera was at its own stamp, in the base frame at the frame's stamp."""
    if prediction.world_from_base is None or camera.world_from_camera is None:
        return camera.camera.base_from_camera
    return np.asarray(inverse(prediction.world_from_base) @ camera.world_from_camera)
