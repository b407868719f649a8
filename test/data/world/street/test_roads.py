# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The roads of street worlds: where they run and meet, and that nothing on them is in the way of something else."""

import numpy as np
import pytest

from mtl_perception.data.world.street.roads import LAYOUTS, StreetPlan, plan_street

SEEDS = range(6)
PLANS = [(layout, seed) for layout in LAYOUTS for seed in SEEDS]


@pytest.fixture(scope="module", params=PLANS, ids=lambda p: f"{p[0]} {p[1]}")
def plan(request) -> StreetPlan:
    layout, seed = request.param
    return plan_street(np.random.default_rng(seed), 20.0, layout)


def test_there_are_at_least_five_layouts_and_all_are_drawn() -> None:
    drawn = {plan_street(np.random.default_rng(seed), 20.0).layout for seed in range(60)}
    assert drawn == set(LAYOUTS) and len(drawn) >= 5


def test_unknown_layouts_are_refused() -> None:
    with pytest.raises(KeyError, match="moon"):
        plan_street(np.random.default_rng(0), 20.0, "moon")


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    first, again, other = (plan_street(np.random.default_rng(seed), 20.0, "town") for seed in (4, 4, 5))
    assert first.crossings == again.crossings and first.bays == again.bays and first.junctions == again.junctions
    s = np.linspace(0, 200, 50)
    assert np.array_equal(first.roads[0].line.points(s, 0.0), again.roads[0].line.points(s, 0.0))
    assert not np.allclose(first.roads[0].line.points(s, 0.0), other.roads[0].line.points(s, 0.0))


@pytest.mark.parametrize("duration_s", [5.0, 20.0, 120.0])
def test_the_first_road_is_longer_than_the_robot_can_drive(duration_s: float) -> None:
    for layout in LAYOUTS:
        plan = plan_street(np.random.default_rng(1), duration_s, layout)
        assert plan.roads[0].end > plan.speed_limit * duration_s + 60.0
        assert plan.roads[0].start < -60.0


def test_the_first_road_begins_at_the_origin_along_x(plan: StreetPlan) -> None:
    line = plan.roads[0].line
    assert np.allclose(line.points(0.0, 0.0), 0.0, atol=1e-9)
    assert line.heading(0.0) == pytest.approx(0.0, abs=1e-9)


def test_roads_bend_less_than_a_car_can(plan: StreetPlan) -> None:
    for road in plan.roads:
        s = np.arange(road.start, road.end, 0.5)
        assert np.abs(np.diff(road.line.heading(s))).max() / 0.5 < 0.03


def test_roads_meet_at_right_angles_where_both_are_straight(plan: StreetPlan) -> None:
    main = plan.roads[0]
    assert len(plan.roads) == len(plan.junctions) + 1
    for junction in plan.junctions:
        other = plan.roads[junction.other]
        assert np.allclose(other.line.points(junction.other_s, 0.0), main.line.points(junction.s, 0.0), atol=1e-6)
        turn = other.line.heading(junction.other_s) - main.line.heading(junction.s)
        assert turn == pytest.approx(np.pi / 2, abs=1e-9)
        for road, s, half in ((main, junction.s, junction.half), (other, 0.0, junction.other_half)):
            around = road.line.heading(np.linspace(s - half - 10.0, s + half + 10.0, 30))
            assert np.ptp(around) < 1e-6
        assert junction.half == pytest.approx(other.half + junction.corner)
        assert junction.other_half == pytest.approx(main.half + junction.corner)


def test_side_roads_lead_at_least_sixty_metres_away_on_each_arm(plan: StreetPlan) -> None:
    for junction in plan.junctions:
        other = plan.roads[junction.other]
        assert junction.arms and set(junction.arms) <= {1, -1}
        assert other.end >= 60.0 if 1 in junction.arms else other.end == 0.0
        assert other.start <= -60.0 if -1 in junction.arms else other.start == 0.0
        left = other.line.points(20.0, 0.0) - plan.roads[0].line.points(junction.s, 0.0)
        heading = float(plan.roads[0].line.heading(junction.s))
        assert left @ [-np.sin(heading), np.cos(heading), 0.0] > 15.0, "+s leads to the left"


def test_roads_do_not_run_into_each_other_away_from_their_junction(plan: StreetPlan) -> None:
    bands = []
    for road in plan.roads:
        bands.append((road.reach, road.line.points(np.arange(road.start, road.end, 2.0), 0.0)))
    for i, (reach, points) in enumerate(bands):
        for j, (other_reach, others) in enumerate(bands[:i]):
            gaps = np.linalg.norm(points[:, None] - others, axis=2).min(axis=1)
            if j == 0:  # it leaves road 0 at its own s = 0
                away = np.abs(np.arange(plan.roads[i].start, plan.roads[i].end, 2.0))
                gaps = gaps[away > reach + other_reach + 25.0]
            assert (gaps > reach + other_reach).all()


def test_crossings_and_bays_keep_clear_of_junctions_and_each_other(plan: StreetPlan) -> None:
    for crossing in plan.crossings:
        road = plan.roads[crossing.road]
        assert road.start < crossing.s < road.end
        assert not plan.is_junction(crossing.road, crossing.s, crossing.half_width)
    for bay in plan.bays:
        assert not plan.is_crossing(bay.road, bay.s, bay.length / 2 + 1.0)
        ends = bay.s - bay.length / 2, bay.s + bay.length / 2
        for junction in plan.junctions:
            if bay.road == junction.other:
                assert min(abs(s) for s in ends) > junction.other_half
            if bay.road == 0 and bay.side in junction.arms:
                assert not ends[0] < junction.s + junction.half or not ends[1] > junction.s - junction.half
    for first, second in zip(plan.bays, plan.bays[1:], strict=False):
        if (first.road, first.side) == (second.road, second.side):
            assert second.s - first.s >= (first.length + second.length) / 2 - 1e-9


def test_bays_lie_between_the_lanes_and_the_kerb(plan: StreetPlan) -> None:
    for bay in plan.bays:
        road = plan.roads[bay.road]
        s, d = plan.bay_centre(bay)
        assert s == bay.s and np.sign(d) == bay.side
        outermost = road.median + road.lanes * road.lane
        assert abs(d) - road.parking / 2 == pytest.approx(outermost)
        assert abs(d) + road.parking / 2 == pytest.approx(road.half)


@pytest.mark.parametrize("side", [1, -1])
def test_lanes_are_on_the_side_one_drives_on_and_beside_each_other(plan: StreetPlan, side: int) -> None:
    for road in plan.roads:
        for direction in (1, -1):
            offsets = [road.lane_offset(index, direction, side) for index in range(road.lanes)]
            assert all(np.sign(d) == -side * direction for d in offsets), "driving on the right is on d < 0"
            assert np.allclose(np.diff(np.abs(offsets)), road.lane)
            assert abs(offsets[0]) - road.lane / 2 == pytest.approx(road.median)
            assert abs(offsets[-1]) + road.lane / 2 <= road.half - road.parking + 1e-9


def test_pavements_have_room_to_walk(plan: StreetPlan) -> None:
    for road in plan.roads:
        low, high = road.walkway
        assert road.half < low < high < road.reach
        assert high - low > 0.4
