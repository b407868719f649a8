# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""At which places objects are, while objects and the ground change."""

import numpy as np
import pytest

from mtl_perception.mapping import MapObject
from mtl_perception.mapping.graph.kept_ground import KeptGround
from mtl_perception.mapping.graph.object_places import NO_PLACE, ObjectPlaces


def thing(number, x, y):
    at, nothing = np.array([x, y, 0.4]), np.zeros(0, np.int64)
    return MapObject(number, 1, 0, 1.0, 1.0, at, at, at, (0, 0, 0), 9, 0, 0, (), nothing.reshape(0, 3), nothing)


def followed(plan):
    squares, places, rooms, segments = plan.squares, plan.graph, plan.rooms, plan.segments
    return KeptGround(plan.config, plan.grid.class_labels, squares, places, rooms, segments)


def nearest(plan, ground, item):
    """The id of the place of an object, looking at all places."""
    places = plan.graph.places()
    nodes = plan.graph.nodes()
    apart = np.hypot(*(places.positions[:, :2] - item.centroid[:2]).T)
    order = [at for at in np.lexsort((places.ids, apart))[:16].tolist() if apart[at] < 5.0]
    own = plan.room_at(*item.centroid[:2])
    regions = ground.records["place_region"][nodes]
    order = [at for at in order if own >= 0 and regions[at] == own] + order
    return int(places.ids[order[0]]) if order else NO_PLACE


def two_rooms(new_plan):
    plan = new_plan((32.0, 32.0)).draw("floor", 2, 2, 14, 10)
    return plan.draw("wall", 8, 2, 8.2, 10).draw("floor", 8, 5, 8.2, 5.9).update()


def test_a_thing_goes_with_a_place_of_its_own_room(new_plan):
    plan = two_rooms(new_plan)
    ground = followed(plan)
    ground.update()
    places = ObjectPlaces(ground)
    found = places.update([thing(1, 7.85, 8.0), thing(2, 8.35, 8.0), thing(3, 25, 25)], (), np.zeros((0, 2), np.int64))
    at = dict(zip(plan.graph.places().ids.tolist(), plan.graph.places().positions.tolist(), strict=True))
    assert at[found[1]][0] < 8 < at[found[2]][0] and found[3] == NO_PLACE
    plan.draw("floor", 20, 20, 24, 24).update()
    changes = ground.update()
    found = places.update([], (), changes.squares)
    assert set(found) == {3} and found[3] == nearest(plan, ground, thing(3, 25, 25)) != NO_PLACE
    assert places.update([], [3], changes.squares) == {}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_changes_each_thing_is_at_its_nearest_place(new_plan, seed):
    rng = np.random.default_rng(seed)
    plan = two_rooms(new_plan)
    ground = followed(plan)
    places, things, known = None, {}, {}
    for step in range(12):
        changed = [thing(int(number), *rng.uniform(0, 32, 2)) for number in rng.integers(0, 40, 6)]
        changed = list({item.id: item for item in changed}.values())
        things |= {item.id: item for item in changed}
        gone = [] if step % 3 else [int(rng.choice(sorted(things)))]
        changed = [item for item in changed if item.id not in gone]
        x, y = rng.uniform(0, 30, 2).round(1)
        what = ("floor", "floor", "wall", "furniture")[rng.integers(4)]
        plan.draw(what, x, y, x + rng.uniform(0.3, 6), y + rng.uniform(0.3, 6)).update()
        changes = ground.update()
        places = places or ObjectPlaces(ground)
        for number in gone:
            del things[number]
            known.pop(number, None)
        known |= places.update(changed, gone, changes.squares)
        assert known == {number: nearest(plan, ground, item) for number, item in things.items()}
    assert len(set(known.values())) > 5
