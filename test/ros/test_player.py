# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The player over real DDS: what arrives, when, and that it always comes to an end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.bags import BagWriter
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image, image_to_array
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.stamps import stamp_ns_from, to_header
from mtl_perception.nodes.player_node import PlayerNode
from mtl_perception.ros import qos
from mtl_perception.ros.parameters import ParameterError
from mtl_perception.ros.player import PlayerSummary
from mtl_perception_msgs.msg import Progress

START_NS = 1_000_000_000_000_000_000
PERIOD_NS = 100_000_000
FRAMES = 5


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Two cameras at 10 Hz (the left one 5 ms late), odometry at 50 Hz with its own stamps, one latched transform."""
    path = tmp_path / "bag"
    camera = Camera("front", 8, 6, np.array([[5.0, 0, 4], [0, 5, 3], [0, 0, 1]]), BODY_FROM_OPTICAL, frame_id="f")
    with BagWriter(path) as writer:
        static = StampedTransform(START_NS, "base_link", "f", BODY_FROM_OPTICAL)
        writer.write("/tf_static", TFMessage(transforms=[to_transform(static)]), START_NS)
        for frame in range(FRAMES):
            for step in range(5):
                stamp = START_NS + frame * PERIOD_NS + step * PERIOD_NS // 5
                writer.write("/odom", to_odometry(StampedTransform(stamp, "odom", "base_link", np.eye(4))), stamp)
                if step == 0:
                    for name, offset in (("front", 0), ("left", 5_000_000)):
                        picture = np.full((6, 8, 3), frame, np.uint8)
                        writer.write(f"/{name}/camera_info", to_camera_info(camera, stamp + offset), stamp + offset)
                        image = array_to_image(picture, "rgb8", stamp + offset, "f")
                        writer.write(f"/{name}/image", image, stamp + offset)
    return path


class Listener(Node):
    """Notes what arrives, in the order of arrival."""

    def __init__(self, context: object, namespace: str = "") -> None:
        super().__init__("listener", context=context, namespace=namespace)
        self.arrived: list[tuple[str, int]] = []
        self.clock_ns: list[int] = []
        self.create_subscription(Clock, "/clock", lambda m: self.clock_ns.append(stamp_ns_from(m.clock)), 100)
        self.create_subscription(Odometry, "odom", lambda m: self.note("odom", m), 100)
        for name in ("front", "left"):
            self.create_subscription(Image, f"{name}/image", lambda m, name=name: self.note(name, m), 10)
        self.reporters = {
            name: self.create_publisher(Progress, f"{name}/progress", qos.progress())
            for name in ("perception", "mapping")
        }

    def note(self, topic: str, message: Image | Odometry) -> None:
        self.arrived.append((topic, stamp_ns_from(message.header.stamp)))

    def report(self, name: str, stamp_ns: int, used: bool = True) -> None:
        self.reporters[name].publish(Progress(header=to_header(stamp_ns, ""), node=name, used=used))

    def stamps(self, topic: str) -> list[int]:
        return [stamp for name, stamp in list(self.arrived) if name == topic]


class Spinning:
    """A node in an executor and a thread of its own. Not an EventsExecutor: it dead-locks with other threads."""

    def __init__(self, context: object, node: Node) -> None:
        self.node = node
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()


class Graph:
    """The listener and the players that a test makes."""

    def __init__(self, context: object) -> None:
        self.context = context
        self.listener = Listener(context)
        self.players: list[Spinning] = []
        self.others: list[Spinning] = []
        self.finished: list[PlayerSummary] = []
        self.spinning = Spinning(context, self.listener)

    def play(self, bag: Path, namespace: str = "", **parameters: object) -> Spinning:
        values = {"bag": str(bag), **parameters}
        node = PlayerNode(
            context=self.context,
            namespace=namespace,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
            on_finished=self.finished.append,
        )
        self.players.append(Spinning(self.context, node))
        return self.players[-1]

    def subscribe(self, kind: type, topic: str, profile: QoSProfile) -> list[tuple[float, Any]]:
        """Let one more node note a topic's messages with their time of arrival."""
        messages: list[tuple[float, Any]] = []
        node = Node(f"late_{len(self.others)}", context=self.context)
        node.create_subscription(kind, topic, lambda m: messages.append((time.monotonic(), m)), profile)
        self.others.append(Spinning(self.context, node))
        return messages

    def wait(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"arrived: {self.listener.arrived}"
            time.sleep(0.01)

    def wait_for_images(self, count: int) -> None:
        self.wait(lambda: len(self.listener.stamps("left")) == count)

    def close(self) -> None:
        for spinning in self.players + self.others:
            spinning.close()
        self.spinning.close()


@pytest.fixture
def graph(ros_context: object) -> Iterator[Graph]:
    graph = Graph(ros_context)
    yield graph
    graph.close()


def test_every_waits_for_each_topic_it_is_told_to_wait_for(graph: Graph, bag: Path) -> None:
    graph.play(bag, wait_for=["perception/progress", "mapping/progress"])
    for frame in range(FRAMES):
        stamp = START_NS + frame * PERIOD_NS
        graph.wait_for_images(frame + 1)
        graph.listener.report("perception", stamp)
        time.sleep(0.15)
        assert graph.listener.stamps("front") == [START_NS + i * PERIOD_NS for i in range(frame + 1)]
        assert not graph.finished
        graph.listener.report("mapping", stamp)
    graph.wait(lambda: graph.finished)
    summary = graph.finished[0]
    assert (summary.instants, dict(summary.unanswered), summary.error) == (FRAMES, {}, "")
    assert summary.messages == 1 + FRAMES * (5 + 4)
    assert graph.listener.stamps("odom") == [START_NS + i * PERIOD_NS // 5 for i in range(5 * FRAMES)]


def test_every_sends_poses_ahead_but_the_clock_stands_still(graph: Graph, bag: Path) -> None:
    graph.play(bag)
    graph.wait(lambda: len(graph.listener.stamps("odom")) == 5 * FRAMES)  # the whole bag is shorter than one second
    assert len(graph.listener.stamps("front")) == 1
    assert graph.listener.clock_ns[-1] <= START_NS + PERIOD_NS
    odometry, image = (graph.listener.arrived.index((name, START_NS)) for name in ("odom", "front"))
    assert odometry < image


def test_a_frame_that_is_not_used_goes_no_further(graph: Graph, bag: Path) -> None:
    graph.play(bag, wait_for=["perception/progress", "mapping/progress"])
    for frame in range(FRAMES):
        graph.wait_for_images(frame + 1)
        graph.listener.report("perception", START_NS + frame * PERIOD_NS, used=False)
    graph.wait(lambda: graph.finished)
    assert not graph.finished[0].unanswered


def test_a_frame_without_progress_is_counted_and_the_player_goes_on(graph: Graph, bag: Path) -> None:
    graph.play(bag, progress_timeout=0.3)
    graph.wait(lambda: graph.finished)
    assert graph.finished[0].unanswered == {"perception/progress": FRAMES}
    assert len(graph.listener.stamps("front")) == FRAMES


def test_it_starts_when_a_named_node_receives_every_topic(graph: Graph, bag: Path) -> None:
    graph.play(bag, listeners=["/late_0"])
    time.sleep(1.5)  # the listener has long been there, and would do if none were named
    assert graph.listener.arrived == []
    late = Node("late_0", context=graph.context)
    kinds = {Image: "image", CameraInfo: "camera_info"}
    for kind, name in kinds.items():
        late.create_subscription(kind, f"front/{name}", print, 10)
    late.create_subscription(TFMessage, "/tf_static", print, qos.latched())
    graph.others.append(Spinning(graph.context, late))
    time.sleep(1.0)
    assert graph.listener.arrived == []  # odometry and the left camera are missing
    for kind, name in ((Image, "left/image"), (CameraInfo, "left/camera_info"), (Odometry, "odom")):
        late.create_subscription(kind, name, print, 10)
    for frame in range(FRAMES):
        graph.wait_for_images(frame + 1)
        graph.listener.report("perception", START_NS + frame * PERIOD_NS)
    graph.wait(lambda: graph.finished)


def test_it_starts_when_named_nodes_say_that_they_have_the_time(graph: Graph, bag: Path) -> None:
    teller = Node("teller", context=graph.context)
    publisher = teller.create_publisher(DiagnosticArray, "/diagnostics", 10)
    graph.others.append(Spinning(graph.context, teller))

    def tell(name: str, **values: str) -> None:
        status = DiagnosticStatus(name=f"{name}: clock", values=[KeyValue(key=k, value=v) for k, v in values.items()])
        publisher.publish(DiagnosticArray(status=[status]))
        time.sleep(1.0)

    graph.play(bag, clock_listeners=["perception", "/robot/mapping"], progress_timeout=60.0)
    graph.wait(lambda: publisher.get_subscription_count() == 1)
    tell("perception", stamp_ns=str(START_NS))
    tell("robot/mapping", stamp_ns="0")
    assert graph.listener.arrived == []
    tell("robot/mapping", stamp_ns=str(START_NS))
    graph.wait_for_images(1)
    graph.players[0].close()
    del graph.players[0]
    graph.listener.arrived.clear()
    graph.play(bag, clock_listeners=["perception"], progress_timeout=60.0)
    graph.wait(lambda: publisher.get_subscription_count() == 1)
    assert graph.listener.arrived == []
    tell("perception")  # it has no use for the bag's time
    graph.wait_for_images(1)


def test_nodes_that_never_have_the_time_are_named(
    graph: Graph, bag: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph.play(bag, clock_listeners=["perception"], progress_timeout=1.0)
    graph.wait_for_images(1)
    assert "no report on /diagnostics that /perception has the time" in capfd.readouterr().err


def test_realtime_keeps_the_pace_times_the_rate(graph: Graph, bag: Path) -> None:
    images = graph.subscribe(Image, "front/image", qos.output())
    graph.play(bag, mode="realtime", rate=0.5)
    graph.wait(lambda: graph.finished)
    graph.wait(lambda: len(images) == FRAMES)
    assert images[-1][0] - images[0][0] == pytest.approx((FRAMES - 1) * 0.2, abs=0.15)
    assert graph.listener.clock_ns == sorted(graph.listener.clock_ns)
    assert len(graph.listener.clock_ns) > 30


def test_start_offset_leaves_out_but_keeps_what_is_latched(graph: Graph, bag: Path) -> None:
    graph.play(bag, mode="realtime", start_offset=0.25)
    graph.wait(lambda: graph.finished)
    graph.wait(lambda: len(graph.listener.stamps("front")) == 2)
    assert graph.listener.stamps("front") == [START_NS + i * PERIOD_NS for i in (3, 4)]
    static = graph.subscribe(TFMessage, "/tf_static", qos.latched())
    graph.wait(lambda: static)
    assert static[0][1].transforms[0].child_frame_id == "f"


def test_loop_starts_again_until_it_is_stopped(graph: Graph, bag: Path) -> None:
    player = graph.play(bag, mode="realtime", rate=10.0, loop=True)
    graph.wait(lambda: graph.listener.stamps("front").count(START_NS) >= 3)
    # The clock is a topic of its own, and may be heard later than the image.
    graph.wait(lambda: (np.diff(graph.listener.clock_ns) < 0).sum() >= 2)
    graph.players.remove(player)
    player.close()
    assert not graph.finished


def test_topics_go_below_the_namespace_unless_absolute(graph: Graph, bag: Path) -> None:
    graph.play(bag, namespace="robot", mode="realtime", rate=100.0)
    graph.wait(lambda: graph.finished)
    names = dict(graph.listener.get_topic_names_and_types())
    assert {"/robot/front/image", "/robot/odom", "/tf_static"} <= names.keys()
    assert not graph.listener.stamps("front")
    graph.play(bag, namespace="robot2", mode="realtime", rate=100.0, absolute_topics=True)
    graph.wait(lambda: len(graph.listener.stamps("front")) == FRAMES)


def test_messages_are_passed_on_unchanged(graph: Graph, bag: Path) -> None:
    images = graph.subscribe(Image, "left/image", qos.output())
    graph.play(bag, mode="realtime", rate=10.0)
    graph.wait(lambda: len(images) == FRAMES)
    assert [image_to_array(image)[0, 0, 0] for _, image in images] == list(range(FRAMES))


def test_a_type_that_is_not_installed_is_skipped_by_name(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    with BagWriter(path) as writer:
        writer.write("/chatter", String(data="hello"), START_NS)
    data = (path / "foreign.mcap").read_bytes().replace(b"std_msgs/msg/String", b"foo_msgs/msg/Strinx")
    (path / "foreign.mcap").write_bytes(data)
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("std_msgs/msg/String", "foo_msgs/msg/Strinx"))
    graph.play(path, mode="realtime")
    graph.wait(lambda: graph.finished)
    assert graph.finished[0].skipped_topics == {"/chatter": "foo_msgs/msg/Strinx"}


def test_a_bag_that_is_not_there_finishes_with_the_reason(graph: Graph, tmp_path: Path) -> None:
    graph.play(tmp_path / "nothing")
    graph.wait(lambda: graph.finished)
    assert "nothing" in graph.finished[0].error


def test_a_player_without_a_bag_is_refused(ros_context: object) -> None:
    with pytest.raises(ParameterError, match="'bag' is empty"):
        PlayerNode(context=ros_context)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_with_exit_code_0(graph: Graph, bag: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "mtl_perception.nodes.player_node", "--ros-args", "-p", f"bag:={bag}"]
    process = subprocess.Popen(command, env=os.environ)
    try:
        graph.wait(lambda: graph.listener.stamps("front"), 30.0)  # it waits for progress that never comes
        process.send_signal(number)
        assert process.wait(10.0) == 0
    finally:
        process.kill()


def test_the_process_ends_with_the_bag_and_tells_a_broken_one_by_its_exit_code(bag: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mtl_perception.nodes.player_node", "--ros-args", "-p", "mode:=realtime", "-p"]
    assert subprocess.run([*command, f"bag:={bag}"], timeout=60).returncode == 0
    assert subprocess.run([*command, f"bag:={tmp_path / 'none'}"], timeout=60).returncode == 1
