# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stamps: integer nanoseconds in Python, seconds and nanoseconds in messages."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

NANOSECONDS = 1_000_000_000
_LARGEST_SECONDS = 2**31 - 1  # builtin_interfaces/Time.sec is an int32


def stamp_ns_from(time: Any) -> int:
    """Return a builtin_interfaces/Time as nanoseconds."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


def seconds_of(stamp_ns: int) -> tuple[int, int]:
    """Return nanoseconds as seconds, and the nanoseconds that are left.

    Raises:
        ValueError: the stamp does not fit into a builtin_interfaces/Time.
    """
    seconds, nanoseconds = divmod(int(stamp_ns), NANOSECONDS)
    if not 0 <= seconds <= _LARGEST_SECONDS:
        raise ValueError(
            f"stamp {stamp_ns} ns is outside of what builtin_interfaces/Time holds (0 to {_LARGEST_SECONDS} s)"
        )
    return seconds, nanoseconds


def nearest_stamp(stamp_ns: int) -> int:
    """Return the stamp nearest to one that a message may have had (sec is signed) that `to_time` can write."""
    return min(max(stamp_ns, 0), _LARGEST_SECONDS * NANOSECONDS + NANOSECONDS - 1)


def to_time(stamp_ns: int) -> Time:
    """Return nanoseconds as a builtin_interfaces/Time.

    Raises:
        ValueError: the stamp does not fit into the message.
    """
    seconds, nanoseconds = seconds_of(stamp_ns)
    return Time(sec=seconds, nanosec=nanoseconds)


def to_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a std_msgs/Header.

    Raises:
        ValueError: the stamp does not fit into the message.
    """
    return Header(stamp=to_time(stamp_ns), frame_id=frame_id)
