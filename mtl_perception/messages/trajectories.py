# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories as nav_msgs/Path."""

from __future__ import annotations

from typing import Any

from mtl_perception.core.transforms import Transform
from mtl_perception.messages.poses import transform_from_pose
from mtl_perception.messages.stamps import stamp_ns_from


def read_trajectory(message: Any, frame_id: str, topic: str = "path") -> list[tuple[int, Transform]]:
    """Return the stamps, in order, and the poses world_from_base of a nav_msgs/Path.

    Of several poses at one stamp, the last counts. A pose that names no frame is in that of the path.

    Raises:
        ValueError: the path or a pose is not in `frame_id`, or a pose makes no sense; names `topic` and the pose.
    """
    if message.header.frame_id != frame_id:
        raise ValueError(f"{topic}: header.frame_id is '{message.header.frame_id}', expected '{frame_id}'")
    poses: dict[int, Transform] = {}
    for number, pose in enumerate(message.poses):
        where = f"{topic}: poses[{number}]"
        if pose.header.frame_id not in ("", frame_id):
            raise ValueError(f"{where}.header.frame_id is '{pose.header.frame_id}', expected '{frame_id}'")
        poses[stamp_ns_from(pose.header.stamp)] = transform_from_pose(pose.pose, f"{where}.pose")
    return sorted(poses.items())
