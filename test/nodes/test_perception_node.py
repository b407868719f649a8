# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node over real DDS, on a rendered street, with the network that is shipped."""

import threading
import weakref

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import LabelInfo

from mtl_perception.messages.images import depth_to_array, mono_to_array
from mtl_perception.messages.predictions import from_occupancy, from_rig_prediction
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.ros.parameters import ParameterError
from mtl_perception_msgs.msg import RigPrediction, SemanticOccupancy

SUCCESS = TransitionCallbackReturn.SUCCESS
CONFIGURE, CLEAN_UP, ACTIVATE, DEACTIVATE = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
)


@pytest.fixture
def start(graph, robot):
    def start(**values):
        values = {"cameras": robot.names, "tasks": ["all"], "frame_policy": "every", **values}
        node = PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**values))
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        graph.add(node)
        graph.until(lambda: robot.images["front"].get_subscription_count() > 0, "a subscription to the images")
        graph.until(lambda: node.count_subscribers("perception/progress") > 0, "a subscription to the progress")
        return node

    return start


def test_every_output_of_a_frame(graph, robot, start):
    robot.broadcast()
    start()
    robot.wait_for_listeners()
    heard = {
        topic: graph.hear(kind, f"perception/{topic}")
        for topic, kind in {
            "front/depth": Image,
            "front/depth_std": Image,
            "front/camera_info": CameraInfo,
            "front/semantic": Image,
            "front/semantic_color": Image,
            "front/motion_mask": Image,
            "left/depth": Image,
            "frame": RigPrediction,
            "occupancy": SemanticOccupancy,
            "occupancy_points": PointCloud2,
        }.items()
    }
    stamps = []
    for index, seconds in enumerate((1.0, 1.1)):
        stamps.append(robot.send(seconds))
        graph.until(lambda count=index + 1: len(graph.progress["perception"]) == count, "progress")
    graph.until(lambda: all(heard.values()), "every topic")
    assert [(p.used, p.reason) for p in graph.progress["perception"]] == [(True, "")] * 2
    assert [stamp_ns_from(p.header.stamp) for p in graph.progress["perception"]] == stamps

    depth, info = heard["front/depth"][0], heard["front/camera_info"][0]
    assert (depth.encoding, depth.width, depth.height) == ("32FC1", info.width, info.height)
    assert depth.header.frame_id == info.header.frame_id == robot.world.rig["front"].frame_id
    assert np.nanmedian(depth_to_array(depth)) > 0.5
    assert mono_to_array(heard["front/semantic"][0]).max() <= 255
    assert heard["front/semantic_color"][0].encoding == "rgb8"
    assert set(np.unique(mono_to_array(heard["front/motion_mask"][0]))) <= {0, 255}
    assert from_occupancy(heard["occupancy"][0]).labels.ndim == 3
    assert heard["occupancy"][0].header.frame_id == "base_link"

    prediction = from_rig_prediction(heard["frame"][0])
    assert tuple(prediction.cameras) == tuple(robot.names)
    assert prediction.world_frame == "odom"
    for name, camera in prediction.cameras.items():
        assert camera.stamp_ns == robot.frame(1.0).image_stamps_ns[name]
        np.testing.assert_allclose(camera.world_from_camera, robot.frame(1.0).world_from_camera[name], atol=1e-6)

    classes = graph.hear(LabelInfo, "perception/label_info", "latched")
    graph.until(lambda: classes, "the latched classes")
    assert any(entry.class_name == "road" for entry in classes[0].class_map)


def test_bad_images_are_dropped_by_name_and_reported(graph, robot, start):
    robot.broadcast()
    start(min_cameras=1)
    robot.wait_for_listeners()

    def reason_after(seconds, **change):
        robot.send(seconds, **change)
        before = len(reasons)
        graph.until(lambda: len(graph.progress["perception"]) > before, "progress")
        reasons.append((graph.progress["perception"][-1].used, graph.progress["perception"][-1].reason))
        return reasons[-1]

    reasons = []

    def set_encoding(_name, image):
        image.encoding = "smell8"

    def halve(_name, image):
        image.height //= 2

    def no_focal_length(info):
        info.k = [float("nan")] * 9

    used, reason = reason_after(1.0, change_image=set_encoding)
    assert not used
    assert "/front/image" in reason
    assert "smell8" in reason
    used, reason = reason_after(1.1, change_image=halve)
    assert not used
    assert "128x48" in reason
    assert "128x96" in reason
    used, reason = reason_after(1.2, change_info=no_focal_length)
    assert not used
    assert "/front/camera_info" in reason
    assert "nan" in reason
    assert reason_after(1.3) == (True, "")

    def only_left(name, image):
        if name == "left":
            image.encoding = "smell8"

    frames = graph.hear(RigPrediction, "perception/frame")
    assert reason_after(1.4, change_image=only_left) == (True, "")
    graph.until(lambda: frames, "a frame")
    assert list(frames[0].missing_cameras) == ["left"]


def test_frame_without_a_pose_is_dropped_with_the_reason(graph, robot, start):
    robot.broadcast()
    start()
    robot.wait_for_listeners()
    robot.send(1.0)
    graph.until(lambda: graph.progress["perception"], "progress")
    stray = Odometry()
    stray.header.frame_id, stray.child_frame_id = "odom", "base_link"
    stray.header.stamp.sec = robot.frame(1.0).stamp_ns // 10**9 + 10
    stray.pose.pose.orientation.w = 1.0
    robot.odometry.publish(stray)
    robot.send(1.1, poses=False)
    graph.until(lambda: len(graph.progress["perception"]) == 2, "progress")
    assert not graph.progress["perception"][1].used
    assert "more than pose_max_gap" in graph.progress["perception"][1].reason


def test_without_a_pose_source_frames_have_no_pose(graph, robot, start):
    robot.broadcast()
    start(pose_source="none")
    frames = graph.hear(RigPrediction, "perception/frame")
    robot.send(1.0, poses=False)
    graph.until(lambda: frames, "a frame")
    assert not frames[0].has_pose
    graph.until(lambda: "perception: poses" in graph.statuses, "diagnostics")
    assert "no mapping" in graph.statuses["perception: poses"].message


def test_what_is_missing_is_named_within_five_seconds(graph, robot, start):
    robot.destroy_publisher(robot.images.pop("left"))
    node = start(sync_timeout=0.1)
    began = node.steady_clock.now()
    graph.until(lambda: "/left/image" in _inputs(graph), "a complaint about /left/image")
    assert (node.steady_clock.now() - began).nanoseconds < 5e9
    assert "topic '/left/image' is not published" in _inputs(graph)
    robot.infos["front"].publish(CameraInfo(header=_header("front_optical_frame")))
    graph.until(lambda: "'base_link' <- 'front_optical_frame'" in _inputs(graph), "a complaint about the transform")


@pytest.mark.parametrize("last", ["node", "robot", "transforms"])
def test_it_does_not_matter_what_starts_last(graph, new_robot, last):
    def start_node():
        values = {"cameras": ["front", "left"], "tasks": ["depth"], "frame_policy": "every"}
        node = PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**values))
        assert node.trigger_configure() == node.trigger_activate() == SUCCESS
        graph.add(node)

    if last != "node":
        start_node()
    robot = new_robot()
    if last != "transforms":
        robot.broadcast()
    if last == "node":
        robot.send(0.9)  # to nobody
        start_node()
    robot.wait_for_listeners()
    graph.until(lambda: graph.watcher.count_publishers("perception/progress") == 1, "who reports progress")
    robot.send(1.0)
    if last == "transforms":
        graph.until(lambda: "'base_link' <- 'front_optical_frame'" in _inputs(graph), "a complaint about the transform")
        robot.broadcast()
    seconds = iter(1.0 + 0.1 * number for number in range(1, 100))

    def is_used():
        stamp_ns = robot.send(next(seconds))
        told = []

        def is_told():
            told[:] = [p for p in graph.progress["perception"] if stamp_ns_from(p.header.stamp) == stamp_ns]
            return told

        graph.until(is_told, "progress")
        return told[0].used

    graph.until(is_used, "a frame that is used")
    assert last == "transforms" or all(progress.used for progress in graph.progress["perception"])


def test_nothing_is_computed_that_nobody_wants(graph, robot, start):
    robot.broadcast()
    start(tasks=["on_demand"])
    robot.wait_for_listeners()
    robot.send(1.0)
    graph.until(lambda: graph.progress["perception"], "progress")
    assert graph.progress["perception"][0].reason == "nobody subscribes to a result"
    depth = graph.hear(Image, "perception/front/depth")
    robot.send(1.1)
    graph.until(lambda: depth, "depth")
    graph.until(lambda: len(graph.progress["perception"]) == 2, "progress, which is reported after the depth was sent")
    assert graph.progress["perception"][-1].used


def test_a_rehearsed_preset_computes_and_publishes_nothing_of_it(graph, robot, start):
    robot.broadcast()
    node = start(rehearse="nano")
    robot.wait_for_listeners()
    frames = graph.hear(RigPrediction, "perception/frame")
    stamps = [robot.send(seconds) for seconds in (1.0, 1.2)]
    graph.until(lambda: len(graph.progress["perception"]) == 2, "progress on both frames")
    graph.until(lambda: "perception: network" in graph.statuses, "diagnostics")
    assert [stamp_ns_from(progress.header.stamp) for progress in graph.progress["perception"]] == stamps
    assert all(progress.used for progress in graph.progress["perception"])
    message = graph.statuses["perception: network"].message
    assert "nano, random weights" in message and "publishes nothing; computes depth, semantic, normals" in message
    topics = [name for name, _ in node.get_publisher_names_and_types_by_node("perception", "/")]
    assert not [name for name in topics if name.endswith(("/depth", "/semantic", "/occupancy", "/motion_mask"))]
    graph.until(lambda: len(frames) == 2, "the frames for the map")
    prediction = from_rig_prediction(frames[1])
    assert all(camera.depth is None and camera.semantic is None for camera in prediction.cameras.values())


def test_a_checkpoint_and_a_rehearsal_exclude_each_other(graph):
    values = {"rehearse": "nano", "checkpoint": "a.safetensors"}
    with pytest.raises(ParameterError, match=r"'rehearse' = nano and 'checkpoint' = a\.safetensors"):
        PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**values))


def test_failed_configure_says_why_and_can_be_repeated(graph):
    node = graph.add(
        PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(checkpoint="/nowhere/net"))
    )
    assert not graph.make_transition(node, CONFIGURE)
    assert not node.is_configured
    graph.until(lambda: "/nowhere/net" in _message(graph, "perception: lifecycle"), "the reason in diagnostics")
    assert node.set_parameters(graph.overrides(checkpoint=""))[0].successful
    assert graph.make_transition(node, CONFIGURE)


def test_transitions_can_be_repeated(graph, robot, start):
    robot.broadcast()
    node = start()
    for _ in range(2):
        perceiver = node._perceiver
        assert graph.make_transition(node, DEACTIVATE)
        assert "perception" not in [thread.name for thread in threading.enumerate()]  # nothing is computed
        assert node._perceiver is perceiver  # but nothing has to be loaded again
        gone = weakref.ref(perceiver)
        del perceiver
        assert graph.make_transition(node, CLEAN_UP)
        graph.until(lambda gone=gone: gone() is None, "the network's end")
        for transition in (CONFIGURE, ACTIVATE):
            assert graph.make_transition(node, transition)
    robot.wait_for_listeners()
    robot.send(1.0)
    graph.until(lambda: any(p.used for p in graph.progress["perception"]), "a used frame")


def _header(frame_id):
    from std_msgs.msg import Header

    return Header(frame_id=frame_id)


def _message(graph, name):
    return graph.statuses[name].message if name in graph.statuses else ""


def _inputs(graph):
    return _message(graph, "perception: inputs")
