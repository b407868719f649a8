# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Constant predictions say what is computed by hand, and their scores are those of any other prediction."""

import numpy as np
import pytest

from mtl_perception.core import (
    FREE,
    UNOBSERVED,
    BevMap,
    Camera,
    CameraTruth,
    EgoMotion,
    GroundTruth,
    LabelSpace,
    Occupancy,
    Rig,
    RigFrame,
    VoxelGrid,
)
from mtl_perception.core.prediction import Prediction
from mtl_perception.evaluation.judged import judged
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.resources import config_file
from mtl_perception.training.validation.baselines import ConstantPrediction, _best_share

LABELS = LabelSpace.load(config_file("labels", "default"))
HEIGHT, WIDTH = 24, 23  # one pixel of each row is looked at for the median
LENS = np.array([-0.2, 0.05, 0.0, 0.0])
K = np.array([[14.0, 0, 11.0], [0, 14.0, 11.5], [0, 0, 1]])
RIG = Rig((Camera("front", WIDTH, HEIGHT, K, np.eye(4), "plumb_bob", LENS),))
GRID = VoxelGrid((0.0, 0.0, 0.0), 1.0, (2, 1, 1))


def frame(stamp_ns: int = 10**9) -> RigFrame:
    return RigFrame(RIG, stamp_ns, {"front": np.zeros((HEIGHT, WIDTH, 3), np.uint8)}, {"front": stamp_ns}, {}, None)


def truth(step: float = 1.0, angle: float = 0.0, first: int = 3, behaviour: str = "turning") -> GroundTruth:
    """Return a truth: depth from 1 m on by steps, down the image, of two classes; some of it moves."""
    depth = np.repeat(1.0 + step * np.arange(HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)
    semantic = np.full((HEIGHT, WIDTH), 1, np.uint8)
    semantic[: HEIGHT // 3] = 2
    moving = np.zeros((HEIGHT, WIDTH), np.uint8)
    moving[: HEIGHT // 4] = 255
    flow = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    flow[: HEIGHT // 4, :, 0] = 4.0
    normals = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    normals[..., 2] = -1.0
    camera = CameraTruth(depth=depth, semantic=semantic, motion_mask=moving, scene_flow=flow, normals=normals)
    motion = np.eye(4)
    motion[0, 3] = step
    voxels = np.array([first, UNOBSERVED], np.uint8).reshape(GRID.shape)
    return GroundTruth(
        cameras={"front": camera},
        ego_motion=EgoMotion(10**9 - 10**8, motion, np.zeros((6, 6))),
        occupancy=Occupancy(GRID, voxels, np.ones(GRID.shape, np.float32)),
        bev_map=BevMap((0.0, 0.0), 1.0, {"road": np.array([[float(first == 3)], [np.nan]], np.float32)}),
        steering=angle,
        driving_context={"vehicle_behaviour": behaviour},
    )


def learned(truths: list[GroundTruth]) -> ConstantPrediction:
    constant = ConstantPrediction(LABELS, (0.1, 80.0), ("road",), ("vehicle_behaviour",))
    nothing = Prediction(10**9, {}, "base_link", "odom", None)
    for known in truths:
        constant.learn(constant.judged(frame(), known))
        constant.learn_motion(judged(nothing, frame(), known))
    return constant


def metrics(constant: ConstantPrediction, truths: list[GroundTruth]) -> dict[str, dict[str, float]]:
    result = {}
    for score in all_scores(LABELS, ScoreOptions()):
        rows = [row for known in truths if (row := score.frame(constant.judged(frame(), known))) is not None]
        if rows:
            result[score.task] = score.metrics(TaskStatistics.of(list(enumerate(rows))).total())
    return result


def test_the_scores_of_constants_are_those_of_the_hand() -> None:
    truths = [truth(angle=-0.1), truth(angle=0.3)]
    found = metrics(learned(truths), truths)
    depths = 1.0 + np.arange(HEIGHT)
    best = min(np.mean(np.abs(constant - depths) / depths) for constant in np.linspace(1, HEIGHT, 1000))
    assert best * 0.999 < found["depth"]["abs_rel"] < best * 1.02  # of every 23rd pixel
    assert found["depth"]["coverage"] == 1.0  # the corners of the lens, too
    assert found["semantic"]["pixel_accuracy"] == pytest.approx(2 / 3)
    assert found["motion_mask"]["iou"] == pytest.approx(1 / 4)
    assert found["scene_flow"]["epe3d"] == pytest.approx(0.1)  # a quarter of the pixels at 4 m/s for 0.1 s
    assert found["normals"]["mean_deg"] == pytest.approx(0.0, abs=1e-3)
    assert found["steering"]["mse"] == pytest.approx(0.04)  # the middle of two angles is their mean


def test_the_angle_is_that_of_least_absolute_error() -> None:
    truths = [truth(angle=angle) for angle in (0.0, 0.0, 0.9)]
    found = metrics(learned(truths), truths)["steering"]
    assert found["mae_deg"] == pytest.approx(np.degrees(0.3))
    assert found["mse"] > found["mse_of_mean"]


def test_the_mean_velocity_is_taken_over_the_time_between_the_frames() -> None:
    constant = learned([truth(step=1.0), truth(step=3.0)])  # 10 and 30 m/s
    motion = constant.judged(frame(10**9 + 10**8), truth()).prediction.ego_motion
    assert motion is not None
    assert motion.previous_base_from_base[:3, 3] == pytest.approx([4.0, 0.0, 0.0])  # 20 m/s for 0.2 s


def test_the_most_frequent_class_is_said() -> None:
    constant = learned([truth(behaviour="turning"), truth(behaviour="parking"), truth(behaviour="parking")])
    said = constant.judged(frame(), truth()).prediction.driving_context["vehicle_behaviour"]
    assert [name for name, probability in said.items() if probability] == ["parking"]


def test_what_is_seldom_is_said_where_that_overlaps_best() -> None:
    generator = np.random.default_rng(0)
    share = np.array([0.9, 0.3, 0.25, 0.02])
    positive = generator.binomial(1000, share).astype(float)
    least = _best_share(positive, np.full(4, 1000))
    overlaps = {}
    for count in range(1, 5):
        overlaps[count] = positive[:count].sum() / (1000 * count + positive[count:].sum())
    assert max(overlaps, key=overlaps.__getitem__) == 1 and 0.3 < least < 0.9
    # Without the frequent one, the two that are seldom are better called than not.
    assert 0.02 < _best_share(positive[1:], np.full(3, 1000)) < 0.25
    assert _best_share(np.zeros(3), np.zeros(3)) == 0.05  # nothing is known

    truths = [truth(first=3), *[truth(first=FREE)] * 2]  # occupied in one of three; below the ground, alone in its part
    prediction = learned(truths).judged(frame(), truths[0]).prediction
    assert prediction.occupancy is not None
    assert prediction.occupancy.labels.ravel().tolist() == [3, FREE]
    assert prediction.bev_map is not None and prediction.bev_map.layers["road"][0, 0] >= 0.5


def test_voxels_and_cells_are_what_they_are_in_other_worlds() -> None:
    here, others = truth(first=3), [truth(first=7), truth(first=7), truth(first=5)]
    constant = learned([here, *others])
    with constant.without([here]):
        prediction = constant.judged(frame(), here).prediction
    assert prediction.occupancy is not None and prediction.bev_map is not None
    assert prediction.occupancy.labels.ravel().tolist() == [7, FREE]
    assert prediction.bev_map.layers["road"][0, 0] == 0.0
    after = constant.judged(frame(), here).prediction.bev_map
    assert after is not None and after.layers["road"][0, 0] >= 0.5  # true of one of four: better called than never
