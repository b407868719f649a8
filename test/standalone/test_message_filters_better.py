# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the message_filters of standalone/ does better than the real one."""

from __future__ import annotations

import pytest
from message_filters import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer
from sensor_msgs.msg import Image


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_a_callback_that_raises_leaves_a_synchroniser_that_works(kind: str) -> None:
    left, right = SimpleFilter(), SimpleFilter()
    inputs = [left, right]
    sync = TimeSynchronizer(inputs, 5) if kind == "exact" else ApproximateTimeSynchronizer(inputs, 5, 0.1)
    stamps: list[int] = []

    def fail_first(one: Image, other: Image) -> None:
        stamps.append(one.header.stamp.sec)
        if len(stamps) == 1:
            raise ValueError("first")

    sync.registerCallback(fail_first)
    for seconds in (1, 2):
        msg = Image()
        msg.header.stamp.sec = seconds
        left.signalMessage(msg)
        if seconds == 1:
            with pytest.raises(ValueError, match="first"):
                right.signalMessage(msg)
        else:
            right.signalMessage(msg)
    assert stamps == [1, 2]
