# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places lie where a robot can stand, and the ways between them are free."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Light, Region, Scene, Sensor
from mtl_perception.data.world.truth.places import INDOOR_GRID_M, ROBOT_RADIUS_M, Places, inside_outline, places_of

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config" / "labels" / "default.yaml")
DOOR = (2.3, 3.2)  # y of the opening in the wall at x = 5
TABLE = (7.0, 9.0, 1.0, 2.2)  # x0, x1, y0, y1


def two_rooms(door: bool) -> Scene:
    """Two rooms side by side, 10 x 5 m together, with a table in the second and a ceiling."""
    scene = Scene(LABELS, Light((0, 0, 1), True, (1, 1, 1), (1, 1, 1)), Sensor(1, (1, 1, 1), 0, 0.1, 0, 1))
    scene.add(shapes.box((10, 5, 0.2), (5, 2.5, -0.1), 0), "floor", layer="floor")
    scene.add(shapes.box((10, 5, 0.2), (5, 2.5, 2.6), 0), "ceiling")
    for y in (0.0, 5.0):
        scene.add(shapes.box((10, 0.1, 2.5), (5, y, 1.25), 0), "wall")
    for x in (0.0, 10.0):
        scene.add(shapes.box((0.1, 5, 2.5), (x, 2.5, 1.25), 0), "wall")
    spans = [(0.0, DOOR[0]), (DOOR[1], 5.0)] if door else [(0.0, 5.0)]
    for y0, y1 in spans:
        scene.add(shapes.box((0.1, y1 - y0, 2.5), (5, (y0 + y1) / 2, 1.25), 0), "wall")
    x0, x1, y0, y1 = TABLE
    scene.add(shapes.box((x1 - x0, y1 - y0, 0.05), ((x0 + x1) / 2, (y0 + y1) / 2, 0.72), 0), "furniture")
    scene.regions = [
        Region("a", "room", np.array([[0, 0], [5, 0], [5, 5], [0, 5]], float), 0.0, 2.5, ("b",)),
        Region("b", "room", np.array([[5, 0], [10, 0], [10, 5], [5, 5]], float), 0.0, 2.5, ("a",)),
    ]
    return scene


@pytest.fixture(scope="module")
def places() -> Places:
    return places_of(two_rooms(door=True))


def components(places: Places) -> np.ndarray:
    label = np.arange(len(places.positions))
    for _ in range(len(label)):
        lower = label.copy()
        np.minimum.at(lower, places.edges[:, 0], label[places.edges[:, 1]])
        np.minimum.at(lower, places.edges[:, 1], label[places.edges[:, 0]])
        if (lower == label).all():
            return label
        label = lower
    return label


def to_obstacles(points: np.ndarray) -> np.ndarray:
    """Return the distance (N,) along the floor to the nearest wall or the table, in closed form; 0 inside of one."""
    x, y = points[:, 0], points[:, 1]

    def to_box(x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
        return np.hypot(np.maximum(np.maximum(x0 - x, x - x1), 0), np.maximum(np.maximum(y0 - y, y - y1), 0))

    walls = [to_box(4.95, 5.05, 0, DOOR[0]), to_box(4.95, 5.05, DOOR[1], 5), to_box(*TABLE)]
    return np.min([*walls, x - 0.05, 9.95 - x, y - 0.05, 4.95 - y], axis=0)


def test_places_stand_on_the_floor_with_the_clearance_they_tell(places: Places) -> None:
    assert len(places.positions) > 40 and np.allclose(places.positions[:, 2], 0, atol=1e-4)
    truth = to_obstacles(places.positions)
    assert truth.min() > ROBOT_RADIUS_M - 0.01
    beside_table = np.hypot(truth, 0.05)  # the table's top is that far from the nearest height that is looked at
    assert (places.clearance >= truth - 0.01).all() and (places.clearance <= beside_table + 0.06).all()


def test_there_is_a_place_wherever_there_is_room(places: Places) -> None:
    x, y = np.meshgrid(np.arange(0.5, 9.6, 0.25), np.arange(0.5, 4.6, 0.25))
    free = np.stack([x.ravel(), y.ravel()], axis=1)
    free = free[to_obstacles(free) > ROBOT_RADIUS_M + INDOOR_GRID_M / 2]
    nearest = np.linalg.norm(free[:, None] - places.positions[:, :2], axis=2).min(axis=1)
    assert nearest.max() < INDOOR_GRID_M


def test_edges_are_free_and_lead_through_the_door_only(places: Places) -> None:
    first, second = places.positions[places.edges].transpose(1, 0, 2)
    for share in np.linspace(0, 1, 21):
        assert to_obstacles(first + share * (second - first)).min() > 0.04
    assert len(set(components(places))) == 1, "the door joins the rooms"
    assert (places.edges[:, 0] < places.edges[:, 1]).all()
    shut = places_of(two_rooms(door=False))
    assert len(set(components(shut))) == 2, "without it they are apart"


def test_places_know_their_region(places: Places) -> None:
    assert (places.region == (places.positions[:, 0] >= 5)).all()


def test_inside_of_a_polygon_that_is_not_convex() -> None:
    outline = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], float)
    points = np.array([[1, 1], [2, 3], [3.5, 3], [2, 0.5], [-1, 1], [5, 2]])
    assert inside_outline(points, outline).tolist() == [True, False, True, True, False, False]


def test_a_world_without_ground_has_no_places() -> None:
    scene = two_rooms(door=True)
    scene.still = [thing for thing in scene.still if not thing.layer]
    nothing = places_of(scene)
    assert nothing.positions.shape == (0, 3) and nothing.edges.shape == (0, 2)
