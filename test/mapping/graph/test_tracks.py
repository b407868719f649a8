# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tracks of things that move."""

import numpy as np
import pytest

from mtl_perception.core import Detection
from mtl_perception.mapping import MapFormatError, MapperConfig, MappingError
from mtl_perception.mapping.graph.track import HISTORY
from mtl_perception.mapping.graph.tracks import ENDED, TrackRegistry

STEP_NS = 10**8


def base_at(x=0.0, y=0.0, yaw=0.0):
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = x, y, 1.0
    return pose


class Street:
    """Things that move evenly, and what a robot among them detects, in its own frame."""

    def __init__(self, labels, noise=0.0, seed=0):
        self.labels, self.noise, self.rng = labels, noise, np.random.default_rng(seed)
        self.things = []

    def thing(self, label, start, velocity, size=(4.0, 1.8, 1.5)):
        self.things.append((self.labels.id_of(label), np.array(start, float), np.array(velocity, float), size))
        return self

    def detect(self, seconds, base, chosen=None, score=0.8, **otherwise):
        found = []
        for number in range(len(self.things)) if chosen is None else chosen:
            label, start, velocity, size = self.things[number]
            place = np.append(start + seconds * velocity + self.rng.normal(0, self.noise, 2), 1.7)
            heading = np.arctan2(velocity[1], velocity[0]) - np.arctan2(base[1, 0], base[0, 0])
            centre = base[:3, :3].T @ (place - base[:3, 3])
            own = base[:2, :2].T @ velocity
            values = {"yaw": float(heading), "velocity": tuple(own.tolist())} | otherwise
            found.append(Detection(label, score, tuple(centre.tolist()), size, **values))
        return found


@pytest.fixture
def street(labels):
    return Street(labels)


@pytest.fixture
def registry(labels):
    return TrackRegistry(MapperConfig(), labels)


def follow(registry, street, frames, robot=lambda seconds: base_at(), start=0, **detected):
    tracks = ()
    for at in range(start, start + frames):
        base = robot(at * 0.1)
        tracks = registry.update(street.detect(at * 0.1, base, **detected), base, at * STEP_NS)
    return tracks


def test_a_car_is_followed_in_the_world_from_a_robot_that_moves_and_turns(registry, street, labels):
    street.thing("car", (10, -5), (3, 4))
    (track,) = follow(registry, street, 40, robot=lambda t: base_at(2 * t, -t, 0.3 * t))
    assert (track.id, track.label) == (0, labels.id_of("car"))
    assert track.world_from_box[:3, 3] == pytest.approx([10 + 3.9 * 3, -5 + 3.9 * 4, 1.7], abs=1e-6)
    assert track.world_from_box[:3, 0] == pytest.approx([0.6, 0.8, 0], abs=1e-6)
    assert track.velocity == pytest.approx([3, 4, 0], abs=1e-6)
    assert track.size == pytest.approx((4.0, 1.8, 1.5))
    assert track.confidence == pytest.approx(0.8)
    assert (track.first_seen_ns, track.last_seen_ns) == (0, 39 * STEP_NS)
    assert track.stamps_ns.tolist() == [at * STEP_NS for at in range(40)]
    assert track.positions[:, 0] == pytest.approx(10 + 0.3 * np.arange(40), abs=1e-6)


def test_a_velocity_that_is_not_known_is_found(registry, street):
    street.thing("car", (10, -5), (3, 4))
    (track,) = follow(registry, street, 40, velocity=(np.nan, np.nan))
    assert track.velocity == pytest.approx([3, 4, 0], abs=0.1)


def test_a_thing_is_a_track_from_the_third_of_five_frames_on(registry, street):
    street.thing("car", (10, 0), (0, 1))
    for at, (chosen, count) in enumerate([([0], 0), ([], 0), ([0], 0), ([], 0), ([0], 1), ([], 1)]):
        base = base_at()
        assert len(registry.update(street.detect(at * 0.1, base, chosen), base, at * STEP_NS)) == count


def test_what_is_found_by_chance_is_no_track_and_takes_no_id(labels, registry, street):
    rng = np.random.default_rng(0)
    for at in range(50):
        street.things = []
        for _ in range(3):
            street.thing("car", rng.uniform(-60, 60, 2), (0, 0))
        assert follow(registry, street, 1, start=at) == ()
    steady = Street(labels).thing("car", (5, 5), (0, 0))
    assert [track.id for track in follow(registry, steady, 5, start=50)] == [0]


def test_two_that_cross_keep_their_ids(labels, registry):
    street = Street(labels, noise=0.15).thing("pedestrian", (5, -3), (0.3, 1)).thing("pedestrian", (6, 3), (-0.3, -1))
    first = follow(registry, street, 10)
    last = follow(registry, street, 50, start=10)
    assert [track.id for track in first] == [track.id for track in last] == [0, 1]
    for track, goes in zip(last, (street.things[0], street.things[1]), strict=True):
        truth = goes[1] + 5.9 * goes[2]
        nearest = min(last, key=lambda one: np.linalg.norm(one.world_from_box[:2, 3] - truth))
        assert np.linalg.norm(nearest.world_from_box[:2, 3] - truth) < 0.3
        assert nearest.velocity[:2] == pytest.approx(goes[2], abs=0.5)
        assert np.sign(track.positions[0, 1]) == -np.sign(track.positions[-1, 1])


def test_a_busy_street_keeps_its_ids_with_noise_gaps_and_chance_findings(labels, registry):
    street = Street(labels, noise=0.2)
    for lane in range(4):
        for place in range(3):
            street.thing("car", (10 * place - 15, 4 * lane - 6), (5 if lane % 2 else -5, 0))
        street.thing("pedestrian", (3 * lane - 10, -12), (1, 0))
    rng = np.random.default_rng(1)
    ids = set()
    for at in range(80):
        base = base_at(0.2 * at)
        chosen = [number for number in range(len(street.things)) if rng.random() < 0.85]
        boxes = street.detect(at * 0.1, base, chosen)
        boxes += Street(labels).thing("car", rng.uniform(-30, 30, 2), (0, 0)).detect(0, base)
        ids |= {track.id for track in registry.update(boxes, base, at * STEP_NS) if at - track.stamps_ns.size < 70}
        tracks = registry.tracks
    long_lived = [track for track in tracks if len(track.stamps_ns) > 40]
    assert len(long_lived) == len(street.things)
    for label, start, velocity, _ in street.things:
        truth = start + 7.9 * velocity
        track = min(long_lived, key=lambda one: np.linalg.norm(one.world_from_box[:2, 3] - truth))
        assert track.label == label
        assert np.linalg.norm(track.world_from_box[:2, 3] - truth) < 0.6
    assert len(ids) <= len(street.things) + 3


def test_a_thing_that_is_hidden_for_a_second_is_the_same_after_that(registry, street):
    street.thing("car", (10, -8), (0, 4))
    follow(registry, street, 15)
    (hidden,) = follow(registry, street, 10, start=15, chosen=[])
    assert hidden.world_from_box[1, 3] == pytest.approx(-8 + 2.4 * 4, abs=0.01)  # predicted
    assert hidden.last_seen_ns == 14 * STEP_NS
    assert hidden.confidence < 0.2 and hidden.position_std > 0.8
    (seen,) = follow(registry, street, 10, start=25)
    assert seen.id == hidden.id == 0
    assert len(seen.positions) == 25
    assert registry.ended == ()


def test_a_thing_that_is_not_found_for_two_seconds_has_ended(registry, street):
    street.thing("car", (10, -8), (0, 4))
    follow(registry, street, 15)
    assert len(follow(registry, street, 20, start=15, chosen=[])) == 1
    assert follow(registry, street, 1, start=35, chosen=[]) == ()
    (ended,) = registry.ended
    assert (ended.id, ended.last_seen_ns, len(ended.positions)) == (0, 14 * STEP_NS, 15)
    assert [track.id for track in follow(registry, street, 5, start=36)] == [1]


def test_classes_are_followed_apart_and_what_cannot_move_not_at_all(registry, street, labels):
    street.thing("pedestrian", (5, 0), (0, 0)).thing("cyclist", (5.1, 0), (0, 0)).thing("pole", (3, 3), (0, 0))
    tracks = follow(registry, street, 8)
    assert sorted(track.label for track in tracks) == [labels.id_of("pedestrian"), labels.id_of("cyclist")]


def test_a_box_of_a_low_score_continues_a_track_and_does_not_begin_one(registry, street):
    street.thing("car", (10, 0), (0, 1))
    assert follow(registry, street, 10, score=0.2) == ()
    follow(registry, street, 5, start=10)
    (track,) = follow(registry, street, 30, start=15, score=0.2)
    assert len(track.positions) == 35
    assert track.confidence == pytest.approx(0.2, abs=0.01)


def test_the_sure_box_wins_over_a_doubtful_one_that_is_nearer(registry, street, labels):
    street.thing("car", (10, 0), (0, 0))
    follow(registry, street, 10)
    base = base_at()
    other = Street(labels).thing("car", (10.3, 0), (0, 0))
    (track,) = registry.update(
        [*street.detect(0, base, score=0.2), *other.detect(0, base, score=0.9)], base, 10 * STEP_NS
    )
    assert track.world_from_box[0, 3] > 10.02


def test_a_box_that_faces_backwards_now_and_then_does_not_turn_the_track(registry, street):
    street.thing("car", (10, 0), (0, 0))
    for at in range(30):
        (*_, track) = follow(registry, street, 1, start=at, yaw=np.pi if at % 3 == 0 else 0.0) or [None]
    assert track.world_from_box[:3, 0] == pytest.approx([1, 0, 0], abs=1e-6)  # though the first box faced backwards


def test_boxes_that_are_not_finite_are_left_out(registry, street):
    street.thing("car", (10, np.nan), (0, 0))
    assert follow(registry, street, 6) == ()


def test_frames_out_of_order_are_refused(registry, street):
    street.thing("car", (10, 0), (0, 0))
    before = follow(registry, street, 6)
    with pytest.raises(MappingError, match="frame of 500000000 ns is not later than the one before, of 500000000 ns"):
        registry.update([], base_at(), 5 * STEP_NS)
    assert [track.id for track in registry.tracks] == [track.id for track in before]


def test_memory_is_bounded(registry, street, labels):
    street.thing("car", (10, 0), (0, 0))
    (track,) = follow(registry, street, HISTORY + 10)
    assert len(track.positions) == HISTORY
    assert track.stamps_ns[0] == 10 * STEP_NS and track.first_seen_ns == 0
    crowd = Street(labels)
    for number in range(ENDED + 20):
        crowd.thing("pedestrian", (3 * number, 50), (0, 0))
    last = follow(registry, crowd, 3, start=HISTORY + 10)
    assert len(last) == ENDED + 21
    assert follow(registry, crowd, 30, start=HISTORY + 13, chosen=[]) == ()
    assert len(registry.ended) == ENDED
    assert registry.ended[-1].id == ENDED + 20


def facts(registry):
    return [
        (
            *(track.id, track.label, track.confidence, track.size, track.first_seen_ns, track.last_seen_ns),
            *(track.world_from_box.tolist(), track.velocity.tolist(), track.position_std),
            *(track.stamps_ns.tolist(), track.positions.tolist()),
        )
        for track in (*registry.tracks, *registry.ended)
    ]


@pytest.mark.parametrize("saved_after", [0, 2, 25])
def test_saving_loading_and_continuing_equals_never_having_stopped(labels, registry, saved_after):
    street = Street(labels, noise=0.2).thing("car", (10, -5), (3, 4)).thing("pedestrian", (5, 0), (1, 0))
    street.thing("car", (-10, 0), (0, 0))
    rng = np.random.default_rng(0)
    frames = []
    for at in range(60):
        chosen = [number for number in range(3) if rng.random() < 0.8 and (number != 2 or at < 10)]
        frames.append((street.detect(at * 0.1, base_at(), chosen), base_at(), at * STEP_NS))
    for frame in frames[:saved_after]:
        registry.update(*frame)
    other = TrackRegistry(MapperConfig(), labels)
    other.restore(registry.state())
    assert facts(other) == facts(registry)
    for frame in frames[saved_after:]:
        registry.update(*frame)
        other.update(*frame)
        assert facts(other) == facts(registry)
    assert len(registry.ended) == 1
    assert all(np.array_equal(array, other.state()[name]) for name, array in registry.state().items())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("agents", lambda agents: agents["id"]),
        ("agents", lambda agents: np.concatenate([agents, agents])),
        ("agents", lambda agents: agents[:0]),
        ("past_positions", lambda positions: positions[1:]),
        ("past_stamps_ns", lambda stamps: stamps.astype(np.float64)),
        ("ended", lambda ended: ended + 2),
        ("next_id", lambda number: number * 0),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(registry, street, labels, name, change):
    street.thing("car", (10, 0), (0, 0))
    follow(registry, street, 6)
    state = registry.state()
    other = TrackRegistry(MapperConfig(), labels)
    with pytest.raises(MapFormatError, match="tracks: "):
        other.restore(state | {name: change(state[name])})
    with pytest.raises(MapFormatError, match=f"tracks: {name} is missing"):
        other.restore({kept: array for kept, array in state.items() if kept != name})
    assert other.tracks == ()
