# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's way through the map, and what a jump in it means."""

from __future__ import annotations

from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MappingError
from mtl_perception.mapping.poses.pose_gate import PoseGate
from mtl_perception.mapping.poses.trajectory import Correction, Trajectory


class RobotPath:
    """The trajectory, and the gate that poses come through.

    Attributes:
        trajectory: since the clock has jumped back last.
    """

    def __init__(self, config: MapperConfig) -> None:
        """Start without a pose."""
        self._config = config
        self.begin_again()

    def adjust(self, config: MapperConfig) -> None:
        """Go on with other settings."""
        self._config = config
        self._gate.adjust(config)

    def begin_again(self) -> None:
        """Forget all poses, for stamps that begin at an earlier time."""
        self.trajectory = Trajectory()
        self._gate = PoseGate(self._config)
        self._newest_ns: int | None = None

    def admit(self, stamp_ns: int, world_from_base: Transform) -> Correction | None:
        """Return by which correction the map has to move before a frame with this pose; None: by none.

        Raises:
            MappingError: the pose has jumped, and the frame must not be mapped.
        """
        if self._newest_ns is not None and stamp_ns <= self._newest_ns:
            return None
        self._newest_ns = stamp_ns
        jump = self._gate.check(stamp_ns, world_from_base)
        if jump is None:
            return None
        mode, trajectory = self._config.on_pose_jump, self.trajectory
        if jump.correction is None or mode == "refuse" or not len(trajectory):
            raise MappingError(f"world_from_base: {jump.reason}; frames after a jump are not mapped")
        last_ns = trajectory.last_ns
        poses = [(last_ns, jump.correction @ trajectory.at(last_ns))]
        first_ns = max(trajectory.settled_ns, int(trajectory.stamps_ns[0]))
        if mode == "spread" and first_ns < last_ns:
            poses.insert(0, (first_ns, trajectory.at(first_ns)))
        return trajectory.correction(poses)

    @property
    def revisits_before_ns(self) -> int | None:
        """What was seen last before this stamp is mapped anew when it is seen again; None: nothing is."""
        distance = self._config.revisit_distance
        return self.trajectory.stamp_before(distance) if distance else None

    def add(self, stamp_ns: int, world_from_base: Transform) -> bool:
        """Learn the pose of a frame that was mapped, if it is later than the last; return whether it is."""
        is_later = not len(self.trajectory) or stamp_ns > self.trajectory.last_ns
        if is_later:
            self.trajectory.add(stamp_ns, world_from_base)
        return is_later

    def correct(self, correction: Correction) -> None:
        """Move with the world; after a jump, what is known since is taken for true."""
        self.trajectory.correct(correction)
        self._gate.correct(correction)
