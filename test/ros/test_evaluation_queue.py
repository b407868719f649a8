# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames are judged when: with all their truth, without it after a while, never before it."""

import numpy as np
import pytest

from mtl_perception.core import Camera, CameraPrediction, Prediction
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.ros.evaluation_queue import MAX_WAITING, FrameQueue
from mtl_perception.ros.message_store import MessageStore

PERIOD_NS = 100_000_000
TRUTH = "ground_truth"
CAMERA = Camera("front", 4, 3, np.array([[3.0, 0, 1.5], [0, 3, 1], [0, 0, 1]]), BODY_FROM_OPTICAL)


def prediction(number: int, tasks: tuple[str, ...] = ("depth",)) -> Prediction:
    stamp_ns = number * PERIOD_NS
    front = CameraPrediction(CAMERA, stamp_ns + 7, None, np.zeros((3, 4, 3), np.uint8))  # a stamp of its own
    return Prediction(stamp_ns, {"front": front}, "base_link", "", None, tasks=tasks)


class Setup:
    def __init__(self, *published: str):
        self.published = {"front/camera_info", *(f"{TRUTH}/{name}" for name in published)}
        self.store = MessageStore(1 << 20)
        self.queue = FrameQueue(
            self.store, lambda topic: topic in self.published, {"front": "front/camera_info"}, timeout_s=5.0
        )

    def predict(self, number: int, *, now_s: float = 0.0, tasks: tuple[str, ...] = ("depth",)):
        self.store.add("front/camera_info", number * PERIOD_NS + 7, b"info")
        self.queue.add_reference(number * PERIOD_NS)
        self.queue.add(prediction(number, tasks), now_s)

    def tell(self, name: str, number: int, *, later_ns: int = 0):
        self.store.add(f"{TRUTH}/{name}", number * PERIOD_NS + later_ns, b"truth")


def test_a_frame_waits_for_every_topic_that_is_published_and_no_other():
    setup = Setup("front/depth", "occupancy")
    setup.predict(1)
    assert setup.queue.pop(0.0) is None
    setup.tell("front/depth", 1, later_ns=7)
    assert setup.queue.pop(0.0) is None
    setup.tell("occupancy", 1)
    waiting = setup.queue.pop(0.0)
    assert waiting is not None and waiting.prediction.stamp_ns == PERIOD_NS
    assert not setup.queue.incomplete


def test_truth_that_leaves_a_frame_out_is_not_waited_for_once_its_next_has_come():
    setup = Setup("occupancy")
    setup.predict(1)
    setup.tell("occupancy", 3)
    assert setup.queue.pop(0.0) is not None


def test_a_frame_does_not_wait_for_ever_and_what_it_waited_for_is_told():
    setup = Setup("occupancy")
    setup.predict(1, now_s=10.0)
    assert setup.queue.pop(14.9) is None
    assert setup.queue.pop(15.1) is not None
    assert dict(setup.queue.incomplete) == {"ground_truth/occupancy": 1}


def test_frames_that_wait_are_bounded():
    setup = Setup("occupancy")
    for number in range(1, MAX_WAITING + 2):
        setup.predict(number)
    assert setup.queue.pop(0.0) is not None
    assert setup.queue.pop(0.0) is None
    assert setup.queue.pop(0.0, at_once=True) is not None


def test_frames_keep_their_order():
    setup = Setup("occupancy")
    setup.predict(1)
    setup.predict(2)
    setup.store.add("ground_truth/occupancy", 2 * PERIOD_NS, b"truth")
    first, second = setup.queue.pop(0.0), setup.queue.pop(0.0)
    assert first is not None and second is not None
    assert (first.prediction.stamp_ns, first.previous_ns) == (PERIOD_NS, None)
    assert (second.prediction.stamp_ns, second.previous_ns) == (2 * PERIOD_NS, PERIOD_NS)


def test_all_parts_of_a_prediction_belong_to_it():
    setup = Setup()
    setup.predict(1, tasks=("depth", "normals", "steering"))
    assert setup.queue.newly_predicted(0.0) == []
    setup.store.add("perception/front/normals", PERIOD_NS + 7, b"image")
    setup.store.add("perception/steering", PERIOD_NS, b"angle")
    assert len(setup.queue.newly_predicted(0.0)) == 1
    assert setup.queue.newly_predicted(0.0) == []
    setup.predict(2, tasks=("steering",))
    assert len(setup.queue.newly_predicted(6.0)) == 1  # it is late: whoever waits for it waits no longer


@pytest.mark.parametrize(("later_ns", "ready"), [(0, True), (-40_000_000, False), (60_000_000, True)])
def test_the_nearest_sweep_is_known_when_a_later_one_is_too_far(later_ns, ready):
    setup = Setup("lidar")
    setup.predict(1)
    setup.queue.add_reference(2 * PERIOD_NS)  # so that the period is known
    setup.tell("lidar", 1, later_ns=later_ns)
    assert (setup.queue.pop(0.0) is not None) == ready


def test_the_image_before_counts_only_without_a_gap():
    setup = Setup()
    for number in (1, 2, 3, 4, 9):
        setup.queue.add_reference(number * PERIOD_NS)
    assert setup.queue.previous_ns(PERIOD_NS) is None
    assert setup.queue.previous_ns(3 * PERIOD_NS) == 2 * PERIOD_NS
    assert setup.queue.previous_ns(9 * PERIOD_NS) is None


def test_the_store_is_bounded_and_gives_the_oldest_away_first():
    store = MessageStore(10)
    for stamp, topic in enumerate("abc"):
        store.add(topic, stamp, b"1234")
    assert [store.get(topic, stamp) for stamp, topic in enumerate("abc")] == [None, b"1234", b"1234"]
    assert store.lost == 1 and store.has_reached("a", 0) and not store.has_reached("a", 1)
    store.add("c", 2, b"12")  # in place of the one that was there
    store.add("a", 3, b"1234")
    assert (store.lost, store.stamps_ns("b"), store.get("c", 2)) == (1, [1], b"12")
    store.forget_before(3)
    assert [store.stamps_ns(topic) for topic in "abc"] == [[3], [], []]
    assert store.lost == 1
