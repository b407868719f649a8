# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Samples with every kind of truth, made by hand: for tests of what is done with samples."""

from collections.abc import Callable

import numpy as np
import pytest

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.prediction import BevMap, EgoMotion
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse, transform_from
from mtl_perception.core.voxels import FREE, UNOBSERVED, Occupancy, VoxelGrid

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000


def _world_from_base(stamp_ns: int) -> Transform:
    """Drive a left turn."""
    seconds = (stamp_ns - START_NS) * 1e-9
    half = 0.1 * seconds
    return transform_from([5 * seconds, seconds**2, 0.1], [0.0, 0.0, np.sin(half), np.cos(half)])


def _rig() -> Rig:
    K = np.array([[8.0, 0, 5.5], [0, 8.0, 3.5], [0, 0, 1]])
    left_from_front = transform_from([0.1, 0.5, 0.0], [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])
    front = transform_from([1.5, 0.0, 1.4], [0.0, 0.0, 0.0, 1.0])
    return Rig(
        (
            Camera("front", 12, 8, K, front @ BODY_FROM_OPTICAL, frame_id="front_optical_frame"),
            Camera(
                "left",
                12,
                8,
                K,
                front @ left_from_front @ BODY_FROM_OPTICAL,
                "plumb_bob",
                np.array([-0.1, 0.02, 0.0, 0.0]),
                "left_optical_frame",
            ),
        )
    )


def _camera_truth(generator: np.random.Generator) -> CameraTruth:
    depth = generator.uniform(1, 50, (8, 12)).astype(np.float32)
    depth[0], depth[1, 0] = np.inf, np.nan
    flow = generator.normal(size=(8, 12, 3)).astype(np.float32)
    flow[0] = np.nan
    return CameraTruth(
        depth,
        generator.integers(0, 16, (8, 12), dtype=np.uint8),
        generator.integers(0, 2000, (8, 12), dtype=np.int32),
        generator.integers(-1, 16000, (8, 12), dtype=np.int32),
        generator.normal(size=(8, 12, 3)).astype(np.float32),
        generator.choice(np.array([0, 255], np.uint8), (8, 12)),
        generator.choice(np.array([0, 255], np.uint8), (8, 12)),
        flow,
    )


def _rig_truth(generator: np.random.Generator, index: int, stamp_ns: int) -> GroundTruth:
    labels = generator.choice(np.array([0, 3, FREE, UNOBSERVED], np.uint8), (6, 5, 4))
    occupancy = Occupancy(VoxelGrid((-1.0, -2.0, -0.5), 0.4, (6, 5, 4)), labels, (labels < FREE).astype(np.float32))
    layers = {
        name: generator.choice(np.array([0.0, 1.0, np.nan], np.float32), (6, 5)) for name in ("road", "lane_marking")
    }
    pose = transform_from([4.0, 1.0, 0.7], [0.0, 0.0, 0.6, 0.8])
    boxes = (
        Box(pose, (4.2, 1.8, 1.5), "car", "17", velocity=np.array([1.5, -0.25, 0.0])),
        Box(pose @ pose, (0.5, 0.5, 1.8), "pedestrian", "18"),
    )
    sweep_ns = stamp_ns + 20_000_000
    points = generator.normal(size=(30, 3)).astype(np.float32)
    sweep = Sweep(sweep_ns, _world_from_base(sweep_ns), points, generator.random(30).astype(np.float32), boxes)
    motion = None
    if index > 0:
        before = stamp_ns - PERIOD_NS
        moved = inverse(_world_from_base(before)) @ _world_from_base(stamp_ns)
        motion = EgoMotion(before, moved, np.diag(np.arange(1.0, 7.0)))
    return GroundTruth(
        {name: _camera_truth(generator) for name in ("front", "left")},
        ego_motion=motion,
        sweep=sweep,
        occupancy=occupancy,
        bev_map=BevMap((-1.2, 2.4), 0.4, layers),
        steering=-0.125,
        driving_context={"traffic_context": "smooth traffic", "driver_emotion": "peace"},
    )


@pytest.fixture(scope="session")
def make_sample() -> Callable[[int], Sample]:
    """A function that gives frame `index` of a drive: two cameras, each with its own stamp, and all of its truth."""

    def make(index: int) -> Sample:
        generator = np.random.default_rng(index)
        stamp_ns = START_NS + index * PERIOD_NS
        stamps = {"front": stamp_ns, "left": stamp_ns + 7_000_000}
        rig = _rig()
        frame = RigFrame(
            rig,
            stamp_ns,
            {name: generator.integers(0, 256, (8, 12, 3), dtype=np.uint8) for name in stamps},
            stamps,
            {name: _world_from_base(stamp) @ rig[name].base_from_camera for name, stamp in stamps.items()},
            _world_from_base(stamp_ns),
        )
        posture = generator.normal(size=(26, 3))
        posture[3] = np.nan
        cabin = CabinFrame(
            {name: generator.integers(0, 256, (6, 7, 3), dtype=np.uint8) for name in ("driver", "face")},
            posture,
            generator.normal(size=(42, 3)),
        )
        return Sample(frame, _rig_truth(generator, index, stamp_ns), cabin=cabin)

    return make
