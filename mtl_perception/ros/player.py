# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Replays a bag: `/clock` and every topic with its recorded type and quality of service, without touching the messages.

Two modes. `realtime` keeps the recorded pace times `rate`, whoever listens. `every` is for processing without loss: the
images of one instant are sent, then the player waits until all whom it waits for have reported progress on them;
`/clock` stands still meanwhile, and only poses of the next second are sent ahead, because an image's pose may need a
later one.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from mtl_perception.data.bags import BagReader
from mtl_perception.data.errors import BagError
from mtl_perception.messages.stamps import NANOSECONDS, to_time
from mtl_perception.ros import qos
from mtl_perception.ros.clock_watch import ClockWatch
from mtl_perception.ros.player_parameters import PlayerParameters
from mtl_perception.ros.player_topics import PlayerTopics, relative_name
from mtl_perception.ros.progress_watch import ProgressWatch

_POSE_TYPES = (
    "nav_msgs/msg/Odometry",
    "tf2_msgs/msg/TFMessage",
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
)
_AHEAD_NS = NANOSECONDS
_AHEAD_BATCH = 4  # poses sent ahead at once: more would overflow the queue of a busy subscription
_CLOCK_PERIOD_S = 0.025
_SETTLE_S = 0.5  # connections that have not changed for so long are all there
_STAMP_END = 12  # bytes: the encoding, seconds, nanoseconds
_LISTENER_TIMEOUT_S = 3.0  # realtime: how long to wait for somebody who wants the images


@dataclass
class PlayerSummary:
    """What has been played. `unanswered` has, per topic waited for, how many instants it has not reported on."""

    messages: int = 0
    instants: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    skipped_topics: dict[str, str] = field(default_factory=dict)
    error: str = ""


class BagPlayer:
    """Plays a bag in a thread of its own; the node that it publishes with must be spun by somebody else."""

    def __init__(
        self,
        node: Node,
        settings: PlayerParameters,
        image_topics: Sequence[str],
        on_finished: Callable[[PlayerSummary], None],
    ) -> None:
        """Make the publishers; the node must not be spun yet.

        Args:
            node: makes the publishers and subscriptions.
            settings: the parameters.
            image_topics: the cameras' image topics, the reference camera's first; empty: those of the bag's cameras.
            on_finished: called from the player's thread at the end of the bag, or when the bag cannot be read.
        """
        self.summary = PlayerSummary()
        self._node = node
        self._settings = settings
        self._image_topics = list(image_topics)
        self._on_finished = on_finished
        self._stop = threading.Event()
        self._clock = node.create_publisher(Clock, "/clock", qos.output(depth=10))
        # All publishers are made here, before the node is spun, so that no other thread touches the executor.
        try:
            with BagReader(settings.bag) as bag:
                self._topics = PlayerTopics(node, bag, settings.absolute_topics)
            self.summary.skipped_topics = self._topics.skipped
        except (BagError, OSError) as error:
            self.summary.error = str(error)
        except Exception as error:  # a name or a type in the bag that ROS does not take
            self.summary.error = f"bag {settings.bag} cannot be played: {type(error).__name__}: {error}"
        names = settings.wait_for if settings.mode == "every" else []
        self._progress = ProgressWatch(node, names, self._stop)
        self._clocks = ClockWatch(node, settings.clock_listeners if settings.mode == "every" else [])
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def stop(self) -> None:
        """Stop playing and return when nothing is sent any more; `on_finished` is not called."""
        self._stop.set()
        self._progress.wake()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            if not self.summary.error:
                self._play()
        except (BagError, OSError) as error:
            self.summary.error = str(error)
        except Exception as error:  # whoever waits for the end of the bag must learn that there will be none
            self.summary.error = f"bag {self._settings.bag} cannot be played: {type(error).__name__}: {error}"
        if self.summary.error:
            self._node.get_logger().fatal(self.summary.error)
        if not self._stop.is_set():
            self._on_finished(self.summary)

    def _play(self) -> None:
        # Two readers: poses are sent ahead of the rest, and what is between them is not kept in memory.
        with BagReader(self._settings.bag) as bag, BagReader(self._settings.bag) as pose_bag:
            topics = self._topics
            images = self._known_images(bag)
            start_ns = bag.start_ns + round(self._settings.start_offset * NANOSECONDS)
            if start_ns > bag.end_ns:
                length = (bag.end_ns - bag.start_ns) / NANOSECONDS
                raise BagError(
                    f"bag {bag.path}: start_offset {self._settings.start_offset} s, but it is {length:.3f} s long"
                )
            self._tell_time(start_ns)
            self._await_listeners(topics, images, start_ns)
            pose_names = [name for name in topics.names if bag.topics[name].type in _POSE_TYPES]
            other_names = [name for name in topics.names if name not in pose_names]
            while not self._stop.is_set():
                self._send_latched(topics, bag, start_ns)
                poses = _Poses(pose_bag.raw_messages(pose_names, start_ns), topics, self.summary)
                self._play_once(_messages(bag, other_names, start_ns), poses, topics, images, start_ns)
                if not self._settings.loop:
                    break
                self._progress.forget()
            topics.flush()
        self._report()

    def _play_once(
        self, messages: Iterator[_Message], poses: _Poses, topics: PlayerTopics, images: list[str], start_ns: int
    ) -> None:
        pace = _Pace(start_ns, self._settings.rate) if self._settings.mode == "realtime" else None
        instant = _Instant(images)
        for message in messages:
            if message.topic in images:
                if instant.has(message.topic):
                    self._await_progress(instant, poses, message.stamp_ns)
                    instant = _Instant(images)
                instant.add(message)
            if pace is not None:
                self._keep_pace(pace, message.stamp_ns, poses)
            if self._stop.is_set():
                return
            poses.send_until(message.stamp_ns)
            self._tell_time(message.stamp_ns)
            topics.publish(message.topic, message.data)
            self.summary.messages += 1
        last_ns = poses.last_ns
        self._await_progress(instant, poses, last_ns)
        poses.send_until(2**63 - 1)

    def _await_progress(self, instant: _Instant, poses: _Poses, next_ns: int) -> None:
        """Wait until every topic has reported on the instant's reference image, or one that it was not used."""
        if not instant.images:
            return
        self.summary.instants += 1
        stamp_ns = instant.reference_ns
        if self._settings.mode != "every" or stamp_ns is None:
            return
        until = time.monotonic() + self._settings.progress_timeout
        while not self._stop.is_set() and time.monotonic() < until:
            ahead = poses.send_batch(next_ns + _AHEAD_NS, _AHEAD_BATCH)
            if self._progress.wait(stamp_ns, 0.002 if ahead else 0.1):
                return
        for name in [] if self._stop.is_set() else self._progress.missing(stamp_ns):
            self.summary.unanswered[name] += 1
            self._node.get_logger().warning(
                f"no {name} for the frame of stamp {stamp_ns} within {self._settings.progress_timeout} s: "
                "going on without it"
            )

    def _keep_pace(self, pace: _Pace, stamp_ns: int, poses: _Poses) -> None:
        """Wait until the message is due; send the poses that are due before, and the time."""
        while not self._stop.is_set():
            now_ns = pace.now_ns()
            if now_ns >= stamp_ns:
                return
            poses.send_until(now_ns)
            self._tell_time(now_ns)
            due_s = (min(stamp_ns, poses.next_ns) - now_ns) / NANOSECONDS / self._settings.rate
            self._stop.wait(min(max(due_s, 0.0005), _CLOCK_PERIOD_S))

    def _await_listeners(self, topics: PlayerTopics, images: list[str], start_ns: int) -> None:
        """Wait until somebody takes the reference camera's images and all connections are made."""
        every = self._settings.mode == "every"
        timeout = self._settings.progress_timeout if every else _LISTENER_TIMEOUT_S
        until, changed, counts = time.monotonic() + timeout, time.monotonic(), topics.listeners()
        while not self._stop.wait(_CLOCK_PERIOD_S):
            self._tell_time(start_ns)
            before, counts, now = counts, topics.listeners(), time.monotonic()
            missing = self._missing(topics, images, start_ns)
            changed = now if missing or counts != before else changed
            if now - changed > _SETTLE_S:
                return
            if now > until:
                break
        if every and not self._stop.is_set():
            missing = self._missing(topics, images, start_ns) or ["end of new connections"]
            self._node.get_logger().warning(
                f"after {timeout} s there is still no {', '.join(missing)}: playing all the same"
            )

    def _missing(self, topics: PlayerTopics, images: list[str], start_ns: int) -> list[str]:
        """Return what there must be before the bag starts, and is not."""
        unseen = [f"subscription of {image}" for image in images[:1] if not topics.listeners().get(image)]
        late = [f"report on /diagnostics that {name} has the time" for name in self._clocks.late(start_ns)]
        return [*unseen, *self._unheard(topics), *self._progress.unconnected(), *late]

    def _unheard(self, topics: PlayerTopics) -> list[str]:
        return [
            f"subscription of {topic} by {name}"
            for name in filter(None, self._settings.listeners)
            for topic in topics.unheard_by(name)
        ]

    def _known_images(self, bag: BagReader) -> list[str]:
        recorded = {relative_name(name): name for name in bag.topics}
        if not self._image_topics:
            names = [f"{camera}/image" for camera in bag.cameras]
            found = [recorded.get(name) or recorded[f"{name}/compressed"] for name in names]
        else:
            wanted = [relative_name(name) for name in self._image_topics]
            missing = [name for name in wanted if name not in recorded]
            if missing:
                self._node.get_logger().warning(f"bag {bag.path} has no {', '.join(missing)}")
            found = [recorded[name] for name in wanted if name in recorded]
        if not found:
            self._node.get_logger().warning(f"bag {bag.path} has no camera's images to wait for")
        return found

    def _send_latched(self, topics: PlayerTopics, bag: BagReader, start_ns: int) -> None:
        """Send the latched messages (tf_static) that were recorded before the start."""
        if topics.latched and start_ns > bag.start_ns:
            for name, _, stamp_ns, data in bag.raw_messages(topics.latched):
                if stamp_ns < start_ns:
                    topics.publish(name, data)
                    self.summary.messages += 1

    def _tell_time(self, stamp_ns: int) -> None:
        self._clock.publish(Clock(clock=to_time(stamp_ns)))

    def _report(self) -> None:
        summary = self.summary
        silent = "".join(f", {count} without {name}" for name, count in summary.unanswered.items())
        skipped = f", skipped topics: {', '.join(summary.skipped_topics)}" if summary.skipped_topics else ""
        self._node.get_logger().info(
            f"end of {Path(self._settings.bag).name}: {summary.messages} messages, "
            f"{summary.instants} instants{silent}{skipped}"
        )


class _Message(NamedTuple):
    topic: str
    stamp_ns: int
    data: bytes


def _messages(bag: BagReader, names: Sequence[str], start_ns: int) -> Iterator[_Message]:
    for topic, _, stamp_ns, data in bag.raw_messages(names, start_ns):
        yield _Message(topic, stamp_ns, data)


class _Instant:
    """The images that have been sent since the last wait: at most one a camera."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._reference = topics[0] if topics else ""
        self.images: set[str] = set()
        self.reference_ns: int | None = None

    def has(self, topic: str) -> bool:
        return topic in self.images

    def add(self, message: _Message) -> None:
        self.images.add(message.topic)
        if message.topic == self._reference:
            try:
                self.reference_ns = header_stamp_ns(message.data)
            except ValueError as error:
                raise BagError(f"{message.topic}: {error}") from error


class _Poses:
    """The bag's poses and transforms in order, sent when they are due or ahead of that."""

    def __init__(
        self, messages: Iterator[tuple[str, str, int, bytes]], topics: PlayerTopics, summary: PlayerSummary
    ) -> None:
        self._messages = messages
        self._topics = topics
        self._summary = summary
        self._next = next(messages, None)
        self.last_ns = 0

    @property
    def next_ns(self) -> int:
        """When the next pose is due; far in the future when there is none."""
        return 2**63 - 1 if self._next is None else self._next[2]

    def send_until(self, stamp_ns: int) -> None:
        """Send all that is due at `stamp_ns`."""
        while self.send_batch(stamp_ns, _AHEAD_BATCH):
            pass

    def send_batch(self, stamp_ns: int, count: int) -> bool:
        """Send up to `count` that are due at `stamp_ns`; return whether there are more."""
        for _ in range(count):
            if self._next is None or self._next[2] > stamp_ns:
                return False
            name, _, self.last_ns, data = self._next
            self._topics.publish(name, data)
            self._summary.messages += 1
            self._next = next(self._messages, None)
        return self._next is not None and self._next[2] <= stamp_ns


class _Pace:
    """Where in the bag a replay of a constant rate is now."""

    def __init__(self, start_ns: int, rate: float) -> None:
        self._start_ns = start_ns
        self._rate = rate
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        return self._start_ns + int((time.monotonic_ns() - self._began_ns) * self._rate)


def header_stamp_ns(data: bytes | memoryview) -> int:
    """Return the stamp of a serialised message whose first field is a std_msgs/Header.

    Raises:
        ValueError: it is too short to have one.
    """
    if len(data) < _STAMP_END:
        raise ValueError(f"a message of {len(data)} bytes has no header")
    little_endian = bool(data[1] & 1)
    seconds, nanoseconds = struct.unpack_from("<iI" if little_endian else ">iI", data, 4)
    return int(seconds) * NANOSECONDS + int(nanoseconds)
