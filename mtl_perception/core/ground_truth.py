# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is known to be true about a frame, whatever it comes from; and a frame with it: a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.prediction import BevMap, EgoMotion
from mtl_perception.core.transforms import Transform
from mtl_perception.core.voxels import Occupancy


@dataclass(frozen=True, eq=False)
class Box:
    """One box around a thing.

    Attributes:
        frame_from_box: 4x4, metres: the box's centre and axes (x forward, y left, z up) in the frame that the box is
            given in.
        size: extent along those axes (length, width, height), metres.
        label: the name of its class.
        track: the same for one thing over time, "" where unknown.
        score: confidence, 0 to 1.
        velocity: (3,) over ground, in the axes of the frame that the box is given in, m/s; None where unknown.
    """

    frame_from_box: Transform
    size: tuple[float, float, float]
    label: str
    track: str = ""
    score: float = 1.0
    velocity: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class CameraTruth:
    """What is known about one image, at the image's own pixels (distorted as it is). None: nothing is known.

    Attributes:
        depth: float32 (H, W), metres along the optical axis; NaN where unknown, +inf where there is no surface (sky).
        semantic: uint8 (H, W), label ids of `GroundTruth.dataset`; 255 where unknown.
        instance: int32 (H, W), the number of the thing, the same in all images of a recording; 0 where it is none.
        panoptic: int32 (H, W), label * 1000 + instance, with instance 0 for stuff and 1 to 999 for things; -1 unknown.
        normals: float32 (H, W, 3), unit length, in the camera's optical frame, towards the camera; NaN where unknown.
        edges: uint8 (H, W), 255 on borders between classes, 0 elsewhere.
        motion_mask: uint8 (H, W), 255 on things that move by themselves, 0 elsewhere.
        scene_flow: float32 (H, W, 3), velocity over ground in m/s (the ego motion removed) of what the pixel shows, in
            the axes of the base frame at the image's stamp; NaN where unknown.
    """

    depth: NDArray[np.float32] | None = None
    semantic: NDArray[np.uint8] | None = None
    instance: NDArray[np.int32] | None = None
    panoptic: NDArray[np.int32] | None = None
    normals: NDArray[np.float32] | None = None
    edges: NDArray[np.uint8] | None = None
    motion_mask: NDArray[np.uint8] | None = None
    scene_flow: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is known of the surroundings at one stamp, in the base frame of that stamp.

    Attributes:
        stamp_ns: nanoseconds.
        world_from_base: the base's pose at that stamp, or None.
        points: (N, 3) LiDAR points in metres, or None.
        intensity: (N,) of the points, or None.
        boxes: around things; None where they are not annotated.
    """

    stamp_ns: int
    world_from_base: Transform | None
    points: NDArray | None = None
    intensity: NDArray | None = None
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is known about one frame of a rig. None, or empty: nothing is known.

    Attributes:
        cameras: per camera name.
        dataset: the name of the label space's mapping that `CameraTruth.semantic` needs; "" for the suite's own ids.
        ego_motion: since the frame before.
        sweep: LiDAR points and boxes.
        occupancy: of what the cameras see, in the base frame at the frame's stamp; what they do not see is
            `UNOBSERVED`.
        bev_map: in the base frame at the frame's stamp; layers are 0 or 1, NaN where unknown.
        steering: of the vehicle's front wheels, radians, left positive.
        driving_context: per scene-level task (`driver_behaviour`, `vehicle_behaviour`, ...) the name of its class.
    """

    cameras: Mapping[str, CameraTruth] = field(default_factory=dict)
    dataset: str = ""
    ego_motion: EgoMotion | None = None
    sweep: Sweep | None = None
    occupancy: Occupancy | None = None
    bev_map: BevMap | None = None
    steering: float | None = None
    driving_context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sample:
    """One frame with what is known about it.

    Attributes:
        frame: the images with their calibration and poses.
        truth: what is true of them.
        previous: the frame before, where there is one and it was asked for.
        cabin: what is known of the driver, or None.
    """

    frame: RigFrame
    truth: GroundTruth
    previous: RigFrame | None = None
    cabin: CabinFrame | None = None
