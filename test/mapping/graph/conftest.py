# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A mesh of bricks that a registry of objects follows, and a plan of the ground that places and regions follow."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.fusion.measured import MeasuredBlocks
from mtl_perception.mapping.graph import places, road_segments, rooms
from mtl_perception.mapping.graph.objects import ObjectRegistry
from mtl_perception.mapping.graph.places import MAX_CLEARANCE, PlaceGraph
from mtl_perception.mapping.graph.regions import RegionIds
from mtl_perception.mapping.graph.road_segments import RoadSegments
from mtl_perception.mapping.graph.rooms import Rooms
from mtl_perception.mapping.graph.squares import Squares
from mtl_perception.mapping.ground.distance_field import DistanceField
from mtl_perception.mapping.ground.grid_layers import LEAD_BITS, TILE
from mtl_perception.mapping.ground.grid_news import GridChanges
from mtl_perception.mapping.ground.ground_grid import GroundGrid
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshBlock

CONFIG = MapperConfig(object_min_vertices=12)  # cells of 0.2 m, blocks of 0.4 m
SECOND = 10**9


class Bricks:
    """A mesh of cells, each with some vertices of one class, that a registry is kept up to date with."""

    def __init__(self, labels, config=CONFIG):
        self.labels, self.config = labels, config
        self.registry = ObjectRegistry(config, labels)
        self.measured = MeasuredBlocks()
        self.cells = {}  # (label id, cell) -> number of vertices
        self.things = {}  # (label id, cell) -> instance, where it is one that is told from others
        self.stamp_ns = 0
        self._meshes = {}

    def put(self, label, cells, vertices=6, thing=0):
        for cell in cells:
            self.cells[self.labels.id_of(label), tuple(cell)] = vertices
            self.things[self.labels.id_of(label), tuple(cell)] = thing
        return self

    def take(self, label, cells):
        for cell in cells:
            del self.cells[self.labels.id_of(label), tuple(cell)]
        return self

    def blocks(self):
        """Blocks of 2x2x2 cells."""
        content = {}
        for (label, cell), count in sorted(self.cells.items()):
            for number in range(count):
                inside = np.array([0.01 * number, 0.05, 0.13 - 0.01 * number])
                thing = self.things.get((label, cell), 0)
                vertex = (0.2 * np.array(cell) + 0.02 + inside, label, 0.5 + 0.01 * number, thing)
                content.setdefault(tuple(value // 2 for value in cell), []).append(vertex)
        return {key: mesh_of(vertices) for key, vertices in content.items()}

    def changes(self):
        blocks = self.blocks()
        changed = {key: mesh for key, mesh in blocks.items() if not same(mesh, self._meshes.get(key, EMPTY_MESH))}
        removed = tuple(key for key in self._meshes if key not in blocks)
        self._meshes = blocks
        return changed, removed

    def objects(self, after_s=1.0):
        """The objects, all that has changed being measured now."""
        self.stamp_ns += int(after_s * SECOND)
        changed, removed = self.changes()
        if changed:
            keys = np.array(sorted(changed), np.int32)
            self.measured.note(keys, self.stamp_ns)
            self.registry.note_measured(keys)
        if removed:
            self.measured.forget(np.array(removed, np.int32))
        self.registry.note(changed, removed)
        return self.registry.current(self.measured, self.stamp_ns)

    def change_unmeasured(self):
        """Let the registry learn of what has changed, none of which this robot has measured."""
        self.registry.note(*self.changes())

    def ids(self, after_s=1.0):
        return [item.id for item in self.objects(after_s)]


def mesh_of(vertices):
    points, labels, confidence, things = zip(*vertices, strict=True)
    points = np.array(points, np.float32)
    colours = (points * 1000).astype(np.int64).astype(np.uint8)
    return MeshBlock(
        points,
        EMPTY_MESH.triangles,
        colours,
        np.array(labels, np.uint8),
        np.array(confidence, np.float32),
        np.array(things, np.uint16),
    )


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("vertices", "labels", "instances"))


@pytest.fixture
def bricks(labels):
    """No bricks yet; `type(bricks)(labels)` makes more of these."""
    return Bricks(labels)


@pytest.fixture(scope="session")
def new_plan(labels):
    """The function that makes a plan of so many metres, x y, of which nothing was seen; see `Plan`."""
    return lambda size, config=None, corner=(0.0, 0.0): Plan(labels, config or MapperConfig(), size, corner)


class Plan:
    """A grid that tests draw in, with its distance fields, places, rooms and road segments."""

    GROUND = {"road": 1, "pavement": 2, "floor": 3}  # as in MapperConfig.ground_labels

    def __init__(self, labels, config, size, corner):
        self.labels, self.config, self.stamp_ns = labels, config, 0
        self.grid = GroundGrid(config, labels)
        self.squares, self.ids = Squares({**places.FIELDS, **rooms.FIELDS, **road_segments.FIELDS}), RegionIds()
        self.graph = PlaceGraph(config, labels, self.grid, self.squares)
        self.rooms = Rooms(config, self.squares, self.ids)
        self.segments = RoadSegments(config, labels, self.grid, self.squares, self.ids)
        self.fields = {name: DistanceField(config.grid_resolution, MAX_CLEARANCE) for name in ("evidence", "walls")}
        self._before = self._layers()
        self.reshape(size, corner)

    def reshape(self, size, corner):
        """Let the grid begin at another corner and have another size, metres; what is in both stays."""
        edge = self.config.grid_resolution * TILE
        tiles = np.round(np.array([corner, np.add(corner, size)]) / edge).astype(np.int64)
        (x0, y0), (x1, y1) = tiles * TILE
        fresh = {"evidence": np.int8(0), "walls": np.int8(0), "seen": False, "ground": np.float32(np.nan)}
        fresh["ground_vote"] = np.uint8(0)
        layers = {name: np.full((y1 - y0, x1 - x0), value) for name, value in fresh.items()}
        x, y = self.grid.corner
        height, width = self.grid.layer("seen").shape
        low, high = np.maximum([x, y], [x0, y0]), np.minimum([x + width, y + height], [x1, y1])
        if (low < high).all():
            here = slice(low[1] - y0, high[1] - y0), slice(low[0] - x0, high[0] - x0)
            there = slice(low[1] - y, high[1] - y), slice(low[0] - x, high[0] - x)
            for name, layer in layers.items():
                layer[here] = self.grid.layer(name)[there]
        self.grid.restore({"corner": np.array([x0, y0]), "ground_height": np.array(0.0), **layers})

    def draw(self, what, x0, y0, x1, y1, height=0.0):
        """Put ground, a "wall", "furniture", a "crate" on no ground, "free" space or "nothing" seen in a rectangle."""
        resolution = self.config.grid_resolution
        low, high = (np.round(np.array(at) / resolution).astype(int) - self.grid.corner for at in ((x0, y0), (x1, y1)))
        (column, row), (right, top) = np.maximum(low, 0), np.maximum(high, 0)
        cells = slice(row, top), slice(column, right)
        layer = self.grid.layer
        layer("seen")[cells] = what != "nothing"
        layer("evidence")[cells] = 5 if what in ("wall", "furniture", "crate") else -3
        layer("walls")[cells] = 5 if what == "wall" else -3
        if what in self.GROUND:
            layer("ground")[cells] = height
            layer("ground_vote")[cells] = self.GROUND[what] << LEAD_BITS | 7
        elif what == "crate":
            layer("ground_vote")[cells] = 31 << LEAD_BITS | 7
        elif what == "nothing":
            layer("ground")[cells], layer("ground_vote")[cells] = np.nan, 0
        return self

    def update(self, everything=False):
        """Let all follow what has been drawn; return self."""
        self.stamp_ns += SECOND
        changes = self._changes(everything)
        self._before = self._layers()
        layer, corner = self.grid.layer, self.grid.corner
        moved = [field.update(corner, layer(name), layer("seen"), changes.cells) for name, field in self.fields.items()]
        evidence, walls = self.fields.values()
        changed = self.graph.update(evidence, walls, changes, np.concatenate(moved), self.stamp_ns)
        self.rooms.update(changed.rooms)
        self.segments.update(changed.places)
        return self

    def anew(self):
        """The same plan, all of it found at once by parts that have never seen anything else."""
        other = Plan(self.labels, self.config, (TILE, TILE), (0.0, 0.0))
        other.grid.restore(self.grid.state())
        return other.update(everything=True)

    def found(self, *names):
        """Fields per square, as a dictionary; nodes and ids of regions by the first square that has the same."""
        known = np.flatnonzero(self.squares["surveyed"])
        at = self.squares.of(known)
        known = known[np.lexsort((at[:, 0], at[:, 1]))]
        result = {}
        for name in names:
            values = self.squares[name][known]
            if name in ("home", "root"):
                values = [None if node < 0 else tuple(self.squares.of(np.array([node]))[0].tolist()) for node in values]
            elif name in ("room", "segment"):
                first = {}
                values = [None if value < 0 else first.setdefault(value, at) for at, value in enumerate(values)]
            else:
                values = [np.asarray(value).tolist() for value in values]
            squares = map(tuple, self.squares.of(known).tolist())
            result[name] = dict(zip(squares, values, strict=True))
        return result

    def room_at(self, x, y):
        """The id of the room at a position in metres, -1 for none."""
        square = np.floor(np.array([[x, y]]) / self.config.place_spacing).astype(np.int64)
        return int(self.rooms.of(self.squares.nodes(square))[0])

    def segment_at(self, x, y):
        square = np.floor(np.array([[x, y]]) / self.config.place_spacing).astype(np.int64)
        return int(self.segments.of(self.squares.nodes(square))[0])

    def _layers(self):
        names = ("evidence", "walls", "seen", "ground", "ground_vote")
        return self.grid.corner.copy(), {name: self.grid.layer(name).copy() for name in names}

    def _changes(self, everything):
        corner, before = self._before
        now = {name: self.grid.layer(name) for name in before}
        old = Plan._shifted(before, corner, self.grid.corner, now["seen"].shape)
        cells = (old["evidence"] > 0) != (now["evidence"] > 0)
        cells |= (old["walls"] > 0) != (now["walls"] > 0)
        cells |= old["seen"] != now["seen"]
        ground = (old["ground"] != now["ground"]) & ~(np.isnan(old["ground"]) & np.isnan(now["ground"]))
        ground |= old["ground_vote"] != now["ground_vote"]
        if everything:
            cells[:], ground[:] = True, True
        return GridChanges(*(self._tiles(changed) for changed in (cells, ground, cells | ground)))

    def _tiles(self, changed):
        height, width = np.array(changed.shape) // TILE
        y, x = np.nonzero(changed.reshape(height, TILE, width, TILE).any(axis=(1, 3)))
        return np.stack([x, y], axis=1) + self.grid.corner // TILE

    @staticmethod
    def _shifted(layers, corner, now, shape):
        """What layers had in the cells that the grid has now; nothing where it had none."""
        result = {}
        for name, layer in layers.items():
            fill = np.nan if name == "ground" else 0
            wide = np.pad(layer, [(shape[0], shape[0]), (shape[1], shape[1])], constant_values=fill)
            x, y = now - corner
            rows = np.arange(shape[0]) + y + shape[0]
            columns = np.arange(shape[1]) + x + shape[1]
            inside = np.ix_(np.clip(rows, 0, wide.shape[0] - 1), np.clip(columns, 0, wide.shape[1] - 1))
            outside = (rows < 0)[:, None] | (rows >= wide.shape[0])[:, None]
            outside = outside | ((columns < 0) | (columns >= wide.shape[1]))[None]
            result[name] = np.where(outside, fill, wide[inside]).astype(layer.dtype)
        return result
