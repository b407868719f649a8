# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The synchroniser: which images make a set, when, and what becomes of the others."""

import random
import time
from collections import Counter

import pytest
from builtin_interfaces.msg import Time
from message_filters import SimpleFilter
from sensor_msgs.msg import Image

from mtl_perception.ros.synchronizer import (
    CLOCK_JUMPED,
    DUPLICATE,
    LATE,
    QUEUE_FULL,
    TOO_FEW,
    UNMATCHED,
    RigSet,
    RigSynchronizer,
)


class Bench:
    """A synchroniser with hand-fed inputs."""

    def __init__(self, cameras=("front", "left"), **options):
        self.filters = {name: SimpleFilter() for name in cameras}
        self.sets: list[RigSet] = []
        self.lost: list[tuple[int, str]] = []
        options = {"slop_s": 0.05, "timeout_s": 60.0, "clock_ns": lambda: 0, **options}
        self.synchronizer = RigSynchronizer(
            self.filters, on_reference_dropped=lambda ms, why: self.lost.append((ms // 10**6, why)), **options
        )
        self.synchronizer.registerCallback(self.sets.append)

    def feed(self, camera: str, milliseconds: int) -> None:
        image = Image()
        image.header.stamp = Time(sec=milliseconds // 1000, nanosec=milliseconds % 1000 * 10**6)
        self.filters[camera].signalMessage(image)

    def stamps(self) -> list[dict[str, int]]:
        return [
            {name: m.header.stamp.sec * 1000 + m.header.stamp.nanosec // 10**6 for name, m in s.messages.items()}
            for s in self.sets
        ]


def test_set_is_complete_with_the_nearest_images():
    bench = Bench()
    bench.feed("left", 990)
    bench.feed("front", 1000)
    assert bench.stamps() == [{"front": 1000, "left": 990}]
    assert bench.sets[0].missing == ()
    assert bench.sets[0].worst_gap_ns == 10_000_000


def test_order_of_arrival_does_not_matter():
    for order in (["front", "left", "right"], ["right", "left", "front"], ["left", "front", "right"]):
        bench = Bench(("front", "left", "right"))
        for camera in order:
            bench.feed(camera, 1000)
        assert bench.stamps() == [{"front": 1000, "left": 1000, "right": 1000}]


def test_waits_for_an_image_that_comes_nearer():
    bench = Bench(slop_s=0.05)
    for at in (900, 960):
        bench.feed("left", at)
    bench.feed("front", 1000)  # left came 60 ms apart: the next one is due at 1020, nearer than 960
    assert bench.sets == []
    bench.feed("left", 1020)
    assert bench.stamps() == [{"front": 1000, "left": 1020}]


def test_takes_what_is_there_when_the_sender_waits():
    bench = Bench(slop_s=0.05, wait_for_nearer=False)
    for at in (900, 960):
        bench.feed("left", at)
    bench.feed("front", 1000)
    assert bench.stamps() == [{"front": 1000, "left": 960}]


def test_partial_set_names_the_missing_camera_once_it_cannot_come():
    bench = Bench(("front", "left", "right"))
    bench.feed("front", 1000)
    bench.feed("right", 1000)
    assert bench.sets == []
    bench.feed("left", 1200)  # beyond the window
    assert bench.sets[0].missing == ("left",)
    assert (bench.synchronizer.complete, bench.synchronizer.partial) == (0, 1)


def test_slow_camera_is_not_waited_for():
    bench = Bench(slop_s=0.04)
    for at in (0, 300):
        bench.feed("left", at)
        bench.feed("front", at)
    bench.feed("front", 400)  # left's own rate says 600
    assert bench.sets[-1].missing == ("left",)


def test_lost_camera_holds_a_frame_no_longer_than_the_timeout():
    bench = Bench(timeout_s=0.02)
    bench.feed("front", 1000)
    bench.synchronizer.check()
    assert bench.sets == []
    time.sleep(0.03)
    bench.synchronizer.check()
    assert bench.sets[0].missing == ("left",)


def test_camera_that_is_gone_for_long_is_not_waited_for_until_it_is_back():
    bench = Bench(timeout_s=0.0)
    for at in (0, 100):
        bench.feed("left", at)
        bench.feed("front", at)
    for at in (200, 300, 400):
        bench.feed("front", at)
        time.sleep(0.001)
        bench.synchronizer.check()
    bench.synchronizer.timeout_ns = 60 * 10**9
    bench.feed("front", 500)
    assert bench.sets[-1].stamp_ns == 500_000_000
    bench.feed("left", 600)
    bench.feed("front", 600)
    assert bench.sets[-1].missing == ()


def test_duplicates_are_dropped_and_counted():
    bench = Bench()
    bench.feed("left", 1000)
    bench.feed("left", 1000)
    bench.feed("front", 1000)
    bench.feed("front", 1000)
    assert len(bench.sets) == 1
    assert bench.synchronizer.drops == {("left", DUPLICATE): 1, ("front", DUPLICATE): 1}
    assert bench.lost == []  # the frame itself is out


def test_out_of_order_images_find_their_frames():
    bench = Bench()
    bench.feed("front", 1000)
    bench.feed("front", 1100)
    bench.feed("left", 1101)
    bench.feed("left", 1001)
    assert bench.stamps()[-1] == {"front": 1100, "left": 1101}
    assert len(bench.sets) == 2


def test_late_images_are_counted():
    bench = Bench()
    for at in (1000, 1100):
        bench.feed("left", at)
        bench.feed("front", at)
    bench.feed("left", 1001)
    bench.feed("front", 1050)
    assert bench.synchronizer.drops == {("left", LATE): 1, ("front", LATE): 1}
    assert bench.lost == [(1050, LATE)]


def test_images_without_a_reference_are_counted():
    bench = Bench()
    bench.feed("left", 700)
    bench.feed("left", 1000)
    bench.feed("front", 1000)
    assert bench.synchronizer.drops == {("left", UNMATCHED): 1}


def test_queues_are_bounded():
    bench = Bench(queue_size=3)
    for at in range(1000, 2000, 100):
        bench.feed("front", at)
    assert bench.synchronizer.waiting == {"front": 3, "left": 0}
    assert bench.synchronizer.drops == {("front", QUEUE_FULL): 7}
    assert [why for _, why in bench.lost] == [QUEUE_FULL] * 7


def test_too_few_cameras():
    bench = Bench(min_cameras=2)
    bench.feed("front", 1000)
    bench.feed("left", 1200)
    assert bench.sets == []
    assert bench.lost == [(1000, TOO_FEW)]


@pytest.mark.parametrize("tell", [True, False])
def test_looping_bag_goes_on_after_the_jump(tell):
    bench = Bench()
    for _ in range(2):
        for at in (10_000, 10_100, 10_200):
            bench.feed("left", at)
            bench.feed("front", at)
        bench.feed("front", 15_000)  # its partner never comes
        if tell:
            bench.synchronizer.jump_back(10_000 * 10**6)
    fronts = [stamps["front"] for stamps in bench.stamps()]
    assert [at for at in fronts if at < 15_000] == [10_000, 10_100, 10_200] * 2
    assert bench.synchronizer.drops["front", CLOCK_JUMPED] >= 1


def test_short_bag_that_loops_without_a_clock():
    bench = Bench(("front",))
    for _ in range(2):
        for at in (100, 200, 300, 400, 500):
            bench.feed("front", at)
    assert bench.stamps()[-1] == {"front": 500}
    assert bench.synchronizer.drops["front", LATE] == 2
    assert len(bench.sets) == 8


def test_rig_of_one_camera_passes_each_image_at_once():
    bench = Bench(("front",))
    for at in range(0, 1000, 33):
        bench.feed("front", at)
    assert len(bench.sets) == 31


def test_companions_are_waited_for_but_a_frame_without_them_is_complete():
    filters = {"joints": SimpleFilter()}
    bench = Bench(timeout_s=0.05, companions=filters)
    image = Image()
    image.header.stamp = Time(sec=1, nanosec=10**7)
    bench.feed("left", 1000)
    bench.feed("front", 1000)
    assert bench.sets == []
    filters["joints"].signalMessage(image)
    assert bench.sets[0].companions == {"joints": image} and set(bench.sets[0].messages) == {"front", "left"}
    bench.feed("left", 1100)
    bench.feed("front", 1100)
    time.sleep(0.06)
    bench.synchronizer.check()
    assert bench.sets[1].companions == {} and bench.sets[1].missing == ()
    assert (bench.synchronizer.complete, bench.synchronizer.partial) == (2, 0)


def test_companions_make_up_for_no_camera():
    filters = {"joints": SimpleFilter()}
    bench = Bench(timeout_s=0.02, min_cameras=2, companions=filters)
    image = Image()
    image.header.stamp = Time(sec=1)
    filters["joints"].signalMessage(image)
    bench.feed("front", 1000)
    time.sleep(0.03)
    bench.synchronizer.check()
    assert bench.sets == [] and bench.lost == [(1000, TOO_FEW)]


def test_camera_that_sends_out_of_order_is_waited_for_once_it_is_known():
    bench = Bench()
    bench.feed("front", 1000)
    bench.feed("left", 1100)  # 1000 is to come yet, but nothing says so
    bench.feed("left", 1000)
    bench.feed("front", 1100)
    assert [s.missing for s in bench.sets] == [("left",), ()]
    bench.feed("front", 1200)
    bench.feed("left", 1300)
    assert len(bench.sets) == 2
    bench.feed("left", 1200)
    assert bench.stamps()[-1] == {"front": 1200, "left": 1200}
    bench.feed("front", 1300)
    bench.feed("front", 1400)  # lost
    for at in (1500, 1600):
        bench.feed("left", at)
    assert bench.sets[-1].stamp_ns == 1400 * 10**6 and bench.sets[-1].missing == ("left",)


def test_order_is_trusted_again_after_a_while():
    bench = Bench()
    for at in (1000, 1200, 1100):
        bench.feed("left", at)
    for at in range(1300, 11_400, 100):
        bench.feed("left", at)
        bench.feed("front", at)
    bench.feed("front", 11_400)
    bench.feed("left", 11_500)
    assert bench.sets[-1].stamp_ns == 11_400 * 10**6


def test_reference_image_that_is_late_is_waited_for_once_that_is_known():
    bench = Bench(("front",))
    for at in (1000, 1100, 1300, 1200, 1400):
        bench.feed("front", at)
    assert bench.synchronizer.drops == {("front", LATE): 1}
    bench.feed("front", 1600)  # 1500 may come late, too
    assert bench.stamps()[-1] == {"front": 1400}
    bench.feed("front", 1500)
    assert [stamps["front"] for stamps in bench.stamps()[-3:]] == [1400, 1500, 1600]
    for at in (1800, 1900):  # 1700 is lost
        bench.feed("front", at)
    assert bench.stamps()[-1] == {"front": 1900}


def test_an_image_is_used_once_even_when_it_comes_again():
    bench = Bench(slop_s=0.15)
    bench.feed("left", 1000)
    bench.feed("front", 1000)
    bench.feed("left", 1000)
    bench.feed("front", 1100)
    bench.feed("left", 1300)
    assert bench.stamps() == [{"front": 1000, "left": 1000}, {"front": 1100}]
    assert bench.synchronizer.drops == {("left", DUPLICATE): 1}


def test_one_wrong_stamp_from_the_future_costs_one_camera_one_frame_at_most():
    bench = Bench()
    for at in range(1000, 2000, 100):
        bench.feed("front", at)
        bench.feed("left", 4_000_000 if at == 1400 else at)
    assert [s.stamp_ns for s in bench.sets if s.missing] == [1400 * 10**6]
    assert bench.synchronizer.drops["left", CLOCK_JUMPED] == 1
    assert len(bench.sets) == 10


def test_a_hiccup_does_not_spoil_what_is_known_of_a_cameras_rate():
    bench = Bench()
    for at in (1000, 1001, *range(1100, 2000, 100)):
        bench.feed("left", at)
        bench.feed("front", at)
    bench.feed("left", 1990)
    bench.feed("front", 2000)  # the next is due at 2090
    assert bench.stamps()[-1] == {"front": 2000, "left": 1990}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_each_image_is_used_dropped_for_a_reason_or_waits(seed):
    draw, now_ns = random.Random(seed), 0
    cameras, companions = ("front", "left", "right"), {"joints": SimpleFilter()}
    options = {"queue_size": 4, "min_cameras": 2, "timeout_s": 0.3, "steady_ns": lambda: now_ns}
    bench = Bench(cameras, companions=companions, **options)
    sources = {**bench.filters, **companions}
    arrivals = [
        (at + draw.choice((0, 5, 30, 250, 900)), source, at + draw.choice((-20, 0, 0, 15, 10_000 * (at == 3000))))
        for at in range(1000, 6000, 100)
        for source in sources
        for _ in range(draw.choice((0, 1, 1, 1, 1, 2)))
    ]
    fed = Counter()
    for at, source, stamp in sorted(arrivals):
        while now_ns < at * 10**6:
            now_ns += 20 * 10**6
            bench.synchronizer.check()
        image = Image()
        image.header.stamp = Time(sec=stamp // 1000, nanosec=stamp % 1000 * 10**6)
        sources[source].signalMessage(image)
        fed[source] += 1
        assert max(bench.synchronizer.waiting.values()) <= 4
    found = Counter(bench.synchronizer.waiting)
    for (source, _), count in bench.synchronizer.drops.items():
        found[source] += count
    for rig_set in bench.sets:
        found.update([*rig_set.messages, *rig_set.companions])
    assert found == fed
    assert len(bench.sets) > 10 and all(len(s.messages) >= 2 for s in bench.sets)
    lost = sum(n for (source, why), n in bench.synchronizer.drops.items() if source == "front" and why != DUPLICATE)
    assert len(bench.lost) == lost
