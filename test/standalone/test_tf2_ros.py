# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What tf2_ros' buffer does, the real one as well as the one that stands in for it."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)

NOW = Time()  # time 0: the latest
Z90 = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))
UNTURNED = (0.0, 0.0, 0.0, 1.0)


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9))


def transform(
    parent: str, child: str, seconds: float, translation: Any = (0, 0, 0), rotation: Any = UNTURNED
) -> TransformStamped:
    msg = TransformStamped(child_frame_id=child)
    msg.header.frame_id = parent
    msg.header.stamp = at(seconds).to_msg()
    t, r = msg.transform.translation, msg.transform.rotation
    t.x, t.y, t.z = (float(v) for v in translation)
    r.x, r.y, r.z, r.w = (float(v) for v in rotation)
    return msg


def buffer_of(*transforms: TransformStamped, static: Any = (), cache_time: Duration | None = None) -> Buffer:
    buffer = Buffer(cache_time)
    for msg in static:
        buffer.set_transform_static(msg, "test")
    for msg in transforms:
        buffer.set_transform(msg, "test")
    return buffer


def translation(msg: TransformStamped) -> list[float]:
    t = msg.transform.translation
    return [t.x, t.y, t.z]


def rotation(msg: TransformStamped) -> list[float]:
    r = msg.transform.rotation
    return [r.x, r.y, r.z, r.w]


def stamp(msg: TransformStamped) -> float:
    return Time.from_msg(msg.header.stamp).nanoseconds / 1e9


def matrix(msg: TransformStamped) -> np.ndarray:
    x, y, z, w = rotation(msg)
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = translation(msg)
    return result


def random_transform(rng: np.random.Generator, parent: str, child: str, seconds: float) -> TransformStamped:
    q = rng.normal(size=4)
    return transform(parent, child, seconds, rng.normal(size=3) * 5, q / np.linalg.norm(q))


def test_a_transform_is_found_in_both_directions() -> None:
    buffer = buffer_of(transform("map", "base", 1, (1, 2, 3), Z90))

    forth = buffer.lookup_transform("map", "base", at(1))
    assert (forth.header.frame_id, forth.child_frame_id, stamp(forth)) == ("map", "base", 1)
    assert translation(forth) == pytest.approx([1, 2, 3])
    assert rotation(forth) == pytest.approx(Z90)

    back = buffer.lookup_transform("base", "map", at(1))
    assert (back.header.frame_id, back.child_frame_id) == ("base", "map")
    assert translation(back) == pytest.approx([-2, 1, -3])
    np.testing.assert_allclose(matrix(back), np.linalg.inv(matrix(forth)), atol=1e-12)


def test_half_way_between_two_transforms() -> None:
    z170 = (0, 0, math.sin(math.radians(85)), math.cos(math.radians(85)))
    buffer = buffer_of(transform("map", "base", 1), transform("map", "base", 3, (4, 0, -2), z170))
    middle = buffer.lookup_transform("map", "base", at(2))
    assert stamp(middle) == 2
    assert translation(middle) == pytest.approx([2, 0, -1])
    assert rotation(middle) == pytest.approx([0, 0, math.sin(math.radians(42.5)), math.cos(math.radians(42.5))])

    quarter = buffer.lookup_transform("map", "base", at(1.5))
    assert rotation(quarter) == pytest.approx([0, 0, math.sin(math.radians(21.25)), math.cos(math.radians(21.25))])


def test_rotation_takes_the_short_way_whatever_the_signs() -> None:
    plus = (math.sin(0.1), 0, 0, math.cos(0.1))
    minus = (math.sin(0.3), 0, 0, math.cos(0.3))
    negated = tuple(-v for v in minus)
    for second in (minus, negated):
        buffer = buffer_of(transform("a", "b", 1, rotation=plus), transform("a", "b", 2, rotation=second))
        assert rotation(buffer.lookup_transform("a", "b", at(1.5))) == pytest.approx(
            [math.sin(0.2), 0, 0, math.cos(0.2)]
        )


def test_results_have_the_sign_that_a_matrix_gives() -> None:
    turned = (-0.1, 0.2, -0.9, -0.374165738677394)  # 224 degrees, or 136 the other way round
    buffer = buffer_of(transform("a", "b", 1, rotation=turned))
    assert rotation(buffer.lookup_transform("a", "b", NOW)) == pytest.approx([0.1, -0.2, 0.9, 0.374165738677394])
    buffer = buffer_of(transform("a", "b", 1, rotation=(0.8, -0.59, 0.1, -0.0435889894354)))
    assert rotation(buffer.lookup_transform("a", "b", NOW)) == pytest.approx([0.8, -0.59, 0.1, -0.0435889894354])


def test_quaternions_of_other_lengths_are_normalised() -> None:
    buffer = buffer_of(transform("a", "b", 1, rotation=(0, 0, 3, 3)))
    assert rotation(buffer.lookup_transform("a", "b", NOW)) == pytest.approx(Z90)


def test_a_chain_through_frames_with_different_stamps() -> None:
    rng = np.random.default_rng(3)
    odom = [random_transform(rng, "map", "odom", s) for s in (0.5, 2.5)]
    base = [transform("odom", "base", s, (s, 0, 0)) for s in (1, 2, 3)]
    camera = random_transform(rng, "base", "camera", 0)
    lidar = random_transform(rng, "base", "lidar", 0)
    buffer = buffer_of(*odom, *base, static=[camera, lidar])

    up = buffer.lookup_transform("odom", "camera", at(1.75))
    expected = matrix(transform("odom", "base", 1.75, (1.75, 0, 0))) @ matrix(camera)
    np.testing.assert_allclose(matrix(up), expected, atol=1e-12)
    assert stamp(up) == 1.75

    across = buffer.lookup_transform("lidar", "camera", at(99))
    np.testing.assert_allclose(matrix(across), np.linalg.inv(matrix(lidar)) @ matrix(camera), atol=1e-12)
    assert stamp(across) == 99, "static transforms hold at every time"

    whole = buffer.lookup_transform("map", "camera", NOW)
    assert stamp(whole) == 2.5, "the latest time that both moving frames have"
    expected = matrix(odom[1]) @ matrix(transform("odom", "base", 2.5, (2.5, 0, 0))) @ matrix(camera)
    np.testing.assert_allclose(matrix(whole), expected, atol=1e-12)
    assert buffer.get_latest_common_time("map", "camera").nanoseconds == 2_500_000_000
    assert buffer.get_latest_common_time("lidar", "camera").nanoseconds == 0


def test_two_branches_meet_at_their_common_frame() -> None:
    rng = np.random.default_rng(4)
    links = {
        child: random_transform(rng, parent, child, 5)
        for parent, child in [("root", "a"), ("a", "b"), ("b", "left"), ("a", "c"), ("c", "right")]
    }
    buffer = buffer_of(*links.values())
    expected = np.linalg.inv(matrix(links["c"]) @ matrix(links["right"])) @ matrix(links["b"]) @ matrix(links["left"])
    np.testing.assert_allclose(matrix(buffer.lookup_transform("right", "left", at(5))), expected, atol=1e-12)


def test_a_branch_can_be_known_where_its_trunk_is_not() -> None:
    buffer = buffer_of(transform("map", "base", 1), transform("base", "arm", 1), transform("base", "arm", 9, (8, 0, 0)))
    assert translation(buffer.lookup_transform("base", "arm", at(5))) == pytest.approx([4, 0, 0])
    assert translation(buffer.lookup_transform("arm", "base", at(5))) == pytest.approx([-4, 0, 0])
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("map", "arm", at(5))


def test_looking_further_than_the_data_names_both_times() -> None:
    buffer = buffer_of(transform("map", "base", 10), transform("map", "base", 12))
    with pytest.raises(ExtrapolationException) as future:
        buffer.lookup_transform("map", "base", at(12.5))
    assert str(future.value) == (
        "Lookup would require extrapolation into the future.  Requested time 12.500000 but the latest data is at time "
        "12.000000, when looking up transform from frame [base] to frame [map]"
    )
    with pytest.raises(ExtrapolationException) as past:
        buffer.lookup_transform("base", "map", at(9.999999))
    assert str(past.value) == (
        "Lookup would require extrapolation into the past.  Requested time 9.999999 but the earliest data is at time "
        "10.000000, when looking up transform from frame [map] to frame [base]"
    )
    assert translation(buffer.lookup_transform("map", "base", at(12))) == [0, 0, 0]
    assert translation(buffer.lookup_transform("map", "base", at(10))) == [0, 0, 0]


def test_a_single_transform_holds_at_its_own_time_only() -> None:
    buffer = buffer_of(transform("map", "base", 1700000000.25))
    with pytest.raises(ExtrapolationException) as error:
        buffer.lookup_transform("map", "base", at(1700000000.5))
    assert str(error.value) == (
        "Lookup would require extrapolation at time 1700000000.500000, but only time 1700000000.250000 is in the "
        "buffer, when looking up transform from frame [base] to frame [map]"
    )
    assert stamp(buffer.lookup_transform("map", "base", NOW)) == pytest.approx(1700000000.25, abs=1e-6)


def test_frames_that_are_not_there() -> None:
    buffer = buffer_of(transform("map", "base", 1))
    with pytest.raises(LookupException) as unknown:
        buffer.lookup_transform("map", "camera", NOW)
    assert str(unknown.value) == '"camera" passed to lookupTransform argument source_frame does not exist. '
    with pytest.raises(InvalidArgumentException) as slash:
        buffer.lookup_transform("/map", "base", NOW)
    assert str(slash.value) == (
        'Invalid argument "/map" passed to lookupTransform argument target_frame - '
        "in tf2 frame_ids cannot start with a '/'"
    )
    with pytest.raises(InvalidArgumentException, match="cannot be empty"):
        buffer.lookup_transform("map", "", NOW)
    for kind in (LookupException, InvalidArgumentException, ExtrapolationException, ConnectivityException):
        assert issubclass(kind, TransformException)


@pytest.mark.parametrize("when", [NOW, at(1)])
def test_trees_without_a_connection(when: Time) -> None:
    buffer = buffer_of(transform("map", "base", 1), transform("world", "drone", 1))
    with pytest.raises(ConnectivityException) as error:
        buffer.lookup_transform("base", "drone", when)
    assert str(error.value) == (
        "Could not find a connection between 'base' and 'drone' because they are not part of the same tree."
        "Tf has two or more unconnected trees."
    )


@pytest.mark.parametrize("when", [NOW, at(1)])
def test_a_loop_is_reported_and_not_followed(when: Time) -> None:
    buffer = buffer_of(*(transform(p, c, 1) for p, c in [("a", "b"), ("b", "c"), ("c", "a")]), transform("x", "y", 1))
    with pytest.raises(LookupException, match="because it contains a loop"):
        buffer.lookup_transform("y", "a", when)


def test_a_frame_is_always_itself() -> None:
    buffer = buffer_of(transform("map", "base", 4, (1, 1, 1)))
    same = buffer.lookup_transform("base", "base", at(77))
    assert translation(same) == [0, 0, 0] and rotation(same) == list(UNTURNED) and stamp(same) == 77
    assert stamp(buffer.lookup_transform("base", "base", NOW)) == 4
    assert stamp(buffer.lookup_transform("nowhere", "nowhere", NOW)) == 0


def test_can_transform_says_why_not() -> None:
    buffer = buffer_of(transform("map", "base", 1), transform("map", "base", 2), transform("world", "drone", 1))

    def reason(*args: Any) -> str:
        possible, why = buffer.can_transform(*args, return_debug_tuple=True)
        assert not possible and not buffer.can_transform(*args)
        return why

    assert buffer.can_transform("map", "base", at(1.5))
    possible, why = buffer.can_transform("map", "base", NOW, return_debug_tuple=True)
    assert possible and why == ""
    assert buffer.can_transform("nowhere", "nowhere", NOW)
    assert reason("map", "camera", NOW) == (
        'Invalid frame ID "camera" passed to canTransform argument source_frame - frame does not exist'
    )
    assert reason("/map", "base", NOW) == (
        'Invalid frame ID "/map" passed to canTransform argument target_frame - '
        "in tf2 frame_ids cannot start with a '/'"
    )
    assert reason("map", "base", at(3)).startswith("Lookup would require extrapolation into the future.")
    assert reason("map", "drone", NOW).startswith("Could not find a connection between 'map' and 'drone'")
    assert buffer.can_transform_core("map", "base", at(1))[0]


def test_what_is_older_than_the_cache_is_forgotten() -> None:
    buffer = buffer_of(*(transform("map", "base", s) for s in range(1, 31)))
    assert buffer.can_transform("map", "base", at(20))
    assert buffer.can_transform("map", "base", at(19))
    assert not buffer.can_transform("map", "base", at(18.9)), "the default is ten seconds, at the last insertion"

    buffer.set_transform(transform("map", "base", 19.5, (9, 9, 9)), "late")
    assert not buffer.can_transform("map", "base", at(19.9))
    buffer.set_transform(transform("map", "base", 20, (3, 0, 0)), "late but within")
    assert buffer.can_transform("map", "base", at(20))


def test_the_length_of_the_cache_can_be_set() -> None:
    stamps = [transform("map", "base", s) for s in range(1, 31)]
    assert buffer_of(*stamps, cache_time=Duration(seconds=25)).can_transform("map", "base", at(4))
    short = buffer_of(*stamps, cache_time=Duration(seconds=2))
    assert short.can_transform("map", "base", at(28)) and not short.can_transform("map", "base", at(26.5))


def test_transforms_may_come_in_any_order() -> None:
    buffer = buffer_of(*(transform("map", "base", s, (s, 0, 0)) for s in (5, 1, 3, 2, 4)))
    for seconds in (1, 1.5, 2.25, 4.75, 5):
        assert translation(buffer.lookup_transform("map", "base", at(seconds))) == pytest.approx([seconds, 0, 0])


def test_of_two_transforms_at_one_time_the_later_counts_from_then_on() -> None:
    buffer = buffer_of(
        transform("map", "base", 1),
        transform("map", "base", 2, (1, 0, 0)),
        transform("map", "base", 2, (5, 0, 0)),
        transform("map", "base", 3, (9, 0, 0)),
    )
    assert translation(buffer.lookup_transform("map", "base", at(2))) == pytest.approx([5, 0, 0])
    assert translation(buffer.lookup_transform("map", "base", at(2.5))) == pytest.approx([7, 0, 0])
    assert translation(buffer.lookup_transform("map", "base", at(1.5))) == pytest.approx([0.5, 0, 0])


def test_a_frame_may_change_its_parent() -> None:
    buffer = buffer_of(
        transform("left", "hand", 1, (1, 0, 0)),
        transform("right", "hand", 2, (2, 0, 0)),
        transform("right", "hand", 3, (4, 0, 0)),
    )
    assert translation(buffer.lookup_transform("left", "hand", at(1.5))) == [1, 0, 0], "not interpolated across"
    assert translation(buffer.lookup_transform("right", "hand", at(2.5))) == pytest.approx([3, 0, 0])
    with pytest.raises(ConnectivityException):
        buffer.lookup_transform("left", "hand", at(2.5))


def test_a_static_transform_can_be_replaced_and_can_start_to_move() -> None:
    buffer = buffer_of(static=[transform("base", "camera", 0, (1, 0, 0)), transform("base", "camera", 0, (2, 0, 0))])
    assert translation(buffer.lookup_transform("base", "camera", at(123))) == [2, 0, 0]
    buffer.set_transform(transform("base", "camera", 5, (3, 0, 0)), "test")
    assert translation(buffer.lookup_transform("base", "camera", NOW)) == [3, 0, 0]
    assert not buffer.can_transform("base", "camera", at(123))


def test_clearing_keeps_what_is_static() -> None:
    buffer = buffer_of(transform("map", "base", 1), static=[transform("base", "camera", 0, (1, 0, 0))])
    buffer.clear()
    assert translation(buffer.lookup_transform("base", "camera", at(7))) == [1, 0, 0]
    with pytest.raises(ExtrapolationException) as error:
        buffer.lookup_transform("map", "base", at(1))
    assert "at time 1.000000, but only time 0.000000 is in the buffer" in str(error.value)
    with pytest.raises(ConnectivityException):
        buffer.lookup_transform("map", "base", NOW)
    buffer.set_transform(transform("map", "base", 0.5), "earlier than before")
    assert buffer.can_transform("map", "base", at(0.5))


@pytest.mark.parametrize(
    "bad",
    [
        transform("map", "map", 1),
        transform("", "base", 1),
        transform("map", "", 1),
        transform("map", "base", 1, (math.nan, 0, 0)),
        transform("map", "base", 1, rotation=(0, 0, math.nan, 1)),
        transform("map", "base", 1, rotation=(0, 0, 0, 0)),
    ],
)
def test_transforms_that_make_no_sense_are_ignored(bad: TransformStamped) -> None:
    buffer = buffer_of(bad)
    assert buffer.all_frames_as_string() == ""


def test_a_leading_slash_of_a_published_frame_is_dropped() -> None:
    buffer = buffer_of(transform("/map", "/base", 1, (1, 0, 0)))
    assert translation(buffer.lookup_transform("map", "base", NOW)) == [1, 0, 0]


def test_all_frames_in_words() -> None:
    buffer = buffer_of(transform("map", "base", 1), static=[transform("base", "camera", 0)])
    assert buffer.all_frames_as_string() == (
        "Frame camera exists with parent base.\nFrame base exists with parent map.\n"
    )
    buffer.clear()
    assert "Frame base exists with parent NO_PARENT.\n" in buffer.all_frames_as_string()


def test_stamps_of_messages_serve_as_times() -> None:
    buffer = buffer_of(transform("map", "base", 1, (1, 0, 0)), transform("map", "base", 2, (2, 0, 0)))
    assert translation(buffer.lookup_transform("map", "base", TimeMsg(sec=1, nanosec=500_000_000))) == [1.5, 0, 0]
    with pytest.raises(TypeError):
        buffer.lookup_transform("map", "base", 1.5)


def test_the_motion_between_two_times_in_a_fixed_frame() -> None:
    buffer = buffer_of(
        *(transform("map", "base", s, (s * s, 0, 0), Z90) for s in (1, 2, 3)), static=[transform("base", "cam", 0)]
    )
    moved = buffer.lookup_transform_full("base", at(3), "cam", at(1), "map")
    assert translation(moved) == pytest.approx([0, 8, 0])
    assert (moved.header.frame_id, moved.child_frame_id, stamp(moved)) == ("base", "cam", 3)
    assert buffer.can_transform_full("base", at(3), "cam", at(1), "map")
    assert not buffer.can_transform_full("base", at(3), "cam", at(0.5), "map")
    with pytest.raises(LookupException, match='"sky" passed to lookupTransform argument fixed_frame does not exist'):
        buffer.lookup_transform_full("base", at(3), "cam", at(1), "sky")


def test_waiting_ends_when_the_transform_comes() -> None:
    buffer = buffer_of(transform("map", "base", 1))
    timer = threading.Timer(0.2, lambda: buffer.set_transform(transform("map", "base", 2, (2, 0, 0)), "late"))
    timer.start()
    started = time.monotonic()
    found = buffer.lookup_transform("map", "base", at(2), timeout=Duration(seconds=10))
    assert translation(found) == [2, 0, 0]
    assert 0.1 < time.monotonic() - started < 5
    timer.join()


def test_waiting_ends_with_the_timeout() -> None:
    buffer = buffer_of(transform("map", "base", 1))
    started = time.monotonic()
    assert not buffer.can_transform("map", "base", at(2), timeout=Duration(seconds=0.2))
    assert 0.15 < time.monotonic() - started < 5
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("map", "base", at(2), timeout=Duration(seconds=0.05))


def test_many_threads_may_wait_while_one_feeds() -> None:
    buffer = buffer_of(transform("map", "base", 1))
    found: list[float] = []

    def wait_for(seconds: int) -> None:
        found.append(stamp(buffer.lookup_transform("map", "base", at(seconds), Duration(seconds=20))))

    waiting = [threading.Thread(target=wait_for, args=(seconds,)) for seconds in range(2, 8)]
    for thread in waiting:
        thread.start()
    for seconds in range(2, 8):
        buffer.set_transform(transform("map", "base", seconds), "test")
    for thread in waiting:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert sorted(found) == list(range(2, 8))


def test_a_future_that_is_given_up_disturbs_nobody() -> None:
    buffer = buffer_of(transform("map", "base", 1))
    waiting = buffer.wait_for_transform_async("map", "base", at(5))
    waiting.cancel()
    for seconds in (4, 5, 6):
        buffer.set_transform(transform("map", "base", seconds), "test")
    assert waiting.cancelled()
    assert buffer.can_transform("map", "base", at(5.5))


def test_a_future_gets_the_transform_when_it_comes() -> None:
    buffer = buffer_of(transform("map", "base", 1))
    known = buffer.wait_for_transform_async("map", "base", at(1))
    assert known.done() and stamp(known.result()) == 1

    waiting = buffer.wait_for_transform_async("map", "base", at(2))
    buffer.set_transform(transform("map", "base", 1.5), "too early")
    assert not waiting.done()
    buffer.set_transform(transform("map", "base", 3, (3, 0, 0)), "enough")
    assert waiting.done() and stamp(waiting.result()) == 2
    buffer.set_transform(transform("map", "base", 4), "after")


def test_random_trees_agree_with_matrices() -> None:
    rng = np.random.default_rng(11)
    for _ in range(20):
        count = int(rng.integers(2, 9))
        parents = {f"f{i}": f"f{int(rng.integers(0, i))}" for i in range(1, count)}
        links = {child: random_transform(rng, parent, child, 1) for child, parent in parents.items()}
        buffer = buffer_of(*links.values())

        def root_from(frame: str, parents: Any = parents, links: Any = links) -> np.ndarray:
            if frame not in parents:
                return np.eye(4)
            return root_from(parents[frame], parents, links) @ matrix(links[frame])

        target, source = (f"f{i}" for i in rng.integers(0, count, 2))
        expected = np.linalg.inv(root_from(target)) @ root_from(source)
        np.testing.assert_allclose(matrix(buffer.lookup_transform(target, source, at(1))), expected, atol=1e-9)


def test_a_long_replay_is_looked_up_quickly() -> None:
    buffer = buffer_of(*(transform("map", "base", 1 + s / 200, (s, 0, 0)) for s in range(4000)))
    started = time.perf_counter()
    for _ in range(500):
        buffer.lookup_transform("map", "base", at(15.0025))
    assert (time.perf_counter() - started) / 500 < 5e-3
