# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The label space as vision_msgs/LabelInfo."""

from __future__ import annotations

from vision_msgs.msg import LabelInfo, VisionClass

from mtl_perception.core.labels import UNKNOWN, LabelSpace
from mtl_perception.messages.stamps import to_header


def to_label_info(labels: LabelSpace, stamp_ns: int, threshold: float = 0.0) -> LabelInfo:
    """Return the classes with their ids, and 255 as "unknown"; `threshold` is the confidence from which labels are
    given."""
    message = LabelInfo()
    message.header = to_header(stamp_ns, "")
    message.class_map = [VisionClass(class_id=label.id, class_name=label.name) for label in labels.labels]
    message.class_map.append(VisionClass(class_id=UNKNOWN, class_name="unknown"))
    message.threshold = float(threshold)
    return message


def read_label_info(message: object) -> dict[int, str]:
    """Return the class names by id that a vision_msgs/LabelInfo carries."""
    return {int(entry.class_id): str(entry.class_name) for entry in message.class_map}  # type: ignore[attr-defined]
