# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What comes out of perception: one optional field a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform
from mtl_perception.core.voxels import Occupancy

Task = Literal[
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
]
TASKS: tuple[Task, ...] = get_args(Task)
"""Every task that a network of this suite can be trained for."""

MAPPED_TASKS: tuple[Task, ...] = ("depth", "semantic", "panoptic", "motion_mask", "detections")
"""What a map and its scene graph are made from, as far as the network has it."""


@dataclass(frozen=True, eq=False)
class CameraPrediction:
    """What a pass says about one camera's image. Images are of the size of `camera`; what was not computed is None.

    Surface: depth, where it is computed, says which pixels show one (those of the sky do not). Outside: where the
    rectified image shows more than the source image does.

    Attributes:
        camera: the rectified pinhole camera (no distortion) of the output size.
        stamp_ns: the input image's own stamp.
        world_from_camera: the camera's pose at that stamp, or None.
        colour: uint8 (H, W, 3) RGB, rectified.
        depth: float32 (H, W), metres along the optical axis; NaN where there is no surface, and outside.
        depth_std: float32 (H, W), standard deviation of the depth in metres; NaN where depth is.
        semantic: uint8 (H, W), label ids; 255 where unknown, as outside.
        semantic_confidence: float32 (H, W), probability of that label; 0 outside.
        normals: float32 (H, W, 3), unit length, in the camera's optical frame, towards the camera; NaN where there is
            no surface, and outside.
        edges: uint8 (H, W), 255 on borders between classes, 0 elsewhere and outside.
        edge_probability: float32 (H, W), probability of such a border, 0 to 1; 0 outside.
        panoptic: int32 (H, W), label * 1000 + instance, with instance 0 for stuff and 1 to 999 for things, numbered
            anew in every image; -1 where unknown, as outside.
        motion_mask: uint8 (H, W), 255 on things that move by themselves, 0 elsewhere; None without a previous image.
        scene_flow: float32 (H, W, 3), velocity over ground in m/s (the ego motion removed) of what the pixel shows, in
            the axes of the base frame; NaN where there is no surface, outside, and without a previous image.
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
    normals: NDArray[np.float32] | None = None
    edges: NDArray[np.uint8] | None = None
    edge_probability: NDArray[np.float32] | None = None
    panoptic: NDArray[np.int32] | None = None
    scene_flow: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class EgoMotion:
    """How the base has moved since the frame before, as estimated from images alone.

    Attributes:
        previous_stamp_ns: the stamp of that frame.
        previous_base_from_base: (4, 4), metres: the base's pose now, in the base frame of then.
        covariance: (6, 6), x, y, z in metres and rotations about x, y, z in radians (the order of ROS), of the small
            motion d, in the axes of the base now, by which the truth may differ: truth = estimate * exp(d).
    """

    previous_stamp_ns: int
    previous_base_from_base: Transform
    covariance: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BevMap:
    """Layers of the ground seen from above, in the base frame. They may overlap: a crossing lies on the road.

    Attributes:
        origin: x and y of the outer corner of cell (0, 0), metres.
        cell_size: edge of a cell, metres.
        layers: per layer's name, float32 (X, Y), the probability that the cell belongs to it; X is along the base's x.
    """

    origin: tuple[float, float]
    cell_size: float
    layers: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Detection:
    """A box around a thing, in the base frame.

    Attributes:
        label: id of its class.
        score: 0 to 1.
        centre: x, y, z of the box's centre, metres.
        size: length (along its heading), width, height, metres.
        yaw: heading about z, 0 along x, -pi to pi, radians.
        velocity: x and y over ground, in the axes of the base frame, m/s.
    """

    label: int
    score: float
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float
    velocity: tuple[float, float]


@dataclass(frozen=True)
class Steering:
    """The steering angle that suits the scene: radians, left positive, and its standard deviation in radians."""

    angle: float
    std: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a pass says about one frame of the rig. What was not computed is None, or empty.

    Attributes:
        stamp_ns: the frame's stamp.
        cameras: per camera name, in the rig's order.
        base_frame, world_frame: the names of the frames.
        world_from_base: the base's pose at `stamp_ns`, or None.
        missing: the names of the cameras that had no image.
        occupancy: in the base frame at `stamp_ns`.
        bev_map: likewise.
        detections: boxes, likewise, the most certain first; empty where nothing was found.
        ego_motion: None without a previous frame, too.
        steering: of the vehicle's front wheels.
        driving_context: per scene-level task (`driver_behaviour`, `vehicle_behaviour`, ...) the names of its classes
            with their probabilities, which add up to 1.
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
    bev_map: BevMap | None = None
    detections: tuple[Detection, ...] | None = None
    ego_motion: EgoMotion | None = None
    steering: Steering | None = None
    driving_context: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
