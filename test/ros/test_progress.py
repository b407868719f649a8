# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What became of each frame is told, whatever its stamp."""

from types import SimpleNamespace

import pytest

from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros.progress import ProgressReporter

LARGEST_NS = 2**31 * 10**9 - 1


@pytest.mark.parametrize(("stamp_ns", "told_ns"), [(7, 7), (-5, 0), (LARGEST_NS + 9, LARGEST_NS)])
def test_a_dropped_frame_is_told_with_the_nearest_stamp_that_a_message_can_hold(stamp_ns, told_ns) -> None:
    published = []
    reporter = ProgressReporter(SimpleNamespace(publish=published.append), "perception")
    reporter.report_dropped(stamp_ns, "no pose")
    assert [(stamp_ns_from(each.header.stamp), each.reason) for each in published] == [(told_ns, "no pose")]
    assert reporter.dropped == {"no pose": 1}
