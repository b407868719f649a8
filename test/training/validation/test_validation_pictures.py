# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The best and worst frames of a validation: told apart where stamps do not, and drawn as they are."""

import cv2
import numpy as np
import pytest

from mtl_perception.core import LabelSpace, Prediction, Sample
from mtl_perception.data.world import World
from mtl_perception.evaluation.gallery import Gallery
from mtl_perception.evaluation.judged import JudgedFrame, judged
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.resources import config_file
from mtl_perception.training.validation.pictures import Shots

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORES = all_scores(LABELS, ScoreOptions())


def nothing_found(sample: Sample) -> JudgedFrame:
    frame = sample.frame
    found = Prediction(frame.stamp_ns, {}, "base_link", "odom", frame.world_from_base, (), detections=())
    return judged(found, frame, sample.truth)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return World.generate("street", 4, LABELS, image_size=(160, 120), duration_s=7.0).render(6.0, previous_s=5.9)


def test_moving_boxes_are_drawn_where_they_are(sample: Sample) -> None:
    speeds = [np.linalg.norm(box.velocity) for box in sample.truth.sweep.boxes]
    assert sum(speed > 2.0 for speed in speeds) >= 2
    both = nothing_found(sample)
    gallery, shots = Gallery(SCORES, LABELS, per_task=1), Shots("street", SCORES, LABELS)
    gallery.consider(both, {"detections": 0.5})
    shots.consider(both, {"detections": 0.5}, "here")
    (picture,), (shot,) = gallery.pictures(), shots.shots()
    expected, drawn = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int) for data in (picture.png, shot.jpeg)
    )
    assert (np.abs(expected - drawn).max(axis=-1) > 80).sum() < 20  # JPEG is not exact


def test_frames_of_one_stamp_are_told_apart(sample: Sample) -> None:
    both, shots = nothing_found(sample), Shots("street", SCORES, LABELS)
    shots.consider(both, {"detections": 0.2}, "here")
    shots.consider(both, {"detections": 0.7}, "there")
    assert {(shot.kind, shot.place) for shot in shots.shots()} == {("worst", "here"), ("best", "there")}
