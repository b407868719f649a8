# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What variants are compared by: scores of `evaluation`, figures of a run, and mean relative gains over several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtl_perception.evaluation.score import Better
from mtl_perception.evaluation.scores import SCORES

if TYPE_CHECKING:
    from mtl_perception.training.ablation.study import Composite, Study

OF_A_RUN: Mapping[str, Better] = {
    "parameters": "lower",
    "forward_ms": "lower",
    "gflops": "lower",
    "similarity": "lower",
    "weight_spread": "lower",
    "normal_gap_deg": "lower",
    "steering.mse_of_mean": "lower",
}
"""Figures of a run beside its scores: number of weights; CPU time of a forward pass for one frame of the rig; its 1e9
floating-point operations; mean |cosine| between shared and task-specific features; how much the balancing weights vary
over the steps (standard deviation over mean, averaged over tasks); mean angle between predicted normals and those of
the predicted depth; what `steering.mse` would be of always steering by the mean of the held-out angles."""

ADDED_UP = ("parameters", "forward_ms", "gflops")
"""What several single-task networks take together."""

_DIRECTIONS: Mapping[str, Better] = {
    **{f"{score.task}.{name}": better for score in SCORES for name, better in score.better.items()},
    **OF_A_RUN,
}
_GAIN = re.compile(r"gain(?:\(([a-z_, ]+)\))?")

Figures = Mapping[tuple[str, int], Mapping[str, float]]
"""Per variant and seed, what its run gave."""


@dataclass(frozen=True)
class Metric:
    """A figure of a variant, or the relative gain over the study's reference, or the difference of two such gains.

    Written as `depth.abs_rel` (task and metric of `evaluate`), one of `OF_A_RUN`, `gain`, `gain(depth, edges)`,
    `gain(depth) - gain(semantic)` or, over another variant than the study's reference, `gain over <variant>`. A gain is
    the mean over the study's metrics (of the named tasks) of the relative change against the reference of the same
    seed, in percent, positive where better: with single-task networks as the reference the multi-task gain of Maninis
    et al. 2019 ("Attentive single-tasking of multiple tasks", eq. 5).

    Attributes:
        text: as written.
        figure: the figure's name, or "" for gains.
        gains: the tasks of each gain, none for all; the second is subtracted from the first.
        over: the variant or composite that gains are over, "" for the study's reference.
    """

    text: str
    figure: str
    gains: tuple[tuple[str, ...], ...]
    over: str = ""

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read one.

        Raises:
            ValueError: there is no such metric.
        """
        if text in _DIRECTIONS:
            return cls(text, text, ())
        gains = []
        terms, _, over = text.partition(" over ")
        for part in terms.split(" - "):
            found = _GAIN.fullmatch(part.strip())
            if found is None:
                raise ValueError(f"there is no metric '{text}'")
            gains.append(tuple(task.strip() for task in found[1].split(",")) if found[1] else ())
        if len(gains) > 2:
            raise ValueError(f"metric '{text}' is of more than two gains")
        return cls(text, "", tuple(gains), over)

    @property
    def is_relative(self) -> bool:
        """Whether it needs the study's reference."""
        return bool(self.gains)

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.is_relative or _DIRECTIONS[self.figure] == "higher" else -1

    @property
    def unit(self) -> str:
        """For a column's heading."""
        return f"{self.text} (%)" if self.is_relative else self.text


class Measured:
    """The figures of a study's runs, by names of variants and composites."""

    def __init__(self, study: Study, figures: Figures) -> None:
        """Look at `figures`; those of runs that are not done are not there."""
        self.study, self.figures = study, figures

    def values(self, name: str, metric: Metric, seeds: int) -> list[float]:
        """Return the metric for seeds 0, 1, ...; NaN where a run is not done or its metric is not defined."""
        composite = self.study.composites.get(name)
        if composite is not None and composite.worst_of:
            return self._worst(composite, metric, seeds)
        if not metric.is_relative:
            return [self._figure(name, metric.figure, seed) for seed in range(seeds)]
        over = metric.over or self.study.reference
        terms = [[self._gain(name, over, tasks, seed) for seed in range(seeds)] for tasks in metric.gains]
        return terms[0] if len(terms) == 1 else [a - b for a, b in zip(*terms, strict=True)]

    def _worst(self, composite: Composite, metric: Metric, seeds: int) -> list[float]:
        candidates = [self.values(part, metric, seeds) for part in composite.worst_of]
        means = [metric.sign * float(np.mean(values)) for values in candidates]
        return candidates[int(np.argmin(means))]  # of several, and if one is not defined, that one: NaN counts as least

    def _gain(self, name: str, over: str, tasks: tuple[str, ...], seed: int) -> float:
        changes = []
        for figure in self.study.judged_by:
            if tasks and figure.split(".")[0] not in tasks:
                continue
            own = self._figure(name, figure, seed)
            reference = self._figure(over, figure, seed)
            change = 100.0 * (own - reference) / abs(reference) if reference else float("nan")
            changes.append(Metric.parse(figure).sign * change)
        return float(np.mean(changes)) if changes else float("nan")

    def _figure(self, name: str, figure: str, seed: int) -> float:
        composite = self.study.composites.get(name)
        if composite is None:
            return float(self.figures.get((name, seed), {}).get(figure, float("nan")))
        if figure in ADDED_UP:
            return sum(self._figure(part, figure, seed) for part in composite.parts)
        part = {str(task): variant for task, variant in composite.of_task.items()}.get(figure.split(".")[0])
        return float("nan") if part is None else self._figure(part, figure, seed)
