# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two robots on one network, one in several processes and one in one; nodes that are killed come back and carry on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_ros import StaticTransformBroadcaster

from mtl_perception.core import Camera
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.ros.process import Spinning, close
from mtl_perception_msgs.msg import Progress, RigPrediction

ROBOTS = {
    "a": ["--processes", "--respawn", "--namespace", "a", "--frame-prefix", "a/"],
    "b": ["--namespace", "b", "--frame-prefix", "b/"],
}
SHARED_TOPICS = {"/tf", "/tf_static", "/diagnostics", "/rosout", "/parameter_events", "/clock"}
MARK = "MTL_PERCEPTION_TEST_RUN"
WAIT_S = 120.0  # only as long as something is wrong; the machine may be busy
INTRINSICS = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])  # base_from_camera
# Of so few pixels something is to become a map; and it is to be saved at once.
PARAMETERS = """
/**:
  ros__parameters:
    max_relative_std: 10.0
    max_depth_ramp: 1.0
    min_weight: 0.001
    autosave_period: 0.5
    map_folder: {folder}
"""


class Robot(Node):
    """What drives a robot and looks at what comes of it."""

    def __init__(self, name, context):
        super().__init__("robot", namespace=name, context=context)
        self.name, self.drives = name, False
        self.progress, self.frames, self.clouds, self.statuses = [], [], [], {}
        self.camera = Camera("front", 64, 48, INTRINSICS, FORWARD, frame_id=f"{name}/camera")
        self.image = np.random.default_rng(ord(name)).integers(0, 255, (48, 64, 3), np.uint8)
        self.images = self.create_publisher(Image, "front/image", 5)
        self.infos = self.create_publisher(CameraInfo, "front/camera_info", 5)
        self.odometry = self.create_publisher(Odometry, "odom", 50)
        self.create_subscription(Progress, "perception/progress", self.progress.append, 100)
        self.create_subscription(RigPrediction, "perception/frame", self.frames.append, QoSProfile(depth=5))
        self.create_subscription(PointCloud2, "mapping/points", self.clouds.append, QoSProfile(depth=5))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 50)
        self._tf = StaticTransformBroadcaster(self)
        self._tf.sendTransform(to_transform(StampedTransform(0, f"{name}/base_link", f"{name}/camera", FORWARD)))
        self.create_timer(0.5, self._drive)

    def _drive(self):
        if not self.drives:
            return
        stamp_ns = self.get_clock().now().nanoseconds
        pose = StampedTransform(stamp_ns, f"{self.name}/odom", f"{self.name}/base_link", np.eye(4))
        self.odometry.publish(to_odometry(pose))
        self.infos.publish(to_camera_info(self.camera, stamp_ns))
        self.images.publish(array_to_image(self.image, "rgb8", stamp_ns, self.camera.frame_id))

    def _diagnose(self, array):
        for status in array.status:
            if status.name.startswith(f"{self.name}/"):
                self.statuses[status.name] = status

    def mapped(self):
        """How many frames are in the map, by diagnostics."""
        status = self.statuses.get(f"{self.name}/mapping: map")
        return int({value.key: value.value for value in status.values}["frames"]) if status else 0


class Suite:
    """The suite of one robot, and what it has said."""

    def __init__(self, name, config):
        self.mark, self.said = uuid.uuid4().hex, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mtl_perception", "up", "--config", str(config), *ROBOTS[name]],
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=lambda: self.said.extend(self.process.stdout), daemon=True).start()

    def heard(self, words):
        return any(words in line for line in self.said)

    def pid_of(self, node):
        (pid,) = [pid for pid, command in processes(self.mark).items() if node in command]
        return pid


@pytest.fixture(scope="module")
def team(tmp_path_factory, own_domain):
    context = Context()
    rclpy.init(context=context, domain_id=own_domain, signal_handler_options=SignalHandlerOptions.NO)
    robots = {name: Robot(name, context) for name in ROBOTS}
    spinning = Spinning(context, list(robots.values()))
    folder = tmp_path_factory.mktemp("robots")
    config = folder / "parameters.yaml"
    config.write_text(PARAMETERS.format(folder=folder / "maps"))
    suites = {name: Suite(name, config) for name in ROBOTS}
    try:
        yield robots, suites, folder / "maps"
    finally:
        for suite in suites.values():
            suite.process.send_signal(signal.SIGINT)
        codes = {name: suite.process.wait(WAIT_S) for name, suite in suites.items()}
        spinning.stop()
        close(list(robots.values()))
        rclpy.shutdown(context=context)
    said = {name: "".join(suite.said[-30:]) for name, suite in suites.items()}
    assert codes == {"a": 0, "b": 0}, said
    assert not any(processes(suite.mark) for suite in suites.values()), "a process was left behind"


def test_two_robots_do_not_hear_each_other(team):
    robots, suites, _ = team
    a, b = robots["a"], robots["b"]
    for suite in suites.values():
        until(lambda suite=suite: suite.heard("active: perception, mapping"), "activation", suite)
    a.drives = True
    until(lambda: a.mapped() >= 3 and a.clouds, "the map of robot a", suites["a"])
    assert b.progress == [] and b.mapped() == 0
    b.drives = True
    until(lambda: b.mapped() >= 2 and b.clouds, "the map of robot b", suites["b"])
    b.drives = False  # the machine has other things to do


def test_frames_have_their_robots_prefix(team):
    robots, _, _ = team
    for name, robot in robots.items():
        assert robot.frames and robot.clouds
        assert {frame.base_frame for frame in robot.frames} == {f"{name}/base_link"}
        assert {frame.header.frame_id for frame in robot.frames} == {f"{name}/odom"}
        assert {cloud.header.frame_id for cloud in robot.clouds} == {f"{name}/odom"}


def test_no_topic_or_service_is_outside_of_the_namespaces(team):
    watcher = team[0]["a"]
    names = {name for name, _ in watcher.get_topic_names_and_types() + watcher.get_service_names_and_types()}
    assert {name for name in names if not name.startswith(("/a/", "/b/"))} <= SHARED_TOPICS


def test_killed_nodes_come_back_and_the_map_goes_on(team):
    robots, suites, maps = team
    a, suite = robots["a"], suites["a"]
    before = a.mapped()
    until(lambda: (maps / "autosave-a.run").is_file() and a.mapped() > before, "a saved map", suite)
    killed = [suite.pid_of(node) for node in ("mapping_node", "perception_node")]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    a.drives = False
    a.statuses.clear()
    saved = json.loads((maps / "autosave-a" / "manifest.json").read_text())["frames"]
    assert saved >= 1
    until(lambda: suite.heard("active again: "), "the nodes again", suite)
    until(lambda: suite.heard(f"continuing the map at {maps / 'autosave-a'}"), "the saved map", suite)
    until(lambda: a.mapped() >= saved, "the saved map's size", suite)
    progress, mapped = len(a.progress), a.mapped()
    a.drives = True
    until(lambda: len(a.progress) > progress and a.mapped() > mapped, "mapping that goes on", suite)
    assert not suites["b"].heard("does not answer")


def test_a_manager_that_is_killed_takes_over_nodes_that_are_up(team):
    robots, suites, _ = team
    a, suite = robots["a"], suites["a"]
    name = "a/lifecycle_manager: manager"
    os.kill(suite.pid_of("lifecycle_manager"), signal.SIGKILL)
    a.statuses.pop(name, None)
    until(lambda: name in a.statuses and a.statuses[name].message == "all nodes are up", "the manager again", suite)
    progress = len(a.progress)
    until(lambda: len(a.progress) > progress + 1, "perception that goes on", suite)
    a.drives = False


def until(condition, what, suite):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} has not come:\n{''.join(suite.said[-60:])}"
        time.sleep(0.05)


def processes(mark):
    """The running processes with this mark in their environment, and their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is somebody else's
    return found
