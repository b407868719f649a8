# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recording: frames that can be read in any order, each with what its source knows to be true."""

from __future__ import annotations

import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Rig
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import Box, Sample
from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.transforms import Transform, inverse, quaternion_from_rotation, transform_from
from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.picture_files import read_pixels

DAMAGES = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,  # among them: nested too deeply, and what zipfile says of encrypted entries
    EOFError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    cv2.error,
)
"""What readers stumble over in files that are not what they should be."""
EPOCH_NS = 1_000_000_000_000_000_000
"""Where recordings without time stamps start (2001-09-09): not 0, which means "no time" to ROS."""


class Recording(ABC):
    """Frames of one rig in the order of time. Opening one is cheap; images are read when a frame is asked for.

    Poses are in a frame `odom` with z up, which starts at the first pose where the source's own coordinates are global.

    Attributes:
        name: for messages and progress bars.
        rig: the cameras, each with its `frame_id`; the reference camera first.
    """

    name: str
    rig: Rig

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of frames."""

    @abstractmethod
    def stamp_ns(self, index: int) -> int:
        """Return the stamp of a frame, that of the reference camera."""

    @abstractmethod
    def odom_from_base(self, index: int) -> Transform | None:
        """Return the base's pose at a frame's stamp; None where the source has no poses."""

    def follows(self, index: int) -> bool:
        """Return whether a frame shows the same place as the frame before it in the list, some time later."""
        return index > 0

    def sample(self, index: int) -> Sample:
        """Return frame `index` (0 to len - 1) with all that the source knows about it.

        Raises:
            IndexError: there is no such frame.
            ValueError, OSError: a file is not what it should be, or cannot be read; names the file.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no frame {index}, it has {len(self)}")
        try:
            return self._read(index)
        except BagError:
            raise
        except DAMAGES as error:
            raise ValueError(f"{self.name}, frame {index}: {reason(error)}") from error

    @abstractmethod
    def _read(self, index: int) -> Sample:
        """Read an existing frame."""

    def before(self, index: int, frames: int = 1) -> int | None:
        """Return the index that is `frames` before, None where the recording does not go on from there to `index`."""
        joined = all(self.follows(later) for later in range(index, index - frames, -1))
        return index - frames if joined else None

    def ego_motion(self, index: int, frames: int = 1) -> EgoMotion | None:
        """Return how the base has moved since `frames` before; None where that is another place or not known."""
        earlier = self.before(index, frames)
        if earlier is None:
            return None
        previous, now = self.odom_from_base(earlier), self.odom_from_base(index)
        if previous is None or now is None:
            return None
        return EgoMotion(self.stamp_ns(earlier), inverse(previous) @ now, np.zeros((6, 6)))


def reason(error: Exception) -> str:
    """Return what is wrong, in a line that says it also where an error of Python's own does not."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


@dataclass(frozen=True, eq=False)
class Shot:
    """One camera's image, RGB uint8 (H, W, 3), its own stamp, and the base's pose at that stamp (None: not known)."""

    stamp_ns: int
    image: NDArray[np.uint8]
    odom_from_base: Transform | None = None


def rig_frame(rig: Rig, shots: Mapping[str, Shot]) -> RigFrame:
    """Return the frame that shots of the rig's cameras, by name, make together; its stamp is that of the first camera.

    Raises:
        ValueError: an image is not of its camera's size; names the camera.
    """
    reference = shots[rig.names[0]]
    poses = {
        name: shot.odom_from_base @ rig[name].base_from_camera
        for name, shot in shots.items()
        if shot.odom_from_base is not None
    }
    images = {name: shot.image for name, shot in shots.items()}
    stamps = {name: shot.stamp_ns for name, shot in shots.items()}
    return RigFrame(rig, reference.stamp_ns, images, stamps, poses, reference.odom_from_base)


def optical_frame(camera: str) -> str:
    """Return the name of a camera's optical frame."""
    return f"{camera}_optical_frame"


def level_start(world_from_base: Transform) -> Transform:
    """Return `odom_from_world` for an `odom` that is at the first base pose, facing its way, with z up as in the
    world."""
    yaw = np.arctan2(world_from_base[1, 0], world_from_base[0, 0])
    world_from_odom = transform_from(world_from_base[:3, 3], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return inverse(world_from_odom)


def rigid(matrix: Any) -> Transform:
    """Return a 4x4 (or 3x4) pose from a file as float64 with an exact rotation; files hold single precision."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return transform_from(matrix[:3, 3], quaternion_from_rotation(matrix[:3, :3]))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB (H, W, 3); a grey one has three equal channels.

    Raises:
        ValueError: the file is missing or no picture.
    """
    image = read_pixels(path)
    if image.dtype != np.uint8:
        raise ValueError(f"{path} is not a readable 8-bit picture")
    channels = 1 if image.ndim == 2 else image.shape[2]
    conversion = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(image, conversion), dtype=np.uint8)


def read_depth(path: Path, units_per_metre: float = 1000.0) -> NDArray[np.float32]:
    """Read a 16-bit depth image (H, W) as metres; 0 and 65535 are "not measured" and become NaN.

    Raises:
        ValueError: the file is missing or no such image.
    """
    raw = read_pixels(path)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        raise ValueError(f"{path} is not a readable 16-bit depth image")
    metres = raw.astype(np.float32) * np.float32(1.0 / units_per_metre)
    return np.where((raw == 0) | (raw == 65535), np.float32(np.nan), metres)


def with_velocities(
    boxes: Sequence[Box], later: Sequence[Box], now_from_later: Transform, seconds: float
) -> tuple[Box, ...]:
    """Return boxes with the velocity over ground of those whose track goes on in `later`, `seconds` after."""
    following = {box.track: box for box in later}
    result = []
    for box in boxes:
        if box.track in following:
            centre = now_from_later @ following[box.track].frame_from_box[:, 3]
            box = replace(box, velocity=(centre[:3] - box.frame_from_box[:3, 3]) / seconds)
        result.append(box)
    return tuple(result)
