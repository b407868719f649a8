# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras and rigs: intrinsics, distortion, and where each camera sits on the robot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform

# sensor_msgs/CameraInfo's names (image_geometry): how many coefficients each model may carry.
DISTORTION_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "": (0,),
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8, 12, 14),
    "equidistant": (0, 4),
}


@dataclass(frozen=True, eq=False)
class Camera:
    """One calibrated camera of a rig.

    Attributes:
        name: unique in the rig, e.g. `front_left`.
        width, height: image size in pixels.
        K: 3x3 intrinsic matrix in pixels; pixel centres are at integer coordinates (OpenCV and ROS).
        base_from_camera: 4x4, the optical frame in the robot's base frame, metres.
        distortion_model: as in sensor_msgs/CameraInfo; "" means none.
        distortion: the model's coefficients.
        frame_id: the optical frame's name.
    """

    name: str
    width: int
    height: int
    K: NDArray[np.float64]
    base_from_camera: Transform
    distortion_model: str = ""
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    frame_id: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be a calibrated camera, naming the field and the value.

        Raises:
            ValueError: a size, a matrix or the distortion makes no sense.
        """
        where = f"camera '{self.name}'"
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"{where}: size {self.width}x{self.height} must be positive")
        if self.K.shape != (3, 3) or not np.isfinite(self.K).all() or self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise ValueError(f"{where}: K must be 3x3, finite, with positive focal lengths, is {self.K.tolist()}")
        if self.base_from_camera.shape != (4, 4) or not np.isfinite(self.base_from_camera).all():
            raise ValueError(f"{where}: base_from_camera must be a finite 4x4 transform")
        if self.K[1, 0] or not np.array_equal(self.K[2], [0, 0, 1]):
            raise ValueError(f"{where}: K must be upper triangular with the last row 0 0 1, is {self.K.tolist()}")
        if self.distortion_model not in DISTORTION_COEFFICIENTS:
            known = ", ".join(sorted(filter(None, DISTORTION_COEFFICIENTS)))
            raise ValueError(f"{where}: distortion_model '{self.distortion_model}' is not one of {known}")
        if len(self.distortion) not in DISTORTION_COEFFICIENTS[self.distortion_model]:
            raise ValueError(f"{where}: {len(self.distortion)} coefficients do not fit '{self.distortion_model}'")
        if not np.isfinite(self.distortion).all():
            raise ValueError(f"{where}: distortion must be finite, is {self.distortion.tolist()}")

    @property
    def is_rectified(self) -> bool:
        """Whether the image is that of an ideal pinhole already: the model is none, or has no effect.

        With all coefficients 0, equidistant is still a fisheye lens: its radius grows with the angle.
        """
        if not self.distortion_model or not len(self.distortion):
            return True
        return self.distortion_model != "equidistant" and not np.any(self.distortion)

    def has_lens_of(self, other: Camera) -> bool:
        """Whether size, intrinsics and distortion are those of another camera, wherever both are."""
        if (self.width, self.height) != (other.width, other.height) or not np.array_equal(self.K, other.K):
            return False
        if self.is_rectified or other.is_rectified:
            return self.is_rectified == other.is_rectified
        return self.distortion_model == other.distortion_model and np.array_equal(self.distortion, other.distortion)

    def resized(self, width: int, height: int) -> Camera:
        """Return the rectified pinhole camera that sees the same view at another size (no distortion).

        A pixel centre u of the old image lands on (u + 0.5) * scale - 0.5 of the new one.
        """
        scale_x, scale_y = width / self.width, height / self.height
        K = self.K.copy()
        K[0, :2] *= scale_x
        K[1, 1] *= scale_y
        K[0, 2] = (self.K[0, 2] + 0.5) * scale_x - 0.5
        K[1, 2] = (self.K[1, 2] + 0.5) * scale_y - 0.5
        return replace(self, width=width, height=height, K=K, distortion_model="", distortion=np.zeros(0))


@dataclass(frozen=True, eq=False)
class Rig:
    """The robot's cameras, in a fixed order; the first is the reference camera whose stamp is the frame's stamp."""

    cameras: tuple[Camera, ...]
    base_frame: str = "base_link"

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ValueError: there is no camera, or two have one name.
        """
        names = [camera.name for camera in self.cameras]
        if not names:
            raise ValueError("a rig needs at least one camera")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"camera names must be unique, repeated: {', '.join(repeated)}")

    def __iter__(self) -> Iterator[Camera]:
        """Iterate over the cameras in order."""
        return iter(self.cameras)

    def __len__(self) -> int:
        """Return the number of cameras."""
        return len(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        """Return a camera by name.

        Raises:
            KeyError: the rig has no camera of that name.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"the rig has no camera '{name}', it has {', '.join(c.name for c in self.cameras)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names, in order."""
        return tuple(camera.name for camera in self.cameras)


def pixel_rays(camera: Camera) -> NDArray[np.float64]:
    """Return the rays (height, width, 3) of a rectified camera in its optical frame, with z = 1.

    Depth along the optical axis times the ray is the point in the optical frame.
    """
    u, v = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    y = (v - camera.K[1, 2]) / camera.K[1, 1]
    x = (u - camera.K[0, 2] - camera.K[0, 1] * y) / camera.K[0, 0]
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def backproject(camera: Camera, depth: NDArray) -> NDArray[np.float64]:
    """Return the points (height, width, 3), in the optical frame, of a depth image (height, width) in metres.

    NaN stays NaN.

    Raises:
        ValueError: the depth image is not of the camera's size.
    """
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f"camera '{camera.name}': depth is {depth.shape}, expected {(camera.height, camera.width)}")
    return pixel_rays(camera) * np.asarray(depth, dtype=np.float64)[..., None]


def project(camera: Camera, points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points (N, 3) of the optical frame with the pinhole model: pixel coordinates (N, 2) and depths (N,).

    Points at or behind the camera have depth <= 0 and NaN coordinates.
    """
    points = np.asarray(points, dtype=np.float64)
    depth = points[:, 2]
    in_front = depth > 0
    normalised = np.full((len(points), 3), np.nan)
    normalised[in_front] = points[in_front] / depth[in_front, None]
    return (normalised @ camera.K.T)[:, :2], depth
