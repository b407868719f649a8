# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Floor plans: rooms, doors between them, windows, and furniture that leaves ways."""

import numpy as np
import pytest

from mtl_perception.data.world.indoor.doors_and_windows import kept_clear
from mtl_perception.data.world.indoor.floor_plan import plan_indoor
from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.layouts import LAYOUTS
from mtl_perception.data.world.indoor.rooms import FLAT, OUTSIDE, FloorPlan, way_through

SEEDS = range(4)


@pytest.fixture(scope="module")
def plans() -> list[FloorPlan]:
    return [plan_indoor(np.random.default_rng(seed), 20.0, layout) for layout in LAYOUTS for seed in SEEDS]


def test_rooms_do_not_overlap_and_have_walls_between_them(plans) -> None:
    for plan in plans:
        for index, room in enumerate(plan.rooms):
            assert min(room.size) > 1.1, f"{room.name} is too narrow to walk in"
            for other in plan.rooms[index + 1 :]:
                gap = np.maximum(np.subtract(other.low, room.high), np.subtract(room.low, other.high)).max()
                assert gap >= plan.wall - 1e-9, f"{room.name} and {other.name}"


def test_floors_have_three_to_eight_rooms_and_a_corridor(plans) -> None:
    for plan in plans:
        uses = [room.use for room in plan.rooms]
        assert "corridor" in uses
        assert 3 <= len(uses) - uses.count("corridor") <= 8
        assert len({room.name for room in plan.rooms}) == len(uses)


def test_all_rooms_can_be_reached_through_doors(plans) -> None:
    for plan in plans:
        reached, front = {0}, [0]
        while front:
            for other in plan.neighbours(front.pop()):
                if other not in reached:
                    reached.add(other)
                    front.append(other)
        assert len(reached) == len(plan.rooms)


def test_openings_lie_between_their_rooms_and_do_not_overlap(plans) -> None:
    for plan in plans:
        for index, opening in enumerate(plan.openings):
            low, high = way_through(opening)
            across = 1 - opening.side % 2
            for room_index in opening.rooms:
                if room_index == OUTSIDE:
                    assert opening.kind in ("window", "entrance")
                    continue
                room = plan.rooms[room_index]
                along = opening.side % 2
                assert room.low[along] - 1e-6 <= low[along] and high[along] <= room.high[along] + 1e-6
                assert low[across] < room.high[across] and high[across] > room.low[across], "it reaches into the room"
                assert 0 <= opening.bottom < opening.top < room.height
            for other in plan.openings[index + 1 :]:
                other_low, other_high = way_through(other)
                assert max(np.subtract(other_low, high).max(), np.subtract(low, other_high).max()) > 0


def test_furniture_is_in_its_room_clear_of_other_furniture_and_of_doors(plans) -> None:
    for plan in plans:
        solid = [piece for piece in plan.pieces if piece.kind not in FLAT]
        for index, piece in enumerate(solid):
            room = plan.rooms[piece.room]
            assert piece.footprint.inside(room.low, room.high)
            for area in kept_clear(room, piece.room, plan.openings):
                assert not piece.footprint.overlaps(area), f"{piece.kind} before a door of {room.name}"
            for other in solid[index + 1 :]:
                # Chairs may be drawn up to tables.
                if other.room == piece.room and "chair" not in other.kind and "chair" not in piece.kind:
                    assert not piece.footprint.overlaps(other.footprint, -0.01), f"{piece.kind} in {other.kind}"


def test_every_room_can_be_walked_into_past_the_furniture(plans) -> None:
    blocked = 0
    for plan in plans:
        components = plan.free_space.components(0.3)
        largest = np.bincount(components[components > 0]).argmax()
        blocked += sum(
            not (components[_cells(plan, room.low, room.high)] == largest).any() for room in plan.rooms
        )
    assert blocked == 0


def test_most_rooms_are_furnished_for_their_use(plans) -> None:
    needed = {"bedroom": "bed", "kitchen": "counter", "bathroom": "toilet", "living room": "sofa", "office": "desk"}
    needed |= {"meeting room": "meeting table", "store room": "rack", "classroom": "school desk"}
    needed |= {"open-plan office": "desk", "dining room": "table"}
    found = []
    for plan in plans:
        for index, room in enumerate(plan.rooms):
            if room.use in needed:
                found.append(any(p.kind == needed[room.use] for p in plan.pieces if p.room == index))
    assert np.mean(found) > 0.95


def test_layouts_differ_and_seeds_repeat() -> None:
    first, again = (plan_indoor(np.random.default_rng(3), 20.0) for _ in range(2))
    assert first.rooms == again.rooms and first.openings == again.openings and first.pieces == again.pieces
    assert len({plan_indoor(np.random.default_rng(seed), 20.0).layout for seed in range(12)}) >= 4
    assert plan_indoor(np.random.default_rng(4), 20.0, first.layout).rooms != first.rooms


def test_a_duration_must_be_positive() -> None:
    with pytest.raises(ValueError, match="duration_s"):
        plan_indoor(np.random.default_rng(0), 0.0)


def test_footprints_overlap_when_turned_towards_each_other() -> None:
    a = Footprint(0.0, 0.0, 0.0, 2.0, 1.0)
    assert not a.overlaps(Footprint(0.0, 1.2, 0.0, 2.0, 1.0))
    assert a.overlaps(Footprint(0.0, 1.2, 0.0, 2.0, 1.0), gap=0.3)
    assert a.overlaps(Footprint(0.0, 1.2, np.pi / 2, 2.0, 1.0)), "turned, it reaches across"
    assert not a.overlaps(Footprint(1.6, 1.1, np.pi / 4, 1.0, 1.0)), "corner beside corner"
    assert a.covers(np.array(0.9), np.array(0.4)) and not a.covers(np.array(0.9), np.array(0.6))


def _cells(plan: FloorPlan, low: tuple[float, float], high: tuple[float, float]) -> tuple[slice, slice]:
    (r0, c0), (r1, c1) = plan.free_space.cell(low), plan.free_space.cell(high)
    return slice(r0, r1), slice(c0, c1)
