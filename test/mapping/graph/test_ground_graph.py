# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places, rooms, road segments and areas of small worlds that a camera looks at."""

from dataclasses import replace

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.graph import ground_graph, kept_areas, road_walks, rooms, square_survey, square_ways
from mtl_perception.mapping.graph.ground_graph import GroundGraph, check_state
from mtl_perception.mapping.ground import cell_marks, cell_moves, distance_field
from mtl_perception.mapping.ground.grid_merging import Cells
from mtl_perception.mapping.poses.trajectory import Trajectory
from test.mapping.conftest import body_pose

STREET = MapperConfig(voxel_size=0.2, max_depth=25.0, grid_resolution=0.25, place_spacing=1.5)


@pytest.fixture(scope="module")
def flat_frames(new_scene, frame):
    """A walk through two rooms of 4 m x 4 m, the door between them, and past a table."""
    scene = new_scene().box("floor", (0, 0, -0.1), (8.1, 4, 0)).box("furniture", (6, 2.6, 0), (7, 3.4, 0.8))
    for low, high in (((-0.1, -0.1), (8.2, 0)), ((-0.1, 4), (8.2, 4.1)), ((-0.1, 0), (0, 4)), ((8.1, 0), (8.2, 4))):
        scene.box("wall", (*low, 0), (*high, 2.5))
    scene.box("wall", (4, 0, 0), (4.1, 1.6, 2.5)).box("wall", (4, 2.4, 0), (4.1, 4, 2.5))
    scene.box("wall", (4, 1.6, 2.0), (4.1, 2.4, 2.5))
    path = [(1, 2, yaw) for yaw in (0.0, 1.6, 3.1, -1.6)] + [(3, 2, 0.0), (4.5, 2, 0.8), (4.5, 2, -0.8), (6, 1.5, 1.5)]
    return [
        frame(scene.look((x, y, 1.2), yaw, 0.35), stamp_ns=number * 10**9, base=(x, y, 0))
        for number, (x, y, yaw) in enumerate(path)
    ]


@pytest.fixture(scope="module")
def street_frames(new_scene, frame):
    """A drive of 60 m along a road with pavements and houses, and past a side road at 40 m."""
    scene = new_scene().box("road", (-5, -4, -0.2), (90, 4, 0)).box("road", (36, 4, -0.2), (44, 50, 0))
    scene.box("pavement", (-5, -7, -0.2), (90, -4, 0.1)).box("pavement", (-5, 4, -0.2), (36, 7, 0.1))
    scene.box("pavement", (44, 4, -0.2), (90, 7, 0.1)).box("building", (-5, 7, 0), (34, 12, 8))
    scene.box("building", (46, 7, 0), (90, 12, 8)).box("building", (-5, -12, 0), (90, -7, 8))
    return [
        frame(
            scene.look((x, 0, 1.6), 0.0, 0.15, "front"),
            scene.look((x, 0, 1.6), 1.5, 0.15, "left"),
            stamp_ns=x * 10**9,
            base=(x, 0, 0),
        )
        for x in range(0, 64, 3)
    ]


def followed(frames, config, labels):
    graph = GroundGraph(config, labels)
    for frame in frames:
        graph.integrate(views_of(frame, config, labels), frame.world_from_base, frame.stamp_ns)
    return graph


@pytest.fixture(scope="module")
def new_graph(flat_frames, street_frames, labels):
    """The function that makes a graph that has followed all frames of a walk, and returns it with the frames."""
    walks = {"flat_frames": (flat_frames, MapperConfig()), "street_frames": (street_frames, STREET)}
    states = {name: followed(*walk, labels).state() for name, walk in walks.items()}

    def make(walk):
        frames, config = walks[walk]
        graph = GroundGraph(config, labels)
        graph.restore({name: array.copy() for name, array in states[walk].items()})
        return graph, frames

    return make


def test_a_flat_has_two_rooms_in_one_building(flat_frames, labels):
    view = followed(flat_frames, MapperConfig(), labels).view()
    assert [region.kind for region in view.regions] == ["room", "room"]
    first, second = view.regions
    assert first.neighbours == (second.id,) and second.neighbours == (first.id,)
    assert first.centroid == pytest.approx([2, 2, 0], abs=0.4) and second.centroid == pytest.approx(
        [6.1, 2, 0], abs=0.6
    )
    assert 13 < first.area <= 16.5 and 10 < second.area <= 16.5
    assert (first.first_seen_ns, second.last_seen_ns) == (0, 7 * 10**9)
    (building,) = view.areas
    assert building.kind == "building" and building.regions == (first.id, second.id) and building.id == first.id
    places = view.places
    own = view.place_region >= 0
    x = places.positions[own, 0]
    assert own.mean() > 0.95 and len(places) > 25
    assert np.array_equal(view.place_region[own] == first.id, x < 4.05)
    assert np.array_equal(np.sort(np.concatenate([r.places for r in view.regions])), places.ids[own])
    assert (places.labels == labels.id_of("floor")).all()
    assert (np.diff(places.ids) > 0).all()


def test_places_are_where_a_robot_can_stand_and_go(flat_frames, labels):
    places = followed(flat_frames, MapperConfig(), labels).view().places
    x, y = places.positions[:, :2].T
    assert (np.minimum(np.minimum(x, 8.1 - x), np.minimum(y, 4 - y)) > 0.15).all()
    table = np.hypot(np.maximum(np.abs(x - 6.5) - 0.5, 0), np.maximum(np.abs(y - 3) - 0.4, 0))
    assert (table > 0.1).all()
    assert np.abs(places.positions[:, 2]).max() < 0.02
    start, end = places.positions[places.edges[:, 0]], places.positions[places.edges[:, 1]]
    through = (start[:, 0] < 4.05) != (end[:, 0] < 4.05)
    share = (4.05 - start[through, 0]) / (end[through, 0] - start[through, 0])
    crossing = start[through, 1] + share * (end[through, 1] - start[through, 1])
    assert len(crossing) and (np.abs(crossing - 2.0) < 0.4).all()  # only through the door
    assert places.lengths == pytest.approx(np.linalg.norm(start - end, axis=1))


def test_a_street_has_segments_and_a_junction(street_frames, labels):
    view = followed(street_frames, STREET, labels).view()
    kinds = [region.kind for region in view.regions]
    assert kinds.count("junction") == 1 and kinds.count("road segment") >= 4 and "room" not in kinds
    junction = view.regions[kinds.index("junction")]
    assert junction.centroid[0] == pytest.approx(40, abs=3)
    assert len(junction.neighbours) >= 3
    for region in view.regions:
        along = region.maximum - region.minimum
        assert region.kind == "junction" or along[:2].max() < 45
    (street,) = view.areas
    assert street.kind == "street" and len(street.regions) == len(kinds)
    assert {labels.names[label] for label in np.unique(view.places.labels)} == {"road", "pavement"}
    assert (view.place_region >= 0).mean() > 0.9


def test_ids_stay_and_are_never_used_again(street_frames, labels):
    graph, views = GroundGraph(STREET, labels), []
    gone = set()
    for frame in street_frames:
        graph.integrate(views_of(frame, STREET, labels), frame.world_from_base, frame.stamp_ns)
        views.append(graph.view())
        ids = [region.id for region in views[-1].regions]
        assert graph.place_count == len(views[-1].places) and graph.region_count == len(ids) == len(set(ids))
        gone |= {region.id for view in views for region in view.regions} - set(ids)
        assert not gone & set(ids)
    last = {region.id: region for region in views[-1].regions}
    halfway = views[len(views) // 2]
    behind = [region for region in halfway.regions if region.maximum[0] < 30]
    assert behind
    for region in behind:
        same = np.isin(region.places, last[region.id].places)
        assert same.mean() > 0.85 and last[region.id].kind == region.kind


@pytest.mark.parametrize(("walk", "config"), [("flat_frames", MapperConfig()), ("street_frames", STREET)])
def test_continuing_from_a_state_equals_never_having_stopped(request, labels, walk, config):
    frames = request.getfixturevalue(walk)
    whole = followed(frames, config, labels).state()
    for stop in (1, len(frames) // 2):
        state = {name: array.copy() for name, array in followed(frames[:stop], config, labels).state().items()}
        check_state(state)
        other = GroundGraph(config, labels)
        other.restore(state)
        for frame in frames[stop:]:
            other.integrate(views_of(frame, config, labels), frame.world_from_base, frame.stamp_ns)
        result = other.state()
        assert result.keys() == whole.keys()
        for name, array in whole.items():
            assert np.array_equal(result[name], array, equal_nan=array.dtype.kind == "f"), name


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("squares.room"), "the ground has"),
        (lambda state: state.update({"grid.seen": state["grid.seen"].astype(np.uint8)}), "grid.seen is uint8"),
        (lambda state: state.update({"walls.data": state["walls.data"][:5]}), "walls.data is float32"),
        (lambda state: state["squares.root"].__setitem__(3, 10**6), "squares.root names squares that are not there"),
    ],
)
def test_a_state_that_cannot_be_is_refused(flat_frames, labels, change, text):
    state = {name: array.copy() for name, array in followed(flat_frames[:1], MapperConfig(), labels).state().items()}
    change(state)
    with pytest.raises(ValueError, match=text):
        check_state(state)


def test_which_region_a_position_is_in(flat_frames, labels):
    graph = followed(flat_frames, MapperConfig(), labels)
    first, second = (region.id for region in graph.view().regions)
    positions = np.array([[1.0, 1.0, 0.0], [7.5, 1.0, 1.0], [6.5, 3.0, 0.4], [20.0, 1.0, 0.0]])
    assert graph.regions_at(positions).tolist() == [first, second, second, -1]


@pytest.mark.parametrize("walk", ["flat_frames", "street_frames"])
def test_one_region_is_as_in_the_view(new_graph, walk):
    graph, _ = new_graph(walk)
    view = graph.view()
    for region in view.regions:
        found = graph.region(region.id)
        (area,) = (area for area in view.areas if region.id in area.regions)
        for one, other in zip(found, (region, area), strict=True):
            for name, value in vars(other).items():
                np.testing.assert_array_equal(getattr(one, name), value, name)
    assert graph.region(-1) is None and graph.region(max(region.id for region in view.regions) + 1) is None


def test_the_distance_field_follows_the_grid(flat_frames, labels):
    graph = followed(flat_frames, MapperConfig(), labels)
    grid, field = graph.occupancy(), graph.clearance()
    assert grid.origin == field.origin and grid.data.shape == field.data.shape
    assert np.array_equal(np.isnan(field.data), grid.data == -1)
    assert np.array_equal(field.data <= 0, grid.data == 100)
    column, row = (int((value - start) / 0.1) for value, start in zip((2.05, 2.05), field.origin, strict=True))
    assert field.data[row, column] == pytest.approx(1.95, abs=0.2)


def test_a_robot_that_leaves_the_bounded_grid_keeps_what_it_found(street_frames, labels):
    bounded = STREET.model_copy(update={"max_grid_cells": 40_000})
    graph = followed(street_frames, bounded, labels)
    assert graph.occupancy().data.size <= 40_000
    view = graph.view()
    assert view.places.positions[:, 0].min() < 5 and view.places.positions[:, 0].max() > 60
    assert len(view.regions) >= 5


def test_no_frame_waits_for_the_compiler(flat_frames, street_frames, labels):
    followed(flat_frames, MapperConfig(), labels).view()
    followed(street_frames, STREET, labels).view()
    modules = (
        cell_marks, cell_moves, distance_field, square_survey, square_ways, rooms, road_walks, kept_areas, ground_graph,
    )  # fmt: skip
    for module in modules:
        for name, function in vars(module).items():
            if isinstance(function, Dispatcher):
                assert len(function.signatures) <= 1, (module.__name__, name, function.signatures)


def test_a_mapper_counts_places_and_rooms(flat_frames, labels):
    mapper = Mapper(MapperConfig(), labels)
    for frame in flat_frames:
        mapper.fuse(frame)
    view = mapper.ground()
    assert mapper.stats.places == len(view.places) > 25 and mapper.stats.rooms == len(view.regions) == 2
    plain = Mapper(MapperConfig(), labels, with_grid=False)
    plain.fuse(flat_frames[0])
    assert plain.stats.places == plain.stats.rooms == len(plain.ground().places) == len(plain.ground().areas) == 0


def correction_of(frames, *moves):
    """The correction by which frames, given by their number, move as by new_from_old."""
    way = Trajectory()
    for frame in frames:
        way.add(frame.stamp_ns, frame.world_from_base)
    poses = [(frames[number].stamp_ns, move @ frames[number].world_from_base) for number, move in moves]
    return way.correction(poses)


def seen_cells(grid, of):
    """The middles (N, 2) of cells, metres, in order."""
    row, column = np.nonzero(grid.data == of)
    at = np.stack([column, row], axis=1) + 0.5 + np.round(np.array(grid.origin) / grid.resolution)
    return at[np.lexsort((at[:, 0], at[:, 1]))] * grid.resolution


WALKS = [
    ("flat_frames", (4.5, -30.0, 0.25)),
    ("street_frames", (-30.0, 12.0, -1.5)),
]


@pytest.mark.parametrize(("walk", "shift"), WALKS)
def test_a_move_by_whole_cells_is_exact(new_graph, walk, shift):
    graph, frames = new_graph(walk)
    before, cells, field = graph.view(), graph.occupancy(), graph.clearance()
    graph.move(correction_of(frames, (0, body_pose(shift))))
    after, moved = graph.view(), graph.occupancy()
    for of in (0, 100):
        np.testing.assert_allclose(seen_cells(moved, of), seen_cells(cells, of) + shift[:2], atol=1e-6)
    far = graph.clearance()
    column, row = np.round((np.array(shift[:2]) + field.origin - far.origin) / field.resolution).astype(int)
    x, y = max(column, 0) - column, max(row, 0) - row  # the grid that has moved is smaller
    there = far.data[max(row, 0) :, max(column, 0) :]
    here = field.data[y : y + there.shape[0], x : x + there.shape[1]]
    np.testing.assert_allclose(there[: here.shape[0], : here.shape[1]], here, atol=1e-6)

    old, new = (np.lexsort(view.places.positions[:, :2].T) for view in (before, after))
    one, other = before.places, after.places
    np.testing.assert_allclose(other.positions[new], one.positions[old] + shift, atol=1e-5)
    for name in ("clearance", "labels", "first_seen_ns", "last_seen_ns"):
        np.testing.assert_array_equal(getattr(other, name)[new], getattr(one, name)[old])
    np.testing.assert_array_equal(after.place_region[new], before.place_region[old])
    back, there = np.argsort(old), np.argsort(new)
    assert {frozenset(pair) for pair in there[other.edges].tolist()} == {
        frozenset(pair) for pair in back[one.edges].tolist()
    }
    assert len(after.regions) == len(before.regions) and len(after.areas) == len(before.areas)
    for region, was in zip([*after.regions, *after.areas], [*before.regions, *before.areas], strict=True):
        assert (region.id, region.kind) == (was.id, was.kind)
        for name in ("centroid", "minimum", "maximum"):
            np.testing.assert_allclose(getattr(region, name), getattr(was, name) + shift, atol=1e-5)
        assert (region.first_seen_ns, region.last_seen_ns) == (was.first_seen_ns, was.last_seen_ns)
    for region, was in zip(after.regions, before.regions, strict=True):
        assert region.neighbours == was.neighbours and region.area == pytest.approx(was.area)
    assert graph.place_count == len(one) and graph.region_count == len(before.regions)


@pytest.mark.parametrize("yaw", [0.4, 1.3, -2.0, np.pi / 4])
@pytest.mark.parametrize("walk", ["flat_frames", "street_frames"])
def test_a_turn_keeps_regions_their_ids_and_the_area(new_graph, walk, yaw):
    graph, frames = new_graph(walk)
    before, cells = graph.view(), graph.occupancy()
    turn = body_pose((11.3, -7.7, 0.4), yaw)
    graph.move(correction_of(frames, (0, turn)))
    after, moved = graph.view(), graph.occupancy()
    # diagonals of cells are 0.7 cells apart, so at 45 degrees a wall of two cells has two of them or three
    least = 0.85 if yaw == np.pi / 4 else 0.95
    for of in (0, 100):
        assert least < (moved.data == of).sum() / (cells.data == of).sum() < 1.15
    now = {region.id: region for region in after.regions}
    assert walk == "street_frames" or len(now) == len(before.regions)  # the ragged end of a road may be a junction too
    for was in before.regions:
        there = turn[:3, :3] @ was.centroid + turn[:3, 3]
        assert now[was.id].kind == was.kind
        assert np.abs(now[was.id].centroid - there).max() < (0.4 if walk == "flat_frames" else 5.0)
    for was in before.areas:
        (area,) = (area for area in after.areas if area.id == was.id)
        assert area.kind == was.kind and set(area.regions) >= set(was.regions)
        assert (area.first_seen_ns, area.last_seen_ns) == (was.first_seen_ns, was.last_seen_ns)
    total, old_total = (sum(region.area for region in view.regions) for view in (after, before))
    assert total == pytest.approx(old_total, rel=0.05)


@pytest.mark.parametrize("walk", ["flat_frames", "street_frames"])
def test_a_correction_that_changes_nothing_changes_nothing(new_graph, labels, walk):
    graph, frames = new_graph(walk)
    before = {name: array.copy() for name, array in graph.state().items()}
    graph.move(correction_of(frames, (0, np.eye(4)), (len(frames) - 1, np.eye(4))))
    for name, array in graph.state().items():
        assert np.array_equal(before[name], array, equal_nan=array.dtype.kind == "f"), name
    GroundGraph(MapperConfig(), labels).move(correction_of(frames, (0, body_pose((1, 2, 3)))))  # nothing to move


def test_mapping_goes_on_after_a_move_and_from_its_state(flat_frames, labels):
    turn = body_pose((2.0, 1.0, 0.0), 0.7)
    graph = followed(flat_frames[:5], MapperConfig(), labels)
    first = graph.view().regions[0].id
    graph.move(correction_of(flat_frames[:5], (0, turn)))
    other = GroundGraph(MapperConfig(), labels)
    state = {name: array.copy() for name, array in graph.state().items()}
    check_state(state)
    other.restore(state)
    for each in (graph, other):
        for frame in flat_frames[5:]:
            views = [
                replace(view, world_from_camera=turn @ view.world_from_camera)
                for view in views_of(frame, MapperConfig(), labels)
            ]
            each.integrate(views, turn @ frame.world_from_base, frame.stamp_ns)
    for name, array in graph.state().items():
        assert np.array_equal(other.state()[name], array, equal_nan=array.dtype.kind == "f"), name
    regions = graph.view().regions
    assert [region.kind for region in regions] == ["room", "room"] and regions[0].id == first
    assert regions[0].area == pytest.approx(16, rel=0.1)


def test_a_moved_grid_stays_within_its_bound_around_the_robot(street_frames, labels):
    bounded = STREET.model_copy(update={"max_grid_cells": 40_000})
    graph = followed(street_frames, bounded, labels)
    turn = body_pose((100.0, 50.0, 0.0), np.pi / 4)
    graph.move(correction_of(street_frames, (0, turn)))
    grid = graph.occupancy()
    assert grid.data.size <= 40_000
    robot = (turn @ street_frames[-1].world_from_base)[:2, 3]
    column, row = ((robot - grid.origin) / grid.resolution).astype(int)
    assert (grid.data[row - 5 : row + 6, column - 5 : column + 6] == 0).mean() > 0.8
    assert graph.view().regions


def test_the_graph_of_another_map_is_taken_over(flat_frames, labels):
    config = MapperConfig()
    ours, theirs = followed(flat_frames[1:4], config, labels), followed(flat_frames[4:], config, labels)
    joint = followed(flat_frames[1:], config, labels)
    (room,) = ours.view().regions
    assert ours.merge(theirs, np.eye(4), np.array([1.0, 2.0])) == 0
    view, expected = ours.view(), joint.view()
    assert [region.kind for region in view.regions] == ["room", "room"] and view.regions[0].id == room.id
    for region, other in zip(view.regions, sorted(expected.regions, key=lambda each: each.centroid[0]), strict=True):
        assert region.centroid == pytest.approx(other.centroid, abs=0.3)
        assert region.area == pytest.approx(other.area, rel=0.1)
        assert 0 <= region.first_seen_ns <= region.last_seen_ns <= 7 * 10**9
    assert len(view.places) == pytest.approx(len(expected.places), rel=0.1)
    assert ours.region_count == 2 and ours.place_count == len(view.places)


def test_of_a_graph_that_does_not_fit_the_places_are_kept(flat_frames, labels):
    small = MapperConfig(max_grid_cells=128 * 128)
    ours, theirs = followed(flat_frames[:4], small, labels), followed(flat_frames, small, labels)
    alone, mine = theirs.view(), ours.view()
    far = body_pose((60.0, 0.0, 0.0))
    there = ours.grid.layer("seen").sum()
    left_out = ours.merge(theirs, far, np.array([1.0, 2.0]))
    assert left_out == Cells.of(theirs.grid).known.sum()
    assert ours.grid.layer("seen").sum() == there  # the grid is still that around the robot
    view = ours.view()
    beyond = view.places.positions[:, 0] > 50
    assert np.count_nonzero(beyond) == pytest.approx(len(alone.places), rel=0.15)
    assert np.count_nonzero(~beyond) == len(mine.places)
    rooms = [sum(region.centroid[0] > 50 for region in view.regions), len(view.regions)]
    assert rooms == [len(alone.regions), len(alone.regions) + len(mine.regions)]
    assert [region.id for region in view.regions][: len(mine.regions)] == [region.id for region in mine.regions]


def test_a_graph_that_knows_nothing_changes_nothing(flat_frames, labels):
    config = MapperConfig()
    ours = followed(flat_frames[:4], config, labels)
    before = ours.state()
    assert ours.merge(GroundGraph(config, labels), body_pose((1, 2, 0), yaw=1.0), None) == 0
    for name, array in ours.state().items():
        np.testing.assert_array_equal(array, before[name])
