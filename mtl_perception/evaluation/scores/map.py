# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How near a map comes to the one that the true depth gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Score
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, f_score, ratio


class MapScore(Score):
    """Scores the surface of a bag's map; its statistics come from `MapReference`, once a bag.

    Metrics (Murez et al. 2020, "Atlas", appendix; precision, recall and F-score after Knapitsch et al. 2017, "Tanks and
    Temples", section 4): `accuracy`, mean distance of the map's vertices to the reference, metres; `completeness`, mean
    distance of the reference to the map, metres; `precision` and `recall`, the shares of them within the threshold (see
    `MapReference`); `f1`, the harmonic mean of those two; `label_accuracy`, the share of vertices within the threshold
    of labelled truth that have its label. Distances are to the other's surface, where the sources take sampled points.

    Where the reference is a cloud of LiDAR points, only completeness and recall are defined. An empty map has a recall
    and an f1 of 0, and no distances.
    """

    task: ClassVar[str] = "map"
    better: ClassVar[Mapping[str, Better]] = {
        "accuracy": "lower",
        "completeness": "lower",
        "precision": "higher",
        "recall": "higher",
        "f1": "higher",
        "label_accuracy": "higher",
    }
    key: ClassVar[str] = "f1"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return None: a map is of a whole bag."""
        return None

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return distances in metres and shares."""
        precision = ratio(totals["map_within"], totals["map_points"])
        surface_recall = ratio(totals["surface_within"], totals["surface_points"])
        return {
            "accuracy": ratio(totals["map_distance"], totals["map_points"]),
            "completeness": ratio(totals["reference_distance"], totals["reference_measured"]),
            "precision": precision,
            "recall": ratio(totals["reference_within"], totals["reference_points"]),
            "f1": f_score(precision, surface_recall),
            "label_accuracy": ratio(totals["label_hits"], totals["labelled"]),
        }
