# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places: where on the ground a robot can stand, and from where to where it can go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.graph import square_survey, square_ways
from mtl_perception.mapping.graph.paged_columns import Field
from mtl_perception.mapping.graph.square_moves import SquareMoves
from mtl_perception.mapping.graph.squares import RING, STEPS, Squares, around, id_of
from mtl_perception.mapping.ground.distance_field import DistanceField
from mtl_perception.mapping.ground.grid_layers import TILE
from mtl_perception.mapping.ground.grid_news import GridChanges
from mtl_perception.mapping.ground.ground_grid import GroundGrid

MAX_CLEARANCE = 3.0
"""Distances to obstacles and walls are told up to here, metres."""
KNOWN_REACH = 2.0
"""Distances to what is unknown are told up to here, metres."""

FIELDS: dict[str, Field] = {
    "surveyed": ("bool", (), False),  # lies within the grid, and something of it was seen
    "ground_class": ("uint8", (), 0),
    "low_class": ("uint8", (), 0),
    "ground_cells": ("uint16", (), 0),
    "ground_height": ("float32", (), np.nan),
    "is_place": ("bool", (), False),
    "place_cell": ("int32", (2,), 0),
    "place_height": ("float32", (), np.nan),
    "place_clearance": ("float32", (), np.nan),
    "place_class": ("uint8", (), 0),
    "ways": ("uint8", (), 0),
    "linked": ("bool", (), False),  # a free way leads to its place
    "first_seen_ns": ("int64", (), -1),
    "last_seen_ns": ("int64", (), -1),
    "open_cell": ("int32", (2,), 0),
    "open_distance": ("float32", (), np.nan),
    "known_distance": ("float32", (), np.nan),
    "open_cells": ("uint16", (), 0),
    "necks": ("float32", (4,), -1),
    "home": ("int64", (), -1),
}
"""What is found of a square; `square_survey` says what each is."""


@dataclass(frozen=True, eq=False)
class Places:
    """A graph of free ground, in the world frame; at most one place a square, so neighbours are about a square apart.

    Attributes:
        ids: int64 (N,), rising; each square of the world has its own, which no other ever gets.
        positions: float64 (N, 3) on the ground, metres.
        clearance: float32 (N,), metres to the nearest obstacle, at most `MAX_CLEARANCE`.
        labels: uint8 (N,), label ids of the ground.
        first_seen_ns, last_seen_ns: int64 (N,), stamps of when something around was first and last seen.
        edges: int64 (E, 2), indices of places between which the straight way is free.
        lengths: float64 (E,), metres.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.float64]
    clearance: NDArray[np.float32]
    labels: NDArray[np.uint8]
    first_seen_ns: NDArray[np.int64]
    last_seen_ns: NDArray[np.int64]
    edges: NDArray[np.int64]
    lengths: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class SquareChanges:
    """Nodes (N,) of `Squares` of which something has changed: the place or its ways; what rooms are found by."""

    places: NDArray[np.int64]
    rooms: NDArray[np.int64]


class PlaceGraph:
    """Finds the places of a ground grid, looking again only where the grid has changed.

    Of each square the clearest free cell is its place, if a robot fits there (as the places of Hydra are the clearest
    points of free space: Hughes et al., "Hydra: A Real-time Spatial Perception System for 3D Scene Graph Construction
    and Optimization", 2022, section III). Squares that the bounded grid has left behind keep what was found of them.

    Attributes:
        count: how many places there are.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace, grid: GroundGrid, squares: Squares) -> None:
        """Start without places; `squares` has the `FIELDS`, for all users of them.

        Raises:
            ValueError: `config.room_labels` names a class that is not one of `config.ground_labels`.
        """
        square_survey.prepare()
        square_ways.prepare()
        for name in config.room_labels:
            if name not in config.ground_labels:
                raise ValueError(f"room_labels names '{name}', which is none of ground_labels {config.ground_labels}")
        self._config, self._grid, self._squares = config, grid, squares
        self._is_of_rooms = np.isin(grid.class_labels, [labels.id_of(name) for name in config.room_labels])
        self.count = 0
        self._window = grid.corner.copy(), grid.layer("seen").shape

    def update(
        self,
        clearance: DistanceField,
        walls: DistanceField,
        changes: GridChanges,
        moved: NDArray[np.int64],
        now_ns: int,
    ) -> SquareChanges:
        """Follow the grid and its distance fields.

        Args:
            clearance: distance to obstacles.
            walls: distance to walls.
            changes: of the grid.
            moved: tiles (N, 2), x y, in which one of these distances has changed.
            now_ns: stamp of the newest frame.
        """
        rim = self._follow_window()
        resolution = self._config.grid_resolution
        margin = int(np.ceil(KNOWN_REACH / (TILE * resolution)))
        reach = np.arange(-margin, margin + 1)
        steps = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
        tiles = np.concatenate([moved, changes.ground, around(changes.cells, steps)])
        changed = self._survey(np.unique(np.concatenate([self._of_tiles(tiles), rim]), axis=0), clearance, walls)
        self._link(changed.places)
        squares = self._squares
        seen = squares.nodes(self._of_tiles(changes.seen))
        seen = seen[seen >= 0]
        squares["last_seen_ns"][seen] = now_ns
        squares["first_seen_ns"][seen[squares["first_seen_ns"][seen] < 0]] = now_ns
        squares.touch(seen)
        return changed

    def follow_move(self, moves: SquareMoves) -> None:
        """Take over when squares were seen from where they have come from, beside when they were seen here."""
        squares, old = self._squares, moves.old
        for name, which in (("first_seen_ns", np.minimum), ("last_seen_ns", np.maximum)):
            nodes, stamps = moves.extremes(old[name], which)
            known = squares[name][nodes]
            squares[name][nodes] = np.where(known < 0, stamps, which(known, stamps))
            squares.touch(nodes)

    def nodes(self) -> NDArray[np.int64]:
        """Return the nodes (N,) that have a place, in the order of the places' ids."""
        nodes = np.flatnonzero(self._squares["linked"])
        return nodes[np.argsort(id_of(self._squares.of(nodes)))]

    def places(self) -> Places:
        """Return the places as they stand. A place from where one can go nowhere is none."""
        squares = self._squares
        nodes = self.nodes()
        number = np.full(len(squares), -1, dtype=np.int64)
        number[nodes] = np.arange(len(nodes))
        ends = square_ways.ends_of_ways(nodes, STEPS, squares.neighbours, squares["ways"])
        edges = np.sort(number[ends], axis=1)
        edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
        positions = np.empty((len(nodes), 3))
        positions[:, :2] = (squares["place_cell"][nodes] + 0.5) * self._config.grid_resolution
        positions[:, 2] = squares["place_height"][nodes]
        return Places(
            ids=id_of(squares.of(nodes)),
            positions=positions,
            clearance=squares["place_clearance"][nodes],
            labels=self._grid.class_labels[squares["place_class"][nodes]],
            first_seen_ns=squares["first_seen_ns"][nodes],
            last_seen_ns=squares["last_seen_ns"][nodes],
            edges=edges,
            lengths=np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1),
        )

    def ways_of(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nodes (E, 2) at both ends of the ways that begin or end at places of nodes (N,)."""
        squares = self._squares
        near = squares.nodes(around(squares.of(nodes), RING))  # a way is held by one of its ends
        ends = square_ways.ends_of_ways(near[near >= 0], STEPS, squares.neighbours, squares["ways"])
        return ends[np.isin(ends, nodes).any(axis=1)]

    def state(self) -> dict[str, NDArray]:
        """Return what is remembered beside the squares."""
        corner, shape = self._window
        return {"corner": corner, "shape": np.array(shape)}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue from what `state` gave, with squares and a grid that have been restored."""
        height, width = state["shape"].tolist()
        self._window = state["corner"].copy(), (height, width)
        self.count = int(np.count_nonzero(self._squares["linked"]))

    def _follow_window(self) -> NDArray[np.int64]:
        """Take notice of where the grid is now: squares that it has left stay as they are.

        Returns:
            The squares (N, 2) that had only some of their cells within the grid before, and may have all now.
        """
        corner, shape = self._grid.corner, self._grid.layer("seen").shape
        before, size = self._window
        if np.array_equal(corner, before) and shape == size:
            return np.zeros((0, 2), dtype=np.int64)
        self._window = corner.copy(), shape
        inside = self._cells_of(self._squares.of(np.arange(len(self._squares))))[2]
        self._squares["surveyed"][~inside] = False
        if not size[0]:
            return np.zeros((0, 2), dtype=np.int64)
        cells = self._config.place_spacing / self._config.grid_resolution
        first, last = (np.floor(cell / cells).astype(int) for cell in (before + 0.5, before + size[::-1] - 0.5))
        x, y = (np.arange(start, end + 1) for start, end in zip(first, last, strict=True))
        return np.concatenate(
            [np.stack(np.meshgrid(x, [first[1], last[1]]), axis=-1).reshape(-1, 2)]
            + [np.stack(np.meshgrid([first[0], last[0]], y), axis=-1).reshape(-1, 2)]
        )

    def _link(self, changed: NDArray[np.int64]) -> None:
        """Find again whether a way leads to the places around nodes (N,) that have changed."""
        squares = self._squares
        near = squares.nodes(around(squares.of(changed), RING))
        near = near[near >= 0]
        linked = square_ways.are_linked(near, STEPS, squares.neighbours, squares["ways"])
        self.count += int(np.count_nonzero(linked)) - int(np.count_nonzero(squares["linked"][near]))
        squares["linked"][near] = linked
        squares.touch(near)

    def _survey(self, changed: NDArray[np.int64], clearance: DistanceField, walls: DistanceField) -> SquareChanges:
        """Look again at squares (N, 2), and at what depends on them."""
        low, high, inside = self._cells_of(changed)
        grid, squares, config = self._grid, self._squares, self._config
        layers = {name: grid.layer(name) for name in ("seen", "walls", "ground", "ground_vote")}
        inside[inside] = square_survey.any_seen(low[inside], high[inside], grid.corner, layers["seen"])
        changed, low, high = changed[inside], low[inside], high[inside]
        nodes = squares.make(changed)
        squares["surveyed"][nodes] = True
        ground = [squares[name] for name in _GROUND_FIELDS]
        square_survey.survey_ground(nodes, low, high, grid.corner, layers["ground"], layers["ground_vote"], *ground)

        reached, nodes = self._known(around(changed, RING))
        low, high, _ = self._cells_of(reached)
        moved = np.zeros((2, len(nodes)), dtype=bool)
        square_survey.survey_places(
            nodes, low, high, grid.corner, squares.neighbours, clearance.data, layers["ground"], layers["ground_vote"],
            config.robot_radius, *ground, *(squares[name] for name in _PLACE_FIELDS), moved[0],
        )  # fmt: skip
        square_survey.survey_rooms(
            nodes, low, high, grid.corner, squares.neighbours, layers["walls"], layers["seen"], walls.data,
            config.grid_resolution, KNOWN_REACH, self._is_of_rooms, *(ground[index] for index in (0, 2, 3)),
            *(squares[name] for name in _ROOM_FIELDS), moved[1],
        )  # fmt: skip

        _, linked = self._known(around(reached, RING))
        opened = np.zeros((2, len(linked)), dtype=bool)
        square_survey.survey_ways(
            linked, STEPS, grid.corner, squares.neighbours, squares["surveyed"], clearance.data, layers["ground"],
            layers["ground_vote"], walls.data, config.robot_radius / 2, config.place_max_step,
            *(squares[name] for name in _LINK_FIELDS), opened[0], opened[1],
        )  # fmt: skip
        square_survey.survey_homes(
            linked, grid.corner, squares.neighbours, squares["surveyed"], walls.data,
            *(squares[name] for name in ("is_place", "place_cell", "open_cell", "open_distance", "home")),
        )  # fmt: skip
        squares.touch(linked)
        self._close_ways_to(nodes[moved[0] & ~squares["is_place"][nodes]])
        return SquareChanges(*(np.union1d(nodes[moved[k]], linked[opened[k]]) for k in (0, 1)))

    def _close_ways_to(self, gone: NDArray[np.int64]) -> None:
        """Close the ways to nodes (N,), whose places are gone, that are held by squares which the grid has left."""
        squares = self._squares
        for way, step in enumerate(STEPS):
            holders = squares.nodes(squares.of(gone) - step)
            holders = holders[holders >= 0]
            holders = holders[~squares["surveyed"][holders] & (squares["ways"][holders] & (1 << way) > 0)]
            squares["ways"][holders] &= np.uint8(255 - (1 << way))
            squares.touch(holders)

    def _known(self, squares: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return those squares (N, 2) that lie within the grid and were seen, and their nodes (N,)."""
        nodes = self._squares.nodes(squares)
        known = nodes >= 0
        known[known] = self._squares["surveyed"][nodes[known]]
        return squares[known], nodes[known]

    def _cells_of(self, squares: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return the cells that squares (N, 2) have, low <= x y < high (N, 2), and whether all lie within the grid.

        A cell belongs to the square in which its centre lies.
        """
        cells = self._config.place_spacing / self._config.grid_resolution
        low, high = (np.ceil(corner * cells - 0.5 - 1e-6).astype(np.int64) for corner in (squares, squares + 1))
        corner, shape = self._window
        return low, high, ((low >= corner) & (high <= corner + shape[::-1])).all(axis=1)

    def squares_of(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the squares (N, 2), x y, to which cells (N, 2) belong."""
        squares = self._config.grid_resolution / self._config.place_spacing
        return np.floor((cells + 0.5 + 1e-6) * squares).astype(np.int64)

    def _of_tiles(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the squares (M, 2) that have cells in tiles (N, 2), and perhaps some beside them."""
        squares = TILE * self._config.grid_resolution / self._config.place_spacing
        first = np.floor((tiles + 0.5 / TILE) * squares - 1e-6).astype(np.int64)
        reach = np.arange(int(np.ceil(squares)) + 1)
        return around(first, np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2))


_GROUND_FIELDS = ("ground_class", "low_class", "ground_cells", "ground_height")
_PLACE_FIELDS = ("is_place", "place_cell", "place_height", "place_clearance", "place_class")
_ROOM_FIELDS = ("open_cell", "open_distance", "known_distance", "open_cells")
_LINK_FIELDS = ("low_class", "is_place", "place_cell", "place_height", "open_cell", "open_distance", "ways", "necks")
