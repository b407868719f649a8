# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much of a world's things, ground and rooms a scene graph has, and how much of what it has is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Score
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, f_score, ratio


class SceneGraphScore(Score):
    """Scores the scene graph of a rendered world's bag; its statistics come from `WorldReference`, once a bag.

    Metrics: `object_precision`, the share of the graph's objects that are a thing of the world; `object_recall`, the
    share of the things that were seen which are an object; `object_f1`, the harmonic mean. An object is a thing when
    both have one class and the centroids of their seen surfaces are at most half a metre apart. `object_ids_kept`: of
    the things that have an object at one look and two seconds later, the share that have the same one by its id.

    `place_precision`, the share of the graph's places on truly free ground, that is in the free circle around a place
    of the world; `place_recall`, the share of the world's places that were seen near which, as near as such places are
    to each other, the graph has one; `room_purity`, the share of places in rooms (or road segments and junctions) that
    lie in that region of the world in which most places of their room lie; `room_coverage`, the share of the regions of
    the world that were seen in which most of some room's places lie. Places outside of all regions do not count for
    rooms.
    """

    task: ClassVar[str] = "scene_graph"
    better: ClassVar[Mapping[str, Better]] = {
        "object_precision": "higher",
        "object_recall": "higher",
        "object_f1": "higher",
        "object_ids_kept": "higher",
        "place_precision": "higher",
        "place_recall": "higher",
        "room_purity": "higher",
        "room_coverage": "higher",
    }
    key: ClassVar[str] = "object_f1"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return None: a scene graph is of a whole bag."""
        return None

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return shares; those of nothing are NaN."""
        precision = ratio(totals["objects_right"], totals["objects"])
        recall = ratio(totals["things_found"], totals["things"])
        return {
            "object_precision": precision,
            "object_recall": recall,
            "object_f1": f_score(precision, recall),
            "object_ids_kept": ratio(totals["ids_kept"], totals["id_looks"]),
            "place_precision": ratio(totals["places_free"], totals["places"]),
            "place_recall": ratio(totals["ground_found"], totals["ground_seen"]),
            "room_purity": ratio(totals["room_places_pure"], totals["room_places"]),
            "room_coverage": ratio(totals["rooms_found"], totals["rooms_seen"]),
        }
