# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What comes out of perception: one optional field a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform
from mtl_perception.core.voxels import Occupancy

TASKS = (
    "depth",
    "semantic",
    "normals",
    "edges",
    "panoptic",
    "motion_mask",
    "scene_flow",
    "ego_motion",
    "occupancy",
    "bev_map",
    "detections",
    "steering",
    "driver_behaviour",
    "driver_emotion",
    "vehicle_behaviour",
    "traffic_context",
)
"""Every task that a network of this suite can be trained for."""


@dataclass(frozen=True, eq=False)
class CameraPrediction:
    """What a pass says about one camera's image. Images are of the size of `camera`; what was not computed is None.

    Attributes:
        camera: the rectified pinhole camera (no distortion) of the output size.
        stamp_ns: the input image's own stamp.
        world_from_camera: the camera's pose at that stamp, or None.
        colour: uint8 (H, W, 3) RGB, rectified.
        depth: float32 (H, W), metres along the optical axis; NaN where invalid.
        depth_std: float32 (H, W), standard deviation of the depth in metres; NaN where depth is.
        semantic: uint8 (H, W), label ids; 255 where unknown.
        semantic_confidence: float32 (H, W), probability of that label.
        motion_mask: uint8 (H, W), 255 on things that move by themselves, 0 elsewhere.
    """

    camera: Camera
    stamp_ns: int
    world_from_camera: Transform | None
    colour: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    depth_std: NDArray[np.float32] | None = None
    semantic: NDArray[np.uint8] | None = None
    semantic_confidence: NDArray[np.float32] | None = None
    motion_mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a pass says about one frame of the rig.

    Attributes:
        stamp_ns: the frame's stamp.
        cameras: per camera name, in the rig's order.
        base_frame, world_frame: the names of the frames.
        world_from_base: the base's pose at `stamp_ns`, or None.
        missing: the names of the cameras that had no image.
        occupancy: in the base frame at `stamp_ns`, or None.
        tasks: the tasks that were computed.
        seconds: per stage of the pass, the time it took.
    """

    stamp_ns: int
    cameras: Mapping[str, CameraPrediction]
    base_frame: str
    world_frame: str
    world_from_base: Transform | None
    missing: tuple[str, ...] = ()
    occupancy: Occupancy | None = None
    tasks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
