# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures against a bag's ground truth give the known answer on made-up recordings."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.serialization import serialize_message

from mtl_perception.core import (
    FREE,
    Camera,
    CameraPrediction,
    CameraTruth,
    GroundTruth,
    LabelSpace,
    Occupancy,
    Prediction,
    Rig,
    Sample,
    Sweep,
    VoxelGrid,
)
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.data.recordings import Recording
from mtl_perception.data.recordings.recording import EPOCH_NS, Shot, rig_frame
from mtl_perception.data.recordings.writing import write_recording
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.messages.predictions import to_occupancy, to_rig_prediction
from mtl_perception.running.ground_truth import (
    depth_abs_rel,
    has_ground_truth,
    map_distance,
    occupancy_ground_error_m,
)
from mtl_perception.running.recorder import PredictionRecorder

FRAMES = 3
STEP_NS = 100_000_000
CONFIG = MapperConfig(voxel_size=0.1, max_depth=10.0)


@pytest.fixture
def labels() -> LabelSpace:
    return LabelSpace.load(Path(__file__).parents[2] / "config" / "labels" / "default.yaml")


def test_depth_that_is_a_tenth_too_long_has_abs_rel_of_a_tenth(tmp_path):
    bag = _wall_bag(tmp_path / "bag")
    assert has_ground_truth(bag)
    assert depth_abs_rel(bag, _recorded(1.1)) == pytest.approx(0.1, abs=2e-3)


def test_the_map_of_the_true_depth_is_at_no_distance(tmp_path, labels):
    bag = _wall_bag(tmp_path / "bag")
    for scale, distance in ((1.0, 0.0), (1.05, 0.2)):
        measured = map_distance(bag, _recorded(scale), _mesh(scale, labels), CONFIG, labels)
        assert measured["mesh_distance_m"] == pytest.approx(distance, abs=0.02)
        assert measured["mesh_completeness"] == pytest.approx(1.0, abs=0.02)
        assert measured["mesh_completeness_within_m"] == pytest.approx(0.2)


def test_lidar_stands_in_where_no_depth_image_was_recorded(tmp_path):
    points = np.stack(np.meshgrid([4.0], np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), axis=-1).reshape(-1, 3)
    bag = _wall_bag(tmp_path / "bag", depth=False, points=points)
    assert depth_abs_rel(bag, _recorded(0.8)) == pytest.approx(0.2, abs=2e-3)


def test_ground_that_is_predicted_too_high_is_told(tmp_path, labels):
    x, y = np.meshgrid(np.arange(-3.9, 4, 0.2), np.arange(-3.9, 4, 0.2))
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, -0.05)], axis=1)
    bag = _wall_bag(tmp_path / "bag", depth=False, points=points)
    grid = VoxelGrid((-4.0, -4.0, -1.0), 0.5, (16, 16, 4))
    voxels = np.full(grid.shape, FREE, np.uint8)
    voxels[:, :, 2] = labels.id_of("road")  # its centre is at +0.25 m
    recorder = PredictionRecorder()
    message = to_occupancy(Occupancy(grid, voxels, np.zeros(grid.shape, np.float32)), EPOCH_NS, "base_link")
    recorder.take_occupancy(serialize_message(message))
    recorder.close()
    assert occupancy_ground_error_m(bag, recorder, labels) == pytest.approx(0.3, abs=1e-6)


def test_a_bag_without_ground_truth_has_no_measures(tmp_path, labels):
    bag = _wall_bag(tmp_path / "bag", depth=False)
    recorder = _recorded(1.0)
    assert not has_ground_truth(bag)
    assert depth_abs_rel(bag, recorder) is None
    assert occupancy_ground_error_m(bag, recorder, labels) is None
    assert map_distance(bag, recorder, _mesh(1.0, labels), CONFIG, labels) == {}


def _camera() -> Camera:
    K = np.array([[80.0, 0, 39.5], [0, 80, 29.5], [0, 0, 1]])
    return Camera("front", 80, 60, K, BODY_FROM_OPTICAL, frame_id="front_optical_frame")


def _poses() -> Iterator[tuple[int, np.ndarray]]:
    """The robot steps sideways along a wall that stays 4 m ahead."""
    for frame in range(FRAMES):
        yield EPOCH_NS + frame * STEP_NS, transform_from([0.0, 0.1 * frame, 0.0], [0.0, 0.0, 0.0, 1.0])


class _Wall(Recording):
    """A wall that fills every image, as a depth image or as LiDAR points."""

    def __init__(self, depth: np.ndarray | None, points: np.ndarray | None) -> None:
        self.name, self.rig, self._poses = "wall", Rig((_camera(),)), list(_poses())
        self._depth, self._points = depth, points

    def __len__(self) -> int:
        return FRAMES

    def stamp_ns(self, index: int) -> int:
        return self._poses[index][0]

    def odom_from_base(self, index: int) -> np.ndarray:
        return self._poses[index][1]

    def _read(self, index: int) -> Sample:
        stamp_ns, pose = self._poses[index]
        shot = Shot(stamp_ns, np.zeros((60, 80, 3), np.uint8), pose)
        sweep = None if self._points is None else Sweep(stamp_ns, pose, points=self._points)
        truth = GroundTruth({"front": CameraTruth(depth=self._depth)}, sweep=sweep)
        return Sample(rig_frame(self.rig, {"front": shot}), truth)


def _wall_bag(path: Path, depth: bool = True, points: np.ndarray | None = None) -> Path:
    wall = np.full((60, 80), 4.0, np.float32) if depth else None
    write_recording(_Wall(wall, points), path, "mcap")
    return path


def _predictions(scale: float) -> Iterator[Prediction]:
    camera = _camera()
    colour = np.zeros((60, 80, 3), np.uint8)
    depth = np.full((60, 80), 4.0 * scale, np.float32)
    for stamp_ns, world_from_base in _poses():
        pose = world_from_base @ camera.base_from_camera
        view = CameraPrediction(camera, stamp_ns, pose, colour, depth=depth)
        yield Prediction(stamp_ns, {"front": view}, "base_link", "odom", world_from_base)


def _recorded(scale: float) -> PredictionRecorder:
    recorder = PredictionRecorder()
    for prediction in _predictions(scale):
        recorder.take_frame(serialize_message(to_rig_prediction(prediction)))
    recorder.close()
    return recorder


def _mesh(scale: float, labels: LabelSpace):
    mapper = Mapper(CONFIG, labels)
    for prediction in _predictions(scale):
        mapper.integrate(prediction)
    return mapper.mesh()
