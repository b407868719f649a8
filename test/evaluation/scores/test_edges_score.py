# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Edge scores: by hand, thinning against scikit-image, and matching against an assignment."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from skimage.morphology import thin

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.edges import EdgesScore, matches, thinned
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals
from mtl_perception.resources import config_file

SCORE = EdgesScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
HEIGHT, WIDTH = 120, 160  # a diagonal of 200: edges may be 1.5 pixels apart
Probabilities = NDArray[np.float32]


def frame(
    truth: NDArray[np.bool_] | None, mask: NDArray[np.bool_] | None = None, probability: Probabilities | None = None
) -> JudgedFrame:
    """Return one camera's image, predicted at its own size."""
    K = np.array([[float(WIDTH), 0, WIDTH / 2], [0, float(WIDTH), HEIGHT / 2], [0, 0, 1]])
    camera = Camera("front", WIDTH, HEIGHT, K, np.eye(4))
    prediction = CameraPrediction(
        camera,
        0,
        None,
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        edges=None if mask is None else mask * np.uint8(255),
        edge_probability=probability,
    )
    true = CameraTruth(edges=None if truth is None else truth * np.uint8(255))
    everything = Prediction(0, {"front": prediction}, "base_link", "odom", None)
    cameras = {"front": JudgedCamera(camera, prediction, true)}
    return JudgedFrame(everything, GroundTruth({"front": true}), cameras, Rig((camera,), "base_link"))


def statistics(
    truth: NDArray[np.bool_], mask: NDArray[np.bool_] | None = None, probability: Probabilities | None = None
) -> FrameStatistics:
    result = SCORE.frame(frame(truth, mask, probability))
    assert result is not None
    return result


def total(*rows: FrameStatistics) -> Totals:
    return TaskStatistics.of(list(enumerate(rows))).total()


def upright(*columns: int) -> NDArray[np.bool_]:
    """Return upright lines over the whole height."""
    image = np.zeros((HEIGHT, WIDTH), dtype=bool)
    image[:, list(columns)] = True
    return image


def blobs(seed: int) -> NDArray[np.bool_]:
    """Return overlapping rectangles, the outlines of others, and single pixels."""
    rng = np.random.default_rng(seed)
    image = rng.random((HEIGHT, WIDTH)) < 0.01
    for index in range(14):
        top, left, height, width = rng.integers((0, 0, 2, 2), (100, 130, 40, 50))
        image[top : top + height, left : left + width] = True
        if index % 2:
            image[top + 2 : top + height - 2, left + 1 : left + width - 2] = False
    return image


def test_the_truth_itself_is_perfect() -> None:
    truth = blobs(0)
    for row in (statistics(truth, truth), statistics(truth, truth, truth.astype(np.float32))):
        assert SCORE.metrics(total(row, row)) == {"ods_f": 1.0, "ois_f": 1.0}


@pytest.mark.parametrize(("moved", "expected"), [(1, 1.0), (2, 0.0), (5, 0.0)])
def test_an_edge_may_be_as_far_away_as_the_tolerance(moved: int, expected: float) -> None:
    totals = total(statistics(upright(60, 100), upright(60 + moved, 100 + moved)))
    assert SCORE.metrics(totals) == {"ods_f": expected, "ois_f": expected}


def test_thick_edges_count_as_lines() -> None:
    totals = total(statistics(upright(60, 61), upright(60, 61, 62)))
    assert SCORE.metrics(totals)["ods_f"] == pytest.approx(1.0, abs=0.02)  # thinning takes a few pixels of their ends


def test_a_true_pixel_has_one_partner_only() -> None:
    totals = total(statistics(upright(60), upright(59, 61)))
    assert SCORE.metrics(totals)["ods_f"] == 2 / 3  # all found, half of what was said is right


def test_one_threshold_for_all_images_or_one_for_each() -> None:
    sure_and_false = np.select([upright(60), upright(100)], [0.9, 0.6]).astype(np.float32)
    unsure = np.where(upright(40), 0.3, 0.0).astype(np.float32)
    rows = statistics(upright(60), None, sure_and_false), statistics(upright(40), None, unsure)
    # Up to 0.3: two of two lines found by three. Up to 0.6: one by two. Up to 0.9: one by one.
    assert SCORE.metrics(total(*rows)) == {"ods_f": 0.8, "ois_f": 1.0}
    assert SCORE.metrics(total(rows[0])) == {"ods_f": 1.0, "ois_f": 1.0}
    assert rows[0].sums["true"] == HEIGHT
    np.testing.assert_array_equal(
        np.asarray(rows[0].sums["predicted"]) // HEIGHT, [2] * 20 + [1] * 10 + [0] * 3
    )  # 20 / 34 < 0.6, 30 / 34 < 0.9


def test_what_is_missing_is_not_found() -> None:
    nothing = np.zeros((HEIGHT, WIDTH), dtype=bool)
    assert SCORE.metrics(total(statistics(upright(60), nothing))) == {"ods_f": 0.0, "ois_f": 0.0}
    half = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    half[: HEIGHT // 2] = upright(60)[: HEIGHT // 2]
    assert SCORE.metrics(total(statistics(upright(60), None, half)))["ods_f"] == pytest.approx(2 / 3, abs=0.01)
    assert SCORE.metrics(total(statistics(nothing, upright(60)))) == {"ods_f": 0.0, "ois_f": 0.0}
    assert all(np.isnan(value) for value in SCORE.metrics(total(statistics(nothing, nothing))).values())
    assert SCORE.frame(frame(upright(60))) is None and SCORE.frame(frame(None, upright(60))) is None


def test_halves_and_copies_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(5)
    rows = []
    for seed in range(4):
        probability = np.clip(0.5 * blobs(seed) + rng.normal(0.2, 0.2, (HEIGHT, WIDTH)), 0.0, 1.0).astype(np.float32)
        rows.append(statistics(blobs(seed), None, probability))
    rows.append(statistics(blobs(4), blobs(5)))
    whole = TaskStatistics.of(list(enumerate(rows)))
    halves = [TaskStatistics.of(list(enumerate(part))) for part in (rows[3:], rows[:3])]
    expected = SCORE.metrics(whole.total())
    assert 0.1 < expected["ods_f"] < expected["ois_f"] < 1.0
    assert SCORE.metrics(TaskStatistics.joined(halves).total()) == expected
    assert SCORE.metrics(TaskStatistics.joined([whole] * 12).total()) == expected
    assert SCORE.metrics(whole.sample(np.arange(5))) == pytest.approx(expected, rel=1e-12)


def test_lines_are_those_of_scikit_image() -> None:
    masks = np.stack([*map(blobs, range(6)), np.ones((HEIGHT, WIDTH), dtype=bool), upright()])
    together = thinned(masks)
    for mask, lines in zip(masks, together, strict=True):
        np.testing.assert_array_equal(lines, thin(mask))
        np.testing.assert_array_equal(thinned(mask), lines)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 1.5, 2.4, 3.3])
def test_as_many_pixels_as_possible_have_a_partner(tolerance: float) -> None:
    rng = np.random.default_rng(6)
    predicted, true = rng.random((2, 24, 30)) < 0.12
    apart = np.linalg.norm(np.argwhere(predicted)[:, None] - np.argwhere(true)[None], axis=2)
    near = apart <= tolerance
    rows, columns = linear_sum_assignment(near, maximize=True)
    assert matches(predicted, true, tolerance) == near[rows, columns].sum() > 0
    assert matches(np.zeros_like(predicted), true, tolerance) == matches(predicted, np.zeros_like(true), tolerance) == 0
