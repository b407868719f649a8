# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps beside the map of the truth: of a room with a wall ahead and a floor, whose depth is known exactly."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mtl_perception.core import (
    UNKNOWN,
    Camera,
    CameraPrediction,
    CameraTruth,
    GroundTruth,
    LabelSpace,
    Prediction,
    Rig,
)
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame, SparseDepth
from mtl_perception.evaluation.map_reference import MapReference
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.map import MapScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.mapping import Mapper, MapperConfig, MeshArrays
from mtl_perception.resources import config_file

CONFIG = MapperConfig(voxel_size=0.05)
WALL, HEIGHT = 3.0, 1.0  # metres ahead of the start, and above the floor
STRAIGHT = np.zeros(0)
DISTORTION = np.array([-0.25, 0.08, 0.001, -0.001, 0.0])


@pytest.fixture(scope="module")
def labels():
    return LabelSpace.load(config_file("labels", "default"))


def camera_of(distortion=STRAIGHT):
    K = np.array([[60.0, 0, 47.5], [0, 60.0, 35.5], [0, 0, 1]])
    base_from_camera = BODY_FROM_OPTICAL.copy()
    base_from_camera[2, 3] = HEIGHT
    return Camera("front", 96, 72, K, base_from_camera, "plumb_bob" if len(distortion) else "", distortion)


def rays_of(camera):
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1).astype(np.float64)
    distortion = camera.distortion if len(camera.distortion) else None
    straight = cv2.undistortPoints(pixels.reshape(-1, 1, 2), camera.K, distortion, None, None, None)
    return straight.reshape(camera.height, camera.width, 2)


def room(camera, forward, labels):
    """Depth and labels that a camera sees `forward` metres from the start: the wall, or the floor before it."""
    y = rays_of(camera)[..., 1]
    floor = np.where(y > 0, HEIGHT / np.where(y > 0, y, 1.0), np.inf)
    depth = np.minimum(floor, WALL - forward)
    semantic = np.where(floor < WALL - forward, labels.id_of("floor"), labels.id_of("wall"))
    return depth.astype(np.float32), semantic.astype(np.uint8)


def judged_frame(number, labels, distortion=STRAIGHT, dataset=""):
    """A frame whose prediction is the truth, if its camera has no distortion."""
    camera, forward = camera_of(distortion), 0.1 * number
    pinhole = camera.resized(camera.width, camera.height)
    world_from_base = np.eye(4)
    world_from_base[0, 3] = forward
    depth, semantic = room(pinhole, forward, labels)
    predicted = CameraPrediction(
        pinhole,
        number,
        world_from_base @ camera.base_from_camera,
        np.full((*depth.shape, 3), 90, np.uint8),
        depth=depth,
        semantic=semantic,
    )
    prediction = Prediction(number, {"front": predicted}, "base_link", "odom", world_from_base)
    true_depth, true_semantic = room(camera, forward, labels)
    truth = CameraTruth(depth=true_depth, semantic=true_semantic)
    seen = JudgedCamera(camera, predicted, truth)
    return JudgedFrame(prediction, GroundTruth({"front": truth}, dataset=dataset), {"front": seen}, Rig((camera,)))


def with_truth(frame, sparse_depth=None, **fields):
    camera = frame.cameras["front"]
    truth = replace(camera.truth, **fields)
    changed = replace(camera, truth=truth, sparse_depth=sparse_depth)
    return replace(frame, truth=replace(frame.truth, cameras={"front": truth}), cameras={"front": changed})


def with_prediction(frame, **fields):
    camera = replace(frame.cameras["front"].prediction, **fields)
    prediction = replace(frame.prediction, cameras={"front": camera})
    return replace(frame, prediction=prediction, cameras={"front": replace(frame.cameras["front"], prediction=camera)})


def reference_of(frames, labels, config=CONFIG):
    reference = MapReference(config, labels)
    for frame in frames:
        reference.add(frame)
    return reference


def map_of(frames, labels, config=CONFIG):
    mapper = Mapper(config, labels)
    for frame in frames:
        mapper.integrate(frame.prediction)
    return mapper.mesh()


def metrics_of(reference, mesh, labels):
    statistics = reference.map_statistics(mesh)
    return MapScore(labels, ScoreOptions()).metrics(TaskStatistics.of([(0, statistics)]).total())


@pytest.fixture(scope="module")
def walk(labels):
    return [judged_frame(number, labels) for number in range(4)]


@pytest.fixture(scope="module")
def reference(walk, labels):
    return reference_of(walk, labels)


@pytest.fixture(scope="module")
def mesh(walk, labels):
    return map_of(walk, labels)


def test_a_perfect_prediction_gives_the_reference_itself(reference, mesh, labels):
    best = {"accuracy": 0.0, "completeness": 0.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "label_accuracy": 1.0}
    assert len(mesh.triangles) > 3000
    assert metrics_of(reference, mesh, labels) == best
    assert reference.why_not == ""


def wall_of(mesh, labels):
    """The wall alone: a plane, in which every distance is known."""
    return part_of(mesh, np.abs(mesh.vertices[:, 0] - WALL) < 1e-3)


def part_of(mesh, chosen):
    place = np.cumsum(chosen) - 1
    triangles = mesh.triangles[chosen[mesh.triangles].all(axis=1)]
    columns = (getattr(mesh, name)[chosen] for name in ("colours", "labels", "confidence", "instances"))
    return MeshArrays(mesh.vertices[chosen], place[triangles].astype(np.int32), *columns)


@pytest.fixture(scope="module")
def wall_frames(walk):
    """The walk, of which only the wall's depth is known."""
    frames = []
    for frame in walk:
        depth, wall = frame.cameras["front"].truth.depth, frame.cameras["front"].truth.depth.max()
        depth = np.where(depth == wall, depth, np.float32(np.nan))
        frames.append(with_prediction(with_truth(frame, depth=depth), depth=depth))
    return frames


@pytest.mark.parametrize(("offset", "share"), [(0.04, 1.0), (0.06, 0.0)])
def test_a_wall_at_a_wrong_distance_is_wrong_by_that_distance(wall_frames, labels, offset, share):
    """A point is right within 5 cm, the size of a voxel."""
    mesh = map_of(wall_frames, labels)
    assert np.ptp(mesh.vertices[:, 0]) < 1e-5
    moved = replace(mesh, vertices=mesh.vertices + np.array([offset, 0, 0], np.float32))
    metrics = metrics_of(reference_of(wall_frames, labels), moved, labels)
    assert metrics["accuracy"] == pytest.approx(offset, abs=1e-5)
    assert metrics["completeness"] == pytest.approx(offset, abs=1e-5)
    assert [metrics[name] for name in ("precision", "recall", "f1")] == [share] * 3


def test_half_a_map_is_precise_and_half_complete(wall_frames, labels):
    whole = map_of(wall_frames, labels)
    half = part_of(whole, whole.vertices[:, 1] < 0.001)
    metrics = metrics_of(reference_of(wall_frames, labels), half, labels)
    edge = half.vertices[:, 1].max()
    beyond = np.maximum(whole.vertices[:, 1].astype(np.float64) - edge, 0.0)
    assert metrics["accuracy"] == 0.0
    assert metrics["precision"] == 1.0
    assert metrics["completeness"] == pytest.approx(beyond.mean(), rel=1e-3)
    assert metrics["recall"] == pytest.approx((beyond <= 0.05 + 1e-6).mean())
    assert 0.5 < metrics["recall"] < 0.6


def test_wrong_labels_are_counted_by_vertices(reference, mesh, labels):
    wrong = mesh.labels.copy()
    wrong[:300] = labels.id_of("furniture")
    wrong[300:500] = UNKNOWN
    metrics = metrics_of(reference, replace(mesh, labels=wrong), labels)
    assert metrics["label_accuracy"] == pytest.approx(1 - 500 / len(wrong))
    assert metrics["f1"] == 1.0


def test_an_empty_map_counts(reference, labels):
    empty = Mapper(CONFIG, labels).mesh()
    metrics = metrics_of(reference, empty, labels)
    assert (metrics["recall"], metrics["f1"]) == (0.0, 0.0)
    assert math.isnan(metrics["accuracy"])


def test_a_large_voxel_widens_the_threshold(walk, labels):
    assert reference_of(walk, labels, MapperConfig(voxel_size=0.2)).threshold == 0.2
    assert reference_of(walk, labels, MapperConfig(voxel_size=0.02)).threshold == 0.05


def test_what_moves_is_kept_out_by_its_mask_or_its_class(walk, labels):
    left = np.zeros(walk[0].cameras["front"].truth.depth.shape, bool)
    left[:, :48] = True
    by_mask = [with_truth(frame, motion_mask=np.where(left, 255, 0).astype(np.uint8)) for frame in walk]
    pedestrian = labels.id_of("pedestrian")
    by_class = [
        with_truth(frame, semantic=np.where(left, pedestrian, frame.cameras["front"].truth.semantic).astype(np.uint8))
        for frame in walk
    ]
    for frames in (by_mask, by_class):
        right_only = part_of(map_of(walk, labels), map_of(walk, labels).vertices[:, 1] < -0.1)
        metrics = metrics_of(reference_of(frames, labels), right_only, labels)
        assert metrics["recall"] > 0.95


def test_labels_of_a_dataset_leave_the_predicted_ones_to_tell_what_moves(labels):
    frames = [judged_frame(number, labels, dataset="cityscapes") for number in range(3)]
    frames = [with_truth(frame, semantic=np.full((72, 96), labels.id_of("pedestrian"), np.uint8)) for frame in frames]
    mesh = map_of(frames, labels)
    metrics = metrics_of(reference_of(frames, labels), mesh, labels)
    assert metrics["f1"] == 1.0
    assert math.isnan(metrics["label_accuracy"])


def test_truth_of_a_distorted_camera_is_seen_by_the_pinhole_of_the_prediction(labels):
    frames = [judged_frame(number, labels, DISTORTION) for number in range(4)]
    mesh = map_of(frames, labels)  # whose depth is exact for the pinhole
    metrics = metrics_of(reference_of(frames, labels), mesh, labels)
    assert metrics["accuracy"] < 0.01
    assert metrics["f1"] > 0.98
    straight = [replace(f, cameras={"front": replace(f.cameras["front"], camera=camera_of())}) for f in frames]
    assert metrics_of(reference_of(straight, labels), mesh, labels)["accuracy"] > 0.012


@pytest.mark.parametrize("distortion", [STRAIGHT, DISTORTION])
def test_lidar_points_tell_what_a_map_lacks(labels, distortion):
    """Of nine points at the left, the map has a wall within 2 cm of six and 20 cm away from three."""
    frame = judged_frame(0, labels, distortion)
    camera = frame.cameras["front"].camera
    x, z = (grid.ravel() for grid in np.meshgrid([1.2, 1.8, 2.4], [0.6, 1.0, 1.4]))
    y = np.repeat([0.62, 0.58, 0.4], 3)
    in_camera = np.stack([-y, HEIGHT - z, x], axis=1)
    coefficients = distortion if len(distortion) else None
    pixels, _ = cv2.projectPoints(in_camera, np.zeros(3), np.zeros(3), camera.K, coefficients)
    sparse = SparseDepth(pixels[:, 0].astype(np.float32), x.astype(np.float32))
    reference = reference_of([with_truth(frame, sparse, depth=None, semantic=None)], labels)
    side = wall(0.6)
    side = replace(side, vertices=side.vertices[:, [1, 0, 2]].copy())
    metrics = metrics_of(reference, side, labels)
    assert metrics["completeness"] == pytest.approx((6 * 0.02 + 3 * 0.2) / 9, abs=1e-4)
    assert metrics["recall"] == pytest.approx(6 / 9)
    assert all(math.isnan(metrics[name]) for name in ("accuracy", "precision", "f1", "label_accuracy"))
    assert "single points" in reference.why_not


def wall(x):
    corners = np.array([[x, -9, -9], [x, 9, -9], [x, 9, 9], [x, -9, 9]], np.float32)
    columns = np.zeros((4, 3), np.uint8), np.zeros(4, np.uint8), np.ones(4, np.float32), np.zeros(4, np.uint16)
    return MeshArrays(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), *columns)


def test_lidar_points_are_thinned_and_kept_within_reach_and_off_movable_things(labels):
    frame = judged_frame(0, labels)
    pixels = np.array([[40, 30], [40.1, 30], [60, 30], [70, 30], [20, 30]], np.float32)
    depth = np.array([3.01, 3.01, 3.0, 50.0, 3.0], np.float32)
    semantic = frame.cameras["front"].prediction.semantic.copy()
    semantic[30, 20] = labels.id_of("car")
    frame = with_prediction(with_truth(frame, SparseDepth(pixels, depth), depth=None), semantic=semantic)
    statistics = reference_of([frame, frame], labels).map_statistics(wall(WALL))
    assert statistics.sums["reference_points"] == 2


def test_a_bag_without_truth_or_poses_says_why(walk, labels, mesh):
    nothing = MapReference(CONFIG, labels)
    assert nothing.map_statistics(mesh) is None
    assert "no frame has true depth" in nothing.why_not
    lost = replace(walk[0], prediction=replace(walk[0].prediction, world_from_base=None))
    assert "no pose is known" in reference_of([lost], labels).why_not
    far = reference_of(walk, labels, MapperConfig(max_depth=0.5))
    assert far.map_statistics(mesh) is None
    assert "within the map's reach" in far.why_not
