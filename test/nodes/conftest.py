# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A rendered robot that publishes what real ones do, and what the tests of nodes need to run and watch nodes."""

import threading
import time
from functools import cache

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_ros import StaticTransformBroadcaster

from mtl_perception.core import TASKS, LabelSpace, Rig
from mtl_perception.data.world import World
from mtl_perception.data.world.cameras.rigs import RigLayout, load_rig
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.network.checkpoint import save_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.ros.process import Spinning, close
from mtl_perception_msgs.msg import Progress

NODE_THREADS = ("perception", "mapping", "evaluation", "executor", "map saver")
WAIT_S = 30.0  # only as long as something is wrong; the machine may be busy


def until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} has not happened within {WAIT_S:g} s"
        time.sleep(0.02)


def overrides(**values) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


class Graph:
    """Nodes of one test in one executor, and what they have said."""

    until = staticmethod(until)
    overrides = staticmethod(overrides)

    def __init__(self, context):
        self.context = context
        self.watcher = Node("watcher", context=context)
        self.nodes = [self.watcher]
        self.spinning = Spinning(context, self.nodes)
        self.statuses = {}
        self.progress = {"perception": [], "mapping": [], "evaluation": []}
        self.watcher.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 50)
        for name, seen in self.progress.items():
            self.watcher.create_subscription(Progress, f"{name}/progress", seen.append, 100)

    def add(self, *nodes):
        for node in nodes:
            self.nodes.append(node)
            self.spinning.add(node)
        return nodes[0] if len(nodes) == 1 else nodes

    def hear(self, kind, topic, qos=10):
        seen = []
        if qos == "latched":
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscription = self.watcher.create_subscription(kind, topic, seen.append, qos)
        until(lambda: self.watcher.count_publishers(subscription.topic_name) > 0, f"a publisher on {topic}")
        return seen

    def forget(self, topic):
        """Stop listening to a topic."""
        for subscription in list(self.watcher.subscriptions):
            if subscription.topic_name == self.watcher.resolve_topic_name(topic):
                self.watcher.destroy_subscription(subscription)
        until(lambda: self.watcher.count_subscribers(topic) == 0, f"nobody on {topic}")

    def call(self, kind, service, **fields):
        client = self.watcher.create_client(kind, service)
        assert client.wait_for_service(WAIT_S)
        future = client.call_async(kind.Request(**fields))
        until(future.done, f"the answer of {service}")
        return future.result()

    def make_transition(self, node, transition_id):
        request = ChangeState.Request()
        request.transition.id = transition_id
        return self.call(ChangeState, f"{node.get_name()}/change_state", transition=request.transition).success

    def close(self):
        self.spinning.stop()
        close(self.nodes[::-1])

    def _diagnose(self, array):
        for status in array.status:
            self.statuses[status.name] = status


@cache
def rendered_world(kind, cameras):
    """The world of all robots with so many cameras, which takes seconds to make and which nothing changes."""
    labels = LabelSpace.load(config_file("labels", "default"))
    whole = load_rig("surround4", (128, 96))
    layout = RigLayout(Rig(whole.rig.cameras[:cameras]), whole.exposure_offsets_ns)
    return World.generate(kind, 3, labels, cameras=layout)


class Robot(Node):
    """Publishes a rendered world: images, CameraInfo, odometry and static TF."""

    def __init__(self, context, kind="street", cameras=2):
        super().__init__("robot", context=context)
        self.world = rendered_world(kind, cameras)
        self.names = list(self.world.rig.names)
        self.images = {name: self.create_publisher(Image, f"{name}/image", 10) for name in self.names}
        self.infos = {name: self.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in self.names}
        self.odometry = self.create_publisher(Odometry, "odom", 100)
        self._tf = StaticTransformBroadcaster(self)
        self._frames = {}

    def broadcast(self):
        self._tf.sendTransform(
            [to_transform(StampedTransform(0, "base_link", c.frame_id, c.base_from_camera)) for c in self.world.rig]
        )

    def frame(self, seconds):
        if seconds not in self._frames:
            self._frames[seconds] = self.world.look(seconds)
        return self._frames[seconds]

    def wait_for_listeners(self):
        publishers = [*self.images.values(), *self.infos.values(), self.odometry]
        until(lambda: all(p.get_subscription_count() for p in publishers), "a subscription to each topic")

    def send(self, seconds, *, poses=True, change_info=None, change_image=None, skip=()):
        frame = self.frame(seconds)
        if poses:
            for stamp_ns in sorted({frame.stamp_ns, *frame.image_stamps_ns.values()}):
                pose = self.world.world_from_base(seconds + (stamp_ns - frame.stamp_ns) * 1e-9)
                self.odometry.publish(to_odometry(StampedTransform(stamp_ns, "odom", "base_link", pose)))
        for camera in self.world.rig:
            if camera.name in skip:
                continue
            stamp_ns = frame.image_stamps_ns[camera.name]
            info = to_camera_info(camera, stamp_ns)
            image = array_to_image(frame.images[camera.name], "rgb8", stamp_ns, camera.frame_id)
            if change_info is not None:
                change_info(info)
            if change_image is not None:
                change_image(camera.name, image)
            self.infos[camera.name].publish(info)
            self.images[camera.name].publish(image)
        return frame.stamp_ns


@pytest.fixture(scope="session")
def all_knowing(tmp_path_factory):
    """A checkpoint of a small network with random weights that passes for trained in every task."""
    labels = LabelSpace.load(config_file("labels", "default"))
    config = NetworkConfig.model_validate(
        {
            "preset": "everything",
            "tasks": TASKS,
            "num_labels": len(labels),
            "input_pixels": 96 * 64,
            "backbone": {"options": {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}},
            "neck": {"width": 8},
            "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
            "dense": {"width": 8},
            "panoptic": {"kind": "light", "width": 8},
            "grid": {"origin": (-8.0, -8.0, -1.0), "voxel_size": 0.5, "shape": (32, 24, 8)},
            "volume": {
                "lift_width": 6,
                "plane_width": 8,
                "detection_labels": (8, 9, 10, 11),
                "map_layers": {"road": (1,), "pavement": (2,)},
                "boxes": 5,
            },
            "steering": {"width": 16, "frames": 4},
            "driving": {"width": 8},
        }
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "everything.safetensors"
    network = MultiTaskNetwork(config)
    for name, parameter in network.named_parameters():
        if name.endswith("what.1.bias"):
            torch.nn.init.zeros_(parameter)  # so that there are boxes
    save_checkpoint(path, network, labels, TASKS, {})
    return path


@pytest.fixture
def graph(ros_context):
    result = Graph(ros_context)
    yield result
    result.close()
    left = [thread.name for thread in threading.enumerate() if thread.name in NODE_THREADS]
    assert left == [], "threads must end with their nodes"


@pytest.fixture
def new_robot(graph):
    """Returns what makes a robot when the test wants it."""
    return lambda: graph.add(Robot(graph.context))


@pytest.fixture
def robot(new_robot):
    return new_robot()
