# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Poses, transforms and odometry to 4x4 matrices and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Odometry

from mtl_perception.core.transforms import Transform, quaternion_from_rotation, transform_from
from mtl_perception.messages.stamps import stamp_ns_from, to_header


@dataclass(frozen=True, eq=False)
class StampedTransform:
    """One pose that a message tells: `target_from_source` (4x4, metres) at `stamp_ns`, with both frames' names."""

    stamp_ns: int
    target_frame: str
    source_frame: str
    target_from_source: Transform


def transform_from_pose(pose: Any, where: str = "pose") -> Transform:
    """Return a geometry_msgs/Pose as 4x4.

    Raises:
        ValueError: the quaternion is not of unit length or a value is not finite; names `where`.
    """
    return _transform(pose.position, pose.orientation, where)


def read_odometry(message: Any, topic: str = "odom") -> StampedTransform:
    """Read the pose of a nav_msgs/Odometry: `header.frame_id` from `child_frame_id`.

    Raises:
        ValueError: the pose makes no sense; names `topic`.
    """
    pose = transform_from_pose(message.pose.pose, f"{topic}: pose")
    return StampedTransform(
        stamp_ns_from(message.header.stamp), str(message.header.frame_id), str(message.child_frame_id), pose
    )


def read_pose_stamped(message: Any, source_frame: str, topic: str = "pose") -> StampedTransform:
    """Read a geometry_msgs/PoseStamped, which does not say itself of which frame it is the pose.

    Raises:
        ValueError: the pose makes no sense; names `topic`.
    """
    pose = transform_from_pose(message.pose, f"{topic}: pose")
    return StampedTransform(stamp_ns_from(message.header.stamp), str(message.header.frame_id), source_frame, pose)


def read_transform(message: Any, topic: str = "tf") -> StampedTransform:
    """Read a geometry_msgs/TransformStamped: `header.frame_id` from `child_frame_id`.

    Raises:
        ValueError: the transform makes no sense; names `topic` and the frames.
    """
    parent, child = str(message.header.frame_id), str(message.child_frame_id)
    transform = message.transform
    matrix = _transform(transform.translation, transform.rotation, f"{topic}: {parent} -> {child}")
    return StampedTransform(stamp_ns_from(message.header.stamp), parent, child, matrix)


def to_pose(target_from_source: Transform) -> Pose:
    """Return a transform as geometry_msgs/Pose."""
    return Pose(position=_point(target_from_source), orientation=_quaternion(target_from_source))


def to_odometry(pose: StampedTransform) -> Odometry:
    """Return a pose as nav_msgs/Odometry; the twist and both covariances are left at zero, which means unknown."""
    message = Odometry()
    message.header = to_header(pose.stamp_ns, pose.target_frame)
    message.child_frame_id = pose.source_frame
    message.pose.pose = to_pose(pose.target_from_source)
    return message


def to_transform(pose: StampedTransform) -> TransformStamped:
    """Return a pose as geometry_msgs/TransformStamped."""
    message = TransformStamped()
    message.header = to_header(pose.stamp_ns, pose.target_frame)
    message.child_frame_id = pose.source_frame
    x, y, z = pose.target_from_source[:3, 3].tolist()
    message.transform.translation = Vector3(x=x, y=y, z=z)
    message.transform.rotation = _quaternion(pose.target_from_source)
    return message


def _transform(translation: Any, rotation: Any, where: str) -> Transform:
    try:
        return transform_from(
            [translation.x, translation.y, translation.z], [rotation.x, rotation.y, rotation.z, rotation.w]
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _point(transform: Transform) -> Point:
    x, y, z = transform[:3, 3].tolist()
    return Point(x=x, y=y, z=z)


def _quaternion(transform: Transform) -> Quaternion:
    x, y, z, w = np.asarray(quaternion_from_rotation(transform[:3, :3])).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)
