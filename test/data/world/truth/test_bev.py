# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground from above equals rays cast down one by one."""

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import LabelSpace, VoxelGrid
from mtl_perception.core.transforms import Transform, transform_points
from mtl_perception.data.occupancy import DEFAULT_GRID
from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Light, Scene, Sensor
from mtl_perception.data.world.truth.bev import BevTruth

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config" / "labels" / "default.yaml")
POSES = [upright((0, 0, 0), 0.0), upright((13.3, 2.1, 0), 0.7), upright((31.0, -3.0, 0), -2.4)]


def flat(x0: float, x1: float, y0: float, y1: float, z: float):
    corners = [[(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]]
    return shapes.quads(corners, np.array(corners)[..., :2], 0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A road of 8 m with pavements, a line, a crossing of bars, and above it a car and a roof."""
    scene = Scene(LABELS, Light((0, 0, 1), True, (1, 1, 1), (1, 1, 1)), Sensor(1, (1, 1, 1), 0, 0.1, 0, 1))
    scene.add(flat(-40, 60, -4, 4, 0.0), "road", layer="road")
    for side in (-1, 1):
        scene.add(flat(-40, 60, min(side * 4, side * 7), max(side * 4, side * 7), 0.12), "pavement", layer="pavement")
    scene.add(flat(-5, 5, -3.5, -2.5, 0.1), "vegetation")  # a planted bed on the road
    for x in range(-40, 60, 6):
        scene.add(flat(x, x + 3, -0.06, 0.06, 0.004), "road", layer="lane_marking")
    for y in np.arange(-3.75, 3.6, 1.0):
        scene.add(flat(18, 21, y, y + 0.5, 0.004), "road", layer="crossing")
    scene.add(shapes.box((4, 2, 1.2), (0, 0, 0.9), 0), "car", upright((5, 2, 0), 0.1))
    scene.add(flat(0, 10, -10, 10, 4.0), "building", layer="pavement")  # a roof terrace is not ground
    return scene


def cast_down(scene: Scene, layer: str, points: np.ndarray) -> np.ndarray:
    """Return which points (N, 2) have the layer's surface below 0.6 m as the first of the ground, brute force."""
    best, where = np.full(len(points), -np.inf), np.zeros(len(points), bool)
    painted = layer in ("crossing", "lane_marking")
    rays = np.concatenate([points, np.full((len(points), 1), 0.6), np.tile([0, 0, -1], (len(points), 1))], 1)
    for thing in scene.still:
        bed = not thing.layer and thing.label == LABELS.id_of("vegetation")
        if not (thing.layer or bed) or (
            thing.layer != layer if painted else thing.layer in ("crossing", "lane_marking")
        ):
            continue
        target = o3d.t.geometry.RaycastingScene()
        vertices = thing.mesh.corners.reshape(-1, 3)
        target.add_triangles(
            o3d.core.Tensor(vertices), o3d.core.Tensor(np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3))
        )
        z = 0.6 - target.cast_rays(o3d.core.Tensor(rays.astype(np.float32)))["t_hit"].numpy()
        where = np.where(z > best, thing.layer == layer, where)
        best = np.maximum(best, z)
    return where


@pytest.mark.parametrize("world_from_base", POSES)
def test_layers_equal_rays_cast_down(scene: Scene, world_from_base: Transform) -> None:
    grid = VoxelGrid((-16.0, -12.0, -1.0), 0.5, (48, 40, 2))
    bev = BevTruth(scene).map(world_from_base, grid)
    assert bev is not None and tuple(bev.layers) == ("road", "pavement", "crossing", "lane_marking")
    assert bev.origin == (-16.0, -12.0) and bev.cell_size == 0.5
    fine = (np.arange(16) + 0.5) / 16 * 0.5
    x = -16.0 + (np.arange(48)[:, None] * 0.5 + fine).reshape(-1)
    y = -12.0 + (np.arange(40)[:, None] * 0.5 + fine).reshape(-1)
    points = np.stack([*np.meshgrid(x, y, indexing="ij"), np.zeros((len(x), len(y)))], -1).reshape(-1, 3)
    points = transform_points(world_from_base, points)[:, :2]
    for layer in ("road", "pavement", "lane_marking"):
        share = cast_down(scene, layer, points).reshape(48, 16, 40, 16).mean(axis=(1, 3))
        answer = bev.layers[layer]
        assert answer.dtype == np.float32 and set(np.unique(answer)) <= {0.0, 1.0}
        if layer == "lane_marking":
            assert (answer[share > 0.1] == 1).all() and share[share > 0.1].size > 20
            near = np.pad(share > 0, 1)
            around = np.max([near[i : i + 48, j : j + 40] for i in range(3) for j in range(3)], axis=0)
            assert (answer[~around] == 0).all(), "no line where there is none in the cells around"
        else:
            clear = np.abs(share - 0.5) > 0.15
            assert (answer[clear] == (share > 0.5)[clear]).all() and share.mean() > 0.05


def test_crossing_is_the_area_of_its_bars(scene: Scene) -> None:
    bev = BevTruth(scene).map(upright((19.5, 0.0, 0.0), 0.0), DEFAULT_GRID)
    assert bev is not None
    x, y = DEFAULT_GRID.centres()[:, :, 0, :2].transpose(2, 0, 1)
    inside = (np.abs(x) < 1.2) & (y > -3.5) & (y < 3.0)
    outside = (np.abs(x) > 1.8) | (y < -4.0) | (y > 3.5)
    assert (bev.layers["crossing"][inside] == 1).all() and (bev.layers["crossing"][outside] == 0).all()
    assert (bev.layers["road"][inside] == 1).all(), "a crossing lies on the road"


def test_turning_the_base_turns_the_map(scene: Scene) -> None:
    truth = BevTruth(scene)
    ahead = truth.map(upright((30, 0, 0), 0.0), DEFAULT_GRID)
    back = truth.map(upright((30, 0, 0), np.pi), DEFAULT_GRID)
    left = truth.map(upright((30, 0, 0), np.pi / 2), DEFAULT_GRID)
    assert ahead is not None and back is not None and left is not None
    for layer in ("road", "pavement"):
        assert (ahead.layers[layer] == back.layers[layer][::-1, ::-1]).mean() > 0.99
        assert (ahead.layers[layer] == left.layers[layer].T[::-1]).mean() > 0.99


def test_without_layers_there_is_no_map_and_an_unknown_layer_is_named() -> None:
    empty = Scene(LABELS, Light((0, 0, 1), True, (1, 1, 1), (1, 1, 1)), Sensor(1, (1, 1, 1), 0, 0.1, 0, 1))
    assert BevTruth(empty).map(np.eye(4), DEFAULT_GRID) is None
    empty.add(flat(0, 1, 0, 1, 0), "floor", layer="carpet")
    with pytest.raises(ValueError, match="carpet"):
        BevTruth(empty)
