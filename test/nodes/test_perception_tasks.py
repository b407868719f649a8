# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every task of a network on its topics over real DDS: what arrives is what the same network says without ROS."""

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from mtl_perception.core import CabinFrame
from mtl_perception.core.prediction import MAPPED_TASKS
from mtl_perception.data.world.cabin.cabin import Cabin
from mtl_perception.messages.bev import from_bev_map
from mtl_perception.messages.detections import detections_of, read_detections, with_velocities
from mtl_perception.messages.driving import from_driving_context, from_steering, to_cabin_joints
from mtl_perception.messages.images import array_to_image, values_to_array
from mtl_perception.messages.poses import read_ego_motion
from mtl_perception.messages.predictions import from_occupancy
from mtl_perception.messages.scene_flow import from_scene_flow
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.network import load_checkpoint, save_checkpoint
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import default_checkpoint
from mtl_perception.ros.diagnostics import Level
from mtl_perception.ros.ego_odometry import has_motion
from mtl_perception_msgs.msg import BevMap, CabinJoints, DrivingContext, RigPrediction, SemanticOccupancy, Steering

IMAGES = {"depth": "32FC1", "semantic": "mono8", "motion_mask": "mono8", "edges": "mono8", "normals": "32FC3"}
IMAGES |= dict.fromkeys(("depth_std", "semantic_confidence", "edge_probability"), "32FC1") | {"panoptic": "32SC1"}
RIG = {
    "bev_map": OccupancyGrid,
    "bev_map_layers": BevMap,
    "detections": Detection3DArray,
    "detection_velocities": PointCloud2,
    "detection_markers": MarkerArray,
    "scene_flow": PointCloud2,
    "odometry": Odometry,
    "steering": Steering,
    "driving_context": DrivingContext,
    "occupancy": SemanticOccupancy,
    "frame": RigPrediction,
}


@pytest.fixture
def start(graph, robot, all_knowing):
    def start(**values):
        values = {"cameras": robot.names, "checkpoint": str(all_knowing), "frame_policy": "every", **values}
        node = PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**values))
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        graph.add(node)
        graph.until(lambda: node.count_subscribers("perception/progress") > 0, "a subscription to the progress")
        robot.broadcast()
        robot.wait_for_listeners()
        return node

    def send(*times):
        for seconds in times:
            before = len(graph.progress["perception"])
            robot.send(seconds)
            graph.until(lambda before=before: len(graph.progress["perception"]) > before, "progress")
            assert graph.progress["perception"][-1].used, graph.progress["perception"][-1].reason

    return start, send


def test_every_task_arrives_as_the_network_has_it(graph, robot, start, all_knowing):
    run, send = start
    run(tasks=["all"])
    images = {
        (name, topic): graph.hear(Image, f"perception/{name}/{topic}") for name in robot.names for topic in IMAGES
    }
    rig = {topic: graph.hear(kind, f"perception/{topic}") for topic, kind in RIG.items()}
    send(1.0, 1.1, 1.2)
    graph.until(lambda: len(rig["odometry"]) == 3 and all(len(heard) > 1 for heard in rig.values()), "every rig topic")
    graph.until(lambda: all(len(heard) > 1 for heard in images.values()), "every image")
    heard = {topic: messages[-1] for topic, messages in rig.items()}

    perceiver = Perceiver.from_checkpoint(all_knowing)
    expected = [perceiver(robot.frame(seconds)) for seconds in (1.0, 1.1, 1.2)][-1]
    assert {stamp_ns_from(heard[topic].header.stamp) for topic in RIG if topic != "detection_markers"} == {
        expected.stamp_ns
    }
    for (name, topic), messages in images.items():
        image = values_to_array(messages[-1], IMAGES[topic])
        wanted = getattr(expected.cameras[name], topic)
        if image.dtype == np.float32:
            np.testing.assert_allclose(image, wanted, atol=2e-4, err_msg=topic)
        else:
            assert (image != wanted).mean() < 0.01, topic  # poses through TF differ in their last bits
    sizes = {name: camera.colour.shape[:2] for name, camera in expected.cameras.items()}
    for name, flow in from_scene_flow(heard["scene_flow"], sizes).items():
        np.testing.assert_allclose(flow, expected.cameras[name].scene_flow, atol=1e-3)
    assert (from_occupancy(heard["occupancy"]).labels == expected.occupancy.labels).mean() > 0.99
    layers = from_bev_map(heard["bev_map_layers"]).layers
    for name, layer in expected.bev_map.layers.items():
        np.testing.assert_allclose(layers[name], layer, atol=1 / 254)
    road = expected.bev_map.layers["road"]
    np.testing.assert_allclose(np.reshape(heard["bev_map"].data, road.shape, "F"), 100 * (1 - road), atol=0.6)
    boxes = with_velocities(read_detections(heard["detections"]), heard["detection_velocities"])
    detections = detections_of(boxes, perceiver.labels)
    assert detections
    assert [d.label for d in detections] == [d.label for d in expected.detections]
    for found, wanted in zip(detections, expected.detections, strict=True):
        assert (*found.centre, *found.velocity) == pytest.approx((*wanted.centre, *wanted.velocity), abs=1e-4)
    assert len(heard["detection_markers"].markers) == 1 + 2 * len(detections)
    motion = read_ego_motion(heard["odometry"], robot.frame(1.1).stamp_ns)
    np.testing.assert_allclose(motion.previous_base_from_base, expected.ego_motion.previous_base_from_base, atol=1e-5)
    np.testing.assert_allclose(motion.covariance, expected.ego_motion.covariance, rtol=1e-3)
    assert from_steering(heard["steering"]).angle == pytest.approx(expected.steering.angle, abs=1e-5)
    context = from_driving_context(heard["driving_context"])
    assert context.keys() == expected.driving_context.keys() and len(context) == 2  # nobody sees the driver


def test_the_driver_is_seen_through_the_cabins_topics(graph, robot, start, all_knowing):
    run, send = start
    cabin = Cabin(np.random.default_rng(3), robot.world.labels)
    images = {name: robot.create_publisher(Image, f"cabin/{name}/image", 10) for name in ("driver", "face")}
    joints = robot.create_publisher(CabinJoints, "driver_joints", 10)
    node = run(tasks=["all"], cabin_cameras=["driver", "face"], cabin_joints_topic="driver_joints")
    graph.until(lambda: all(p.get_subscription_count() for p in (*images.values(), joints)), "subscriptions")
    contexts = graph.hear(DrivingContext, "perception/driving_context")
    perceiver, expected = Perceiver.from_checkpoint(all_knowing), []
    # All there is; one view; nothing but a view that is broken: there the tasks of the driver are left out.
    for seconds, shown, whole in ((1.0, ("driver", "face"), True), (1.1, ("face",), True), (1.2, ("driver",), False)):
        seen, _ = cabin.frame(seconds)
        stamp_ns = robot.frame(seconds).stamp_ns
        for name in shown:
            message = array_to_image(seen.images[name], "rgb8", stamp_ns, f"cabin_{name}")
            message.encoding = message.encoding if whole else "nonsense"
            images[name].publish(message)
        both = (seen.posture, seen.gestures) if len(shown) == 2 else (None, None)
        if len(shown) == 2:
            joints.publish(to_cabin_joints(*both, stamp_ns, "cabin_driver"))
        send(seconds)
        frame = CabinFrame({name: seen.images[name] for name in shown}, *both) if whole else None
        expected.append(perceiver(robot.frame(seconds), cabin=frame).driving_context)
    graph.until(lambda: len(contexts) == 3, "every driving context")
    found = [from_driving_context(message) for message in contexts]
    assert [len(context) for context in found] == [4, 4, 2]
    for context, wanted in zip(found, expected, strict=True):
        for task, classes in wanted.items():
            assert context[task] == pytest.approx(classes, abs=1e-5)
    (status,) = [status for status in node.statuses() if status.name == "cabin"]
    assert status.level == Level.ERROR and "topic '/cabin/driver/image'" in status.message


def test_the_cabin_is_not_subscribed_to_by_a_network_that_makes_nothing_of_it(graph, robot, knows_no_driving):
    checkpoint = str(knows_no_driving)
    chosen = graph.overrides(cameras=robot.names, cabin_cameras=["driver"], checkpoint=checkpoint)
    node = PerceptionNode(context=graph.context, parameter_overrides=chosen)
    graph.add(node)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert not set(node._perceiver.tasks) & set(SCENE_TASKS)
    assert node.count_subscribers("cabin/driver/image") == 0
    assert "cabin" not in [status.name for status in node.statuses()]


def test_odometry_adds_motions_up_from_where_the_robot_was(graph, robot, start):
    run, send = start
    run(tasks=["all"])
    odometry = graph.hear(Odometry, "perception/odometry")
    send(1.0, 1.1, 1.2)
    graph.until(lambda: len(odometry) == 3, "odometry")
    assert [has_motion(message) for message in odometry] == [False, True, True]
    pose = robot.world.world_from_base(1.0)
    for message, (before, after) in zip(odometry[1:], ((1.0, 1.1), (1.1, 1.2)), strict=True):
        motion = read_ego_motion(message, robot.frame(before).stamp_ns)
        pose = pose @ motion.previous_base_from_base
        position = message.pose.pose.position
        np.testing.assert_allclose([position.x, position.y, position.z], pose[:3, 3], atol=1e-6)
        assert stamp_ns_from(message.header.stamp) == robot.frame(after).stamp_ns
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")


def test_whoever_watches_a_task_has_it_computed(graph, robot, start):
    run, send = start
    run(tasks=["on_demand"])
    steering = graph.hear(Steering, "perception/steering")
    send(1.0)
    graph.until(lambda: steering, "steering")
    layers = graph.hear(BevMap, "perception/bev_map_layers")
    frames = graph.hear(RigPrediction, "perception/frame")
    send(1.1)
    graph.until(lambda: frames and layers, "the frame and the layers")
    assert set(frames[0].tasks) == {"steering", "bev_map", *MAPPED_TASKS}


def test_there_are_only_topics_of_what_the_network_knows(graph, robot, tmp_path):
    whole, file = load_checkpoint(default_checkpoint()), tmp_path / "three.safetensors"
    save_checkpoint(file, whole.network, whole.labels, ("depth", "semantic", "occupancy"), {})
    overrides = graph.overrides(cameras=robot.names, checkpoint=str(file))
    node = PerceptionNode(context=graph.context, parameter_overrides=overrides)
    graph.add(node)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    topics = {name for name, _ in node.get_publisher_names_and_types_by_node("perception", "/")}
    assert {"/perception/front/depth", "/perception/occupancy", "/perception/frame"} <= topics
    unknown = {"steering", "driving_context", "bev_map", "detections", "odometry", "scene_flow", "front/normals"}
    assert not topics & {f"/perception/{name}" for name in unknown}
