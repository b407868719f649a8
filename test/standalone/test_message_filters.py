# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What message_filters does, the real one as well as the one that stands in for it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from message_filters import ApproximateTimeSynchronizer, Cache, SimpleFilter, Subscriber, TimeSynchronizer
from rclpy.clock import ClockType, ROSClock
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import String


def image(seconds: float) -> Image:
    msg = Image()
    msg.header.stamp = at(seconds).to_msg()
    return msg


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9), clock_type=ClockType.ROS_TIME)


class Sink:
    """Remembers what a filter gave out."""

    def __init__(self, source: SimpleFilter) -> None:
        self.sets: list[tuple[Any, ...]] = []
        source.registerCallback(lambda *msgs: self.sets.append(msgs))

    def stamps(self) -> list[tuple[float, ...]]:
        return [tuple(Time.from_msg(m.header.stamp).nanoseconds / 1e9 for m in msgs) for msgs in self.sets]


def test_callbacks_get_the_outputs_then_their_own_arguments() -> None:
    source, calls = SimpleFilter(), []
    first = source.registerCallback(lambda *args: calls.append(args), "extra", 5)
    second = source.registerCallback(lambda *args: calls.append(args))
    source.signalMessage("a", "b")
    assert calls == [("a", "b", "extra", 5), ("a", "b")]
    assert (first, second) == (0, 1)


def test_exact_synchroniser_gives_sets_of_equal_stamps_in_any_order() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sync = TimeSynchronizer([left, right], 10)
    sink = Sink(sync)
    for seconds in (3, 1, 2):
        left.signalMessage(image(seconds))
    assert sink.sets == []
    for seconds in (2, 5, 3):
        right.signalMessage(image(seconds))
    assert sink.stamps() == [(2, 2), (3, 3)]


def test_exact_synchroniser_does_not_join_stamps_a_nanosecond_apart() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(TimeSynchronizer([left, right], 10))
    left.signalMessage(image(1.0))
    right.signalMessage(image(1.000000001))
    assert sink.sets == []


def test_exact_synchroniser_drops_the_oldest_stamp_when_a_queue_is_full() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(TimeSynchronizer([left, right], 2))
    for seconds in (1, 3, 2):
        left.signalMessage(image(seconds))
    for seconds in (1, 2, 3):
        right.signalMessage(image(seconds))
    assert sink.stamps() == [(2, 2), (3, 3)]


def test_three_inputs_come_in_the_order_of_the_filters() -> None:
    filters = [SimpleFilter() for _ in range(3)]
    sink = Sink(TimeSynchronizer(filters, 1))
    messages = [image(4) for _ in range(3)]
    for index in (2, 0, 1):
        filters[index].signalMessage(messages[index])
    assert [id(m) for m in sink.sets[0]] == [id(m) for m in messages]


def test_approximate_synchroniser_joins_within_the_slop() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], 5, 0.1))
    left.signalMessage(image(1.0))
    right.signalMessage(image(1.05))
    right.signalMessage(image(2.0))
    left.signalMessage(image(2.2))
    assert sink.stamps() == [(1.0, 1.05)]


def test_the_slop_itself_is_too_far_apart() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], 5, 0.5))
    left.signalMessage(image(1.0))
    right.signalMessage(image(1.5))
    assert sink.sets == []
    right.signalMessage(image(1.499999999))
    assert sink.stamps() == [(1.0, 1.499999999)]


def test_all_of_a_set_lie_within_the_slop() -> None:
    filters = [SimpleFilter() for _ in range(3)]
    sink = Sink(ApproximateTimeSynchronizer(filters, 5, 0.1))
    filters[0].signalMessage(image(0.92))
    filters[1].signalMessage(image(1.08))
    filters[2].signalMessage(image(1.0))
    assert sink.sets == [], "both are near enough to the third, but not to each other"
    filters[0].signalMessage(image(1.05))
    assert sink.stamps() == [(1.05, 1.08, 1.0)]


def test_a_message_is_joined_with_the_nearest_and_each_is_used_once() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], 5, 0.2))
    for seconds in (0.9, 1.02, 1.1):
        left.signalMessage(image(seconds))
    right.signalMessage(image(1.0))
    right.signalMessage(image(1.01))
    right.signalMessage(image(1.0))
    assert sink.stamps() == [(1.02, 1.0), (1.1, 1.01), (0.9, 1.0)]


def test_approximate_synchroniser_drops_the_oldest_stamp_when_a_queue_is_full() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], 2, 0.1))
    for seconds in (1, 2, 3):
        left.signalMessage(image(seconds))
    for seconds in (1, 2, 3):
        right.signalMessage(image(seconds))
    assert sink.stamps() == [(2, 2), (3, 3)]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_scrambled_messages_find_their_partners(count: int) -> None:
    shuffle = random.Random(count)
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], count, 0.1))
    for source, shift in ((left, 0.0), (right, 0.04)):
        for seconds in shuffle.sample(range(count), count):
            source.signalMessage(image(seconds + shift))
    assert sorted(sink.stamps()) == [(s, s + 0.04) for s in range(count)]


def test_messages_without_a_header_need_leave_to_be_synchronised() -> None:
    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], 5, 10.0))
    left.signalMessage(String(data="no stamp"))
    right.signalMessage(String(data="none either"))
    assert sink.sets == []

    left, right = SimpleFilter(), SimpleFilter()
    sink = Sink(ApproximateTimeSynchronizer([left, right], 5, 10.0, allow_headerless=True))
    left.signalMessage(String(data="a"))
    right.signalMessage(String(data="b"))
    assert [[m.data for m in msgs] for msgs in sink.sets] == [["a", "b"]]


def filled_cache(size: int, *seconds: float) -> Cache:
    source = SimpleFilter()
    cache = Cache(source, size)
    for s in seconds:
        source.signalMessage(image(s))
    return cache


def seconds_of(msgs: list[Any]) -> list[float]:
    return [Time.from_msg(m.header.stamp).nanoseconds / 1e9 for m in msgs]


def test_cache_keeps_the_last_messages_and_passes_all_on() -> None:
    source = SimpleFilter()
    cache = Cache(source, 3)
    sink = Sink(cache)
    for s in range(5):
        source.signalMessage(image(s))
    assert cache.getOldestTime() == at(2)
    assert cache.getLastestTime() == at(4)
    assert sink.stamps() == [(0,), (1,), (2,), (3,), (4,)]


def test_cache_holds_one_message_by_default() -> None:
    source = SimpleFilter()
    cache = Cache(source)
    source.signalMessage(image(1))
    source.signalMessage(image(2))
    assert cache.getOldestTime() == cache.getLastestTime() == at(2)
    assert seconds_of([cache.getLast()]) == [2]


def test_cache_intervals_include_their_bounds() -> None:
    cache = filled_cache(10, 0, 1, 2, 3, 4)
    assert seconds_of(cache.getInterval(at(1), at(3))) == [1, 2, 3]
    assert seconds_of(cache.getInterval(at(2.5), at(3.5))) == [3]
    assert cache.getInterval(at(4.5), at(9)) == []
    with pytest.raises(AssertionError):
        cache.getInterval(at(3), at(1))


def test_cache_finds_neighbours_in_time() -> None:
    cache = filled_cache(10, 1, 2, 3)
    assert seconds_of([cache.getElemBeforeTime(at(2.5)), cache.getElemAfterTime(at(2.5))]) == [2, 3]
    assert seconds_of([cache.getElemBeforeTime(at(2)), cache.getElemAfterTime(at(2))]) == [2, 2]
    assert cache.getElemBeforeTime(at(0.9)) is None
    assert cache.getElemAfterTime(at(3.1)) is None


def test_an_empty_cache_answers_none() -> None:
    cache = filled_cache(3)
    assert cache.getLast() is None
    assert cache.getLastestTime() is None and cache.getOldestTime() is None
    assert cache.getElemAfterTime(at(0)) is None and cache.getElemBeforeTime(at(0)) is None


def test_cache_stores_headerless_messages_only_when_allowed() -> None:
    source = SimpleFilter()
    strict, lenient = Cache(source, 5), Cache(source, 5, allow_headerless=True)
    before = ROSClock().now()
    source.signalMessage(String(data="x"))
    assert strict.getLast() is None
    assert [m.data for m in lenient.getInterval(before, before + Duration(seconds=5))] == ["x"]


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("message_filters_test", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_subscribers_feed_a_synchroniser_over_the_middleware(node: Node) -> None:
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    subscribers = [
        Subscriber(node, Image, "filters/left", qos_profile=qos),
        Subscriber(node, Image, "filters/right"),
    ]
    sink = Sink(ApproximateTimeSynchronizer(subscribers, 10, 0.1))
    publishers = [node.create_publisher(Image, f"filters/{side}", 10) for side in ("left", "right")]
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def spin_until(condition: Any) -> None:
        deadline = time.monotonic() + 10
        while not condition() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        assert condition()

    spin_until(lambda: all(p.get_subscription_count() == 1 for p in publishers))
    publishers[0].publish(image(1.0))
    publishers[1].publish(image(1.03))
    spin_until(lambda: sink.sets)
    executor.shutdown()

    assert sink.stamps() == [(1.0, 1.03)]
    assert subscribers[0].getTopic() == "filters/left"
    assert subscribers[0].topic_name == "/filters/left", "attributes of the subscription are the filter's"
    with pytest.raises(AttributeError):
        _ = subscribers[0].no_such_attribute
