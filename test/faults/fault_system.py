# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that publishes all the time, nodes that work on it, and a watcher of their diagnostics.

How time is measured: nodes of this suite publish their diagnostics ten times a second, not once, so that a fault takes
a second and not ten. What a user sees comes up to one second (the usual period) later, so a node has to be well within
one second after a fault for users to see it within two. That second is counted in diagnostics that the node has
published since, or by the wall clock where that is less: on a machine that is busy they come late as all else does,
and a machine that has stopped for a while is no fault of the node's. A node that publishes no diagnostics at all is
caught by the wall clock (`WAIT_S`), and so is what never happens.
"""

import faulthandler
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_ros import StaticTransformBroadcaster

from mtl_perception.core import Camera
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.stamps import to_header
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.process import Spinning, close

PERIOD_S = 0.1  # of the diagnostics of this suite's nodes
USUAL_PERIOD_S = 1.0  # of those that users have
HEALTHY_WITHIN_S = 2.0  # after the end of a fault, as a user sees it
STEADY = 3  # so many diagnostics in a row are good in a healthy system
WAIT_S = 40.0  # only as long as something is wrong; the machine may be busy
WIDTH, HEIGHT = 64, 48
NOT_OURS = "a newer frame came"  # frames that a busy machine has no time for are no fault

Change = Callable[[Any], Iterable[Any]]


def until(condition: Callable[[], Any], what: str | Callable[[], str], wait_s: float = WAIT_S) -> Any:
    """Wait until a condition holds and return what it returned; a hang fails with the stacks of all threads."""
    deadline = time.monotonic() + wait_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
            raise AssertionError(f"{what() if callable(what) else what} has not happened within {wait_s:g} s")
        time.sleep(0.01)
    return found


def overrides(values: Mapping[str, Any]) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


class Feed(Node):
    """Publishes images, CameraInfo and odometry of a robot that stands still, `rate_hz` times a second.

    The hooks `images`, `infos` (per camera) and `poses` turn each message into those that are sent instead: none, a
    changed one, several. `sent` counts what was published, per topic.
    """

    def __init__(self, context: Context, names: Iterable[str], compressed: Iterable[str] = ()) -> None:
        super().__init__("robot", context=context, enable_rosout=False, start_parameter_services=False)
        self.cameras = [a_camera(index, name) for index, name in enumerate(names)]
        self.compressed = set(compressed)
        self.rate_hz = 10.0
        self.now_ns: Callable[[], int] = time.time_ns
        self.images: dict[str, Change] = {}
        self.infos: dict[str, Change] = {}
        self.poses: Change | None = None
        self.sent: Counter[str] = Counter()
        self.ticks = 0
        self.failure = ""
        self._pixels = {camera.name: picture(index) for index, camera in enumerate(self.cameras)}
        self._jpegs = {name: jpeg(pixels) for name, pixels in self._pixels.items() if name in self.compressed}
        kinds = {camera.name: CompressedImage if camera.name in self.compressed else Image for camera in self.cameras}
        self.image_publishers = {name: self.create_publisher(kind, f"{name}/image", 50) for name, kind in kinds.items()}
        self.info_publishers = {name: self.create_publisher(CameraInfo, f"{name}/camera_info", 50) for name in kinds}
        self.pose_publisher = self.create_publisher(Odometry, "odom", 100)
        self._tf = StaticTransformBroadcaster(self)
        self._tf.sendTransform(
            [to_transform(StampedTransform(0, "base_link", c.frame_id, c.base_from_camera)) for c in self.cameras]
        )
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        everyone = [*self.image_publishers.values(), *self.info_publishers.values(), self.pose_publisher]
        until(lambda: all(p.get_subscription_count() for p in everyone), "a subscription to each topic")
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(WAIT_S)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            yield

    @contextmanager
    def changing(
        self,
        images: Mapping[str, Change] | None = None,
        infos: Mapping[str, Change] | None = None,
        poses: Change | None = None,
        rate_hz: float | None = None,
    ) -> Iterator[None]:
        """Change what is sent, from one tick to another."""
        with self._lock:
            before = self.images, self.infos, self.poses, self.rate_hz
            self.images, self.infos = {**self.images, **(images or {})}, {**self.infos, **(infos or {})}
            self.poses, self.rate_hz = poses or self.poses, rate_hz or self.rate_hz
        try:
            yield
        finally:
            with self._lock:
                self.images, self.infos, self.poses, self.rate_hz = before

    def publish(self, publisher: Any, message: Any) -> None:
        """Publish one message more, and count it."""
        with self._lock:
            self.sent[publisher.topic_name] += 1
            publisher.publish(message)

    def image(self, name: str, stamp_ns: int) -> Any:
        header = to_header(stamp_ns, f"{name}_optical")
        if name in self.compressed:
            return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=self._jpegs[name])
        message = array_to_image(self._pixels[name], "rgb8", stamp_ns, f"{name}_optical")
        message.header = header
        return message

    def tick(self) -> None:
        """Publish one frame now."""
        stamp_ns = self.now_ns()
        self.ticks += 1
        offsets_ns = {camera.name: 5_000_000 * index for index, camera in enumerate(self.cameras)}
        for own_ns in sorted({stamp_ns + offset for offset in offsets_ns.values()}):
            pose = to_odometry(StampedTransform(own_ns, "odom", "base_link", np.eye(4)))
            self._send(self.pose_publisher, pose, self.poses)
        for camera in self.cameras:
            own_ns = stamp_ns + offsets_ns[camera.name]
            info = to_camera_info(camera, own_ns)
            self._send(self.info_publishers[camera.name], info, self.infos.get(camera.name))
            image = self.image(camera.name, own_ns)
            self._send(self.image_publishers[camera.name], image, self.images.get(camera.name))

    def _send(self, publisher: Any, message: Any, change: Change | None) -> None:
        for each in [message] if change is None else change(message):
            self.publish(publisher, each)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stopping.is_set():
                with self._lock:
                    self.tick()
                due = max(due + 1 / self.rate_hz, time.monotonic() - 0.2)
                self._stopping.wait(max(due - time.monotonic(), 0.001))
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            raise


def a_camera(index: int, name: str) -> Camera:
    """Return one camera of a ring of four."""
    K = np.array([[40.0, 0, WIDTH / 2], [0, 40.0, HEIGHT / 2], [0, 0, 1]])
    base_from_camera = np.eye(4)
    yaw = np.deg2rad(90.0 * index)
    base_from_forward = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    base_from_camera[:3, :3] = base_from_forward @ [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    base_from_camera[:3, 3] = (*(0.3 * base_from_forward[:2, 0]), 1.2)
    return Camera(name, WIDTH, HEIGHT, K, base_from_camera, frame_id=f"{name}_optical")


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()


@dataclass(frozen=True)
class Snapshot:
    """All statuses of one node at one moment: message, level and values by name."""

    node: str
    at_s: float
    levels: Mapping[str, int]
    messages: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]

    def count(self, status: str, key: str) -> int:
        """Return the first whole number of a value; 0 where there is none yet."""
        found = re.search(r"(?<![\d.])\d+(?![\d.])", self.values.get(status, {}).get(key, ""))
        return int(found[0]) if found else 0

    @property
    def complaints(self) -> list[str]:
        return [f"{name}: {self.messages[name]}" for name, level in self.levels.items() if level > 0]


class Watcher(Node):
    """Keeps the diagnostics of all nodes."""

    def __init__(self, context: Context) -> None:
        super().__init__("watcher", context=context, enable_rosout=False, start_parameter_services=False)
        self.snapshots: dict[str, deque[Snapshot]] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._receive, 200)

    def newest(self, node: str) -> Snapshot | None:
        kept = self.snapshots.get(node)
        return kept[-1] if kept else None

    def _receive(self, array: DiagnosticArray) -> None:
        if not array.status:
            return
        node = array.status[0].name.partition(": ")[0]
        named = {status.name.partition(": ")[2]: status for status in array.status}
        snapshot = Snapshot(
            node,
            time.monotonic(),
            {name: status.level[0] for name, status in named.items()},
            {name: status.message for name, status in named.items()},
            {name: {each.key: each.value for each in status.values} for name, status in named.items()},
        )
        self.snapshots.setdefault(node, deque(maxlen=1000)).append(snapshot)


@dataclass
class Case:
    """One fault: what is done, what is expected, and what happened."""

    name: str
    done: str
    expected: str
    family: str = ""
    happened: list[str] = field(default_factory=list)
    healthy_again_s: float | None = None
    passed: bool = False

    def saw(self, line: str) -> None:
        """Note what happened: a line of diagnostics, an exception, an answer."""
        if line not in self.happened:
            self.happened.append(line)


class System:
    """Nodes under test, spun in one executor; what feeds and what watches them is in another."""

    def __init__(self, feed: Callable[[Context], Feed], nodes: Iterable[Callable[[Context], ManagedNode]]) -> None:
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.watcher = Watcher(self.context)
        self.feed = feed(self.context)
        self.others = Spinning(self.context, [self.watcher, self.feed], name="watcher's executor")
        self.nodes = [make(self.context) for make in nodes]
        for node in self.nodes:
            node.create_steady_timer(PERIOD_S, node.diagnostics.publish)
        self.spinning = Spinning(self.context, self.nodes)
        self._sent_before: Counter[str] = Counter()

    def start(self) -> None:
        """Bring all nodes to the state active, begin to feed, and wait until all is well."""
        for node in self.nodes:
            node.trigger_configure()
            node.trigger_activate()
            assert node.is_active, node.get_name()
        self.feed.start()
        self.wait_until_healthy()
        with self.feed.paused():
            self._settle(lambda: True)
            self._sent_before = self.feed.sent - self._received()

    def close(self) -> None:
        self.feed.stop()
        self.spinning.stop()
        self.others.stop()
        close([*self.nodes[::-1], self.feed, self.watcher])
        rclpy.try_shutdown(context=self.context)

    def newest(self, node: str = "perception") -> Snapshot:
        snapshot = self.watcher.newest(node)
        assert snapshot is not None, f"node {node} has published no diagnostics"
        return snapshot

    def check_alive(self) -> None:
        """Fail where a thread has ended with an exception."""
        assert not self.spinning.failure, f"the nodes' executor has ended: {self.spinning.failure}"
        assert self.spinning.is_alive(), "the nodes' executor has ended"
        assert not self.feed.failure, f"the feed has ended: {self.feed.failure}"

    def illness(self, since_s: float = 0.0) -> str:
        """Return what is wrong by the newest diagnostics since a time, "" when nothing is."""
        for node in self.nodes:
            recent = list(self.watcher.snapshots.get(node.get_name(), ()))[-STEADY:]
            if len(recent) < STEADY or recent[0].at_s < since_s:
                return f"{node.get_name()} has not yet published {STEADY} diagnostics"
            for each in recent:
                if each.complaints:
                    return f"{node.get_name()}: {each.complaints}"
            first, last = recent[0], recent[-1]
            if last.count("frames", "used") <= first.count("frames", "used"):
                return f"{node.get_name()} uses no frames"
            for status, values in last.values.items():
                for key in values:
                    bad = key.startswith(("dropped", "refused", "partial")) and NOT_OURS not in key
                    if bad and last.count(status, key) > first.count(status, key):
                        return f"{node.get_name()}: {status}: {key} rises"
        return ""

    def wait_until_healthy(self, since_s: float = 0.0) -> float:
        """Wait until nothing is wrong and return how long that took since a time, in seconds of diagnostics."""

        def is_healthy() -> bool:
            self.check_alive()
            return not self.illness(since_s)

        until(is_healthy, lambda: f"health ({self.illness(since_s)})")
        return max(self._until_steady_s(node.get_name(), since_s) for node in self.nodes)

    def _until_steady_s(self, node: str, since_s: float) -> float:
        since = [each.at_s for each in list(self.watcher.snapshots[node]) if each.at_s >= since_s][: -STEADY + 1]
        return min(since[-1] - since_s, len(since) * PERIOD_S)

    @contextmanager
    def during(self, case: Case) -> Iterator["Seen"]:
        """Check before, during and after a fault that is begun and ended within the block.

        Before it, all is well. After it, all is well again in time, no thread has died, no exception was caught as a
        last resort, and every message that was sent is accounted for: see `accounts`.
        """
        self.wait_until_healthy()
        seen = Seen(self, case)
        yield seen
        ended_s = time.monotonic()
        assert case.happened, "the fault was not visible"
        took_s = self.wait_until_healthy(ended_s) + USUAL_PERIOD_S
        case.healthy_again_s = took_s
        self.check_accounts()
        assert took_s <= HEALTHY_WITHIN_S, f"healthy again after {took_s:.1f} s"

    def check_accounts(self) -> None:
        """Fail where a message was lost silently; sending pauses while accounts are drawn up."""
        with self.feed.paused():
            self._settle(lambda: not self.accounts())
            assert not self.accounts()
        snapshot = self.newest()
        assert not snapshot.count("frames", "dropped: internal error"), snapshot.messages["frames"]

    def accounts(self) -> list[str]:
        """Return which messages are not accounted for by the newest diagnostics of perception; to be asked in a pause.

        Per topic: what was sent has arrived, or diagnostics count it as lost on the way. Per camera: what arrived went
        into frames, was dropped for a reason, or waits. Frames: used, or dropped for a reason.
        """
        snapshot, wrong = self.newest(), []
        for topic, sent in (self.feed.sent - self._sent_before).items():
            if topic in snapshot.values.get("inputs", {}):
                arrived = snapshot.count("inputs", topic) + snapshot.count("inputs", f"lost, {topic}")
                if arrived != sent:
                    wrong.append(f"{topic}: {sent} sent, {arrived} accounted for")
        return wrong

    def _received(self) -> Counter[str]:
        snapshot = self.newest()
        return Counter({topic: snapshot.count("inputs", topic) for topic in self.feed.sent})

    def _settle(self, condition: Callable[[], bool]) -> None:
        """Wait until three diagnostics in a row say the same, and a condition holds, or for two seconds."""

        def counters() -> list[Any]:
            recent = list(self.watcher.snapshots["perception"])[-STEADY:]
            return [[each.values.get(name) for name in ("synchronisation", "images")] for each in recent]

        start_s, deadline = time.monotonic(), time.monotonic() + 2.0
        while time.monotonic() < deadline:
            self.check_alive()
            seen = counters()
            fresh = list(self.watcher.snapshots["perception"])[-STEADY].at_s > start_s
            if fresh and all(each == seen[0] for each in seen) and condition():
                return
            time.sleep(0.02)


class Seen:
    """What diagnostics show of a fault from its beginning on; all is noted in its case."""

    def __init__(self, system: System, case: Case) -> None:
        self.system = system
        self.case = case
        self.began_s = time.monotonic()
        self._before = {node: kept[-1] for node, kept in system.watcher.snapshots.items()}

    def status(self, status: str, pattern: str, node: str = "perception", at_least: int = 1) -> str:
        """Wait for a status of at least a level (1: WARN) whose message has a pattern, and return the message."""

        def find() -> str:
            self.system.check_alive()
            for each in list(self.system.watcher.snapshots.get(node, ())):
                if each.at_s < self.began_s or each.levels.get(status, 0) < at_least:
                    continue
                if re.search(pattern, each.messages[status]):
                    return each.messages[status]
            return ""

        found = until(find, lambda: f"/{pattern}/ in {status} ({self.system.newest(node).messages.get(status)})")
        self.case.saw(f"{node}: {status}: {found}")
        return found

    def count(self, status: str, key: str, more: int = 1, node: str = "perception") -> int:
        """Wait until a counter has risen by `more` since the beginning, and return by how much it has."""

        def risen() -> int:
            self.system.check_alive()
            before = self._before[node].count(status, key) if node in self._before else 0
            by = self.system.newest(node).count(status, key) - before
            return by if by >= more else 0

        by = until(risen, lambda: f"{status}: {key} +{more} ({self.system.newest(node).values.get(status)})")
        self.case.saw(f"{node}: {status}: {key} counted")
        return by

    def rises(self, status: str, key: str, node: str = "perception") -> int:
        """Return by how much a counter has risen since the beginning."""
        return self.system.newest(node).count(status, key) - self._before[node].count(status, key)
