# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The best and the worst frames of each task, as small pictures beside the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.gallery import APART_NS, Gallery
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Score

_QUALITY = 85


@dataclass(frozen=True)
class Shot:
    """One frame of one task.

    Attributes:
        data: what it is of, such as `street`.
        task: what is shown.
        kind: `worst` or `best`, by the metric.
        metric: the task's key metric.
        value: that of this frame.
        camera: whose image it is; "" for what is seen from above.
        place: which frame of the data it is.
        jpeg: seen, predicted and true, beside each other.
    """

    data: str
    task: str
    kind: str
    metric: str
    value: float
    camera: str
    place: str
    jpeg: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """A name that no other shot of a validation has."""
        return f"{self.data.replace('/', '_')}_{self.task}_{self.kind}.jpg"

    def facts(self) -> dict[str, Any]:
        """Return what JSON has of it."""
        return {
            "file": self.file_name,
            "data": self.data,
            "task": self.task,
            "kind": self.kind,
            "metric": self.metric,
            "value": self.value,
            "camera": self.camera,
            "place": self.place,
        }


class Shots:
    """Keeps, of each task, the best and the worst frame of some data."""

    def __init__(self, data: str, scores: Sequence[Score], labels: LabelSpace) -> None:
        """Keep frames of `data` by the key metrics of these scores."""
        self._data, self._keys = data, {score.task: score.key for score in scores}
        self._gallery = Gallery(scores, labels, per_task=1)
        self._places: dict[int, str] = {}

    def consider(self, frame: JudgedFrame, values: Mapping[str, float], place: str) -> None:
        """Keep a frame where it is among the best or worst; `place` tells people which one it is."""
        # Worlds have the same stamps; the gallery takes frames with near stamps for the same.
        number = len(self._places) * APART_NS
        self._places[number] = place
        self._gallery.consider(frame, values, number)

    def shots(self) -> list[Shot]:
        """Return what was kept."""
        return [
            Shot(
                self._data,
                picture.task,
                picture.kind,
                self._keys[picture.task],
                picture.value,
                picture.camera,
                self._places[picture.stamp_ns],
                _jpeg(picture.png),
            )
            for picture in self._gallery.pictures()
        ]


def _jpeg(png: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None  # the gallery has just written it
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
