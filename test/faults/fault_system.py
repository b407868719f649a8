# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that publishes all the time, nodes that work on it, and a watcher of their diagnostics.

How time is measured: nodes of this suite publish their diagnostics ten times a second, not once, so that a fault takes
a second and not ten; users see the same up to a second, the usual period, later. Seconds until all is well again are
counted in diagnostics that the node has published since, or by the wall clock where that is less: on a machine that is
busy they come late as all else does, and a machine that has stopped for a while is no fault of the node's. A node that
publishes no diagnostics at all is caught by the wall clock (`until`), and so is what never happens. When the robot, a
thread of this process, could not keep its rate after the fault's end, that is a fault of its own: the seconds are
counted from the last such moment.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from fault_feed import Feed, until
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.process import Spinning, close

PERIOD_S = 0.1  # of the diagnostics of this suite's nodes
HEALTHY_WITHIN_S = 2.0  # after the end of a fault
STEADY = 3  # so many diagnostics in a row are good in a healthy system
NOT_OURS = "a newer frame came"  # frames that a busy machine has no time for are no fault


def overrides(values: Mapping[str, Any]) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


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
    scale: str = "small"
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
        self._balance: dict[str, int] = {}

    def start(self) -> None:
        """Bring all nodes to the state active, begin to feed, and wait until all is well."""
        for node in self.nodes:
            node.trigger_configure()
            node.trigger_activate()
            assert node.is_active, node.get_name()
        self.feed.start()
        self.wait_until_healthy()
        self.open_accounts(frames=0)

    def restart(self, node: ManagedNode) -> None:
        """Deactivate a node and activate it again, through its services."""
        with self.feed.paused():
            for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
                self.make_transition(node, transition)
            self._settle(lambda: True)
            begun, told = self.accounts()["frames"]  # inputs count anew, frames go on
        until(self.feed.is_heard, "a subscription to each topic")
        ticks = self.feed.ticks
        until(lambda: self.feed.ticks > ticks + 3, "some frames")
        self.open_accounts(begun - told)

    def make_transition(self, node: ManagedNode, transition: int) -> None:
        client = self.watcher.create_client(ChangeState, f"{node.get_name()}/change_state")
        request = ChangeState.Request()
        request.transition.id = transition
        until(client.service_is_ready, "the node's service")
        future = client.call_async(request)
        until(future.done, "the answer of the node's service")
        assert future.result().success
        self.watcher.destroy_client(client)

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
                if "frames" not in each.messages:
                    return f"{node.get_name()} was not yet active"
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
        since_s = max(since_s, self.feed.hiccup_s)
        return max(self._until_steady_s(node.get_name(), since_s) for node in self.nodes)

    def _until_steady_s(self, node: str, since_s: float) -> float:
        since = [each.at_s for each in list(self.watcher.snapshots[node]) if each.at_s >= since_s][: -STEADY + 1]
        return min(since[-1] - since_s, len(since) * PERIOD_S) if since else 0.0

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
        took_s = self.wait_until_healthy(ended_s)
        case.healthy_again_s = took_s
        self.check_accounts()
        assert took_s <= HEALTHY_WITHIN_S, f"healthy again after {took_s:.1f} s"

    def check_accounts(self) -> None:
        """Fail where a message was lost silently; sending pauses while accounts are drawn up."""
        for _ in range(5):  # that the newest message has been lost on the way, only the next one tells
            with self.feed.paused():
                self._settle(lambda: not self.wrong_accounts())
                wrong = self.wrong_accounts()
            if not wrong:
                break
            time.sleep(2 / self.feed.rate_hz)
        assert not wrong, wrong
        snapshot = self.newest()
        assert not snapshot.count("frames", "dropped: internal error"), snapshot.messages["frames"]

    def accounts(self) -> dict[str, tuple[int, int]]:
        """Return how many messages came, and how many of them the newest diagnostics of perception account for.

        Per topic: what was sent has arrived, or is counted as lost on the way. Per camera: what arrived went into
        frames, was dropped for a reason, or waits. Frames: used, or dropped for a reason.
        """
        snapshot = self.newest()
        accounts = {
            f"sent on {topic}": (count, self._arrived(snapshot, topic)) for topic, count in self.feed.sent.items()
        }
        synchronisation, frames = snapshot.values["synchronisation"], snapshot.values["frames"]
        sets = sum(snapshot.count("synchronisation", f"{kind} frames") for kind in ("complete", "partial"))
        names = [camera.name for camera in self.feed.cameras]
        drops = {
            name: {key: int(count) for key, count in synchronisation.items() if key.startswith(f"dropped, {name}: ")}
            for name in names
        }
        for name in names:
            arrived = snapshot.count("inputs", f"/{name}/image")
            without = snapshot.count("synchronisation", f"frames without {name}")
            waiting = snapshot.count("synchronisation", f"waiting, {name}")
            accounts[f"images of {name}"] = (arrived, sets - without + sum(drops[name].values()) + waiting)
        begun = sets + sum(count for key, count in drops[names[0]].items() if not key.endswith("duplicate stamp"))
        dropped = sum(int(count) for key, count in frames.items() if key.startswith("dropped: "))
        waiting = snapshot.count("frames", "waiting")
        accounts["frames"] = (begun, snapshot.count("frames", "used") + dropped + waiting)
        return accounts

    def wrong_accounts(self) -> list[str]:
        """Return what has changed since the start of what came and is not accounted for; to be asked in a pause."""
        accounts = self.accounts()
        return [
            f"{what}: {one} came, {other} accounted for, {self._balance.get(what, 0)} of them before the start"
            for what, (one, other) in accounts.items()
            if one - other != self._balance.get(what, 0)
        ]

    def open_accounts(self, frames: int | None = None) -> None:
        """Account from now on: at first, publishers and subscriptions are still finding each other.

        `frames`: how many more have begun than are used or dropped, where that is known: one may be at work just now.
        """
        with self.feed.paused():
            self._settle(lambda: True)
            self._balance = {what: one - other for what, (one, other) in self.accounts().items()}
            if frames is not None:
                self._balance["frames"] = frames

    def _arrived(self, snapshot: Snapshot, topic: str) -> int:
        text = snapshot.values["inputs"].get(topic, "")
        lost = re.search(r"(\d+) lost", text)
        return snapshot.count("inputs", topic) + (int(lost[1]) if lost else 0)

    def _settle(self, condition: Callable[[], bool]) -> None:
        """Wait until three diagnostics in a row say the same, and a condition holds, or for two seconds."""

        def counters() -> list[Any]:
            recent = list(self.watcher.snapshots["perception"])[-STEADY:]
            return [(each.values.get("synchronisation"), each.messages.get("frames")) for each in recent]

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
            return self.message(status, pattern, node, at_least)

        found = until(find, lambda: f"/{pattern}/ in {status} ({self.system.newest(node).messages.get(status)})")
        self.case.saw(f"{node}: {status}: {found}")
        return found

    def message(self, status: str, pattern: str, node: str = "perception", at_least: int = 1) -> str:
        """Return the first such message so far, or ""."""
        self.system.check_alive()
        for each in list(self.system.watcher.snapshots.get(node, ())):
            if each.at_s < self.began_s or each.levels.get(status, 0) < at_least:
                continue
            if re.search(pattern, each.messages[status]):
                return each.messages[status]
        return ""

    def count(self, status: str, key: str, more: int = 1, node: str = "perception") -> int:
        """Wait until a counter has risen by `more` since the beginning, and return by how much it has."""

        def risen() -> int:
            self.system.check_alive()
            before = self._before[node].count(status, key) if node in self._before else 0
            by = self.system.newest(node).count(status, key) - before
            return by if by >= more else 0

        by = until(risen, lambda: f"{status}: {key} +{more} ({self.system.newest(node).values.get(status)})")
        self.case.saw(f"{node}: {status}: {key} rises")
        return by

    def before(self, status: str, key: str, node: str = "perception") -> int:
        """Return what a counter was at the beginning."""
        return self._before[node].count(status, key)

    def any_count(self, counters: Mapping[str, str], node: str = "perception") -> None:
        """Wait until one of the counters of these statuses, whose names begin so, has risen."""

        def risen() -> list[tuple[str, str]]:
            self.system.check_alive()
            found = [(status, key) for status, pattern in counters.items() for key in self.keys(status, pattern, node)]
            return [(status, key) for status, key in found if NOT_OURS not in key and self.rises(status, key, node)]

        for status, key in until(risen, lambda: f"{counters} rise ({self.system.newest(node)})"):
            self.case.saw(f"{node}: {status}: {key} rises")

    def rises(self, status: str, key: str, node: str = "perception") -> int:
        """Return by how much a counter has risen since the beginning."""
        return self.system.newest(node).count(status, key) - self._before[node].count(status, key)

    def keys(self, status: str, pattern: str, node: str = "perception") -> list[str]:
        """Return the names of a status's values that begin with a pattern."""
        return [key for key in self.system.newest(node).values[status] if re.match(pattern, key)]
