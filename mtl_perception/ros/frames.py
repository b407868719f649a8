# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names of frames where several robots share one tree of transforms."""

from __future__ import annotations

FRAME_PREFIX_TEXT = (
    "Put before the frames that parameters name, as robot_state_publisher does with its own, e.g. a/ for a/base_link. "
    "Frames that messages name are taken as they are."
)


def prefixed(prefix: str, frame: str) -> str:
    """Return a frame's name with the prefix; "" stays "", it stands for no frame."""
    return prefix + frame if frame else ""
