# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels show something that moves by itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Score
from mtl_perception.evaluation.scores.images import image_pairs
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio


class MotionMaskScore(Score):
    """Intersection over union of what moves, as KITTI MoSeg scores it (Siam et al. 2018, "MODNet", section IV).

    `iou` is that of the moving pixels, over all pixels of all images (Everingham et al. 2010, the PASCAL VOC measure).
    `iou_static` (of what stands still), `precision` and `recall` (of what moves) only inform. Images without a
    previous image have no predicted mask and are not scored. A mask says "still" where it does not reach, so that
    what moves there counts as missed.
    """

    task: ClassVar[str] = "motion_mask"
    better: ClassVar[dict[str, Better]] = {"iou": "higher"}
    key: ClassVar[str] = "iou"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return how many pixels of all images were judged how; None where no image has a predicted and a true mask.

        Raises:
            ValueError: a true image has not the size of its camera.
        """
        pixels = hits = predicted_moving = truly_moving = 0
        for predicted, truth in image_pairs(judged, "motion_mask"):
            said, true = predicted > 0, truth > 0
            pixels += true.size
            hits += int(np.count_nonzero(said & true))
            predicted_moving += int(np.count_nonzero(said))
            truly_moving += int(np.count_nonzero(true))
        if not pixels:
            return None
        false_alarms, misses = predicted_moving - hits, truly_moving - hits
        return FrameStatistics(
            {
                "hits": hits,
                "false_alarms": false_alarms,
                "misses": misses,
                "rightly_static": pixels - hits - false_alarms - misses,
            }
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return iou, iou_static, precision and recall."""
        hits, wrong = totals["hits"], totals["false_alarms"] + totals["misses"]
        return {
            "iou": ratio(hits, hits + wrong),
            "iou_static": ratio(totals["rightly_static"], totals["rightly_static"] + wrong),
            "precision": ratio(hits, hits + totals["false_alarms"]),
            "recall": ratio(hits, hits + totals["misses"]),
        }
