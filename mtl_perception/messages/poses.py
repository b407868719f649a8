# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Poses, transforms and odometry to 4x4 matrices and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Odometry
from numpy.typing import NDArray

from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.transforms import Transform, quaternion_from_rotation, transform_from
from mtl_perception.messages.stamps import NANOSECONDS, stamp_ns_from, to_header


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


def to_ego_motion(motion: EgoMotion, pose: StampedTransform) -> Odometry:
    """Return a motion since the frame before as nav_msgs/Odometry.

    Its pose is `pose` (what the motions so far add up to). Its twist, in the axes of the base, is the constant one that
    makes the motion in the time since the frame before; its twist's covariance is that of the motion, per second
    squared.

    Raises:
        ValueError: the frame before is not earlier.
    """
    seconds = (pose.stamp_ns - motion.previous_stamp_ns) / NANOSECONDS
    if seconds <= 0:
        raise ValueError(f"ego motion: frame {pose.stamp_ns} ns is not later than {motion.previous_stamp_ns} ns")
    message = to_odometry(pose)
    vx, vy, vz, wx, wy, wz = (_twist(motion.previous_base_from_base) / seconds).tolist()
    message.twist.twist.linear = Vector3(x=vx, y=vy, z=vz)
    message.twist.twist.angular = Vector3(x=wx, y=wy, z=wz)
    message.twist.covariance = (motion.covariance / seconds**2).ravel()
    return message


def read_ego_motion(message: Any, previous_stamp_ns: int, topic: str = "odometry") -> EgoMotion:
    """Return what `to_ego_motion` wrote, given the stamp of the frame before.

    Raises:
        ValueError: a value is not finite or larger than a motion between two frames can be, or the frame before is not
            earlier; names `topic`.
    """
    seconds = (stamp_ns_from(message.header.stamp) - previous_stamp_ns) / NANOSECONDS
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    with np.errstate(over="ignore", invalid="ignore"):
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z]) * seconds
        covariance = np.asarray(message.twist.covariance, dtype=np.float64).reshape(6, 6) * seconds**2
    if seconds <= 0 or not (np.abs(twist) < _LARGEST_MOTION).all():
        raise ValueError(f"{topic}: a twist of {twist.tolist()} in {seconds} s is no ego motion")
    if not np.isfinite(covariance).all():
        raise ValueError(f"{topic}: the twist's covariance is not finite")
    return EgoMotion(previous_stamp_ns, _motion(twist), covariance)


_LARGEST_MOTION = 1e6  # metres or radians


def _twist(transform: Transform) -> NDArray[np.float64]:
    """Return the twist (6,), translation first, whose exponential a rigid transform is (its logarithm in SE(3))."""
    quaternion = quaternion_from_rotation(transform[:3, :3])
    sine = float(np.linalg.norm(quaternion[:3]))
    scale = 2.0 if sine < 1e-12 else 2.0 * np.arctan2(sine, quaternion[3]) / sine
    rotation = scale * quaternion[:3]
    return np.concatenate([np.linalg.solve(_left_jacobian(rotation), transform[:3, 3]), rotation])


def _motion(twist: NDArray[np.float64]) -> Transform:
    """Return the exponential of a twist (6,), the inverse of `_twist`."""
    half = float(np.linalg.norm(twist[3:])) / 2.0
    sine_over_angle = 0.5 * np.sinc(half / np.pi)
    quaternion = np.append(sine_over_angle * twist[3:], np.cos(half))
    return transform_from(_left_jacobian(twist[3:]) @ twist[:3], quaternion)


def _left_jacobian(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix 3x3 that takes a twist's translation to its motion's (Sola et al., "A micro Lie theory")."""
    x, y, z = rotation
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = float(np.linalg.norm(rotation))
    if angle < 1e-3:  # the series: the closed form loses its digits here
        return np.asarray(np.eye(3) + (0.5 - angle**2 / 24) * cross + (1 / 6 - angle**2 / 120) * cross @ cross)
    first, second = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)


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
