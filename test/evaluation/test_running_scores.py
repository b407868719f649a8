# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics so far are those of the frames so far, whatever a score is made of."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.running_scores import RunningScores
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))


class Summed(Score):
    """The mean of values, and the highest of ranked findings in the most frames."""

    task, better, key = "summed", {"mean": "lower"}, "mean"

    def frame(self, judged: Any) -> FrameStatistics | None:
        if not judged.values:
            return None
        if judged.values[0] < 0:
            raise ValueError("negative")
        ranked = {"value": np.array(judged.values, np.float64)}
        return FrameStatistics({"sum": float(sum(judged.values)), "count": [len(judged.values), 1]}, ranked)

    def metrics(self, totals: Totals) -> dict[str, float]:
        highest = int(totals.ranked_frame[np.argmax(totals.ranked["value"])])
        return {"mean": ratio(totals["sum"], totals["count"][0]), "best_frame": highest, "undefined": float("nan")}


class Whole(Summed):
    """Counts each row as often as there are rows, which only the whole bag tells."""

    task = "whole"

    def bag(self, rows: Sequence[tuple[int, FrameStatistics]]) -> Sequence[tuple[int, FrameStatistics]]:
        return [
            (index, FrameStatistics({**row.sums, "sum": row.sums["sum"] * len(rows)}, row.ranked))
            for index, row in rows
        ]


def frame(*values: float) -> Any:
    return SimpleNamespace(values=values)


@pytest.fixture
def running() -> RunningScores:
    return RunningScores([score(LABELS, ScoreOptions()) for score in (Summed, Whole)])


def test_there_is_nothing_before_the_first_frame(running: RunningScores) -> None:
    assert running.add(0, frame()) == {}
    assert (running.metrics(), running.statistics()) == ({}, {})


def test_metrics_follow_every_frame(running: RunningScores) -> None:
    assert running.add(0, frame(1.0, 2.0)) == {"summed": 1.5, "whole": 1.5}
    assert running.metrics()["summed"] == {"mean": 1.5, "best_frame": 0.0}
    running.add(1, frame())
    running.add(2, frame(6.0))
    assert running.metrics() == {"summed": {"mean": 3.0, "best_frame": 1.0}, "whole": {"mean": 6.0, "best_frame": 1.0}}
    assert running.metrics() == running.metrics()
    statistics = running.statistics()["summed"]
    assert statistics.frames.tolist() == [0, 2] and statistics.sums["sum"].tolist() == [3.0, 6.0]


def test_a_frame_that_does_not_fit_leaves_no_trace(running: RunningScores) -> None:
    running.add(0, frame(1.0))
    with pytest.raises(ValueError, match="negative"):
        running.add(1, frame(-1.0))
    assert running.metrics()["summed"]["mean"] == 1.0
    assert len(running.statistics()["whole"]) == 1
