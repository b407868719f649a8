# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted boxes as columns, which true ones count, and which predicted box is which true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Detection, LabelSpace
from mtl_perception.data.true_boxes import Boxes, boxes_at
from mtl_perception.evaluation.judged import JudgedFrame

MOVING_M_S = 0.5
"""What is faster has the attribute `moving`, else `standing`."""
ERRORS = ("translation_error", "scale_error", "orientation_error", "velocity_error", "attribute_error")
"""The columns of `Matches.errors`."""


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of predicted boxes, one a row.

    Attributes:
        matched: (N, T) bool, per distance whether a true box is nearer than that.
        errors: (N, 5) against the true box within the distance that errors are taken at: the columns of `ERRORS`; NaN
            without such a box, and where the truth lacks the velocity.
    """

    matched: NDArray[np.bool_]
    errors: NDArray[np.float64]


def predicted_boxes(detections: Sequence[Detection]) -> Boxes:
    """Return predicted boxes, those of the highest score first; those of equal scores keep their order.

    A velocity that is not finite counts as standing.
    """
    ordered = sorted(detections, key=lambda detection: -detection.score)
    velocities = np.array([d.velocity for d in ordered], dtype=np.float64).reshape(-1, 2)
    return Boxes(
        np.array([d.label for d in ordered], dtype=np.int64),
        np.array([d.score for d in ordered], dtype=np.float64),
        np.array([d.centre for d in ordered], dtype=np.float64).reshape(-1, 3),
        np.array([d.size for d in ordered], dtype=np.float64).reshape(-1, 3),
        np.array([d.yaw for d in ordered], dtype=np.float64),
        np.where(np.isfinite(velocities), velocities, 0.0),
    )


def true_boxes(judged: JudgedFrame, labels: LabelSpace) -> Boxes | None:
    """Return the true boxes of a frame that count, at the prediction's stamp; None where boxes are not annotated.

    A box counts if its name leads to a class of `labels`, and if it could be seen, see
    `mtl_perception.data.true_boxes.boxes_at`.
    """
    sweep, prediction = judged.truth.sweep, judged.prediction
    if sweep is None or sweep.boxes is None:
        return None
    with_image = set(judged.rig.names) - set(prediction.missing)
    boxes, seen = boxes_at(
        sweep, labels, prediction.stamp_ns, prediction.world_from_base, judged.rig, with_image, judged.truth.cameras
    )
    return boxes.chosen(seen)


def match(predicted: Boxes, true: Boxes, distances: Sequence[float], errors_at: float) -> Matches:
    """Give each predicted box, in their order, the nearest true box of its class that no earlier one has taken.

    Distances are those between centres on the ground (nuScenes, Caesar et al. 2020, section 3.1.2).

    Args:
        predicted: the highest score first.
        true: of the same frame.
        distances: (T) metres; a true box must be nearer.
        errors_at: the one of `distances` that errors are taken at.
    """
    between = np.linalg.norm(predicted.centre[:, None, :2] - true.centre[None, :, :2], axis=-1)
    between[predicted.label[:, None] != true.label[None]] = np.inf
    matched = np.zeros((len(predicted), len(distances)), dtype=bool)
    errors = np.full((len(predicted), len(ERRORS)), np.nan)
    for column, distance in enumerate(distances):
        partners = _partners(between, distance)
        matched[:, column] = partners >= 0
        if distance == errors_at:
            found = np.flatnonzero(partners >= 0)
            errors[found] = _errors(predicted.chosen(found), true.chosen(partners[found]))
    return Matches(matched, errors)


def _partners(between: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Return per row the column that it is matched with, or -1."""
    partners = np.full(len(between), -1, dtype=np.int64)
    free = between.copy()
    for row in range(len(between) if between.shape[1] else 0):
        nearest = int(free[row].argmin())
        if free[row, nearest] < distance:
            partners[row] = nearest
            free[:, nearest] = np.inf
    return partners


def _errors(predicted: Boxes, true: Boxes) -> NDArray[np.float64]:
    common = np.minimum(predicted.size, true.size).prod(axis=-1)
    union = predicted.size.prod(axis=-1) + true.size.prod(axis=-1) - common
    turn = (true.yaw - predicted.yaw + np.pi) % (2.0 * np.pi) - np.pi
    moving = [np.linalg.norm(boxes.velocity, axis=-1) > MOVING_M_S for boxes in (predicted, true)]
    attribute = np.where(np.isnan(true.velocity).any(axis=-1), np.nan, moving[0] != moving[1])
    return np.stack(
        [
            np.linalg.norm(predicted.centre[:, :2] - true.centre[:, :2], axis=-1),
            1.0 - common / union,
            np.abs(turn),
            np.linalg.norm(predicted.velocity - true.velocity, axis=-1),
            attribute,
        ],
        axis=-1,
    )
