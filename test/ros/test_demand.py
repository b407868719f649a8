# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is wanted of frames: by who watches, by the greatest rates, and by what tasks need of the frames before."""

import random
from itertools import combinations

import pytest

from mtl_perception.ros.demand import Demand, Wanted

TASKS = ("depth", "semantic", "motion_mask", "ego_motion", "occupancy")
TASKS_OF = {
    "depth": ("depth",),
    "semantic": ("semantic",),
    "semantic_color": ("semantic",),
    "motion_mask": ("motion_mask",),
    "odometry": ("ego_motion",),
    "occupancy": ("occupancy",),
    "steering": ("steering",),  # not known to the network
    "frame": ("depth", "semantic", "motion_mask", "detections"),
}
PERIOD_NS = 100_000_000


class Camera:
    """A stream of frames of 10 Hz of which everything that is wanted is made and sent."""

    def __init__(self, comparing=("motion_mask", "ego_motion")):
        self.demand = Demand(TASKS, TASKS_OF, comparing)
        self.frame = 0

    def next(self, watched, rates=None, asked=None) -> Wanted:
        stamp_ns, self.frame = self.frame * PERIOD_NS, self.frame + 1
        wanted = self.demand.of_frame(stamp_ns, watched, rates or {}, asked)
        self.demand.note_sent(stamp_ns, wanted.topics if wanted.tasks else (), rates or {})
        return wanted

    def watch(self, frames, watched, rates=None, asked=None):
        return [self.next(watched, rates, asked) for _ in range(frames)]


def test_only_what_somebody_watches_is_computed():
    camera = Camera()
    assert camera.next({"semantic_color"}) == Wanted(frozenset({"semantic_color"}), ("semantic",))
    assert camera.next({"depth", "occupancy"}).tasks == ("depth", "occupancy")
    assert camera.next({"frame"}).tasks == ("depth", "semantic", "motion_mask")
    nobody = camera.next(())
    assert (nobody.tasks, nobody.topics, nobody.why_not) == ((), frozenset(), "nobody subscribes to a result")
    assert camera.next({"steering"}).why_not == "nobody subscribes to a result"


def test_what_is_asked_for_is_computed_whoever_watches():
    camera = Camera()
    everything = camera.next({"depth"}, asked=TASKS)
    assert everything.tasks == TASKS and everything.topics == {"depth"}
    assert camera.next((), asked=("occupancy", "depth")).tasks == ("depth", "occupancy")
    assert "asked for" in camera.next((), asked=("steering",)).why_not


def test_a_rate_leaves_out_the_tasks_too():
    wanted = Camera().watch(10, {"depth", "semantic"}, {"depth": 5.0, "semantic": 2.0})
    assert [("depth" in frame.tasks, "semantic" in frame.tasks) for frame in wanted] == [
        (number % 2 == 0, number % 5 == 0) for number in range(10)
    ]
    assert {frame.why_not for frame in wanted[1::2] if not frame.tasks} == {"no result is due (max_rate)"}
    assert all(frame.topics == set(frame.tasks) for frame in wanted)


def test_a_task_is_computed_for_its_most_frequent_topic():
    wanted = Camera().watch(10, {"semantic", "semantic_color"}, {"semantic_color": 2.0})
    assert all(frame.tasks == ("semantic",) for frame in wanted)
    assert [number for number, frame in enumerate(wanted) if "semantic_color" in frame.topics] == [0, 5]


def test_what_is_asked_for_is_computed_at_every_frame_and_published_at_its_rate():
    wanted = Camera().watch(10, {"depth"}, {"depth": 5.0}, asked=("depth",))
    assert all(frame.tasks == ("depth",) for frame in wanted)
    assert [bool(frame.topics) for frame in wanted] == [True, False] * 5


def test_before_two_frames_are_compared_the_first_is_looked_at():
    wanted = Camera().watch(21, {"motion_mask"}, {"motion_mask": 1.0})
    computed = [number for number, frame in enumerate(wanted) if frame.tasks]
    looked_at = [number for number, frame in enumerate(wanted) if frame.next_tasks]
    assert computed == [0, 11] and looked_at == [10, 20]
    assert wanted[10] == Wanted(frozenset(), (), ("motion_mask",))
    assert all(frame.why_not for number, frame in enumerate(wanted) if number not in computed + looked_at)


def test_a_topic_waits_for_its_comparison_and_others_do_not_wait_for_it():
    camera, rates = Camera(), {"frame": 1.0, "depth": 5.0}
    wanted = camera.watch(12, {"frame", "depth"}, rates)
    assert wanted[10].topics == {"depth"} and wanted[10].tasks == ("depth",)
    assert wanted[10].next_tasks == ("motion_mask",)
    assert wanted[11].topics == {"frame"} and wanted[11].tasks == ("depth", "semantic", "motion_mask")


def test_without_a_rate_nothing_waits():
    camera = Camera()
    camera.watch(5, ())
    first = camera.next({"frame"})
    assert first.topics == {"frame"} and not first.next_tasks


def test_motions_are_computed_at_every_frame_and_published_at_their_rate():
    wanted = Camera().watch(20, {"odometry"}, {"odometry": 1.0})
    assert all(frame.tasks == ("ego_motion",) for frame in wanted)
    assert [number for number, frame in enumerate(wanted) if frame.topics] == [0, 10]


def test_a_topic_that_could_not_be_sent_stays_due():
    demand = Demand(TASKS, TASKS_OF, ())
    for number in range(3):  # e.g. no motion mask without poses
        assert demand.of_frame(number * PERIOD_NS, {"motion_mask"}, {"motion_mask": 1.0}, None).topics
    demand.note_sent(2 * PERIOD_NS, {"motion_mask"}, {"motion_mask": 1.0})
    assert not demand.of_frame(3 * PERIOD_NS, {"motion_mask"}, {"motion_mask": 1.0}, None).topics


def test_a_rate_that_is_lifted_holds_no_longer():
    camera = Camera()
    camera.watch(3, {"depth"}, {"depth": 0.1})
    assert camera.next({"depth"}, {"depth": 0.0}).topics == {"depth"}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_watched_at_whatever_rate(seed):
    chance = random.Random(seed)
    comparing = chance.sample(TASKS, 3)
    camera, sent = Camera(comparing), {topic: [] for topic in TASKS_OF}
    rates = {topic: chance.choice((0.0, 0.5, 1.0, 3.0, 10.0)) for topic in TASKS_OF}
    watched, ready, before = set(), set(), set()
    for number in range(300):
        if chance.random() < 0.05:
            watched = watched ^ {chance.choice([topic for topic in TASKS_OF if topic != "steering"])}
        wanted = camera.next(watched, rates)
        behind = {task for topic in watched for task in TASKS_OF[topic]} & set(TASKS)
        assert wanted.topics <= watched and set(wanted.tasks) | set(wanted.next_tasks) <= behind
        assert bool(wanted.why_not) == (not wanted.tasks and not wanted.next_tasks)
        assert not set(wanted.tasks) & set(wanted.next_tasks)
        for topic in wanted.topics:
            assert set(TASKS_OF[topic]) & set(TASKS) <= set(wanted.tasks)
            sent[topic].append(number)
            # Whoever compares has been looked at one frame before, if the topic was watched then, too.
            lacking = set(TASKS_OF[topic]) & set(comparing) - {"ego_motion"} - ready
            assert not lacking or topic not in before
        ready, before = set(wanted.tasks) | set(wanted.next_tasks), watched
    for topic, numbers in sent.items():
        for first, second in combinations(range(len(numbers)), 2):
            seconds = (numbers[second] - numbers[first]) / 10
            assert rates[topic] == 0.0 or second - first + 1 <= seconds * rates[topic] + 2.25
