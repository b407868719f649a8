# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which CameraInfo holds for an image: calibrations can change while a camera runs."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros.pose_history import NotYetError

_IN_STEP = 2  # so many images in a row had a CameraInfo of their own stamp: the next one will have one, too
_KEPT_INFOS = 10
_JUMP_BACK_NS = 1_000_000_000  # a CameraInfo older than the newest change by more than this: the time was set back


class CameraInfos:
    """The calibration of one camera over time: its newest changes, each of which holds from its stamp on.

    Most drivers send a CameraInfo with every image, of the same stamp. Where that is so, the one of an image is waited
    for, so that a calibration that changes holds from its own image on, whichever of both comes first.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._changes: list[tuple[int, CameraInfo]] = []  # (stamp from which it holds, info), sorted by stamp
        self._stamps: deque[int] = deque(maxlen=100)  # of the newest ones
        self._asked_ns: int | None = None  # the stamp of the newest image
        self._in_step = 0  # how many images in a row had one of their own stamp

    def insert(self, info: CameraInfo) -> None:
        """Take a CameraInfo; only one that says something new is kept, and at most ten."""
        stamp_ns = stamp_ns_from(info.header.stamp)
        changes = self._changes
        if changes and stamp_ns < changes[-1][0] - _JUMP_BACK_NS:
            changes = changes[: bisect_right(changes, stamp_ns, key=_since)]
        at = bisect_right(changes, stamp_ns, key=_since)
        if not at or not _same_calibration(changes[at - 1][1], info):
            changes = [*changes[:at], (stamp_ns, info), *changes[at:]][-_KEPT_INFOS:]
        self._changes = changes
        self._stamps.append(stamp_ns)  # last: who finds the stamp finds what came with it

    @property
    def newest(self) -> CameraInfo | None:
        """The newest CameraInfo."""
        return self._changes[-1][1] if self._changes else None

    def at(self, stamp_ns: int, *, wait: bool = False) -> CameraInfo:
        """Return the CameraInfo that holds for an image of a stamp.

        Raises:
            NotYetError: none has arrived; or, with `wait`, that of the image is still to come.
        """
        is_there, newest_ns = stamp_ns in self._stamps, max(self._stamps, default=stamp_ns)
        changes = self._changes
        if not changes:
            raise NotYetError("no CameraInfo has arrived")
        if wait and not is_there and newest_ns < stamp_ns and self._in_step >= _IN_STEP:
            raise NotYetError(f"no CameraInfo of the image's stamp {stamp_ns} has arrived")
        if stamp_ns != self._asked_ns:  # an image may be asked for often, while other things of it are waited for
            self._asked_ns, self._in_step = stamp_ns, self._in_step + 1 if is_there else 0
        return changes[max(bisect_right(changes, stamp_ns, key=_since) - 1, 0)][1]

    def jump_back(self) -> None:
        """Let the newest hold at all stamps."""
        self._changes = [(0, info) for _, info in self._changes[-1:]]
        self._stamps.clear()
        self._in_step = 0


def _since(change: tuple[int, CameraInfo]) -> int:
    return change[0]


def _same_calibration(first: CameraInfo, second: CameraInfo) -> bool:
    def calibration(info: CameraInfo) -> Mapping[str, Any]:
        numbers = {key: np.asarray(getattr(info, key), dtype=np.float64).tobytes() for key in ("d", "k", "r", "p")}
        names = ("width", "height", "distortion_model", "binning_x", "binning_y", "roi")
        return {**numbers, **{key: getattr(info, key) for key in names}, "frame_id": info.header.frame_id}

    return calibration(first) == calibration(second)
