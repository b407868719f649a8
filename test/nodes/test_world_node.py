# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The world node: by simulated time all frames, by the wall clock those that are ready, and no process left behind."""

import multiprocessing

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from mtl_perception.core import LabelSpace
from mtl_perception.data.world import World
from mtl_perception.messages.images import image_to_array, values_to_array
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.nodes.world_node import WorldNode
from mtl_perception.resources import config_file

SUCCESS = TransitionCallbackReturn.SUCCESS
SMALL = {"kind": "indoor", "seed": 5, "rig": "mono", "image_width": 32, "image_height": 24, "workers": 1}


@pytest.fixture
def start(graph):
    def start(**parameters):
        node = WorldNode(context=graph.context, parameter_overrides=graph.overrides(**{**SMALL, **parameters}))
        return graph.add(node)

    yield start
    for node in graph.nodes:
        if isinstance(node, WorldNode):
            node.shut_down()
    assert multiprocessing.active_children() == []


def told(graph, name):
    return graph.statuses.get(f"world: {name}")


def test_by_simulated_time_no_frame_is_left_out(graph, start):
    node = start(use_sim_time=True, speed=0.0, seconds=0.5)
    assert node.trigger_configure() == SUCCESS
    images, depths = graph.hear(Image, "front/image"), graph.hear(Image, "ground_truth/front/depth")
    clocks, poses = graph.hear(Clock, "/clock", 100), graph.hear(Odometry, "odom", 100)
    static = graph.hear(TFMessage, "/tf_static", "latched")
    graph.until(lambda: node.count_subscribers("/clock") == 2, "the clock is heard")
    assert node.trigger_activate() == SUCCESS
    graph.until(lambda: len(images) == len(depths) == 5 and static, "all frames")
    world = World.generate(
        "indoor", 5, LabelSpace.load(config_file("labels", "default")), cameras="mono", image_size=(32, 24)
    )
    expected = world.render(0.3)
    assert stamp_ns_from(images[3].header.stamp) == expected.frame.stamp_ns
    np.testing.assert_array_equal(image_to_array(images[3]), expected.frame.images["front"])
    np.testing.assert_array_equal(values_to_array(depths[3], "32FC1"), expected.truth.cameras["front"].depth)
    times = [stamp_ns_from(clock.clock) for clock in clocks]
    assert times == sorted(times) == [stamp_ns_from(image.header.stamp) for image in images]
    assert len(poses) == 5
    over = "the world is over: 5 frames sent, 0 dropped"
    graph.until(lambda: told(graph, "world") and told(graph, "world").message == over, "diagnostics say so")
    # Active once more, it begins again.
    assert node.trigger_deactivate() == node.trigger_activate() == SUCCESS
    graph.until(lambda: len(images) == 10, "all frames again")
    assert stamp_ns_from(images[5].header.stamp) == stamp_ns_from(images[0].header.stamp)


def test_by_the_wall_clock_late_frames_are_dropped_and_counted(graph, start):
    node = start(frame_rate=100.0, seconds=60.0)  # of which rendering cannot keep up with all
    assert node.trigger_configure() == SUCCESS
    arrivals = []
    graph.watcher.create_subscription(
        Image, "front/image", lambda image: arrivals.append((stamp_ns_from(image.header.stamp), node.clock_ns)), 10
    )
    begin = node.clock_ns
    assert node.trigger_activate() == SUCCESS
    graph.until(lambda: len(arrivals) > 10, "frames")
    graph.until(
        lambda: told(graph, "world") and told(graph, "world").level == DiagnosticStatus.WARN,
        "diagnostics say that it is too slow",
    )
    assert node.trigger_deactivate() == SUCCESS
    stamps = [stamp for stamp, _ in arrivals]
    assert stamps == sorted(stamps)
    assert stamps[0] - begin < 1e9
    for stamp, arrived in arrivals:
        assert -2e7 < arrived - stamp < 3e9  # never before its time; the machine may be busy
    values = {value.key: value.value for value in graph.statuses["world: world"].values}
    assert int(values["dropped: rendering is too slow"]) > 0


def test_what_cannot_be_shown_is_explained(graph, start):
    node = start(rig="no_such_rig")
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    graph.until(
        lambda: told(graph, "lifecycle") and "no_such_rig" in told(graph, "lifecycle").message,
        "diagnostics name the rig",
    )
    assert multiprocessing.active_children() == []
    node.set_parameters(graph.overrides(rig="mono", image_height=0))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    graph.until(
        lambda: "give both or none" in graph.statuses["world: lifecycle"].message, "diagnostics name the parameters"
    )
