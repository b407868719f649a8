# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Notices: each is told once, the newest of its reason, and counted for good."""

from mtl_perception.ros.notices import Notices


def test_told_once_and_counted():
    notices = Notices()
    notices.note("jumps", "by 1 m")
    notices.note("duplicates")
    notices.note("jumps", "by 2 m")
    notices.note("back in time", "by 3 s")
    assert notices.take() == ["by 2 m", "by 3 s"]
    assert notices.take() == []
    assert notices.counts == {"back in time": 1, "duplicates": 1, "jumps": 2}
