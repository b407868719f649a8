# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rooms: what parts them, what does not, and that finding them step by step finds the same as at once."""

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig

PLACES = ("is_place", "place_cell", "place_height", "place_clearance", "place_class", "ways", "linked")
ROOMS = ("open_cell", "open_distance", "known_distance", "open_cells", "necks", "home", "root", "room")
GROUND = ("ground_class", "low_class", "ground_cells", "ground_height")


def flat(plan, door):
    """Two rooms of 4 m x 4 m beside each other, with a door in the middle of the wall between."""
    plan.draw("wall", 0.8, 0.8, 9.3, 5.2).draw("floor", 1, 1, 5, 5).draw("floor", 5.1, 1, 9.1, 5)
    if door:
        plan.draw("floor", 5, 3 - door / 2, 5.1, 3 + door / 2)
    return plan.update()


@pytest.mark.parametrize("door", [0.0, 0.8, 1.0])
def test_a_door_parts_rooms(new_plan, door):
    plan = flat(new_plan((11.2, 6.4)), door)
    assert len(plan.ids) == 2
    assert 0 <= plan.room_at(2, 3) != plan.room_at(8, 3) >= 0


def test_a_wide_passage_does_not_part_a_room(new_plan):
    plan = flat(new_plan((11.2, 6.4)), 3.0)
    assert len(plan.ids) == 1
    assert plan.room_at(2, 3) == plan.room_at(8, 3) >= 0


def test_furniture_parts_no_room_and_is_in_it(new_plan):
    plan = new_plan((6.4, 6.4)).draw("wall", 0.8, 0.8, 5.4, 5.4).draw("floor", 1, 1, 5.2, 5.2)
    plan.draw("furniture", 2.4, 1, 3.6, 5.2).update()
    assert len(plan.ids) == 1
    assert plan.room_at(1.5, 3) == plan.room_at(3, 3) == plan.room_at(4.8, 3) == 0


def test_streets_have_no_rooms(new_plan):
    plan = new_plan((11.2, 6.4))
    plan.draw("wall", 0.8, 0.8, 9.3, 5.2).draw("pavement", 1, 1, 9.1, 5).update()
    assert (plan.squares["room"] < 0).all()


def test_rooms_keep_their_ids_when_others_come_grow_and_go(new_plan):
    plan = new_plan((16.0, 6.4)).draw("wall", 0.8, 0.8, 15, 5.2).draw("floor", 1, 1, 5, 5).update()
    first = plan.room_at(3, 3)
    plan.draw("floor", 5.1, 1, 8, 5).draw("floor", 5, 2.6, 5.1, 3.4).update()
    second = plan.room_at(7, 3)
    assert {first, second} == {0, 1}
    plan.draw("floor", 8, 1, 14, 5).update()
    assert (plan.room_at(3, 3), plan.room_at(12, 3)) == (first, second)
    plan.draw("floor", 5, 1, 5.1, 5).update()  # the wall is gone: the larger one has both
    assert plan.room_at(3, 3) == plan.room_at(12, 3) == second
    plan.draw("wall", 5, 1, 5.1, 5).update()  # it is back: what comes apart gets a number that none has had
    assert (plan.room_at(3, 3), plan.room_at(12, 3)) == (2, second)
    assert len(plan.ids) == 2


@pytest.mark.parametrize("seed", range(6))
def test_step_by_step_the_same_is_found_as_at_once(new_plan, seed):
    random = np.random.default_rng(seed)
    plan = new_plan((12.8, 12.8), MapperConfig(place_spacing=float(random.choice([0.75, 0.5]))), corner=(-6.4, -6.4))
    kinds = ["floor"] * 6 + ["wall"] * 3 + ["furniture", "crate", "free", "nothing", "road", "pavement"]
    for step in range(12):
        if step in (4, 8):
            plan.reshape((12.8 + 6.4 * step / 4, 12.8), (-6.4 - 1.6 * step, -6.4))
        low, high = plan.grid.corner / 10, plan.grid.corner / 10 + np.array(plan.grid.layer("seen").shape[::-1]) / 10
        for _ in range(random.integers(1, 5)):
            kind = str(random.choice(kinds))
            size = random.uniform(0.1, 1.0, 2) * (
                [6, 6] if kind in plan.GROUND else [0.3, 4][:: random.choice([-1, 1])]
            )
            at = random.uniform(low, high - 0.1)
            plan.draw(kind, *at, *np.minimum(at + size, high), height=float(random.choice([0.0, 0.0, 0.5])))
        plan.update()
    assert_as_at_once(plan)
    assert plan.graph.count > 5


@pytest.mark.parametrize("seed", range(3))
def test_small_changes_of_walls_are_followed(new_plan, seed):
    random = np.random.default_rng(seed)
    plan = new_plan((12.8, 12.8)).draw("floor", 0.5, 0.5, 12, 12)
    for _ in range(12):
        plan.draw(
            "wall", *(at := random.uniform(0.5, 11, 2)), *(at + random.uniform(0.1, 3, 2)[:: random.choice([-1, 1])])
        )
        plan.draw("floor", *(at := random.uniform(0.5, 11, 2)), *(at + random.uniform(0.5, 2, 2)))
    plan.update()
    for _ in range(12):
        for _ in range(3):
            kind = str(random.choice(["wall", "floor"]))
            plan.draw(kind, *(at := random.uniform(0.5, 12, 2)), *(at + random.integers(1, 4, 2) * 0.1))
            plan.update()
        assert_as_at_once(plan)


def test_squares_at_the_border_of_a_grid_are_looked_at_when_it_grows(new_plan):
    plan = new_plan((12.8, 12.8)).draw("floor", 1, 1, 12.8, 12.8).update()
    plan.reshape((25.6, 12.8), (0.0, 0.0))
    plan.draw("floor", 20, 1, 24, 5).update()
    assert_as_at_once(plan)


def assert_as_at_once(plan):
    other = plan.anew()
    mine, theirs = plan.found("surveyed", *GROUND, *PLACES, *ROOMS), other.found("surveyed", *GROUND, *PLACES, *ROOMS)
    for name, squares in mine.items():
        assert squares.keys() == theirs[name].keys()
        differ = {at: (value, theirs[name][at]) for at, value in squares.items() if not same(value, theirs[name][at])}
        assert not differ, (name, differ)
    assert plan.graph.count == other.graph.count == len(plan.graph.places())
    assert len(plan.ids) == len(other.ids)
    for name, field in plan.fields.items():
        assert np.array_equal(field.data, other.fields[name].data, equal_nan=True)


def same(one, other):
    return one == other or (one != one and other != other)  # NaN
