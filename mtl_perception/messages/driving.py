# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering, DrivingContext and CabinJoints, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray

from mtl_perception.core.frame import GESTURE_JOINTS, POSTURE_JOINTS
from mtl_perception.core.prediction import Steering
from mtl_perception.messages.stamps import to_header
from mtl_perception_msgs.msg import CabinJoints, DrivingContext, DrivingContextTask
from mtl_perception_msgs.msg import Steering as SteeringMessage


def to_steering(steering: Steering, stamp_ns: int, base_frame: str) -> SteeringMessage:
    """Return a steering angle as message."""
    return SteeringMessage(header=to_header(stamp_ns, base_frame), angle=float(steering.angle), std=float(steering.std))


def from_steering(message: Any) -> Steering:
    """Return the steering angle that a message carries."""
    return Steering(float(message.angle), float(message.std))


def to_driving_context(context: Mapping[str, Mapping[str, float]], stamp_ns: int, base_frame: str) -> DrivingContext:
    """Return, per scene-level task, its classes with their probabilities as message."""
    tasks = [
        DrivingContextTask(task=task, classes=list(classes), probabilities=[float(p) for p in classes.values()])
        for task, classes in context.items()
    ]
    return DrivingContext(header=to_header(stamp_ns, base_frame), tasks=tasks)


def from_driving_context(message: Any, topic: str = "perception/driving_context") -> dict[str, dict[str, float]]:
    """Return, per scene-level task, its classes with their probabilities.

    Raises:
        ValueError: a task has not as many probabilities as classes; names `topic` and the task.
    """
    context = {}
    for entry in message.tasks:
        names, probabilities = [str(name) for name in entry.classes], [float(p) for p in entry.probabilities]
        if len(names) != len(probabilities):
            raise ValueError(
                f"{topic}: task '{entry.task}' has {len(names)} classes but {len(probabilities)} probabilities"
            )
        context[str(entry.task)] = dict(zip(names, probabilities, strict=True))
    return context


def to_cabin_joints(
    posture: NDArray[np.floating] | None, gestures: NDArray[np.floating] | None, stamp_ns: int, frame_id: str
) -> CabinJoints:
    """Return the driver's joints, (26, 3) and (42, 3) in metres in the optical frame `frame_id`, as message."""
    return CabinJoints(header=to_header(stamp_ns, frame_id), posture=_points(posture), gestures=_points(gestures))


def from_cabin_joints(
    message: Any, topic: str = "cabin/joints"
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return posture (26, 3) and gestures (42, 3) in metres, NaN for a joint that is not seen; None where not known.

    Raises:
        ValueError: there are some joints but not all; names `topic` and the field.
    """
    return (
        _joints(message.posture, POSTURE_JOINTS, f"{topic}: posture"),
        _joints(message.gestures, GESTURE_JOINTS, f"{topic}: gestures"),
    )


def _points(joints: NDArray[np.floating] | None) -> list[Point]:
    return [] if joints is None else [Point(x=x, y=y, z=z) for x, y, z in joints.tolist()]


def _joints(points: Any, count: int, where: str) -> NDArray[np.float64] | None:
    if not len(points):
        return None
    if len(points) != count:
        raise ValueError(f"{where} has {len(points)} joints, {count} or none are expected")
    return np.array([[point.x, point.y, point.z] for point in points], dtype=np.float64)
