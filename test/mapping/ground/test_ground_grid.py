# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 2D grid: obstacles, free ground, what was not seen."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.mapping import Mapper, MapperConfig


def at(grid, x, y):
    return int(grid.data[int((y - grid.origin[1]) // grid.resolution), int((x - grid.origin[0]) // grid.resolution)])


def test_obstacles_free_floor_and_what_is_behind(room, frame, labels):
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(room.look((0, 0, 1.2), pitch=0.35)))
    grid = mapper.occupancy_grid()
    assert grid.data.dtype == np.int8
    assert set(np.unique(grid.data)) == {-1, 0, 100}
    assert at(grid, 2.05, 0.0) == 100  # the furniture
    assert at(grid, 3.05, 1.0) == 100  # the wall
    assert at(grid, 1.5, 0.0) == 0  # floor before the furniture
    assert at(grid, 1.2, 0.6) == 0
    assert at(grid, 3.6, 0.0) == -1  # behind the wall


def test_heights_are_above_the_floor_wherever_the_base_frame_is(room, frame, labels):
    hand_held = Mapper(MapperConfig(), labels)
    hand_held.integrate(frame(room.look((0, 0, 1.2), pitch=0.35), base=(0, 0, 1.2)))
    on_floor = Mapper(MapperConfig(), labels)
    on_floor.integrate(frame(room.look((0, 0, 1.2), pitch=0.35)))
    assert np.array_equal(hand_held.occupancy_grid().data, on_floor.occupancy_grid().data)


def test_without_a_floor_in_sight_the_base_frame_tells_the_height(scene, frame, labels):
    look = scene.box("wall", (3, -3, -5), (3.2, 3, -1.5)).look((0, 0, 0), pitch=0.5)
    low = Mapper(MapperConfig(), labels)  # the wall's top is 1.5 m below the base
    low.integrate(frame(look))
    assert not (low.occupancy_grid().data == 100).any()
    high = Mapper(MapperConfig(base_height=3.0), labels)
    high.integrate(frame(look))
    assert at(high.occupancy_grid(), 3.02, 0.0) == 100


def test_what_is_overhead_is_no_obstacle(scene, frame, labels):
    scene.box("floor", (-1, -3, -0.1), (6, 3, 0)).box("ceiling", (-1, -3, 2.4), (6, 3, 2.5))
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(scene.look((0, 0, 1.2))))
    assert not (mapper.occupancy_grid().data == 100).any()
    assert at(mapper.occupancy_grid(), 3.0, 0.0) == 0


def test_an_obstacle_that_has_left_becomes_free(labels, scene, frame):
    scene.box("floor", (-1, -3, -0.1), (6, 3, 0)).box("wall", (4, -3, 0), (4.2, 3, 2))
    with_box = type(scene)(labels).box("floor", (-1, -3, -0.1), (6, 3, 0)).box("furniture", (2, -0.4, 0), (2.4, 0.4, 1))
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(with_box.look((0, 0, 1.2), pitch=0.2)))
    assert at(mapper.occupancy_grid(), 2.02, 0.0) == 100
    for _ in range(8):
        mapper.integrate(frame(scene.look((0, 0, 1.2), pitch=0.2)))
    assert at(mapper.occupancy_grid(), 2.02, 0.0) == 0


def test_a_moving_thing_is_no_obstacle(room, frame, labels):
    look = room.look((0, 0, 1.2), pitch=0.35)
    mask = np.where(look.semantic == labels.id_of("furniture"), 255, 0).astype(np.uint8)
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(replace(look, motion_mask=mask)))
    assert at(mapper.occupancy_grid(), 2.05, 0.0) != 100


def test_the_grid_grows_and_is_bounded(scene, frame, labels):
    scene.box("floor", (-60, -3, -0.1), (60, 3, 0))
    mapper = Mapper(MapperConfig(max_grid_cells=20_000), labels)
    for x in range(0, 40, 4):
        mapper.integrate(frame(scene.look((x, 0, 1.2), pitch=0.3), base=(x, 0, 0)))
        assert mapper.occupancy_grid().data.size <= 20_000
    assert at(mapper.occupancy_grid(), 38.0, 0.0) == 0


def test_an_empty_map_has_an_empty_grid(labels):
    assert Mapper(MapperConfig(), labels).occupancy_grid().data.shape == (0, 0)


@pytest.mark.parametrize("offset", [(-20.0, 7.0), (500.0, -300.0)])
def test_the_grid_is_where_the_world_is(room, frame, labels, offset, scene):
    x, y = offset
    scene.box("floor", (x - 1, y - 3, -0.1), (x + 4, y + 3, 0)).box("wall", (x + 3, y - 3, 0), (x + 3.2, y + 3, 2.5))
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(scene.look((x, y, 1.2), pitch=0.35), base=(x, y, 0)))
    assert at(mapper.occupancy_grid(), x + 3.05, y) == 100
    assert at(mapper.occupancy_grid(), x + 2.0, y) == 0
