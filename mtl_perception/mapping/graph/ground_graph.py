# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the scene graph knows of the ground: a 2D grid, and the places, rooms, road segments and areas found in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.graph import kept_areas, places, road_segments, rooms
from mtl_perception.mapping.graph.kept_ground import KeptGround
from mtl_perception.mapping.graph.places import MAX_CLEARANCE, PlaceGraph, Places, SquareChanges
from mtl_perception.mapping.graph.regions import Area, Region, RegionIds, RegionSquares, areas_of, regions_of
from mtl_perception.mapping.graph.road_segments import RoadSegments
from mtl_perception.mapping.graph.rooms import Rooms
from mtl_perception.mapping.graph.square_moves import SquareMoves
from mtl_perception.mapping.graph.squares import SQUARES_OF_BLOCK, Squares, id_of
from mtl_perception.mapping.ground.distance_field import DistanceField, FieldMap
from mtl_perception.mapping.ground.grid_layers import LAYER_TYPES
from mtl_perception.mapping.ground.grid_merging import Cells, both, joined, moved_cells
from mtl_perception.mapping.ground.ground_grid import GridMap, GroundGrid
from mtl_perception.mapping.poses.trajectory import Correction

_FIELDS = {**places.FIELDS, **rooms.FIELDS, **road_segments.FIELDS}


@dataclass(frozen=True, eq=False)
class GroundView:
    """The layers of the ground.

    Attributes:
        places: the places.
        place_region: int64 (N,), per place the id of its region; -1 for none.
        regions: rooms, road segments and junctions, in the order of their ids.
        areas: buildings and streets, in the order of their ids.
    """

    places: Places
    place_region: NDArray[np.int64]
    regions: tuple[Region, ...]
    areas: tuple[Area, ...]


class GroundGraph:
    """Keeps the grid and all that is found in it, looking again only where something has changed.

    A cell of the grid takes 16 bytes of memory, a square of the ground (see `places`) 140, on disk where the robot has
    not been lately, see `PagedColumns`. The grid is bounded; squares are kept wherever the robot was.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace, archive_folder: Path | None = None) -> None:
        """Start with nothing seen; files for what is not in memory are made in `archive_folder`.

        Raises:
            ValueError: a setting names a class that `labels` does not have, or that is not possible there.
        """
        kept_areas.prepare()
        self.grid = GroundGrid(config, labels)
        self._ids = RegionIds()
        self._config, self._labels, self._archive_folder = config, labels, archive_folder
        self._spacing = config.place_spacing
        self._cell_area = config.grid_resolution**2
        self._begin()

    def _begin(self) -> None:
        """Know nothing but the grid, in which all is to be found."""
        config, labels = self._config, self._labels
        self._clearance = DistanceField(config.grid_resolution, MAX_CLEARANCE)
        self._walls = DistanceField(config.grid_resolution, MAX_CLEARANCE)
        self._squares = Squares(_FIELDS, self._archive_folder)
        self._places = PlaceGraph(config, labels, self.grid, self._squares)
        self._rooms = Rooms(config, self._squares, self._ids)
        self._segments = RoadSegments(config, labels, self.grid, self._squares, self._ids)

    @property
    def place_count(self) -> int:
        """How many places there are."""
        return self._places.count

    @property
    def region_count(self) -> int:
        """How many rooms, road segments and junctions there are."""
        return len(self._ids)

    def integrate(self, views: list[DepthView], world_from_base: Transform, now_ns: int) -> None:
        """Add what the views of one frame see."""
        self.grid.integrate(views, world_from_base)
        changed = self._find_places(now_ns)
        self._rooms.update(changed.rooms)
        self._segments.update(changed.places)

    def move(self, correction: Correction) -> None:
        """Move with a corrected trajectory.

        The grid's cells move as the keyframes nearest to them; places, regions and areas are found anew in it. Regions
        keep their ids where they come to: one that has come apart keeps its id where most of it is, and of several that
        have become one the largest gives its id. What the bounded grid has left behind is forgotten, unless nothing
        moves.
        """
        cells = self.grid.move(correction)
        if cells is None:
            return
        old = self._squares
        old_room = self._rooms.of(np.arange(len(old)))
        self._begin()
        self._ids.restore(self._ids.next, [self._squares["room"], self._squares["segment"]])
        self._find_places(0)  # nothing is seen now, so no square has this stamp
        moves = SquareMoves(old, self._squares, *(self._places.squares_of(each) for each in cells.pairs()))
        self._places.follow_move(moves)
        self._rooms.follow_move(moves, old_room)
        self._segments.follow_move(moves)

    def merge(self, other: GroundGraph, self_from_other: Transform, robot: NDArray[np.float64] | None) -> int:
        """Take over what the graph of another map knew; return how many cells of its grid do not fit into this one.

        The cells of its grid are moved and joined with those of this grid, and places, regions and areas are found
        again where that has changed something: regions of this map keep their ids, those that only the other one had
        get new ones. The bounded grid stays around the robot; of cells beyond it, the places and regions are found
        all the same and kept, as if the robot had been there. What the other's grid had left behind itself is not
        taken over: it is known in squares of the other map alone, which lie across those of this one.

        Args:
            other: of the other map; not changed.
            self_from_other: where the other map lies in this one.
            robot: (2,), x y, metres, where it is; None if it has not been anywhere yet.
        """
        moved = moved_cells(other.grid, self_from_other)
        if moved is None:
            return 0
        theirs, moves = moved
        ours = Cells.of(self.grid)
        low, high = both(ours, theirs)
        resolution = self.grid.resolution
        there = (theirs.corner + theirs.end) * resolution / 2
        first, end = self.grid.bounded(low, high, there if robot is None else robot)
        fits = bool((first == low).all() and (end == high).all())
        if not fits:
            self._show(ours, theirs, self.grid.bounded(low, high, there), everything=True)
        self._show(ours, theirs, (first, end), everything=not fits)
        if np.isnan(self.grid.ground_height):
            self.grid.ground_height = float((self_from_other @ [0.0, 0.0, other.grid.ground_height, 1.0])[2])
        self._places.follow_move(
            SquareMoves(other._squares, self._squares, *(self._places.squares_of(each) for each in moves.pairs()))
        )
        return int(np.count_nonzero(theirs.known) - np.count_nonzero(theirs.between(first, end).known))

    def _show(
        self, ours: Cells, theirs: Cells, window: tuple[NDArray[np.int64], NDArray[np.int64]], everything: bool
    ) -> None:
        """Let the grid have the cells of two within a window, and find what is in it, where `theirs` or all is new."""
        one, other = (cells.between(*window) for cells in (ours, theirs))
        self.grid.replace(window[0], joined(one, other), other.known | (one.known & everything))
        changed = self._find_places(0)  # nothing is seen now, so no square has this stamp
        self._rooms.update(changed.rooms)
        self._segments.update(changed.places)

    def occupancy(self) -> GridMap:
        """Return the 2D grid of obstacles and free ground."""
        return self.grid.map()

    def clearance(self) -> FieldMap:
        """Return the distance to the nearest obstacle in the grid, at most `MAX_CLEARANCE`."""
        return self._clearance.map()

    def places(self) -> Places:
        """Return the places as they stand."""
        return self._places.places()

    def view(self) -> GroundView:
        """Return the places, regions and areas as they stand."""
        places, place_region = self._places.places(), self._regions_of_places(self._places.nodes())
        square_region = self._regions_of(np.arange(len(self._squares)))
        regions = regions_of(self._region_squares(square_region), places.ids, place_region, places.edges)
        return GroundView(places, place_region, regions, areas_of(regions, square_region, self._links()))

    def region(self, number: int) -> tuple[Region, Area] | None:
        """Return one region and the area it is part of, as `view` has them; None where there is none with this id.

        That is faster: of all others, places and neighbours are not looked for.
        """
        square_region = self._regions_of(np.arange(len(self._squares)))
        if number < 0 or not (square_region == number).any():
            return None
        nodes = self._places.nodes()
        place_region = self._regions_of_places(nodes)
        own = nodes[place_region == number]
        ways = self._places.ways_of(own)
        there = np.isin(nodes, np.append(ways, own))
        nodes, place_region = nodes[there], place_region[there]
        order = np.argsort(nodes)
        edges = order[np.searchsorted(nodes[order], ways)]
        regions = regions_of(self._region_squares(square_region), id_of(self._squares.of(nodes)), place_region, edges)
        areas = areas_of(regions, square_region, self._links())
        return (
            next(region for region in regions if region.id == number),
            next(area for area in areas if number in area.regions),
        )

    def kept(self) -> KeptGround:
        """Return somebody who follows what is found in the grid until all of it moves; there can be one at a time."""
        parts = self._squares, self._places, self._rooms, self._segments
        return KeptGround(self._config, self.grid.class_labels, *parts)

    def regions_at(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the id (N,) of the region in which each position (N, 2 or 3) in the world is; -1 for none."""
        nodes = self._squares.nodes(np.floor(positions[:, :2] / self._spacing).astype(np.int64))
        region = np.full(len(nodes), -1, dtype=np.int64)
        region[nodes >= 0] = self._regions_of(nodes[nodes >= 0])
        return region

    def state(self) -> dict[str, NDArray]:
        """Return all that is needed to continue."""
        parts = {"next_region": np.array(self._ids.next)}
        for name, part in self._parts().items():
            parts |= {f"{name}.{key}": array for key, array in part.state().items()}
        return parts

    def restore(self, state: dict[str, NDArray]) -> None:
        """Set everything to what `state` gave."""
        for name, part in self._parts().items():
            prefix = f"{name}."
            part.restore({key[len(prefix) :]: array for key, array in state.items() if key.startswith(prefix)})
        self._ids.restore(int(state["next_region"]), [self._squares["room"], self._squares["segment"]])

    def _find_places(self, now_ns: int) -> SquareChanges:
        """Find how far it is to obstacles, and the places, where the grid has changed."""
        grid = self.grid
        changes = grid.changes()
        fields = ((self._clearance, "evidence"), (self._walls, "walls"))
        moved = [
            field.update(grid.corner, grid.layer(name), grid.layer("seen"), changes.cells) for field, name in fields
        ]
        return self._places.update(self._clearance, self._walls, changes, np.concatenate(moved), now_ns)

    def _parts(self) -> dict[str, GroundGrid | DistanceField | Squares | PlaceGraph]:
        return {
            "grid": self.grid,
            "clearance": self._clearance,
            "walls": self._walls,
            "squares": self._squares,
            "places": self._places,  # after the squares, which it counts
        }

    def _regions_of(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id (N,) of the region in which the squares of nodes (N,) are, -1 for none."""
        room = self._rooms.of(nodes)
        return np.where(room >= 0, room, self._segments.of(nodes))

    def _regions_of_places(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id (N,) of the region of which the place of each node (N,) is, -1 for none."""
        room = self._rooms.of(self._squares["home"][nodes])
        return np.where(room >= 0, room, self._segments.of(nodes))

    def _links(self) -> NDArray[np.int64]:
        """Return the nodes (L, 2) of squares that are of one area."""
        return np.concatenate([self._rooms.links(), self._segments.links()])

    def _region_squares(self, region: NDArray[np.int64]) -> RegionSquares:
        """Return what regions are made of, given the id of the region that each square is of."""
        squares = self._squares
        nodes = np.flatnonzero(region >= 0)
        is_room, junction = self._rooms.of(nodes) >= 0, self._segments.are_junctions(nodes)
        height = squares["ground_height"][nodes].astype(np.float64)
        return RegionSquares(
            region=region[nodes],
            kind=np.where(is_room, 0, np.where(junction, 2, 1)),
            corner=squares.of(nodes) * np.float64(self._spacing),
            edge=self._spacing,
            height=np.where(np.isnan(height), squares["place_height"][nodes], height),
            area=np.where(is_room, squares["open_cells"][nodes], squares["ground_cells"][nodes]) * self._cell_area,
            first_seen_ns=squares["first_seen_ns"][nodes],
            last_seen_ns=squares["last_seen_ns"][nodes],
        )


def check_state(state: dict[str, NDArray]) -> None:
    """Look whether `GroundGraph.restore` can be given this.

    Raises:
        KeyError, ValueError: something is missing, or has another type or shape than `GroundGraph.state` gives.
    """
    cells = state["grid.seen"].shape
    nodes = len(state["squares.blocks"]) * SQUARES_OF_BLOCK
    expected: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {
        "next_region": ("int64", ()),
        "grid.corner": ("int64", (2,)),
        "grid.ground_height": ("float64", ()),
        "squares.blocks": ("int64", (len(state["squares.blocks"]), 2)),
        "places.corner": ("int64", (2,)),
        "places.shape": ("int64", (2,)),
    }
    expected |= {f"grid.{name}": (dtype, cells) for name, dtype in LAYER_TYPES.items()}
    for name in ("clearance", "walls"):
        expected |= {f"{name}.corner": ("int64", (2,)), f"{name}.data": ("float32", cells)}
    expected |= {f"squares.{name}": (dtype, (nodes, *shape)) for name, (dtype, shape, _) in _FIELDS.items()}
    if expected.keys() != state.keys():
        raise ValueError(f"the ground has {sorted(state)}, expected {sorted(expected)}")
    for name, (dtype, shape) in expected.items():
        array = state[name]
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            raise ValueError(f"the ground's {name} is {array.dtype} {array.shape}, expected {dtype} {shape}")
    for name in ("root", "home", "anchor", "road_place"):
        references = state[f"squares.{name}"]
        if len(references) and not (references.min() >= -1 and references.max() < nodes):
            raise ValueError(f"the ground's squares.{name} names squares that are not there")
