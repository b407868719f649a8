# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tells poses that follow from those before from poses that jump, and a jump that lasts from a glitch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.poses.trajectory import Correction

_MAX_SPEED = 60.0  # m/s, as long as the velocity is not known
_MAX_TURNING = np.deg2rad(360.0)  # per second, likewise
_MAX_ACCELERATION = 10.0  # m/s^2 a robot or a hand can do
_MAX_TURN = np.deg2rad(15.0)  # off what was expected, on top of what the next can do
_MAX_ANGULAR_ACCELERATION = np.deg2rad(360.0)  # per second squared
_LEAST_INTERVAL_NS = 50_000_000  # over shorter intervals, the noise of poses makes wild velocities


@dataclass(frozen=True, eq=False)
class Jump:
    """A frame's pose does not follow from those before.

    Attributes:
        reason: in words.
        correction: new_world_from_old_world, by which the world has moved if the poses before and since are both right;
            None as long as it may be a glitch.
    """

    reason: str
    correction: Transform | None


@dataclass(frozen=True, eq=False)
class _Motion:
    """A pose, and the velocity with which it was reached: m/s in the world, rad/s in the body; zero while unknown."""

    stamp_ns: int
    pose: Transform
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    turning: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    is_moving_known: bool = False

    def at(self, stamp_ns: int) -> Transform:
        """Return the pose that is expected at another stamp."""
        seconds = (stamp_ns - self.stamp_ns) * 1e-9
        pose = self.pose.copy()
        pose[:3, 3] += self.velocity * seconds
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(self.turning * seconds).as_matrix()
        return pose

    def moved(self, stamp_ns: int, pose: Transform) -> _Motion:
        """Return the motion that leads to a later pose."""
        seconds = (stamp_ns - self.stamp_ns) * 1e-9
        if stamp_ns - self.stamp_ns < _LEAST_INTERVAL_NS:
            return replace(self, stamp_ns=stamp_ns, pose=pose)
        turn = Rotation.from_matrix(self.pose[:3, :3]).inv() * Rotation.from_matrix(pose[:3, :3])
        return _Motion(stamp_ns, pose, (pose[:3, 3] - self.pose[:3, 3]) / seconds, turn.as_rotvec() / seconds, True)


class PoseGate:
    """Holds each pose against what a constant velocity makes of those before.

    A pose may be off by `config.max_pose_jump` metres or 15 degrees, and by as much more as 10 m/s^2 and 360 deg/s^2
    explain in the time since the last pose. What is farther off is a jump. Poses that follow from one another after a
    jump for `config.pose_jump_patience` seconds prove that it lasts; one that follows from those before it, that it was
    a glitch. On the recorded walk of `shared/data/rgbd_room`, the largest deviation is 0.09 m.
    """

    def __init__(self, config: MapperConfig) -> None:
        """Start without a pose."""
        self.adjust(config)
        self._known: _Motion | None = None
        self._new: _Motion | None = None  # since a jump
        self._jump: tuple[int, Transform, str] | None = None  # when, by how much, and in words

    def adjust(self, config: MapperConfig) -> None:
        """Go on with other settings."""
        self._max_jump = config.max_pose_jump
        self._patience_ns = int(config.pose_jump_patience * 1e9)

    def check(self, stamp_ns: int, world_from_base: Transform) -> Jump | None:
        """Return what is wrong with a pose at a stamp later than all before; None: nothing, and it is taken."""
        pose = np.array(world_from_base, dtype=np.float64)
        if self._known is None:
            self._known = _Motion(stamp_ns, pose)
            return None
        if self._new is not None and not self._deviation(self._new, stamp_ns, pose):
            return self._lasting(stamp_ns, pose)
        reason = self._deviation(self._known, stamp_ns, pose)
        if not reason:
            self._known = self._known.moved(stamp_ns, pose)
            self._new = self._jump = None
            return None
        correction = pose @ inverse(self._known.at(stamp_ns))
        turn = correction[:3, :3]
        self._new = replace(self._known, stamp_ns=stamp_ns, pose=pose, velocity=turn @ self._known.velocity)
        self._jump = stamp_ns, correction, reason
        return Jump(reason, None)

    def correct(self, correction: Correction) -> None:
        """Move what is expected with the world. After a jump, take what is known since for true."""
        if self._new is not None:
            self._known, self._new, self._jump = self._new, None, None
        elif self._known is not None:
            transform = correction.at(np.array([self._known.stamp_ns], np.int64))[0]
            velocity = transform[:3, :3] @ self._known.velocity
            self._known = replace(self._known, pose=transform @ self._known.pose, velocity=velocity)

    def _lasting(self, stamp_ns: int, pose: Transform) -> Jump:
        """Return the jump after which a pose follows."""
        assert self._new is not None and self._jump is not None
        self._new = self._new.moved(stamp_ns, pose)
        since_ns, correction, reason = self._jump
        lasts = stamp_ns - since_ns >= self._patience_ns
        return Jump(f"{reason}, {(stamp_ns - since_ns) * 1e-9:.1f} s ago", correction if lasts else None)

    def _deviation(self, motion: _Motion, stamp_ns: int, pose: Transform) -> str:
        """Return in words how far a pose is from where it can be; nothing if it can be there."""
        seconds = (stamp_ns - motion.stamp_ns) * 1e-9
        expected = motion.at(stamp_ns)
        away = float(np.linalg.norm(pose[:3, 3] - expected[:3, 3]))
        cosine = (float((pose[:3, :3] * expected[:3, :3]).sum()) - 1.0) / 2.0
        turned = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
        most, most_turned = _MAX_ACCELERATION * seconds**2 / 2, _MAX_ANGULAR_ACCELERATION * seconds**2 / 2
        if not motion.is_moving_known:
            most, most_turned = most + _MAX_SPEED * seconds, most_turned + _MAX_TURNING * seconds
        if away > self._max_jump + most:
            return f"the pose jumped by {away:.2f} m within {seconds:.2f} s"
        if turned > _MAX_TURN + most_turned:
            return f"the pose jumped by {np.rad2deg(turned):.0f} degrees within {seconds:.2f} s"
        return ""
