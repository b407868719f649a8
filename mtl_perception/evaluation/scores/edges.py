# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Borders between classes, as BSDS500 scores contours: F-measures of thinned edges with a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import cycle
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import Better, Score
from mtl_perception.evaluation.scores.images import true_image
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

LEVELS = np.arange(1, 34) / 34.0
"""The probabilities from which on a pixel is taken for an edge."""
TOLERANCE = 0.0075
"""How far apart an edge and its truth may be, as a part of the image's diagonal."""


class EdgesScore(Score):
    """Edges: ods_f and ois_f, the F-measures at the best threshold of the data set and of each image.

    The measures are those of BSDS500 (Martin et al. 2004; Arbelaez et al. 2011, section 3.1): a predicted and a true
    edge, both thinned to lines, are matched pixel by pixel, one to one, within 0.0075 of the image's diagonal. Matched,
    predicted and true pixels are added up over all images, at one threshold for all of them (`ods_f`, the best of 33),
    and at each image's own best one (`ois_f`). A mask without probabilities is the same at all thresholds.

    It differs from the benchmark's own code in that pixels are matched so that as many as possible have a partner
    (that code minimises a cost on a graph with random outliers, and may leave one alone), in that no threshold is
    interpolated between two of the 33, in that there is one truth an image, and in that of two thresholds that are
    equally good for an image the higher one is its best.
    """

    task: ClassVar[str] = "edges"
    better: ClassVar[Mapping[str, Better]] = {"ods_f": "higher", "ois_f": "higher"}
    key: ClassVar[str] = "ods_f"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the matched and the predicted pixels per threshold (33,), and the true ones; and all at the best one.

        Raises:
            ValueError: an image of truth has not its camera's size.
        """
        matched, predicted = np.zeros((2, len(LEVELS)), np.int64)
        true = 0
        best = np.zeros(2, np.int64)
        found = False
        for camera in judged.cameras.values():
            probability, truth = _probability(camera), true_image(camera, "edges")
            if probability is None or truth is None:
                continue
            found = True
            true_lines = thinned(truth > 0)
            own_true = int(true_lines.sum())
            counts = _counts(probability, true_lines)
            f_measure = 2.0 * counts[0] / np.maximum(counts[1] + own_true, 1)
            best += counts[:, len(LEVELS) - 1 - int(f_measure[::-1].argmax())]
            matched += counts[0]
            predicted += counts[1]
            true += own_true
        if not found:
            return None
        return FrameStatistics(
            {
                "matched": matched,
                "predicted": predicted,
                "true": true,
                "best_matched": best[0],
                "best_predicted": best[1],
            }
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return ods_f and ois_f; NaN where there is no edge at all."""
        true = totals["true"]
        counts = zip(totals["matched"].tolist(), totals["predicted"].tolist(), strict=True)
        f_measures = [_f_measure(matched, predicted, true) for matched, predicted in counts]
        return {
            "ods_f": float(np.fmax.reduce(f_measures)),
            "ois_f": _f_measure(totals["best_matched"], totals["best_predicted"], true),
        }


def thinned(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return lines one pixel wide, as MATLAB's bwmorph(..., 'thin', Inf) and scikit-image's thin do (Lam et al. 1992).

    Takes one mask (H, W), or many of them (N, H, W) at once. Only the pixels of the masks are visited, and of them only
    those with a change beside them: many times as fast.
    """
    height, width = masks.shape[-2:]
    padded = np.zeros((*masks.shape[:-2], height + 2, width + 2), np.uint8)
    padded[..., 1:-1, 1:-1] = masks
    flat = padded.ravel()
    row = width + 2
    neighbours = np.array([1, 1 - row, -row, -row - 1, -1, row - 1, row, row + 1])  # from the right, counterclockwise
    inside = np.flatnonzero(flat)
    # A pixel is visited twice, once in each half of an iteration, after every change beside it.
    visited = inside[(flat[inside + 1] & flat[inside - 1] & flat[inside + row] & flat[inside - row]) == 0]
    pending = np.zeros(flat.shape, np.uint8)
    pending[visited] = 2
    place = np.empty(flat.shape, np.int32)
    for table in cycle(_removable()):
        if not len(visited):
            break
        pending[visited] -= 1
        code = flat[visited + neighbours[0]]
        for bit, step in enumerate(neighbours[1:], start=1):
            code |= flat[visited + step] << bit
        gone = visited[table[code]]
        flat[gone] = 0
        changed = (gone + neighbours[:, None]).ravel()
        pending[changed] = 2
        visited = np.concatenate([visited, changed])
        visited = visited[(flat[visited] & (pending[visited] > 0)) > 0]
        order = np.arange(len(visited), dtype=np.int32)
        place[visited] = order
        visited = visited[place[visited] == order]  # each once
    return padded[..., 1:-1, 1:-1].astype(bool)


def matches(predicted: NDArray[np.bool_], true: NDArray[np.bool_], tolerance: float) -> int:
    """Return how many pixels of two masks can be matched one to one, no further than `tolerance` pixels apart."""
    reach = int(tolerance)
    steps = np.indices((2 * reach + 1, 2 * reach + 1)).reshape(2, -1).T - reach
    steps = steps[np.hypot(*steps.T) <= tolerance]
    steps = steps[np.argsort(np.hypot(*steps.T), kind="stable")]
    number = np.full((true.shape[0] + 2 * reach, true.shape[1] + 2 * reach), -1)
    count = int(true.sum())
    number[reach : reach + true.shape[0], reach : reach + true.shape[1]][true] = np.arange(count)
    places = np.argwhere(predicted) + reach
    if not len(places) or not count:
        return 0
    near = number.ravel()[(places @ (number.shape[1], 1))[:, None] + steps @ (number.shape[1], 1)]
    near = near[(near >= 0).any(axis=1)]
    starts = np.concatenate([[0], np.cumsum((near >= 0).sum(axis=1))])
    partners = near[near >= 0]
    pairs = csr_array((np.ones(len(partners), np.int8), partners, starts), shape=(len(near), count))
    return int((maximum_bipartite_matching(pairs, perm_type="column") >= 0).sum())


def _probability(camera: JudgedCamera) -> NDArray[np.float32] | None:
    probability = camera.predicted("edge_probability")
    if probability is not None:
        return np.nan_to_num(probability)
    mask = camera.predicted("edges")
    return None if mask is None else (mask > 0).astype(np.float32)


def _counts(probability: NDArray[np.float32], true_lines: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the matched and the predicted pixels (2, 33) of one image at each threshold."""
    tolerance = TOLERANCE * float(np.hypot(*true_lines.shape))
    masks = probability >= LEVELS.astype(np.float32)[:, None, None]
    # Higher thresholds only take pixels away: where there are as many as before, they are the same.
    different = np.diff(masks.sum(axis=(1, 2)), prepend=-1) != 0
    lines = thinned(masks[different])
    counts = np.array([(matches(predicted, true_lines, tolerance), predicted.sum()) for predicted in lines], np.int64)
    return counts[np.cumsum(different) - 1].T


def _f_measure(matched: Any, predicted: Any, true: Any) -> float:
    """Return 2PR / (P + R), where P = matched / predicted and R = matched / true."""
    return ratio(2 * matched, predicted + true)


@lru_cache(maxsize=1)
def _removable() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for the two halves of an iteration, which pixels go, by the bits of their neighbours (256,).

    Conditions G1 to G3 and G3' of Lam et al. 1992, p. 879 (the first of Guo and Hall 1989, algorithm A1).
    """
    x = (np.arange(256) >> np.arange(8)[:, None] & 1).astype(bool)  # x[0] is x1, the right one
    odd, even, after = x[0::2], x[1::2], np.roll(x[0::2], -1, axis=0)
    crossings = (~odd & (even | after)).sum(axis=0)
    fewest = np.minimum((odd | even).sum(axis=0), (even | after).sum(axis=0))
    simple = (crossings == 1) & (fewest >= 2) & (fewest <= 3)
    first = simple & ~((x[1] | x[2] | ~x[7]) & x[0])
    second = simple & ~((x[5] | x[6] | ~x[3]) & x[4])
    return first, second
