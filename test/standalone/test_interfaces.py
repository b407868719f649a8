# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of map_msgs, tf2_msgs and vision_msgs are those that the rest of the ROS world speaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory
from geometry_msgs.msg import TransformStamped
from map_msgs.msg import OccupancyGridUpdate
from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TF2Error, TFMessage
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)

# Type hashes (REP-2016) of map_msgs 2.4.0, tf2_msgs 0.39.1 and vision_msgs 4.1.1: peers on other machines announce
# these.
HASHES = {
    "map_msgs/msg/OccupancyGridUpdate": "c4095b0be2e4363f8978a1570e0293ee093436f1e1c61d99b48502ac317025e8",
    "tf2_msgs/msg/TF2Error": "db2485e7d6a0ec75bf087e058ee45df682acc3a621ca7780503d10aac141809a",
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "vision_msgs/msg/BoundingBox3D": "bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698",
    "vision_msgs/msg/Detection3D": "ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b",
    "vision_msgs/msg/Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "vision_msgs/msg/LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "vision_msgs/msg/ObjectHypothesis": "51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    "vision_msgs/msg/ObjectHypothesisWithPose": "41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    "vision_msgs/msg/VisionClass": "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
}


@pytest.mark.parametrize("type_name", HASHES)
def test_type_hashes_are_those_of_the_real_packages(type_name: str) -> None:
    package, _, name = type_name.split("/")
    description = json.loads((Path(get_package_share_directory(package)) / "msg" / f"{name}.json").read_text())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    assert hashes[type_name] == f"RIHS01_{HASHES[type_name]}"


def test_messages_survive_the_wire() -> None:
    detection = Detection3D(
        results=[ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id="car", score=0.75))],
        bbox=BoundingBox3D(),
        id="7",
    )
    detection.bbox.size.x = 4.5
    for message in (
        OccupancyGridUpdate(x=-1, y=2, width=3, height=1, data=[-1, 0, 100]),
        TFMessage(transforms=[TransformStamped(child_frame_id="base")]),
        TF2Error(error=TF2Error.TIMEOUT_ERROR, error_string="late"),
        LabelInfo(class_map=[VisionClass(class_id=65535, class_name="unlabelled")], threshold=0.5),
        Detection3DArray(detections=[detection]),
    ):
        assert deserialize_message(serialize_message(message), type(message)) == message
