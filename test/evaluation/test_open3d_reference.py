# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What Open3D's own pipeline makes of the depth of a wall, beside what the mapper makes of it."""

import numpy as np
import pytest

from mtl_perception.core import Camera, CameraPrediction, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.open3d_reference import Open3dReference
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.map import MapScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.resources import config_file

CONFIG = MapperConfig(voxel_size=0.05)
LABELS = LabelSpace.load(config_file("labels", "default"))
WALL = 2.52  # metres ahead of the start, between two voxels


def frames(depth_error: float = 0.0) -> list[JudgedFrame]:
    """Six looks at a wall, each half a centimetre farther ahead."""
    camera = Camera("front", 96, 72, np.array([[60.0, 0, 47.5], [0, 60.0, 35.5], [0, 0, 1]]), BODY_FROM_OPTICAL)
    result = []
    for number in range(6):
        ahead = 0.005 * number
        base = transform_from((ahead, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
        seen = CameraPrediction(
            camera=camera,
            stamp_ns=number * 10**8,
            world_from_camera=base @ BODY_FROM_OPTICAL,
            colour=np.zeros((72, 96, 3), np.uint8),
            depth=np.full((72, 96), WALL - ahead + depth_error, np.float32),
        )
        prediction = Prediction(number * 10**8, {"front": seen}, "base_link", "odom", base)
        result.append(JudgedFrame(prediction, GroundTruth(), {}, Rig((camera,))))
    return result


def metrics(seen: list[JudgedFrame], mapped: list[JudgedFrame]) -> dict[str, float]:
    reference, mapper = Open3dReference(CONFIG), Mapper(CONFIG, LABELS, with_grid=False)
    for judged in seen:
        reference.add(judged)
    for judged in mapped:
        mapper.fuse(judged.prediction)
    statistics = reference.map_statistics(mapper.mesh())
    return MapScore(LABELS, ScoreOptions()).metrics(TaskStatistics.of([(0, statistics)]).total())


def test_the_mapper_finds_the_surface_that_open3d_finds():
    found = metrics(frames(), frames())
    assert found["f1"] > 0.99 and found["accuracy"] < 0.1 * CONFIG.voxel_size and np.isnan(found["label_accuracy"])


def test_depth_that_is_wrong_shows():
    found = metrics(frames(), frames(depth_error=0.12))
    assert found["accuracy"] == pytest.approx(0.12, abs=0.02) and found["precision"] < 0.05


def test_without_depth_there_is_nothing_to_compare_with():
    reference = Open3dReference(CONFIG)
    assert reference.map_statistics(Mapper(CONFIG, LABELS).mesh()) is None and "no depth image" in reference.why_not
