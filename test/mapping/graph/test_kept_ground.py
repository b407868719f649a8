# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layers of the ground that are kept and changed equal those that are found from nothing, whatever happens."""

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.graph.ground_graph import GroundGraph

INDOOR = MapperConfig()
STREET = MapperConfig(grid_resolution=0.25, place_spacing=1.5)
WHATS = {INDOOR: ("floor", "floor", "floor", "wall", "wall", "furniture", "free", "pavement")}
WHATS[STREET] = ("road", "road", "road", "pavement", "pavement", "floor", "wall", "furniture")


class Ground:
    """A plan, the graph that its parts are, and a copy of its layers that lives on changes alone."""

    def __init__(self, plan):
        self.plan = plan
        self.graph = GroundGraph(plan.config, plan.labels)
        parts = {"grid": plan.grid, "_squares": plan.squares, "_places": plan.graph, "_rooms": plan.rooms}
        vars(self.graph).update(parts, _segments=plan.segments, _ids=plan.ids)
        self.kept = self.graph.kept()
        self.places, self.ways, self.regions_of = {}, {}, {}
        self.regions, self.areas = {}, {}

    def follow(self):
        """Follow the plan; return the changes."""
        changes = self.kept.update()
        places, regions = self.kept.places(changes.places)
        columns = (places.positions, places.clearance, places.labels, places.first_seen_ns, places.last_seen_ns)
        for row, number in enumerate(places.ids.tolist()):
            self.places[number] = said(*(column[row] for column in columns), regions[row])
        for number in changes.gone_places.tolist():
            del self.places[number]
        for number, before, now in changes.moved_places.tolist():
            assert before != now and self.regions_of.pop(number, -1) == before and (now < 0 or number in self.places)
            self.regions_of[number] = now
        for ends in map(tuple, changes.gone_ways.tolist()):
            del self.ways[ends]
        lengths = self.kept.lengths(changes.ways).tolist()
        for ends, length in zip(map(tuple, changes.ways.tolist()), lengths, strict=True):
            self.ways[ends] = length
        for kept, changed, gone in (
            (self.regions, changes.regions, [region.id for region in changes.gone_regions]),
            (self.areas, changes.areas, changes.gone_areas),
        ):
            kept |= {item.id: item for item in changed}
            for number in gone:
                del kept[number]
        return changes

    def check(self):
        """The copy is what is found from nothing."""
        view = self.graph.view()
        places = view.places
        assert np.isfinite(places.positions).all()
        columns = (places.positions, places.clearance, places.labels, places.first_seen_ns, places.last_seen_ns)
        assert self.places == {
            number: said(*(column[row] for column in columns), view.place_region[row])
            for row, number in enumerate(places.ids.tolist())
        }
        ends = [tuple(pair) for pair in places.ids[places.edges].tolist()]
        assert self.ways == dict(zip(ends, places.lengths.tolist(), strict=True))
        assert {number: at for number, at in self.regions_of.items() if at >= 0} == {
            number: at for number, at in zip(places.ids.tolist(), view.place_region.tolist(), strict=True) if at >= 0
        }
        assert self.kept.place_count == len(places) and self.kept.place_ids().tolist() == sorted(self.places)
        assert sorted(map(tuple, self.kept.ways().tolist())) == sorted(self.ways)
        for kept, found in ((self.regions, view.regions), (self.areas, view.areas)):
            assert sorted(kept) == [item.id for item in found]
            for item in found:
                assert {name: said(value) for name, value in vars(item).items()} == {
                    name: said(value) for name, value in vars(kept[item.id]).items()
                }
        return view


def said(*values):
    return tuple(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value for value in values)


def scribble(plan, rng, size):
    """Draw some rectangles, large ones first."""
    for share in sorted(rng.uniform(0.02, 0.6, rng.integers(1, 5)), reverse=True):
        corner = rng.uniform(-2, size, 2)
        far = corner + rng.uniform(0.3, 1.0, 2) * max(size * share, 1.0)
        what = WHATS[plan.config][rng.integers(len(WHATS[plan.config]))]
        if what == "wall" and rng.random() < 0.7:
            far[rng.integers(2)] = corner[rng.integers(2)] + 0.3
        low, high = np.minimum(corner, far), np.maximum(corner, far)
        plan.draw(what, *low, *high, height=round(float(rng.normal(0, 0.05)), 2))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("config", "size"), [(INDOOR, 32.0), (STREET, 96.0)], ids=["indoor", "street"])
def test_after_any_changes_the_layers_are_as_if_found_from_nothing(new_plan, config, size, seed):
    rng = np.random.default_rng(seed)
    plan = new_plan((size, size), config)
    plan.draw(WHATS[config][0], 0, 0, size, size * 0.7)
    ground = Ground(plan)
    kinds = set()
    for step in range(14):
        scribble(plan, rng, size)
        if step in (6, 10):  # the bounded grid moves on; what it leaves behind stays
            plan.reshape((size, size), tuple(np.round(rng.uniform(-0.5, 0.5, 2) * size)))
        plan.update()
        if step % 3 != 1:  # nobody has looked meanwhile
            ground.follow()
            view = ground.check()
            kinds |= {region.kind for region in view.regions}
    assert len(view.places) > 50 and len(kinds) > 1 - (config is INDOOR) and len(view.areas) > 0


def test_nothing_is_told_twice_and_only_what_is_near_a_change(new_plan):
    plan = new_plan((64.0, 64.0), INDOOR).draw("floor", 0, 0, 64, 64)
    for x in range(8, 64, 8):  # 64 rooms with doors between them
        plan.draw("wall", x, 0, x + 0.2, 64).draw("wall", 0, x, 64, x + 0.2)
    for x in range(8, 64, 8):
        for y in range(4, 64, 8):
            plan.draw("floor", x, y, x + 0.2, y + 0.9).draw("floor", y, x, y + 0.9, x + 0.2)
    ground = Ground(plan.update())
    first = ground.follow()
    assert len(first.regions) == 64 and len(first.areas) == 1 and len(first.places) > 3000
    again = ground.follow()
    assert not any(len(told) for told in vars(again).values())
    plan.draw("furniture", 11, 11, 12, 12).update()
    after = ground.follow()
    assert 0 < len(after.places) < 150 and 0 < len(after.ways) < 4 * 50
    assert {region.id for region in after.regions} <= {plan.room_at(x, y) for x in (4, 12, 20) for y in (4, 12, 20)}
    ground.check()


def test_what_happens_far_away_is_noticed(new_plan):
    """Squares of a corridor that is less open than a door go with a room at one of its ends, 60 metres away."""
    plan = new_plan((80.0, 8.0), INDOOR).draw("floor", 0.8, 0.8, 8, 7.2).draw("floor", 72, 0.8, 79.2, 7.2)
    plan.draw("wall", 8, 0, 72, 3.6).draw("wall", 8, 4.4, 72, 8).draw("floor", 8, 3.6, 72, 4.4)
    ground = Ground(plan.update())
    ground.follow()
    ground.check()
    rooms = set()
    for what, x in (("wall", 9), ("floor", 9), ("wall", 70.5), ("wall", 9), ("floor", 9), ("floor", 70.5)):
        plan.draw(what, x, 3.6, x + 0.2, 4.4).update()
        changes = ground.follow()
        ground.check()
        rooms.add(plan.room_at(40, 4))
        assert len(changes.places) < 60 or np.ptp(ground.kept.places(changes.places)[0].positions[:, 0]) > 30
    assert len(rooms) == 3


def test_an_area_comes_apart_and_together_again(new_plan):
    plan = new_plan((48.0, 16.0), INDOOR).draw("floor", 0, 0, 48, 8)
    plan.draw("wall", 24, 0, 24.2, 3.5).draw("wall", 24, 4.4, 24.2, 8)
    ground = Ground(plan.update())
    ground.follow()
    (building,) = ground.check().areas
    plan.draw("wall", 24, 0, 24.2, 8).update()
    changes = ground.follow()
    assert [area.id for area in ground.check().areas] == sorted(area.id for area in changes.areas)
    assert building.id in ground.areas and len(ground.areas) == 2
    plan.draw("floor", 24, 3.5, 24.2, 4.4).update()
    changes = ground.follow()
    assert len(changes.gone_areas) == 1 and list(ground.areas) == [building.id]
    assert ground.check().areas[0].regions == building.regions


def test_places_that_are_built_over_are_gone(new_plan):
    plan = new_plan((16.0, 16.0), INDOOR).draw("floor", 2, 2, 8, 3.5)
    ground = Ground(plan.update())
    ground.follow()
    count = len(ground.places)
    plan.draw("furniture", 2, 2, 7.2, 3.5).update()
    changes = ground.follow()
    assert count == 27 and len(changes.gone_places) == 21 and len(ground.places) == 6
    ground.check()
