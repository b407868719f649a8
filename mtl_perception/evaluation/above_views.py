# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What was predicted of the surroundings beside what is true, from above."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from mtl_perception.core import LabelSpace
from mtl_perception.data.true_boxes import Boxes
from mtl_perception.drawing.colours import LAYER_COLOURS, bev_from_above
from mtl_perception.drawing.images import FAINT, INK, Image, beside, legend, paper, stacked, titled, write
from mtl_perception.drawing.occupancy import occupancy_from_above
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.scores.detection_matching import predicted_boxes, true_boxes
from mtl_perception.resources import config_file

TILE_WIDTH = 447
_OCCUPANCY_WIDTH = TILE_WIDTH - 30  # it has a margin of its own
_REACH_M = 50.0
_RINGS_M = (10.0, 25.0, 50.0)
_PALE = (206, 208, 212)
_LEAST_SCORE = 0.1
_SHARP = 4  # bits of sub-pixel places


class AboveViews:
    """Draws what is known of the surroundings, for all tasks that have no images."""

    tasks = ("occupancy", "bev_map", "detections")

    def __init__(self, labels: LabelSpace) -> None:
        """Draw labels in their colours."""
        boxes = labels.boxes or LabelSpace.load(config_file("labels", "default")).boxes
        self._labels = replace(labels, boxes=boxes)

    def draw(self, task: str, judged: JudgedFrame) -> Image | None:
        """Return prediction beside truth; None where one of them lacks."""
        predicted, truth = getattr(judged.prediction, task), getattr(judged.truth, task, None)
        if task == "detections":
            return self._detections(judged)
        if predicted is None or truth is None:
            return None
        if task == "occupancy":
            tiles = [occupancy_from_above(image, self._labels, _OCCUPANCY_WIDTH) for image in (predicted, truth)]
        else:
            tiles = [bev_from_above(image, TILE_WIDTH) for image in (predicted, truth)]
        both = beside([titled(tile, name) for tile, name in zip(tiles, ("prediction", "truth"), strict=True)])
        if task == "occupancy":
            return both
        names = dict.fromkeys([*predicted.layers, *truth.layers])
        return stacked([both, legend([(name, LAYER_COLOURS.get(name, INK)) for name in names], both.shape[1])])

    def _detections(self, judged: JudgedFrame) -> Image | None:
        detections, true = judged.prediction.detections, true_boxes(judged, self._labels)
        if detections is None or true is None:
            return None
        predicted = predicted_boxes(detections)
        predicted = predicted.chosen(predicted.score >= _LEAST_SCORE)
        left, right = _ground(), _ground()
        self._draw(left, true, pale=True)
        self._draw(left, predicted)
        self._draw(right, true)
        present = sorted({*predicted.label.tolist(), *true.label.tolist()})
        entries = [(self._labels.labels[i].name, self._labels.labels[i].colour) for i in present]
        first = titled(left, f"prediction, scores from {_LEAST_SCORE:g} (true boxes: grey)")
        return stacked([beside([first, titled(right, "truth")]), legend(entries, 2 * TILE_WIDTH)])

    def _draw(self, image: Image, boxes: Boxes, pale: bool = False) -> None:
        for label, score, centre, size, yaw in zip(
            boxes.label, boxes.score, boxes.centre, boxes.size, boxes.yaw, strict=True
        ):
            ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
            front, side = ahead * size[0] / 2, left * size[1] / 2
            corners = centre[:2] + np.array([front + side, front - side, -front - side, -front + side])
            strength = 1.0 if pale else 0.35 + 0.65 * float(score)
            own = np.array(_PALE if pale else self._labels.labels[label].colour)
            colour = tuple(int(v) for v in strength * own + (1 - strength) * 250)
            outline = np.rint(_places(corners) * 2**_SHARP).astype(np.int32)
            cv2.polylines(image, [outline], True, colour, 4 if pale else 2, cv2.LINE_AA, _SHARP)
            if not pale:
                line = np.rint(_places(np.stack([centre[:2], centre[:2] + front])) * 2**_SHARP).astype(np.int32)
                cv2.polylines(image, [line], False, colour, 1, cv2.LINE_AA, _SHARP)


def _ground() -> Image:
    """Return empty ground with rings around the base; x points up, y to the left."""
    image = paper(TILE_WIDTH, TILE_WIDTH)
    middle = TILE_WIDTH // 2
    for ring in _RINGS_M:
        radius = round(ring / _REACH_M * middle)
        cv2.circle(image, (middle, middle), radius, (222, 224, 226), 1, cv2.LINE_AA)
        write(image, f"{ring:g} m", (middle + 3, middle - radius + 14), FAINT, 0.4)
    cv2.arrowedLine(image, (middle, middle + 5), (middle, middle - 9), INK, 2, cv2.LINE_AA, tipLength=0.5)
    return image


def _places(points: np.ndarray) -> np.ndarray:
    """Return where points (N, 2) of the base frame are in the picture."""
    scale = TILE_WIDTH / 2 / _REACH_M
    return np.stack([TILE_WIDTH / 2 - points[:, 1] * scale, TILE_WIDTH / 2 - points[:, 0] * scale], axis=-1)
