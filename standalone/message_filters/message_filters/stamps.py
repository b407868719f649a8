# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The time that a filter takes a message to be of."""

from __future__ import annotations

from typing import Any

from rclpy.clock import ROSClock
from rclpy.logging import get_logger
from rclpy.time import Time


def stamp_of(msg: Any, allow_headerless: bool, logger_name: str) -> Time | None:
    """Return the message's header stamp, or the present for a message without one where that is allowed.

    Otherwise a warning is logged and None returned.
    """
    stamp = getattr(getattr(msg, "header", None), "stamp", None)
    if stamp is not None:
        return stamp if hasattr(stamp, "nanoseconds") else Time.from_msg(stamp)
    if allow_headerless:
        return ROSClock().now()
    get_logger(logger_name).warning(
        f"a message of type {type(msg).__name__} has no header stamp and is ignored; "
        'with "allow_headerless" it would get the time of its arrival'
    )
    return None
