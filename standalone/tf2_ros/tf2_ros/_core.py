# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tree of frames, and lookups in it. Exceptions carry the texts of tf2's compiled core, which users search for."""

from __future__ import annotations

import math
import threading
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_ros._exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros._history import History, Link, StaticHistory, seconds
from tf2_ros._rigid import IDENTITY, Rigid, canonical

_MAX_DEPTH = 1000
_NS = 1_000_000_000


class BufferCore:
    """Remembers transforms for `cache_time` and answers lookups. Safe to use from several threads.

    Times are rclpy Times or builtin_interfaces Times. Time 0 means the latest time at which all transforms on the way
    are known.
    """

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._cache_time_ns = 10 * _NS if cache_time is None else cache_time.nanoseconds
        # Every frame that was ever named, in that order; a root has no history.
        self._frames: dict[str, History | StaticHistory | None] = {}
        self._changed = threading.Condition(threading.RLock())

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Store the pose of `child_frame_id` in `header.frame_id` at the header's stamp.

        One that is invalid or older than the cache is ignored with a logged error that names `authority`.

        Raises:
            TypeError: the translation is no Vector3 or the rotation no Quaternion.
        """
        self._set(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Store the pose of `child_frame_id` in `header.frame_id` for all times; see `set_transform`."""
        self._set(transform, authority, is_static=True)

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Any) -> TransformStamped:
        """Return target_from_source at `time`: header.frame_id is the target, child_frame_id the source.

        Raises:
            InvalidArgumentException: a frame's name is empty or begins with a slash.
            LookupException: a frame is unknown, or the tree has a loop.
            ConnectivityException: nothing connects the frames.
            ExtrapolationException: a transform on the way is not known at that time.
        """
        with self._changed:
            time_ns, target_from_source = self._lookup(target_frame, source_frame, _nanoseconds(time))
        return _message(target_frame, source_frame, time_ns, target_from_source)

    def lookup_transform_full_core(
        self, target_frame: str, target_time: Any, source_frame: str, source_time: Any, fixed_frame: str
    ) -> TransformStamped:
        """Return target at `target_time` from source at `source_time`, by way of a frame that stands still.

        Raises:
            TransformException: as `lookup_transform_core`.
        """
        with self._changed:
            for role, frame in (("target", target_frame), ("source", source_frame), ("fixed", fixed_frame)):
                self._validate(f"lookupTransform argument {role}_frame", frame)
            _, fixed_from_source = self._lookup(fixed_frame, source_frame, _nanoseconds(source_time))
            time_ns, target_from_fixed = self._lookup(target_frame, fixed_frame, _nanoseconds(target_time))
        return _message(target_frame, source_frame, time_ns, target_from_fixed.after(fixed_from_source))

    def can_transform_core(self, target_frame: str, source_frame: str, time: Any) -> tuple[bool, str]:
        """Return whether `lookup_transform_core` would succeed, and why not."""
        with self._changed:
            if target_frame == source_frame:
                return True, ""
            reason = self._invalid(target=target_frame, source=source_frame)
            reason = reason or self._unreachable(target_frame, source_frame, time)
        return not reason, reason

    def can_transform_full_core(
        self, target_frame: str, target_time: Any, source_frame: str, source_time: Any, fixed_frame: str
    ) -> tuple[bool, str]:
        """Return whether `lookup_transform_full_core` would succeed, and why not."""
        with self._changed:
            reason = self._invalid(target=target_frame, source=source_frame, fixed=fixed_frame)
            reason = reason or self._unreachable(target_frame, fixed_frame, target_time)
            reason = reason or self._unreachable(fixed_frame, source_frame, source_time)
        return not reason, reason

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Return the latest time at which the transform is known, 0 when it is static.

        Raises:
            InvalidArgumentException: a frame's name is empty or begins with a slash.
            LookupException: a frame is unknown.
            TransformException: nothing connects them, or the tree has a loop.
        """
        with self._changed:
            self._validate("get_latest_common_time", target_frame)
            self._validate("get_latest_common_time", source_frame)
            try:
                return Time(nanoseconds=self._latest_common_time(target_frame, source_frame))
            except TransformException as error:
                raise TransformException(str(error)) from None  # the real one does not say which kind here

    def clear(self) -> None:
        """Forget all transforms but the static ones; the frames' names stay known."""
        with self._changed:
            for history in self._frames.values():
                if history is not None:
                    history.clear()

    def all_frames_as_string(self) -> str:
        """Return one sentence per frame that has, or had, a parent."""
        with self._changed:
            return "".join(
                f"Frame {frame} exists with parent {history.latest()[1] or 'NO_PARENT'}.\n"
                for frame, history in self._frames.items()
                if history is not None
            )

    def _set(self, transform: TransformStamped, authority: str, is_static: bool) -> None:
        translation, rotation = transform.transform.translation, transform.transform.rotation
        if not isinstance(translation, Vector3):
            raise TypeError("transform.translation must be of type Vector3")
        if not isinstance(rotation, Quaternion):
            raise TypeError("transform.rotation must be of type Quaternion")
        parent = transform.header.frame_id.removeprefix("/")
        child = transform.child_frame_id.removeprefix("/")
        parent_from_child = Rigid(
            (translation.x, translation.y, translation.z),
            canonical((rotation.x, rotation.y, rotation.z, rotation.w)),
        )
        problems = _problems(parent, child, parent_from_child, authority)
        for problem in problems:
            get_logger("tf2").error(problem)
        if problems:
            return
        stamp_ns = _nanoseconds(transform.header.stamp)
        with self._changed:
            history = self._frames.get(child)
            if history is None or isinstance(history, StaticHistory) != is_static:
                history = StaticHistory() if is_static else History(self._cache_time_ns)
                self._frames[child] = history
            self._frames.setdefault(parent, None)
            accepted = history.insert(stamp_ns, Link(parent, parent_from_child))
            self._changed.notify_all()
        if not accepted:
            get_logger("tf2").warning(
                f"TF_OLD_DATA ignoring data from the past for frame {child} at time {seconds(stamp_ns)} according to "
                f"authority {authority}\n"
                "Possible reasons are listed at http://wiki.ros.org/tf/Errors%20explained"
            )

    def _lookup(self, target: str, source: str, time_ns: int) -> tuple[int, Rigid]:
        if target == source:
            history = self._frames.get(target)
            return (history.latest()[0] if time_ns == 0 and history else time_ns), IDENTITY
        self._validate("lookupTransform argument target_frame", target)
        self._validate("lookupTransform argument source_frame", source)
        return self._walk(target, source, time_ns)

    def _walk(self, target: str, source: str, time_ns: int) -> tuple[int, Rigid]:
        """Go up from the source as far as transforms are known, then from the target until both meet."""
        if time_ns == 0:
            time_ns = self._latest_common_time(target, source)
        top_from_source, frame, depth = IDENTITY, source, 0
        stopped_by: ExtrapolationException | None = None
        while (history := self._frames[frame]) is not None:
            try:
                link = history.at(time_ns)
            except ExtrapolationException as error:
                stopped_by = error  # the target may be below this frame
                break
            if frame == target:
                return time_ns, top_from_source
            top_from_source = link.parent_from_frame.after(top_from_source)
            frame, depth = link.parent, self._deeper(depth)
        top = frame
        top_from_target, frame, depth = IDENTITY, target, 0
        while frame != top and (history := self._frames[frame]) is not None:
            try:
                link = history.at(time_ns)
            except ExtrapolationException as error:
                raise _with_frames(error, target, source) from None
            if frame == source:
                return time_ns, top_from_target.inverse()
            top_from_target = link.parent_from_frame.after(top_from_target)
            frame, depth = link.parent, self._deeper(depth)
        if frame != top:
            raise _with_frames(stopped_by, target, source) if stopped_by else _unconnected(target, source)
        return time_ns, top_from_target.inverse().after(top_from_source)

    def _latest_common_time(self, target: str, source: str) -> int:
        """Return the oldest of the newest stamps on the way, static transforms aside; 0 when there are no others."""
        if target == source:
            history = self._frames[source]
            return history.latest()[0] if history else 0
        source_stamps, source_line = self._ascend(source, until={target})
        target_stamps, target_line = self._ascend(target, until=set(source_line))
        meeting = target_line[-1]
        if meeting not in source_line:
            raise _unconnected(target, source)
        stamps = target_stamps + source_stamps[: source_line.index(meeting)]
        return min((stamp for stamp in stamps if stamp != 0), default=0)

    def _ascend(self, frame: str, until: set[str]) -> tuple[list[int], list[str]]:
        """Return the newest stamps on the way up, and the frames passed: this one first, one more than stamps."""
        stamps: list[int] = []
        line = [frame]
        while line[-1] not in until and (history := self._frames[line[-1]]) is not None:
            stamp, parent = history.latest()
            if parent is None:
                break
            stamps.append(stamp)
            line.append(parent)
            self._deeper(len(stamps) - 1)
        return stamps, line

    def _deeper(self, depth: int) -> int:
        if depth >= _MAX_DEPTH:
            raise LookupException(
                f"The tf tree is invalid because it contains a loop.\n{self.all_frames_as_string()}\n"
            )
        return depth + 1

    def _validate(self, place: str, frame: str) -> None:
        if problem := _name_problem(frame):
            raise InvalidArgumentException(f'Invalid argument "{frame}" passed to {place} - {problem}')
        if frame not in self._frames:
            raise LookupException(f'"{frame}" passed to {place} does not exist. ')

    def _invalid(self, **frames: str) -> str:
        for role, frame in frames.items():
            problem = _name_problem(frame) or ("" if frame in self._frames else "frame does not exist")
            if problem:
                return f'Invalid frame ID "{frame}" passed to canTransform argument {role}_frame - {problem}'
        return ""

    def _unreachable(self, target: str, source: str, time: Any) -> str:
        try:
            if target != source:
                self._walk(target, source, _nanoseconds(time))
        except TransformException as error:
            return str(error)
        return ""


def _problems(parent: str, child: str, parent_from_child: Rigid, authority: str) -> list[str]:
    """Return what makes a transform unusable, in tf2's words."""
    problems = []
    if child == parent:
        problems.append(
            f'TF_SELF_TRANSFORM: Ignoring transform from authority "{authority}" with frame_id and  child_frame_id '
            f'"{child}" because they are the same'
        )
    if not child:
        problems.append(
            f'TF_NO_CHILD_FRAME_ID: Ignoring transform from authority "{authority}" because child_frame_id not set '
        )
    if not parent:
        problems.append(
            f'TF_NO_FRAME_ID: Ignoring transform with child_frame_id "{child}"  from authority "{authority}" because '
            "frame_id not set"
        )
    values = (*parent_from_child.translation, *parent_from_child.rotation)
    if any(math.isnan(value) for value in values):
        problems.append(
            f'TF_NAN_INPUT: Ignoring transform for child_frame_id "{child}" from authority "{authority}" because of a '
            "nan value in the transform (%f %f %f) (%f %f %f %f)" % values
        )
    return problems


def _name_problem(frame: str) -> str:
    if not frame:
        return "in tf2 frame_ids cannot be empty"
    return "in tf2 frame_ids cannot start with a '/'" if frame.startswith("/") else ""


def _unconnected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(
        f"Could not find a connection between '{target}' and '{source}' because they are not part of the same tree."
        "Tf has two or more unconnected trees."
    )


def _with_frames(error: ExtrapolationException, target: str, source: str) -> ExtrapolationException:
    return ExtrapolationException(f"{error}, when looking up transform from frame [{source}] to frame [{target}]")


def _nanoseconds(time: Any) -> int:
    if hasattr(time, "sec") and hasattr(time, "nanosec"):
        return int(time.sec) * _NS + int(time.nanosec)
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    raise TypeError("time must have sec and nanosec, or nanoseconds.")


def _message(target: str, source: str, time_ns: int, target_from_source: Rigid) -> TransformStamped:
    message = TransformStamped(child_frame_id=source)
    message.header.frame_id = target
    message.header.stamp = TimeMsg(sec=time_ns // _NS, nanosec=time_ns % _NS)
    x, y, z = target_from_source.translation
    message.transform.translation = Vector3(x=x, y=y, z=z)
    qx, qy, qz, qw = canonical(target_from_source.rotation)
    message.transform.rotation = Quaternion(x=qx, y=qy, z=qz, w=qw)
    return message
