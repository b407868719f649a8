# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places, rooms, road segments and areas of small worlds that a camera looks at."""

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.graph import ground_graph, road_walks, rooms, square_survey, square_ways
from mtl_perception.mapping.graph.ground_graph import GroundGraph, check_state
from mtl_perception.mapping.ground import cell_marks, distance_field

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
    for module in (cell_marks, distance_field, square_survey, square_ways, rooms, road_walks, ground_graph):
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
