# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The best and worst frames: which are kept, which camera is shown, and that pictures show where it is wrong."""

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mtl_perception.core import CameraPrediction, CameraTruth, Detection, LabelSpace, Prediction, Sample
from mtl_perception.data.world import World
from mtl_perception.evaluation.camera_views import TILE_WIDTH, CameraViews
from mtl_perception.evaluation.gallery import Gallery
from mtl_perception.evaluation.judged import JudgedFrame, SparseDepth, judged
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.scores.detection_matching import true_boxes
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORES = all_scores(LABELS, ScoreOptions())
SECOND = 1_000_000_000
IMAGE_TASKS = ("depth", "semantic", "panoptic", "edges", "normals", "motion_mask", "scene_flow")
ALL = (*IMAGE_TASKS, "occupancy", "bev_map", "detections")


@pytest.fixture(scope="module")
def sample() -> Sample:
    return World.generate("street", 4, LABELS, image_size=(160, 120), duration_s=7.0).render(6.0, previous_s=5.9)


def fed_back(sample: Sample, stamp_ns: int = 0, **changes: Mapping[str, CameraPrediction]) -> JudgedFrame:
    """The truth as prediction, of all tasks."""
    frame, truth = sample.frame, sample.truth
    cameras = {}
    for name, known in truth.cameras.items():
        images = {task: getattr(known, task) for task in IMAGE_TASKS}
        images["depth"] = np.where(np.isfinite(known.depth), known.depth, np.nan).astype(np.float32)
        cameras[name] = CameraPrediction(frame.rig[name], stamp_ns, None, frame.images[name], **images)
    prediction = Prediction(stamp_ns, cameras, "base_link", "odom", None, (), truth.occupancy, truth.bev_map, ())
    both = judged(prediction, frame, truth)
    boxes = true_boxes(both, LABELS)
    found = tuple(
        Detection(int(b[0]), 0.9, tuple(b[1]), tuple(b[2]), float(b[3]), (0.0, 0.0))
        for b in zip(boxes.label, boxes.centre, boxes.size, boxes.yaw, strict=True)
    )
    return judged(replace(prediction, detections=found), frame, truth)


def with_camera(both: JudgedFrame, name: str, **images: np.ndarray) -> JudgedFrame:
    cameras = dict(both.prediction.cameras)
    cameras[name] = replace(cameras[name], **images)
    changed = replace(both.cameras[name], prediction=cameras[name], _cache={})
    return replace(both, prediction=replace(both.prediction, cameras=cameras), cameras={**both.cameras, name: changed})


def at(both: JudgedFrame, seconds: float) -> JudgedFrame:
    return replace(both, prediction=replace(both.prediction, stamp_ns=round(seconds * SECOND)))


def picture_of(both: JudgedFrame, task: str) -> np.ndarray:
    gallery = Gallery(SCORES, LABELS)
    gallery.consider(both, {task: 0.5})
    (picture,) = gallery.pictures()
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def tilted(normals: np.ndarray) -> np.ndarray:
    """Some 30 degrees away."""
    other = normals + np.float32(0.4)
    return other / np.linalg.norm(other, axis=-1, keepdims=True)


def colourful(image: np.ndarray) -> float:
    """The share of pixels with a strong colour."""
    return float((np.ptp(image.astype(int), axis=-1) > 90).mean())


def test_every_task_with_a_picture_gets_one(sample):
    gallery = Gallery(SCORES, LABELS)
    gallery.consider(fed_back(sample), dict.fromkeys((*ALL, "steering", "ego_motion"), 0.5))
    pictures = {picture.task: picture for picture in gallery.pictures()}
    assert set(pictures) == set(ALL)
    for task, picture in pictures.items():
        image = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[1] <= 2 * TILE_WIDTH + 6 and image.shape[0] > 300 and image.std() > 10
        assert bool(picture.camera) is (task in IMAGE_TASKS)
        assert len(picture.png) < 700_000


def test_the_best_and_the_worst_by_the_tasks_own_direction(sample):
    gallery = Gallery(SCORES, LABELS, per_task=2)
    both = fed_back(sample)
    for second, value in enumerate([0.5, 0.9, 0.1, 0.7, 0.2, 0.3]):
        gallery.consider(at(both, 2 * second), {"depth": value, "motion_mask": value})
    kept = {}
    for picture in gallery.pictures():
        kept.setdefault((picture.task, picture.kind), []).append(picture.value)
    assert kept == {
        ("depth", "worst"): [0.9, 0.7],
        ("depth", "best"): [0.1, 0.2],
        ("motion_mask", "worst"): [0.1, 0.2],
        ("motion_mask", "best"): [0.9, 0.7],
    }


def test_of_frames_within_a_second_only_the_extreme_one_is_kept(sample):
    gallery = Gallery(SCORES, LABELS, per_task=3)
    both = fed_back(sample)
    for tenth, value in enumerate([0.3, 0.5, 0.8, 0.7]):
        gallery.consider(at(both, tenth / 10), {"depth": value})
    worst = [picture for picture in gallery.pictures() if picture.kind == "worst"]
    assert [(picture.value, picture.stamp_ns) for picture in worst] == [(0.8, SECOND // 5)]


def test_a_frame_that_is_both_is_shown_once_and_nan_is_not_kept(sample):
    gallery = Gallery(SCORES, LABELS)
    gallery.consider(at(fed_back(sample), 1), {"depth": 0.4, "semantic": float("nan")})
    assert [(picture.task, picture.kind) for picture in gallery.pictures()] == [("depth", "worst")]


def test_nothing_is_drawn_for_a_frame_that_is_not_kept(sample, monkeypatch):
    gallery = Gallery(SCORES, LABELS, per_task=1)
    both = fed_back(sample)
    gallery.consider(at(both, 0), {"depth": 0.1})
    gallery.consider(at(both, 2), {"depth": 0.9})
    monkeypatch.setattr(CameraViews, "compare", lambda *_: pytest.fail("drawn"))
    gallery.consider(at(both, 4), {"depth": 0.5})


def test_the_worst_camera_of_the_frame_is_shown(sample):
    both = fed_back(sample)
    name = sorted(both.cameras)[1]
    wrong = both.prediction.cameras[name].depth * 1.2
    gallery = Gallery(SCORES, LABELS)
    gallery.consider(with_camera(both, name, depth=wrong), {"depth": 0.2})
    assert gallery.pictures()[0].camera == name


@pytest.mark.parametrize("task", ["semantic", "panoptic", "edges", "motion_mask", "normals", "scene_flow", "depth"])
def test_the_last_tile_is_without_colour_where_the_prediction_is_right(sample, task):
    views, both = CameraViews(LABELS, ScoreOptions()), fed_back(sample)
    compared = {name: views.compare(task, camera, "") for name, camera in both.cameras.items()}
    assert max(comparison.wrong for comparison in compared.values()) <= 0.1 * (task == "normals")
    name = next(iter(compared))
    error = compared[name].draw()[400:600, TILE_WIDTH + 30 : -30]
    if task not in ("edges", "motion_mask"):  # what is found is green there
        assert colourful(error) < 0.01
    broken = {
        "semantic": {"semantic": np.full_like(both.cameras[name].truth.semantic, 3)},
        "panoptic": {"panoptic": np.full_like(both.cameras[name].truth.panoptic, 3000)},
        "edges": {"edges": np.full_like(both.cameras[name].truth.edges, 255)},
        "motion_mask": {"motion_mask": np.full_like(both.cameras[name].truth.motion_mask, 255)},
        "normals": {"normals": tilted(both.cameras[name].truth.normals)},
        "scene_flow": {"scene_flow": both.cameras[name].truth.scene_flow + np.float32(1)},
        "depth": {"depth": both.cameras[name].prediction.depth * 1.4},
    }[task]
    comparison = views.compare(task, with_camera(both, name, **broken).cameras[name], "")
    assert comparison.wrong > compared[name].wrong
    assert colourful(comparison.draw()[400:600, TILE_WIDTH + 30 : -30]) > 0.2


def test_depth_that_is_known_at_places_is_drawn_as_dots(sample):
    both = fed_back(sample)
    name = next(iter(both.cameras))
    depth = both.cameras[name].prediction.depth
    v, u = np.nonzero(np.isfinite(depth) & (depth < 60))
    chosen = slice(None, None, 37)
    pixels, values = np.stack([u, v], axis=-1)[chosen].astype(np.float32), depth[v, u][chosen]
    camera = replace(both.cameras[name], truth=CameraTruth(), sparse_depth=SparseDepth(pixels, values * 1.25))
    comparison = CameraViews(LABELS, ScoreOptions()).compare("depth", camera, "")
    assert comparison.wrong == pytest.approx(0.2, abs=0.01)
    image = comparison.draw()
    blue = (image[..., 2].astype(int) - image[..., 0]) > 60  # too near
    tile = blue[400:600, TILE_WIDTH + 30 : -30]
    assert 0.005 < tile.mean() < 0.5


def test_labels_of_a_dataset_are_right_where_they_may_stand_for_the_prediction(sample):
    both = fed_back(sample)
    name = next(iter(both.cameras))
    dataset = next(iter(LABELS.datasets))
    may_be = LABELS.candidates(dataset)
    source = int(np.flatnonzero(may_be.any(axis=1))[0])
    truth = np.full(both.cameras[name].truth.semantic.shape, source, np.uint8)
    truth[:10] = 255 if not may_be[255].any() else truth[0, 0]
    right = np.full(truth.shape, may_be[source].argmax(), np.uint8)
    wrong = np.full(truth.shape, np.flatnonzero(~may_be[source])[0], np.uint8)
    views = CameraViews(LABELS, ScoreOptions())
    for predicted, expected in ((right, 0.0), (wrong, 1.0)):
        camera = with_camera(both, name, semantic=predicted).cameras[name]
        camera = replace(camera, truth=CameraTruth(semantic=truth), _cache={})
        assert views.compare("semantic", camera, dataset).wrong == expected


def test_boxes_are_drawn_where_they_are(sample):
    both = fed_back(sample)
    empty = picture_of(replace(both, prediction=replace(both.prediction, detections=())), "detections")
    moved = tuple(replace(box, centre=(20.0, 30.0, 1.0)) for box in both.prediction.detections[:1])
    drawn = picture_of(replace(both, prediction=replace(both.prediction, detections=moved)), "detections")
    rows, columns = np.nonzero(np.any(empty != drawn, axis=-1)[:460, :TILE_WIDTH])
    scale = TILE_WIDTH / 100
    assert rows.mean() == pytest.approx(26 + (50 - 20) * scale, abs=6), "x is up"
    assert columns.mean() == pytest.approx((50 - 30) * scale, abs=6), "y is to the left"
