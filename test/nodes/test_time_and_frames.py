# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Time and frames over real DDS: where poses come from, poses that are late, and clocks that jump back."""

import time

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from mtl_perception.core import Camera
from mtl_perception.core.transforms import transform_from
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.stamps import to_time
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.nodes.perception_node import PerceptionNode

SUCCESS = TransitionCallbackReturn.SUCCESS
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
MOUNT = transform_from([0.2, 0.0, 1.0], [-0.5, 0.5, -0.5, 0.5])  # looks ahead
CAMERA = Camera("front", 64, 48, np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]), MOUNT, frame_id="front_optical")
TF_ONLY = {"pose_source": "tf", "world_frame": "odom"}


def at(seconds):
    """Where the robot is: 2 m/s along x."""
    return transform_from([2.0 * seconds, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])


def ns(seconds):
    return round(seconds * 1e9)


class Vehicle(Node):
    """Publishes what one camera, odometry, TF and a clock say, each when it is asked to."""

    def __init__(self, context):
        super().__init__("vehicle", context=context)
        self.image = self.create_publisher(Image, "front/image", 10)
        self.info = self.create_publisher(CameraInfo, "front/camera_info", 10)
        self.odom = self.create_publisher(Odometry, "odom", 100)
        self.clock = self.create_publisher(Clock, "/clock", 10)
        self._tf = TransformBroadcaster(self)
        self._static_tf = StaticTransformBroadcaster(self)

    def see(self, seconds):
        self.info.publish(to_camera_info(CAMERA, ns(seconds)))
        self.image.publish(array_to_image(PICTURE, "rgb8", ns(seconds), CAMERA.frame_id))

    def tell_odometry(self, *seconds):
        for each in seconds:
            self.odom.publish(to_odometry(StampedTransform(ns(each), "odom", "base_link", at(each))))

    def tell_tf(self, *seconds):
        for each in seconds:
            self._tf.sendTransform(to_transform(StampedTransform(ns(each), "odom", "base_link", at(each))))

    def tell_static_tf(self, *more):
        mount = StampedTransform(0, "base_link", CAMERA.frame_id, MOUNT)
        self._static_tf.sendTransform([to_transform(each) for each in (mount, *more)])

    def tell_time(self, seconds):
        self.clock.publish(Clock(clock=to_time(ns(seconds))))


class Scene:
    """The vehicle and the nodes that listen to it."""

    def __init__(self, graph, checkpoint, mapping=None, **values):
        self.graph, self.predictions, self.maps = graph, [], {}
        self.vehicle = graph.add(Vehicle(graph.context))
        values = {"cameras": ["front"], "checkpoint": checkpoint, "tasks": ["depth", "motion_mask"], **values}
        self.node = PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**values))
        self.node.add_prediction_listener(lambda prediction, _clock: self.predictions.append(prediction), lambda: True)
        shared = {key: values[key] for key in ("use_sim_time", "frame_policy") if key in values}
        for policy in mapping or ():
            self.maps[policy] = MappingNode(
                context=graph.context,
                namespace=f"/{policy}",
                in_process=True,
                parameter_overrides=graph.overrides(voxel_size=0.2, on_clock_jump=policy, **shared),
            )
            self.node.add_prediction_listener(self.maps[policy].submit, lambda: True)
        for each in (self.node, *self.maps.values()):
            assert each.trigger_configure() == SUCCESS
            assert each.trigger_activate() == SUCCESS
            graph.add(each)
        vehicle = self.vehicle
        publishers = [vehicle.image, vehicle.info] + [vehicle.odom] * ("pose_source" not in values)
        graph.until(lambda: all(p.get_subscription_count() for p in publishers), "the subscriptions")
        graph.until(lambda: self.node.count_subscribers("perception/progress") > 0, "a listener to the progress")

    def after(self, action):
        """Return the progress on the frame that an action brings."""
        count = len(self.graph.progress["perception"])
        action()
        self.graph.until(lambda: len(self.graph.progress["perception"]) > count, "progress")
        return self.graph.progress["perception"][count]

    def look(self, seconds, *, tell=None):
        """Send an image with poses around it; return what was predicted."""
        tell = tell or self.vehicle.tell_odometry
        tell(seconds - 0.05, seconds + 0.05)
        progress = self.after(lambda: self.vehicle.see(seconds))
        assert progress.used, progress.reason
        return self.predictions[-1]

    def status(self, name):
        status = self.graph.statuses.get(name)
        return status.message if status else ""


@pytest.fixture
def scene(graph, all_knowing):
    return lambda **values: Scene(graph, str(all_knowing), **values)


def test_odometry_alone_gives_the_pose_at_the_images_stamp_waits_for_it_and_not_for_ever(scene):
    drive = scene(pose_timeout=1.5)
    drive.vehicle.tell_static_tf()
    drive.graph.until(
        lambda: drive.node._transforms.problem("base_link", CAMERA.frame_id) == "", "the static transform"
    )
    for seconds in (1.0, 1.1):
        found = drive.look(seconds)
        np.testing.assert_allclose(found.world_from_base, at(seconds), atol=1e-9)
        np.testing.assert_allclose(found.cameras["front"].world_from_camera, at(seconds) @ MOUNT, atol=1e-9)

    def late():
        drive.vehicle.see(1.3)
        time.sleep(0.3)
        assert len(drive.predictions) == 2  # neither the newest pose nor one beyond it
        drive.vehicle.tell_odometry(1.25, 1.35)

    assert drive.after(late).used
    np.testing.assert_allclose(drive.predictions[-1].world_from_base, at(1.3), atol=1e-9)

    began = time.monotonic()
    progress = drive.after(lambda: drive.vehicle.see(2.0))
    assert not progress.used and "after the newest pose, more than pose_max_extrapolation" in progress.reason
    assert 1.4 < time.monotonic() - began < 10.0
    drive.graph.until(lambda: "no pose or transform" in drive.status("perception: frames"), "the warning")


def test_tf_alone_gives_the_pose_at_the_stamp_even_if_it_is_late_or_static(scene):
    drive = scene(**TF_ONLY, pose_timeout=10.0)
    drive.graph.until(
        lambda: "no transform 'odom' <- 'base_link'" in drive.status("perception: inputs"), "a complaint about TF"
    )
    drive.vehicle.tell_static_tf()
    drive.vehicle.tell_tf(0.5, 0.95)

    def late():
        drive.vehicle.see(1.0)
        time.sleep(0.3)
        assert not drive.predictions
        drive.vehicle.tell_tf(1.05)

    assert drive.after(late).used
    np.testing.assert_allclose(drive.predictions[-1].world_from_base, at(1.0), atol=1e-9)
    assert drive.predictions[-1].world_frame == "odom"


def test_static_tf_alone_is_enough_for_a_robot_that_stands(scene):
    drive = scene(**TF_ONLY)
    drive.vehicle.tell_static_tf(StampedTransform(0, "odom", "base_link", at(3.0)))
    drive.graph.until(lambda: drive.node._transforms.problem("odom", CAMERA.frame_id) == "", "the static transforms")
    for seconds in (1.0, 1.1):
        assert drive.after(lambda now=seconds: drive.vehicle.see(now)).used
        np.testing.assert_allclose(drive.predictions[-1].world_from_base, at(3.0), atol=1e-9)


def test_a_clock_that_jumps_back_begins_anew_and_the_map_as_its_policy_says(scene):
    loop = scene(mapping=("keep", "reset"), use_sim_time=True, frame_policy="every")
    assert loop.node.get_clock().now().nanoseconds == 0
    began = time.monotonic()
    loop.graph.until(lambda: "'/clock'" in loop.status("perception: clock"), "a complaint about the clock")
    assert time.monotonic() - began > 5.0, "a player that waits for the nodes was not given the time to start"
    loop.vehicle.tell_static_tf()
    for round_ in range(2):
        for seconds in (51.0, 51.1, 51.2):
            loop.vehicle.tell_time(seconds)
            loop.graph.until(lambda now=seconds: loop.node.clock_ns == ns(now), "the clock")
            found = loop.look(seconds)
            np.testing.assert_allclose(found.world_from_base, at(seconds), atol=1e-9)
            # The first image of a round is compared with none before it.
            assert (found.cameras["front"].motion_mask is None) == (seconds == 51.0)
        frames = {policy: 3 * (round_ + 1) if policy == "keep" else 3 for policy in loop.maps}
        loop.graph.until(lambda expected=frames: _frames(loop.maps) == expected, f"{frames} in the maps")
    calm = "simulated, from /clock"
    loop.graph.until(lambda: loop.status("perception: clock") == calm, "calm after the jump")
    _has_all_figures(loop, "perception", "network")
    _has_all_figures(loop, "keep/mapping", "fuse")
    assert "perception: self-check" in loop.graph.statuses


@pytest.mark.parametrize("poses", ["odom", "tf"])
def test_a_recording_that_starts_again_without_a_clock_is_followed(scene, poses):
    loop = scene(**(TF_ONLY if poses == "tf" else {}), mapping=("keep", "reset"), pose_timeout=10.0)
    loop.vehicle.tell_static_tf()
    tell = loop.vehicle.tell_tf if poses == "tf" else loop.vehicle.tell_odometry
    for round_ in range(2):
        tell(*np.arange(9.0, 9.9, 0.1))  # as a recording has them before the first image
        for seconds in (10.0, 50.0):  # further apart than a buffer of TF reaches back
            found = loop.look(seconds, tell=tell)
            np.testing.assert_allclose(found.world_from_base, at(seconds), atol=1e-9)
        frames = {policy: 2 * (round_ + 1) if policy == "keep" else 2 for policy in loop.maps}
        loop.graph.until(lambda expected=frames: _frames(loop.maps) == expected, f"{frames} in the maps")


def _has_all_figures(scene, node, stage):
    """Rates, stamp ages, stage times, queue, memory and device are in the diagnostics of a node."""
    scene.graph.until(lambda: f"time ms, {stage}" in _values(scene, f"{node}: frames"), "the figures")
    frames, process = _values(scene, f"{node}: frames"), _values(scene, f"{node}: process")
    assert {"used", "used Hz", "waiting", f"stamp age ms, {stage}"} <= set(frames)
    assert "p50" in frames[f"stamp age ms, {stage}"] and "p99" in frames[f"time ms, {stage}"]
    assert float(process["memory MiB"]) > 50 and process["device"] == "cpu"


def _values(scene, name):
    status = scene.graph.statuses.get(name)
    return {entry.key: entry.value for entry in status.values} if status else {}


def _frames(maps):
    return {policy: node._mapper.stats.frames for policy, node in maps.items()}
