# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every score is: one frame in, statistics out; sums of statistics in, metrics out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.statistics import FrameStatistics, Totals

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class ScoreOptions:
    """What a user may decide about the scores.

    Attributes:
        min_depth: nearer truth is not scored, metres.
        max_depth: farther truth is not scored, metres.
        median_scaling: scale every predicted depth image by the ratio of the medians before it is scored, as is usual
            for networks whose depth has no scale (Zhou et al. 2017).
    """

    min_depth: float = 0.1
    max_depth: float = 80.0
    median_scaling: bool = False

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: it is empty or not finite.
        """
        if not 0 < self.min_depth < self.max_depth < float("inf"):
            raise ValueError(f"depth is scored from {self.min_depth} m to {self.max_depth} m: that is no range")


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often errors of each size occurred: `counts` (B,) between `edges` (B + 1,); `unit` is that of the edges."""

    title: str
    unit: str
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reliability:
    """What a network says of its own errors beside what they are, by bins of what it says.

    Attributes:
        title: what it is about.
        predicted_name, observed_name: the axes, with units.
        predicted, observed: (B,) means over each bin; NaN where a bin is empty. A perfect network has them equal.
        counts: (B,) how many values fell into each bin.
    """

    title: str
    predicted_name: str
    observed_name: str
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]


class Score(ABC):
    """How one task is scored. Without state: what it is given is all it knows.

    Attributes:
        task: its name in metrics.json.
        better: per metric whether a higher or a lower value is better; metrics that only inform are not in it.
        key: the metric that frames are ranked by.
    """

    task: ClassVar[str]
    better: ClassVar[Mapping[str, Better]]
    key: ClassVar[str]

    def __init__(self, labels: LabelSpace, options: ScoreOptions) -> None:
        """Score predictions with these labels."""
        self.labels, self.options = labels, options

    @abstractmethod
    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return what a frame adds; None where it lacks the prediction or the truth.

        Raises:
            ValueError: prediction and truth do not fit together; names the task and what differs.
        """

    def bag(self, rows: Sequence[tuple[int, FrameStatistics]]) -> Sequence[tuple[int, FrameStatistics]]:
        """Return the rows of a whole bag (frame number, statistics) as they are to be added up.

        Scores that need more than one frame at a time (trajectories) override this.
        """
        return rows

    @abstractmethod
    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return the metrics by name; NaN for what this data does not define."""

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return per class the metrics that there are a class; empty where there are none."""
        return {}

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return how the errors are spread."""
        return []

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return how far the network's own statements about its errors can be trusted."""
        return []
