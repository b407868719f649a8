# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Odometry from what the network says about the robot's motion: each frame's motion is added to the ones before."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry

from mtl_perception.core import Prediction
from mtl_perception.core.transforms import Transform
from mtl_perception.messages.poses import StampedTransform, to_ego_motion, to_odometry

UNPOSED_FRAME = "visual_odom"
"""The frame of the odometry where the robot's pose is not known when it begins."""


class EgoOdometry:
    """Adds motions up. It begins, and begins anew after a gap, where the robot is known to be, else at the identity."""

    def __init__(self, unposed_frame: str = UNPOSED_FRAME) -> None:
        """Begin with the next frame; `unposed_frame` is where the robot is when its pose is not known."""
        self._stamp_ns: int | None = None
        self._unposed_frame = self._frame = unposed_frame
        self._world_from_base: Transform = np.eye(4)

    def add(self, prediction: Prediction) -> Odometry | None:
        """Return the odometry at a frame, with the motion and its covariance as twist.

        None where motions are not computed. A motion that is not known, as at the first frame, is told as ROS does it:
        the first element of the twist's covariance is -1.
        """
        motion = prediction.ego_motion
        if motion is None or motion.previous_stamp_ns != self._stamp_ns:
            known = prediction.world_from_base is not None
            self._frame = prediction.world_frame if known else self._unposed_frame
            self._world_from_base = np.eye(4) if prediction.world_from_base is None else prediction.world_from_base
        else:
            self._world_from_base = self._world_from_base @ motion.previous_base_from_base
        self._stamp_ns = prediction.stamp_ns
        if "ego_motion" not in prediction.tasks:
            return None
        pose = StampedTransform(prediction.stamp_ns, self._frame, prediction.base_frame, self._world_from_base)
        if motion is not None:
            return to_ego_motion(motion, pose)
        message = to_odometry(pose)
        message.twist.covariance[0] = -1.0
        return message


def has_motion(odometry: Odometry) -> bool:
    """Return whether a message of `EgoOdometry` holds a motion."""
    return bool(odometry.twist.covariance[0] >= 0.0)
