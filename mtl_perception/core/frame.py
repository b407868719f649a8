# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into perception: one instant of all cameras of a rig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Rig
from mtl_perception.core.transforms import Transform


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
