# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a live evaluation says of tasks that it could not score."""

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.resources import config_file
from mtl_perception.ros.live_evaluation import LiveEvaluation, LiveSettings, NetworkFacts


@pytest.fixture
def live() -> LiveEvaluation:
    settings = LiveSettings({"front": "front/camera_info"}, "odom", ScoreOptions(), 10, 1.0, pictures=False)
    labels = LabelSpace.load(config_file("labels", "default"))
    return LiveEvaluation(settings, labels, lambda topic: True, lambda prediction: None)


def test_a_task_is_left_out_for_the_network_first_then_for_truth_then_for_frames(live):
    why = {"edges": "not trained", "panoptic": "nor this", "vehicle_behaviour": "nor that"}
    live.network = NetworkFacts("nano", "nano.safetensors", ("depth",), tuple(why.items()))
    for task in ("edges", "depth"):
        live.take(f"ground_truth/front/{task}", 1, serialize_message(Image()))
    left_out = live.result("walk").left_out
    assert left_out["edges"] == "not trained"
    assert (left_out["panoptic"], left_out["driving_context"]) == ("nor this", "nor that")
    assert left_out["depth"] == "no frame has both a prediction and the truth"
    assert left_out["normals"] == "no truth for it has come"
    assert "evaluate" in left_out["map"]
