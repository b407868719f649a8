# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panoptic maps: panoptic quality of all segments, and average precision of the masks of things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Score
from mtl_perception.evaluation.scores.images import true_image
from mtl_perception.evaluation.scores.instances import Findings, average_precision, matched
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_BASE = 1000  # a panoptic id is label * 1000 + instance


class PanopticScore(Score):
    """Panoptic maps: pq, sq and rq (also of things and stuff alone), and ap and ap50 of the masks of things.

    Panoptic quality is that of Kirillov et al. 2019 (section 4) with the rules of panopticapi: segments of one class
    whose intersection over union exceeds 0.5 belong together; where the truth is unknown a predicted segment has no
    pixels for the union, and one that lies there by more than half and matches nothing is no false alarm. Segments are
    matched image by image, counts and overlaps are added up over all images, and the means are over the classes that
    occur in truth or prediction. `sq` is the mean overlap of matched segments, `rq` their F1; both are 0 for a class
    without a match.

    `ap` is the mean of the average precisions of masks over the classes of things and the overlaps 0.50:0.05:0.95,
    `ap50` that at 0.50, as COCO has them (Lin et al. 2014), over the classes that have a true instance. Findings are
    ranked by the mean semantic confidence of their pixels where there is one, else they are all alike. What is unknown
    is treated like a crowd of COCO. Of COCO's limit of 100 findings an image nothing is kept: a panoptic map has less.
    """

    task: ClassVar[str] = "panoptic"
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(
        ("pq", "sq", "rq", "pq_things", "pq_stuff", "ap", "ap50"), "higher"
    )
    key: ClassVar[str] = "pq"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return per class the hits, misses, false alarms and overlaps of segments, and the instances found.

        Raises:
            ValueError: an image of truth has not its camera's size.
        """
        rows = []
        findings = []
        for camera in judged.cameras.values():
            predicted, truth = camera.predicted("panoptic"), true_image(camera, "panoptic")
            if predicted is None or truth is None:
                continue
            segments = _Segments.of(predicted, truth, camera.predicted("semantic_confidence"), len(self.labels))
            rows.append(self._quality(segments))
            findings.append(self._findings(segments))
        if not rows:
            return None
        sums = {name: np.sum([row[name] for row in rows], axis=0) for name in rows[0]}
        return FrameStatistics(sums, Findings.joined(findings).columns)

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return pq, sq, rq, pq_things, pq_stuff, ap and ap50."""
        qualities = self._qualities(totals)
        of_things = [values["pq"] for label, values in qualities.items() if self.labels.labels[label].thing]
        of_stuff = [values["pq"] for label, values in qualities.items() if not self.labels.labels[label].thing]
        precisions = list(self._precisions(totals).values())
        return {
            **{name: _mean(values[name] for values in qualities.values()) for name in ("pq", "sq", "rq")},
            "pq_things": _mean(of_things),
            "pq_stuff": _mean(of_stuff),
            "ap": _mean(float(precision.mean()) for precision in precisions),
            "ap50": _mean(float(precision[0]) for precision in precisions),
        }

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return pq, sq and rq of every class that occurs, and ap and ap50 of things that occur in the truth."""
        result = {self.labels.names[label]: dict(values) for label, values in self._qualities(totals).items()}
        for label, precision in self._precisions(totals).items():
            result[self.labels.names[label]] |= {"ap": float(precision.mean()), "ap50": float(precision[0])}
        return result

    def _quality(self, segments: _Segments) -> dict[str, NDArray]:
        """Return per class (n,) what panoptic quality is made of, and the number of true instances."""
        shared, on_void = segments.shared, segments.on_void
        union = segments.true_area[:, None] + segments.area - shared - on_void
        same = segments.true_label[:, None] == segments.label
        true, found = np.nonzero(same & (2 * shared > union))  # over one half: there is at most one a segment
        missed = np.ones(len(segments.true_label), dtype=bool)
        missed[true] = False
        false_alarm = 2 * on_void <= segments.area
        false_alarm[found] = False
        overlap = shared[true, found] / union[true, found]
        things = segments.true_label[self._is_thing(segments.true_label)]
        classes = len(self.labels)
        return {
            "hits": np.bincount(segments.label[found], minlength=classes),
            "overlap": np.bincount(segments.label[found], overlap, minlength=classes),
            "misses": np.bincount(segments.true_label[missed], minlength=classes),
            "false_alarms": np.bincount(segments.label[false_alarm], minlength=classes),
            "instances": np.bincount(things, minlength=classes),
        }

    def _findings(self, segments: _Segments) -> Findings:
        found, true = self._is_thing(segments.label), self._is_thing(segments.true_label)
        label, area = segments.label[found], segments.area[found]
        shared = segments.shared[true][:, found].T
        overlap = shared / (area[:, None] + segments.true_area[true] - shared)
        overlap[label[:, None] != segments.true_label[true]] = 0.0
        return matched(segments.score[found], label, overlap, segments.on_void[found] / area)

    def _is_thing(self, label: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.array([entry.thing for entry in self.labels.labels])[label]

    def _qualities(self, totals: Totals) -> dict[int, dict[str, float]]:
        """Return pq, sq and rq of every class that occurs."""
        names = ("hits", "overlap", "misses", "false_alarms")
        result = {}
        for label, sums in enumerate(zip(*(totals[name].tolist() for name in names), strict=True)):
            hits, overlap, misses, false_alarms = sums
            size = 2 * hits + misses + false_alarms
            if size:
                quality = ratio(overlap, hits) if hits else 0.0
                result[label] = {"pq": ratio(2 * overlap, size), "sq": quality, "rq": ratio(2 * hits, size)}
        return result

    def _precisions(self, totals: Totals) -> dict[int, NDArray[np.float64]]:
        """Return the average precisions of every class of things that occurs in the truth, at each overlap."""
        findings, instances = Findings.of(totals), totals["instances"]
        return {
            label: average_precision(findings, label, instances[label].item())
            for label in np.flatnonzero(instances).tolist()
        }


@dataclass(frozen=True, eq=False)
class _Segments:
    """The P predicted and T true segments of one image. Areas are in pixels.

    Attributes:
        label, area, score: (P,) of the predicted ones; `score` is the mean confidence, or 1.
        true_label, true_area: (T,) of the true ones.
        shared: (T, P) what they have in common.
        on_void: (P,) how much of the predicted ones lies where the truth is unknown.
    """

    label: NDArray[np.int64]
    area: NDArray[np.int64]
    score: NDArray[np.float64]
    true_label: NDArray[np.int64]
    true_area: NDArray[np.int64]
    shared: NDArray[np.int64]
    on_void: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        predicted: NDArray[np.int32],
        truth: NDArray[np.int32],
        confidence: NDArray[np.float32] | None,
        classes: int,
    ) -> _Segments:
        """Take two panoptic maps of one size; ids of no class are unknown."""
        ids, number = _numbered(predicted, classes)
        true_ids, true_number = _numbered(truth, classes)
        width = len(ids) + 1
        joint = np.bincount((true_number * width + number).ravel(), minlength=(len(true_ids) + 1) * width)
        joint = joint.reshape(-1, width)
        area = joint[:, 1:].sum(axis=0)
        score = np.ones(len(ids))
        if confidence is not None:
            score = np.bincount(number.ravel(), np.nan_to_num(confidence).ravel(), minlength=width)[1:] / area
        return cls(ids // _BASE, area, score, true_ids // _BASE, joint[1:].sum(axis=1), joint[1:, 1:], joint[0, 1:])


def _numbered(panoptic: NDArray[np.int32], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids that occur (S,), and per pixel the place of its id among them plus 1, 0 where it is unknown."""
    limit = classes * _BASE
    known = (panoptic >= 0) & (panoptic < limit)
    shifted = np.where(known, panoptic + 1, 0)
    occurs = np.bincount(shifted.ravel(), minlength=limit + 1) > 0
    occurs[0] = False
    place: NDArray[np.int64] = np.cumsum(occurs)
    return np.flatnonzero(occurs) - 1, place[shifted]


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return ratio(sum(listed), len(listed))
