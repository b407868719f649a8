# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two small scores, one of sums and one of ranked findings, and results of bags that were scored with them."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.result import BagResult, Picture
from mtl_perception.evaluation.score import Histogram, Reliability, Score, ScoreOptions
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals, ratio
from mtl_perception.resources import config_file

CLASSES = ("car", "road")


class MeanErrorScore(Score):
    """The mean of errors, over all and per class: sums."""

    task = "depth"
    better = {"error": "lower", "within": "higher"}
    key = "error"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        raise NotImplementedError

    @staticmethod
    def row(errors: Sequence[float]) -> FrameStatistics:
        values = np.asarray(errors, dtype=np.float64)
        bins = np.histogram(values, bins=[0, 1, 2, 3, 4])[0]
        halves = np.array([values[::2].sum(), values[1::2].sum()])
        counts = np.array([len(values[::2]), len(values[1::2])])
        sums = {"sum": values.sum(), "count": len(values), "good": int((values < 1).sum()), "bins": bins}
        return FrameStatistics(sums | {"class_sum": halves, "class_count": counts})

    def metrics(self, totals: Totals) -> dict[str, float]:
        return {
            "error": ratio(totals["sum"], totals["count"]),
            "within": ratio(totals["good"], totals["count"]),
            "count": float(totals["count"]),
            "undefined": float("nan"),
        }

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        both = zip(CLASSES, totals["class_sum"], totals["class_count"], strict=True)
        return {name: {"error": ratio(total, count)} for name, total, count in both}

    def histograms(self, totals: Totals) -> list[Histogram]:
        counts = np.asarray(totals["bins"]).astype(np.int64)
        return [Histogram("Errors", "m", np.arange(5.0), counts)]

    def reliability(self, totals: Totals) -> list[Reliability]:
        middle = np.array([0.5, 1.5, 2.5, np.nan])
        return [Reliability("Trust", "says, m", "is, m", middle, middle * 1.2, np.array([5, 3, 1, 0]))]


class PrecisionScore(Score):
    """Average precision of findings: ranked."""

    task = "detections"
    better = {"map": "higher"}
    key = "map"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        raise NotImplementedError

    @staticmethod
    def row(scores: Sequence[float], hits: Sequence[bool], objects: int) -> FrameStatistics:
        return FrameStatistics(
            {"objects": objects}, {"score": np.asarray(scores, float), "hit": np.asarray(hits, bool)}
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        order = np.argsort(-totals.ranked["score"], kind="stable")
        hits = totals.ranked["hit"][order]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        return {"map": ratio(float(precision[hits].sum()), totals["objects"])}


BagMaker = Callable[..., BagResult]


@pytest.fixture(scope="session")
def small_scores() -> tuple[Score, ...]:
    labels = LabelSpace.load(config_file("labels", "default"))
    return MeanErrorScore(labels, ScoreOptions()), PrecisionScore(labels, ScoreOptions())


@pytest.fixture(scope="session")
def small_bag() -> BagMaker:
    """Make the result of a bag with errors around `level`; the same arguments give the same result."""

    def make(
        name: str,
        level: float = 1.0,
        frames: int = 40,
        seed: int = 0,
        left_out: Mapping[str, str] | None = None,
        detections: bool = True,
        pictures: tuple[Picture, ...] = (),
    ) -> BagResult:
        rng = np.random.default_rng(seed)
        drift = 0.3 * np.sin(np.arange(frames) / 5)
        errors = [np.abs(level + drift[i] + 0.2 * rng.standard_normal(20)) for i in range(frames)]
        statistics = {"depth": TaskStatistics.of([(i, MeanErrorScore.row(row)) for i, row in enumerate(errors)])}
        if detections:
            found = [(i, PrecisionScore.row(rng.random(4), rng.random(4) < 0.6 / level, 4)) for i in range(frames)]
            statistics["detections"] = TaskStatistics.of(found)
        return BagResult(
            name=name,
            stamps_ns=(1_000_000_000 + 100_000_000 * np.arange(frames)).astype(np.int64),
            dropped={"no image": 2},
            statistics=statistics,
            left_out=left_out or {},
            truth={task: f"/ground_truth/{task}" for task in statistics},
            network={"preset": "nano", "checkpoint": "nano.safetensors", "tasks": ["depth", "detections"]},
            runtime={"seconds": 2.5, "frames_per_second": 16.0, "stage_ms": {"read": 3.25}, "energy": None},
            pictures=pictures,
        )

    return make


@pytest.fixture(scope="session")
def small_picture() -> Callable[[str, str, float], Picture]:
    def make(task: str, kind: str, value: float) -> Picture:
        image = np.full((60, 90, 3), (30, 140, 220), np.uint8)
        return Picture(task, kind, "front", 1_500_000_000, value, cv2.imencode(".png", image)[1].tobytes())

    return make
