# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as columns, which true ones count, and which predicted box is which true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Box, CameraTruth, Detection, LabelSpace, Rig, Sweep, project
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.evaluation.judged import JudgedFrame

FEWEST_PIXELS = 20
"""A thing of which no image shows that many pixels does not count."""
MOVING_M_S = 0.5
"""What is faster has the attribute `moving`, else `standing`."""
ERRORS = ("translation_error", "scale_error", "orientation_error", "velocity_error", "attribute_error")
"""The columns of `Matches.errors`."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in the base frame at the prediction's stamp, one a row.

    Attributes:
        label: (N,) int64, ids of their classes.
        score: (N,) 0 to 1.
        centre: (N, 3) metres.
        size: (N, 3) length, width, height, metres.
        yaw: (N,) radians.
        velocity: (N, 2) over ground, m/s; NaN where unknown.
    """

    label: NDArray[np.int64]
    score: NDArray[np.float64]
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: NDArray[np.float64]
    velocity: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.label)

    def chosen(self, rows: NDArray) -> Boxes:
        """Return some of the rows, by a mask or by their numbers."""
        return Boxes(*(getattr(self, column.name)[rows] for column in fields(self)))


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

    A box counts if its name leads to a class of `labels`, and if it could be seen: its centre is inside the view of a
    camera that has an image (as an ideal pinhole), and

    * where the truth has instance images and the box's `track` is a number, one of them shows `FEWEST_PIXELS` pixels of
      it;
    * else, where there is a LiDAR sweep, a point of it lies inside the box (as nuScenes does).

    Boxes of another stamp than the prediction's are moved by the base's motion and by their own velocities, where the
    base's poses at both stamps are known.
    """
    sweep = judged.truth.sweep
    if sweep is None or sweep.boxes is None:
        return None
    ids = [labels.id_of_box(box.label) for box in sweep.boxes]
    known = [(box, label) for box, label in zip(sweep.boxes, ids, strict=True) if label is not None]
    boxes = _moved([box for box, _ in known], [label for _, label in known], sweep, judged)
    in_view = np.flatnonzero(_in_view(boxes.centre, judged.rig, judged.prediction.missing))
    seen = _seen([known[index][0] for index in in_view], judged.truth.cameras, sweep)
    return boxes.chosen(in_view[seen])


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


def _seen(boxes: Sequence[Box], cameras: Mapping[str, CameraTruth], sweep: Sweep) -> NDArray[np.bool_]:
    instances = [camera.instance for camera in cameras.values() if camera.instance is not None]
    if not instances:
        return _hold_a_point(boxes, sweep.points)
    numbers = np.array([int(box.track) if box.track.isdigit() else 0 for box in boxes], dtype=np.int64)
    highest = int(numbers.max(initial=0))
    most = np.zeros(highest + 2, dtype=np.int64)
    for image in instances:
        most = np.maximum(most, np.bincount(np.clip(image.ravel(), 0, highest + 1), minlength=highest + 2))
    without = np.flatnonzero(numbers == 0)
    seen = most[numbers] >= FEWEST_PIXELS
    seen[without] = _hold_a_point([boxes[index] for index in without.tolist()], sweep.points)
    return seen


def _hold_a_point(boxes: Sequence[Box], points: NDArray | None) -> NDArray[np.bool_]:
    """Return which boxes have a LiDAR point inside, in the frame of both; all of them where there is no LiDAR."""
    if points is None or not boxes:
        return np.ones(len(boxes), dtype=bool)
    ordered = points[np.argsort(points[:, 0]), :3]
    along = np.ascontiguousarray(ordered[:, 0])
    hold = np.zeros(len(boxes), dtype=bool)
    for index, box in enumerate(boxes):
        middle, half = box.frame_from_box[0, 3], np.asarray(box.size) / 2.0
        reach = np.linalg.norm(half) + 0.01
        first, last = np.searchsorted(along, [middle - reach, middle + reach])
        inside = np.abs(transform_points(inverse(box.frame_from_box), ordered[first:last])) <= half
        hold[index] = inside.all(axis=-1).any()
    return hold


def _moved(boxes: Sequence[Box], labels: Sequence[int], sweep: Sweep, judged: JudgedFrame) -> Boxes:
    """Return boxes as columns, at the prediction's stamp."""
    now_from_then, seconds = np.eye(4), 0.0
    now, then = judged.prediction.world_from_base, sweep.world_from_base
    if sweep.stamp_ns != judged.prediction.stamp_ns and now is not None and then is not None:
        now_from_then = inverse(now) @ then
        seconds = (judged.prediction.stamp_ns - sweep.stamp_ns) * 1e-9
    unknown = np.full(3, np.nan)
    poses: list[Transform] = [now_from_then @ box.frame_from_box for box in boxes]
    velocities = np.array(
        [unknown if box.velocity is None else now_from_then[:3, :3] @ box.velocity for box in boxes]
    ).reshape(-1, 3)
    centres = np.array([pose[:3, 3] for pose in poses]).reshape(-1, 3)
    return Boxes(
        np.array(labels, dtype=np.int64),
        np.array([box.score for box in boxes], dtype=np.float64),
        centres + np.nan_to_num(velocities) * seconds,
        np.array([box.size for box in boxes], dtype=np.float64).reshape(-1, 3),
        np.array([np.arctan2(pose[1, 0], pose[0, 0]) for pose in poses], dtype=np.float64),
        velocities[:, :2],
    )


def _in_view(centres: NDArray[np.float64], rig: Rig, missing: Sequence[str]) -> NDArray[np.bool_]:
    seen = np.zeros(len(centres), dtype=bool)
    for camera in rig:
        if camera.name not in missing:
            pixels, _ = project(camera, transform_points(inverse(camera.base_from_camera), centres))
            corner = np.array([camera.width, camera.height]) - 0.5
            seen |= np.all((pixels >= -0.5) & (pixels <= corner), axis=-1)  # NaN, behind the camera, compares false
    return seen
