# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera's images and calibration come from, and what to set where they are something else."""

from __future__ import annotations

from dataclasses import dataclass

_COMPRESSED_SUFFIX = "/compressed"  # as image_transport names them
_RAW_TYPE, _COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


@dataclass(frozen=True)
class CameraTopics:
    """Where one camera's images and calibration come from.

    Attributes:
        rectified: the images are undistorted already, as those of image_proc, though the CameraInfo has coefficients.
    """

    name: str
    image_topic: str
    info_topic: str
    compressed: bool = False
    rectified: bool = False

    def advice(self) -> dict[tuple[str, str], str]:
        """Return what to set where the images are, by topic and type, raw instead of compressed or the reverse."""
        longer = self.image_topic + _COMPRESSED_SUFFIX
        flip, move = f"set {self.name}.compressed to", f"{self.name}.image_topic to"
        if not self.compressed:
            return {
                (longer, _COMPRESSED_TYPE): f"{flip} true and {move} {longer}",
                (self.image_topic, _COMPRESSED_TYPE): f"{flip} true",
            }
        shorter = self.image_topic.removesuffix(_COMPRESSED_SUFFIX)
        return {
            (longer, _COMPRESSED_TYPE): f"set {move} {longer}",
            (shorter, _RAW_TYPE): f"{flip} false and {move} {shorter}",
            (self.image_topic, _RAW_TYPE): f"{flip} false",
        }
