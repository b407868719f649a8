# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into perception: one instant of all cameras of a rig, and of what is known of the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Rig
from mtl_perception.core.transforms import Transform

POSTURE_JOINTS = 26
GESTURE_JOINTS = 42


@dataclass(frozen=True, eq=False)
class RigFrame:
    """One instant of a rig.

    Attributes:
        rig: the cameras; a camera without an image is missing from this frame.
        stamp_ns: the frame's stamp in nanoseconds, that of the reference camera.
        images: per camera name, RGB uint8 (height, width, 3) as the camera gave it (not rectified).
        image_stamps_ns: per camera name, the image's own stamp.
        world_from_camera: per camera name, the optical frame's pose at the image's own stamp; empty when not known.
        world_from_base: the base frame's pose at `stamp_ns`; None when no pose is known.
        world_frame: the name of the frame that poses are in.
    """

    rig: Rig
    stamp_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    image_stamps_ns: Mapping[str, int]
    world_from_camera: Mapping[str, Transform]
    world_from_base: Transform | None
    world_frame: str = "odom"

    def __post_init__(self) -> None:
        """Check that what is there fits together.

        Raises:
            ValueError: no image, an unknown camera, a wrong size or type, or a missing stamp or pose.
        """
        if not self.images:
            raise ValueError(f"frame {self.stamp_ns}: no camera has an image")
        for name, image in self.images.items():
            camera = self.rig[name]
            if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
                raise ValueError(
                    f"camera '{name}': image is {image.dtype} {image.shape}, "
                    f"its CameraInfo says {camera.height}x{camera.width} and rgb8 is expected"
                )
            if name not in self.image_stamps_ns:
                raise ValueError(f"camera '{name}': its image has no stamp")
            if self.world_from_base is not None and name not in self.world_from_camera:
                raise ValueError(f"camera '{name}': the base has a pose but the camera has none")

    @property
    def present(self) -> tuple[str, ...]:
        """The names of the cameras that have an image, in the rig's order."""
        return tuple(name for name in self.rig.names if name in self.images)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the cameras without an image, in the rig's order."""
        return tuple(name for name in self.rig.names if name not in self.images)


@dataclass(frozen=True, eq=False)
class CabinFrame:
    """What is known of the driver at an instant. Cabin cameras are not calibrated and no part of the rig.

    Attributes:
        images: per cabin camera's name, RGB uint8 (height, width, 3), of any size; may be empty.
        posture: float (26, 3), the first 26 joints of Halpe's 136, metres in a cabin camera's optical frame; NaN for a
            joint that is not seen. None where the posture is not known.
        gestures: float (42, 3) likewise, 21 joints of the left hand, then 21 of the right.
    """

    images: Mapping[str, NDArray[np.uint8]]
    posture: NDArray[np.floating] | None = None
    gestures: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        """Check that there is something, in the right form.

        Raises:
            ValueError: neither an image nor a joint, or a wrong type or size.
        """
        if not self.images and self.posture is None and self.gestures is None:
            raise ValueError("cabin frame: there is neither an image nor a joint")
        for name, image in self.images.items():
            if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
                raise ValueError(f"cabin camera '{name}': image is {image.dtype} {image.shape}, rgb8 is expected")
        for what, joints, count in (
            ("posture", self.posture, POSTURE_JOINTS),
            ("gestures", self.gestures, GESTURE_JOINTS),
        ):
            if joints is not None and (joints.shape != (count, 3) or not np.issubdtype(joints.dtype, np.floating)):
                raise ValueError(f"cabin {what}: {joints.dtype} {joints.shape}, floats ({count}, 3) are expected")
