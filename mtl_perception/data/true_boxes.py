# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Annotated boxes as columns, at a stamp, and which of them could be seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Box, CameraTruth, LabelSpace, Rig, Sweep, project
from mtl_perception.core.transforms import Transform, inverse, transform_points

FEWEST_PIXELS = 20
"""A thing of which no image shows that many pixels does not count."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in the base frame at one stamp, one a row.

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


def boxes_at(
    sweep: Sweep,
    labels: LabelSpace,
    stamp_ns: int,
    world_from_base: Transform | None,
    rig: Rig,
    with_image: Collection[str],
    cameras: Mapping[str, CameraTruth],
) -> tuple[Boxes, NDArray[np.bool_]]:
    """Return the boxes of a sweep whose names lead to a class of `labels`, and which of them (N,) could be seen.

    Boxes of another stamp are moved by the base's motion and by their own velocities, where the base's poses at both
    stamps are known. A box could be seen if its centre is inside the view of a camera that has an image (as an ideal
    pinhole), and

    * where the truth has instance images and the box's `track` is a number, one of them shows `FEWEST_PIXELS` pixels of
      it;
    * else, where there is a LiDAR sweep, a point of it lies inside the box (as nuScenes does).

    Args:
        sweep: with boxes.
        labels: the label space.
        stamp_ns, world_from_base: when the boxes are asked for, and where the base is then; None: not known.
        rig: the cameras.
        with_image: the names of those that have an image.
        cameras: what is true of their images, by name.
    """
    assert sweep.boxes is not None
    ids = [labels.id_of_box(box.label) for box in sweep.boxes]
    known = [(box, label) for box, label in zip(sweep.boxes, ids, strict=True) if label is not None]
    now_from_then, seconds = np.eye(4), 0.0
    if sweep.stamp_ns != stamp_ns and world_from_base is not None and sweep.world_from_base is not None:
        now_from_then = inverse(world_from_base) @ sweep.world_from_base
        seconds = (stamp_ns - sweep.stamp_ns) * 1e-9
    boxes = _moved([box for box, _ in known], [label for _, label in known], now_from_then, seconds)
    seen = _in_view(boxes.centre, rig, with_image)
    in_view = np.flatnonzero(seen)
    seen[in_view] = _shown([known[index][0] for index in in_view], cameras, sweep.points)
    return boxes, seen


def _shown(boxes: Sequence[Box], cameras: Mapping[str, CameraTruth], points: NDArray | None) -> NDArray[np.bool_]:
    instances = [camera.instance for camera in cameras.values() if camera.instance is not None]
    if not instances:
        return _hold_a_point(boxes, points)
    numbers = np.array([int(box.track) if box.track.isdigit() else 0 for box in boxes], dtype=np.int64)
    highest = int(numbers.max(initial=0))
    most = np.zeros(highest + 2, dtype=np.int64)
    for image in instances:
        most = np.maximum(most, np.bincount(np.clip(image.ravel(), 0, highest + 1), minlength=highest + 2))
    without = np.flatnonzero(numbers == 0)
    shown = most[numbers] >= FEWEST_PIXELS
    shown[without] = _hold_a_point([boxes[index] for index in without.tolist()], points)
    return shown


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


def _moved(boxes: Sequence[Box], labels: Sequence[int], now_from_then: Transform, seconds: float) -> Boxes:
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


def _in_view(centres: NDArray[np.float64], rig: Rig, with_image: Collection[str]) -> NDArray[np.bool_]:
    seen = np.zeros(len(centres), dtype=bool)
    for camera in rig:
        if camera.name in with_image:
            pixels, _ = project(camera, transform_points(inverse(camera.base_from_camera), centres))
            corner = np.array([camera.width, camera.height]) - 0.5
            seen |= np.all((pixels >= -0.5) & (pixels <= corner), axis=-1)  # NaN, behind the camera, compares false
    return seen
