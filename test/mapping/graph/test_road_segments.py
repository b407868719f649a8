# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road segments and junctions, drawn and changed in all ways."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.graph.road_walks import DIAGONAL, EDGE, FAR
from mtl_perception.mapping.graph.square_ways import ends_of_ways
from mtl_perception.mapping.graph.squares import STEPS

CONFIG = MapperConfig(voxel_size=0.2, max_depth=25.0, grid_resolution=0.25, place_spacing=1.5)
STRETCH, JUNCTION, BESIDE = 1, 2, 3  # of the field road_kind


def test_a_long_road_has_segments_of_about_twenty_metres_across_its_whole_width(new_plan):
    plan = new_plan((160, 20), CONFIG)
    for end in range(10, 151, 10):  # as it is seen
        plan.draw("road", end - 10, 6, end, 14).update()
    segments = [plan.segment_at(x, 10) for x in range(3, 148)]
    _, lengths = np.unique(segments, return_counts=True)
    assert min(segments) >= 0 and 6 <= len(lengths) <= 11 and lengths.max() <= 30
    assert np.count_nonzero(np.diff(segments)) == len(lengths) - 1  # each is in one piece
    across = [plan.segment_at(x, 7) == plan.segment_at(x, 13) for x in range(3, 148)]
    assert np.mean(across) > 0.85


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_junctions_are_where_three_or_more_arms_meet(new_plan, arms):
    plan = new_plan((80, 80), CONFIG).draw("road", 4, 36, 76, 44)
    if arms > 2:
        plan.draw("road", 36, 44, 44, 76)
    if arms > 3:
        plan.draw("road", 36, 4, 44, 36)
    plan.update()
    places = np.flatnonzero(plan.squares["road_kind"] == JUNCTION)
    if arms == 2:
        assert not len(places)
        return
    at = plan.squares.of(places) * 1.5 + 0.75
    assert np.abs(at - 40).max() < 14
    assert len({plan.segment_at(40, 40), *np.unique(plan.segments.of(places)).tolist()}) == 1
    assert len(plan.ids) >= 1 + arms


@pytest.mark.parametrize("median", [0.0, 5.0])
def test_a_junction_of_wide_roads_is_found_from_its_middle_to_its_corners(new_plan, median):
    """Roads of two carriageways of 11 m each, with a median between them or without one."""
    plan = new_plan((140, 140), CONFIG).draw("road", 2, 57, 138, 83).draw("road", 57, 2, 83, 138)
    if median:
        for low, high in ((2, 56), (84, 138)):
            plan.draw("nothing", low, 70 - median / 2, high, 70 + median / 2)
            plan.draw("nothing", 70 - median / 2, low, 70 + median / 2, high)
    plan.update()
    nodes = np.flatnonzero(np.isin(plan.squares["road_kind"], (STRETCH, JUNCTION)))
    at = plan.squares.of(nodes) * 1.5 + 0.75
    inside = (np.abs(at - 70) < 13).all(axis=1)
    found = plan.squares["road_kind"][nodes] == JUNCTION
    assert found[inside].mean() > 0.98
    assert np.abs(at[found] - 70).max() < 13 + 9  # with some of each road
    assert len(np.unique(plan.segments.of(nodes[found]))) == 1


def test_a_bay_is_no_arm_and_a_long_way_off_a_junction_is_a_road(new_plan):
    plan = new_plan((140, 60), CONFIG).draw("road", 2, 26, 138, 34).draw("road", 60, 34, 63, 48)
    plan.draw("road", 100, 34, 108, 58).update()
    junctions = plan.squares.of(np.flatnonzero(plan.squares["road_kind"] == JUNCTION)) * 1.5 + 0.75
    assert len(junctions) and (np.abs(junctions[:, 0] - 104) < 14).all()


def test_pavements_go_with_the_road_beside_them_and_meadows_with_none(new_plan):
    plan = new_plan((80, 60), CONFIG).draw("road", 4, 26, 76, 34).draw("pavement", 4, 34, 76, 56, height=0.1).update()
    for x in (10, 40, 70):
        assert plan.segment_at(x, 36) == plan.segment_at(x, 32) >= 0
    assert plan.segment_at(40, 54) == -1  # farther than the roadside reaches


def test_a_road_that_is_cut_and_mended_keeps_its_outer_segments(new_plan):
    plan = new_plan((160, 20), CONFIG).draw("road", 4, 6, 156, 14).update()
    before = [plan.segment_at(x, 10) for x in (10, 150)]
    plan.draw("furniture", 78, 4, 80, 16).update()
    assert [plan.segment_at(x, 10) for x in (10, 150)] == before
    plan.draw("road", 78, 6, 80, 14).update()
    assert [plan.segment_at(x, 10) for x in (10, 150)] == before
    assert -1 not in [plan.segment_at(x, 10) for x in range(6, 154)]


def graph_of(plan):
    """The ways between places as a sparse matrix of lengths."""
    squares = plan.squares
    nodes = np.flatnonzero(squares["is_place"])
    ends = ends_of_ways(nodes, STEPS, squares.neighbours, squares["ways"])
    apart = np.abs(squares.of(ends[:, 0]) - squares.of(ends[:, 1])).sum(axis=1)
    return ends, np.where(apart == 1, EDGE, DIAGONAL)


def reach(plan, kinds, sources):
    """How far places of some kinds are from the nearest of `sources` by ways between them, by SciPy's Dijkstra."""
    ends, lengths = graph_of(plan)
    inside = np.isin(plan.squares["road_kind"][ends], kinds).all(axis=1)
    size = len(plan.squares)
    matrix = coo_array((lengths[inside].astype(float), ends[inside].T), shape=(size, size)).tocsr()
    if not len(sources):
        return np.full(size, np.inf)
    return dijkstra(matrix, directed=False, indices=sources, min_only=True)


@pytest.mark.parametrize("seed", range(5))
def test_after_any_changes_every_place_is_with_the_anchor_that_is_nearest(new_plan, seed):
    """Where anchors are depends on the past; what belongs to which does not."""
    random = np.random.default_rng(seed)
    plan = new_plan((120, 120), CONFIG)
    given = set()
    for _ in range(14):
        for _ in range(random.integers(1, 4)):
            kind = str(random.choice(["road"] * 5 + ["pavement", "pavement", "furniture", "nothing"]))
            long, wide = random.uniform(20, 90), random.uniform(5, 12) if kind in plan.GROUND else random.uniform(1, 6)
            size = np.array([long, wide])[:: random.choice([-1, 1])]
            at = random.uniform(0, 110, 2)
            plan.draw(kind, *at, *np.minimum(at + size, 119))
        plan.update()
        squares = plan.squares
        kinds, segment, anchor = squares["road_kind"], squares["segment"], squares["anchor"]
        stretch, junction = np.flatnonzero(kinds == STRETCH), np.flatnonzero(kinds == JUNCTION)
        anchors = np.flatnonzero(squares["is_anchor"])
        assert (kinds[anchors] == STRETCH).all() and len(set(segment[anchors].tolist())) == len(anchors)
        nearest = reach(plan, [STRETCH], anchors)[stretch]
        limit = 20.0 / 1.5 * EDGE
        near = nearest <= limit
        distance = squares["anchor_distance"][stretch].astype(float)
        assert np.array_equal(distance[near], nearest[near])
        assert np.array_equal(segment[stretch[near]], segment[anchor[stretch[near]]])
        left = stretch[~near]  # pieces too small for an anchor of their own
        assert (np.unique(plan.segments._parts(left), return_counts=True)[1] < 8).all() if len(left) else True
        beside = np.flatnonzero(kinds == BESIDE)
        on_road = np.r_[stretch, junction]
        apart = reach(plan, [STRETCH, JUNCTION, BESIDE], on_road)[beside]
        with_road = apart <= 12.0 / 1.5 * EDGE
        assert np.array_equal(squares["road_distance"][beside][with_road], apart[with_road])
        assert (squares["road_distance"][beside][~with_road] == FAR).all()
        ids = np.unique(segment[segment >= 0]).tolist()
        assert len(plan.ids) == len(ids) and not set(segment[junction].tolist()) & set(segment[anchors].tolist()) - {-1}
        given |= set(ids)
    assert plan.ids.next >= max(given) + 1 >= 3


@pytest.mark.parametrize("seed", range(3))
def test_junctions_are_found_step_by_step_as_at_once(new_plan, seed):
    random = np.random.default_rng(seed)
    plan = new_plan((120, 120), CONFIG)
    for _ in range(10):
        size = np.array([random.uniform(20, 90), random.uniform(5, 24)])[:: random.choice([-1, 1])]
        at = random.uniform(0, 110, 2)
        kind = str(random.choice(["road", "road", "road", "furniture"]))
        plan.draw(kind, *at, *np.minimum(at + size, 119)).update()
    other = plan.anew()
    for name in ("road_kind", "is_crossing", "arm_reach", "ways", "linked"):
        assert plan.found(name) == other.found(name), name
