# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision of instance masks: findings of single images, ranked when all are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.statistics import Totals, ratio

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""The intersections over union from which on a finding is a hit: 0.50:0.05:0.95."""
HIT, MISS, IGNORED = 1, 0, -1
_RECALLS = 100  # precision is read at recalls 0, 0.01, ... 1


@dataclass(frozen=True, eq=False)
class Findings:
    """The instances found in some images, one row each.

    Attributes:
        score: (N,) how sure, 0 to 1.
        label: (N,) the class.
        outcome: (N, 10) per overlap `HIT`, `MISS` or `IGNORED` (on what nothing is known of).
    """

    score: NDArray[np.float64]
    label: NDArray[np.int64]
    outcome: NDArray[np.int8]

    @property
    def columns(self) -> dict[str, NDArray]:
        """The rows as ranked findings of a frame, see `FrameStatistics`."""
        return {"score": self.score, "label": self.label, "outcome": self.outcome}

    @classmethod
    def of(cls, totals: Totals) -> Findings:
        """Return the findings of all frames."""
        return cls(totals.ranked["score"], totals.ranked["label"], totals.ranked["outcome"])

    @classmethod
    def joined(cls, parts: list[Findings]) -> Findings:
        """Return the findings of several images."""
        return cls(
            np.concatenate([np.zeros(0), *(part.score for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.label for part in parts)]),
            np.concatenate([np.zeros((0, len(OVERLAPS)), np.int8), *(part.outcome for part in parts)]),
        )


def matched(
    score: NDArray[np.float64], label: NDArray[np.int64], overlap: NDArray[np.float64], void: NDArray[np.float64]
) -> Findings:
    """Return which of the instances found in one image hit, as pycocotools matches them.

    From the surest on, each finding takes the true instance with the largest overlap that is still free, if that
    overlap is large enough. One that finds none is a miss, or ignored where enough of it lies on what is not known (as
    COCO ignores what lies in a crowd).

    Args:
        score: (N,) of the findings.
        label: (N,) the class of each.
        overlap: (N, M) intersection over union with each true instance; 0 for those of another class.
        void: (N,) the part of each that lies where the truth is unknown.
    """
    outcome = np.where(void[:, None] >= OVERLAPS, IGNORED, MISS).astype(np.int8)
    order = np.argsort(-score, kind="stable")
    for column, least in enumerate(OVERLAPS):
        free = overlap.copy()
        for found in order[(overlap[order] >= least).any(axis=1)] if overlap.shape[1] else ():
            best = int(free[found].argmax())
            if free[found, best] >= least:
                outcome[found, column] = HIT
                free[:, best] = 0.0
    return Findings(score, label, outcome)


def average_precision(findings: Findings, label: int, instances: int) -> NDArray[np.float64]:
    """Return a class's average precision (10,) at each overlap, as COCO defines it (Lin et al. 2014; pycocotools).

    Precision is made to fall with recall (the best at this recall or a larger one) and averaged over the recalls 0,
    0.01, ... 1. Findings with equal scores count as one step, for no threshold can tell them apart; pycocotools takes
    them in the order of the images, so that its figures depend on that order.

    Args:
        findings: of all images and classes.
        label: the class.
        instances: how many true ones there are; NaN is returned where there is none.
    """
    if not instances:
        return np.full(len(OVERLAPS), np.nan)
    mine = np.flatnonzero(findings.label == label)
    mine = mine[np.argsort(-findings.score[mine], kind="stable")]
    score, outcome = findings.score[mine], findings.outcome[mine]
    last = np.append(score[1:] != score[:-1], True)[: len(score)]
    hits = np.cumsum(outcome == HIT, axis=0)[last]
    misses = np.cumsum(outcome == MISS, axis=0)[last]
    result = np.zeros(len(OVERLAPS))
    for column in range(len(OVERLAPS)):
        precision = [ratio(h, h + m) for h, m in zip(hits[:, column].tolist(), misses[:, column].tolist(), strict=True)]
        envelope = np.maximum.accumulate(np.nan_to_num(precision)[::-1])[::-1]
        reached = np.searchsorted(_RECALLS * hits[:, column], np.arange(_RECALLS + 1) * instances)
        result[column] = np.append(envelope, 0.0)[reached].sum() / (_RECALLS + 1)
    return result
