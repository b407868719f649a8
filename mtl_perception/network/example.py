# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up input for a network, for measuring what it costs: the content is noise, the geometry is a real rig's."""

from __future__ import annotations

import math

import torch

from mtl_perception.core.frame import GESTURE_JOINTS, POSTURE_JOINTS
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.network.batch import CameraBatch, History, PreviousFrame
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.network.output import NetworkOutput

FIELD_OF_VIEW = math.radians(90.0)  # horizontal: five cameras and more in a ring overlap, as on nuScenes' car
CAMERA_HEIGHT = 1.5
RING_RADIUS = 0.5
STEP = 0.5  # metres forward from the frame before: 5 m/s at 10 Hz


def example_batch(
    config: NetworkConfig, cameras: int = 1, size: tuple[int, int] = (640, 480), seed: int = 0
) -> CameraBatch:
    """Return one frame of a ring of cameras, the first looking forward, each image random.

    Args:
        config: says at which size the network takes images.
        cameras: how many, N >= 1.
        size: (width, height) of the cameras' own images, pixels.
        seed: of the image content.

    Raises:
        ValueError: there is no camera, or the size is not positive.
    """
    if cameras < 1 or min(size) < 1:
        raise ValueError(f"cannot make images of {cameras} cameras at {size[0]}x{size[1]}")
    width, height = config.input_size(*size)
    focal = 0.5 * width / math.tan(0.5 * FIELD_OF_VIEW)
    K = torch.tensor([[focal, 0.0, 0.5 * (width - 1)], [0.0, focal, 0.5 * (height - 1)], [0.0, 0.0, 1.0]])
    return CameraBatch(
        images=torch.rand(cameras, 3, height, width, generator=torch.Generator().manual_seed(seed)),
        K=K.repeat(cameras, 1, 1),
        base_from_camera=torch.stack([_mount(2.0 * math.pi * index / cameras) for index in range(cameras)]),
        ground_known=torch.ones(cameras, dtype=torch.bool),
        frame_index=torch.zeros(cameras, dtype=torch.int64),
        num_frames=1,
    )


def previous_of(batch: CameraBatch, output: NetworkOutput) -> PreviousFrame | None:
    """Return a pass's input and output as the frame before the same batch, `STEP` metres further back.

    None when the pass left nothing to remember, so that no task of it looks back.
    """
    if not output.memory:
        return None
    previous_base_from_base = torch.eye(4)
    previous_base_from_base[0, 3] = STEP
    return PreviousFrame(
        features=output.memory,
        K=batch.K,
        previous_from_current=batch.base_from_camera.inverse() @ previous_base_from_base @ batch.base_from_camera,
        valid=torch.ones(len(batch.images), dtype=torch.bool),
    )


def history_of(output: NetworkOutput, frames: int = 15, seconds: float = 0.1) -> History | None:
    """Return a pass's output as that of each of the `frames` before, `seconds` apart; None when it left nothing."""
    if not output.frame_memory:
        return None
    count = len(next(iter(output.frame_memory.values())))
    return History(
        features={key: rows[:, None].expand(-1, frames, *rows.shape[1:]) for key, rows in output.frame_memory.items()},
        age=(seconds * torch.arange(frames, 0, -1)).expand(count, -1),
        valid=torch.ones(count, frames, dtype=torch.bool),
    )


def example_cabin(config: NetworkConfig, batch: CameraBatch, seed: int = 0) -> CabinBatch | None:
    """Return three views of a driver with all joints, each image random; None if the network has no use for them."""
    if config.driving is None:
        return None
    random = torch.Generator().manual_seed(seed)
    frames = batch.num_frames
    return CabinBatch(
        images=torch.rand(frames, 3, 3, *batch.images.shape[-2:], generator=random),
        valid=torch.ones(frames, 3, dtype=torch.bool),
        posture=torch.rand(frames, POSTURE_JOINTS, 3, generator=random),
        gestures=torch.rand(frames, GESTURE_JOINTS, 3, generator=random),
        joints_valid=torch.ones(frames, dtype=torch.bool),
    )


def _mount(yaw: float) -> torch.Tensor:
    """Return base_from_camera (4, 4) of a camera of the ring, looking outward."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    base_from_body = torch.tensor(
        [
            [cos, -sin, 0.0, RING_RADIUS * cos],
            [sin, cos, 0.0, RING_RADIUS * sin],
            [0.0, 0.0, 1.0, CAMERA_HEIGHT],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    return base_from_body @ torch.from_numpy(BODY_FROM_OPTICAL).float()
