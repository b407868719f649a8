# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps from above, as BEV map segmentation is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import BevMap, Rig
from mtl_perception.core.transforms import inverse
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.projection import NEAREST_M, pixels_of
from mtl_perception.evaluation.score import Better, Reliability, Score
from mtl_perception.evaluation.scores.probabilities import ProbabilityBins
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

THRESHOLD = 0.5
"""A cell belongs to a layer from this probability on."""
_BOTH, _EITHER = "both/", "either/"
_IN_VIEW = "in_view/"
_BINS = ProbabilityBins()


class BevMapScore(Score):
    """Intersection over union of each layer, over the cells of all frames; `miou` is the mean over layers.

    As BEVFusion's map segmentation on nuScenes (Liu et al. 2023, section 4.2), whose layers may overlap, so that each
    is judged by itself. BEVFusion takes for each layer the threshold that is best on the test data; here it is 0.5,
    which a robot that must decide has, too.

    Scored are the layers that the network has and the truth knows, where the truth knows them (NaN: unknown), at the
    centres of the true cells. A cell that the prediction says nothing about is in no layer. A layer that is in neither
    truth nor prediction is left out of the mean.

    `miou_in_view` is the same over the cells whose centre, on the ground of the base frame, falls into an image of the
    rig, hidden or not: what a single camera cannot see is not asked of it. Leaving out cells beyond the view is our
    addition; BEVFusion's six cameras see all around.
    """

    task: ClassVar[str] = "bev_map"
    better: ClassVar[Mapping[str, Better]] = {"miou": "higher", "miou_in_view": "higher"}
    key: ClassVar[str] = "miou"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return per layer of the network how many cells are in both and in either map, and probabilities by bins."""
        predicted, truth = judged.prediction.bev_map, judged.truth.bev_map
        if predicted is None or truth is None:
            return None
        common = [name for name in predicted.layers if name in truth.layers]
        if not common:
            return None
        kinds = (_BOTH, _EITHER, _IN_VIEW + _BOTH, _IN_VIEW + _EITHER)
        counts = {kind + name: 0 for name in predicted.layers for kind in kinds}
        in_view = _in_view(judged.rig, truth, truth.layers[common[0]].shape)
        said, happened = [], []
        for name in common:
            layer = truth.layers[name]
            known = ~np.isnan(layer)
            probability = _at(truth, layer.shape, predicted, name)[known]
            true, found = layer[known] >= THRESHOLD, probability >= THRESHOLD
            for where, cells in (("", np.True_), (_IN_VIEW, in_view[known])):
                counts[where + _BOTH + name] = int(np.count_nonzero(true & found & cells))
                counts[where + _EITHER + name] = int(np.count_nonzero((true | found) & cells))
            said.append(probability)
            happened.append(true)
        return FrameStatistics({**counts, **_BINS.sums(np.concatenate(said), np.concatenate(happened))})

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return miou and miou_in_view."""
        means = {"miou": _ious(totals), "miou_in_view": _ious(totals, _IN_VIEW)}
        return {metric: ratio(sum(ious.values()), len(ious)) for metric, ious in means.items()}

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return the iou of every layer that occurs."""
        return {name: {"iou": iou} for name, iou in _ious(totals).items()}

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return how often cells of some probability are in the layer."""
        return _BINS.reliability("Layers of the map", "predicted probability", "share that is in the layer", totals)


def _ious(totals: Totals, where: str = "") -> dict[str, float]:
    """Return the iou of every layer that occurs, in all cells or in those `where` says."""
    both, either = where + _BOTH, where + _EITHER
    names = [name.removeprefix(both) for name in totals.sums if name.startswith(both)]
    return {name: ratio(totals[both + name], totals[either + name]) for name in names if totals[either + name]}


def _in_view(rig: Rig, truth: BevMap, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which cells (X, Y) have their centre, on the ground, in an image of a camera."""
    x, y = (
        first + (np.arange(count) + 0.5) * truth.cell_size for first, count in zip(truth.origin, shape, strict=True)
    )
    ground = np.stack([*np.meshgrid(x, y, indexing="ij"), np.zeros(shape), np.ones(shape)], axis=-1).reshape(-1, 4)
    found = np.zeros(len(ground), bool)
    for camera in rig:
        points = (ground @ inverse(camera.base_from_camera).T)[:, :3]
        front = np.flatnonzero(points[:, 2] > NEAREST_M)
        pixels = pixels_of(camera, points[front, :2] / points[front, 2:])
        found[front] |= ((pixels >= -0.5) & (pixels < np.array([camera.width, camera.height]) - 0.5)).all(axis=1)
    return found.reshape(shape)


def _at(truth: BevMap, shape: tuple[int, ...], predicted: BevMap, name: str) -> NDArray[np.float32]:
    """Return a predicted layer at the centres of the true cells; NaN outside."""
    layer = predicted.layers[name]
    if layer.shape == shape and (predicted.origin, predicted.cell_size) == (truth.origin, truth.cell_size):
        return layer
    rows, columns = (
        np.floor((first + (np.arange(count) + 0.5) * truth.cell_size - origin) / predicted.cell_size).astype(np.int64)
        for first, count, origin in zip(truth.origin, shape, predicted.origin, strict=True)
    )
    inside = ((rows >= 0) & (rows < layer.shape[0]))[:, None] & ((columns >= 0) & (columns < layer.shape[1]))[None]
    nearest = layer[np.clip(rows, 0, layer.shape[0] - 1)][:, np.clip(columns, 0, layer.shape[1] - 1)]
    return np.where(inside, nearest, np.float32(np.nan))
