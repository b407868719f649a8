# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is remembered between frames: each camera's last image, and some of the last frames of the whole rig."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtl_perception.core import Camera, RigFrame
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.network import History, NetworkOutput, PreviousFrame

MAX_PREVIOUS_AGE_NS = 600_000_000
"""A camera's image is compared with its previous one only when that is no older than this."""
HISTORY_FRAMES = 15
"""How many frames before the current one are remembered for tasks of the whole rig (16 with it; unified encoder)."""


@dataclass(frozen=True)
class Past:
    """What the network is told about the previous images of N cameras, and which frame they are of.

    Attributes:
        previous: what is remembered of each camera; `elapsed` is known, 1 where a camera has no previous image.
        stamp_ns: the stamp of the newest frame that one of the previous images is of; `previous.newest` tells which.
    """

    previous: PreviousFrame
    stamp_ns: int

    @property
    def has_poses(self) -> bool:
        """Whether the motion of all cameras since is known."""
        return self.previous.previous_from_current is not None


class Memory:
    """Bounded: the features of one image a camera, and of `HISTORY_FRAMES` frames."""

    def __init__(self, device: torch.device) -> None:
        """Begin without any memory; what the network is given is on `device`."""
        self._device = device
        self._cameras: dict[str, _CameraMemory] = {}
        self._frames: deque[_FrameMemory] = deque(maxlen=HISTORY_FRAMES)
        self._last_stamp_ns: int | None = None

    def clear(self) -> None:
        """Forget everything."""
        self._cameras.clear()
        self._frames.clear()
        self._last_stamp_ns = None

    def clear_if_not_before(self, stamp_ns: int) -> None:
        """Forget everything if the last frame is not older than this one: time runs back in a looping recording."""
        if self._last_stamp_ns is not None and stamp_ns <= self._last_stamp_ns:
            self.clear()

    def past(self, frame: RigFrame, cameras: Mapping[str, Camera]) -> Past | None:
        """Return what is remembered of the frame's rectified cameras; None when nothing of any of them is usable."""
        usable = {}
        for name, camera in cameras.items():
            memory = self._cameras.get(name)
            if memory is None or (memory.camera.width, memory.camera.height) != (camera.width, camera.height):
                continue
            if 0 < frame.image_stamps_ns[name] - memory.stamp_ns <= MAX_PREVIOUS_AGE_NS:
                usable[name] = memory
        if not usable:
            return None
        # Cameras without a usable previous image borrow another's row; `valid` marks it as meaningless.
        rows = [usable.get(name, next(iter(usable.values()))) for name in cameras]
        motion = [
            inverse(memory.world_from_camera) @ frame.world_from_camera[name]
            for name, memory in zip(cameras, rows, strict=True)
            if memory.world_from_camera is not None and name in frame.world_from_camera
        ]
        kept = set.intersection(*(set(memory.features) for memory in rows))
        stamp_ns = max(memory.frame_stamp_ns for memory in usable.values())
        newest = torch.tensor([memory.frame_stamp_ns == stamp_ns for memory in rows], device=self._device)
        elapsed_ns = [
            frame.image_stamps_ns[name] - usable[name].stamp_ns if name in usable else 1_000_000_000 for name in cameras
        ]
        previous = PreviousFrame(
            features={key: torch.stack([memory.features[key] for memory in rows]) for key in sorted(kept)},
            K=self._tensor([memory.camera.K for memory in rows]),
            previous_from_current=self._tensor(motion) if len(motion) == len(rows) else None,
            valid=torch.tensor([name in usable for name in cameras], device=self._device),
            newest=newest,
            elapsed=self._tensor([1e-9 * value for value in elapsed_ns]),
        )
        return Past(previous, stamp_ns)

    def history(self, stamp_ns: int) -> History | None:
        """Return what is remembered of the frames before, oldest first; None when there are none."""
        frames = list(self._frames)
        if not frames:
            return None
        kept = set.intersection(*(set(memory.features) for memory in frames))
        return History(
            features={key: torch.stack([memory.features[key] for memory in frames], dim=1) for key in sorted(kept)},
            age=self._tensor([[1e-9 * (stamp_ns - memory.stamp_ns) for memory in frames]]),
            valid=torch.ones(1, len(frames), dtype=torch.bool, device=self._device),
        )

    def remember(self, frame: RigFrame, cameras: Mapping[str, Camera], output: NetworkOutput) -> None:
        """Keep what the network says is to be kept of a frame with these rectified cameras."""
        self._last_stamp_ns = frame.stamp_ns
        if output.frame_memory:
            self._frames.append(_FrameMemory(frame.stamp_ns, output.frame_memory))
        if not output.memory:
            self._cameras.clear()
            return
        for row, (name, camera) in enumerate(cameras.items()):
            self._cameras[name] = _CameraMemory(
                frame.stamp_ns,
                frame.image_stamps_ns[name],
                frame.world_from_camera.get(name),
                camera,
                {key: rows[row] for key, rows in output.memory.items()},
            )

    def _tensor(self, values: list) -> Tensor:
        return torch.from_numpy(np.array(values)).float().to(self._device)


@dataclass(frozen=True)
class _CameraMemory:
    """What is kept of a camera's last image; the pose is None where none was known."""

    frame_stamp_ns: int
    stamp_ns: int
    world_from_camera: Transform | None
    camera: Camera
    features: Mapping[str, Tensor]


@dataclass(frozen=True)
class _FrameMemory:
    """What is kept of a frame of the whole rig."""

    stamp_ns: int
    features: Mapping[str, Tensor]
