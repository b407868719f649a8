# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of the ground as they stand, kept: what has changed in them since the last look, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.graph.kept_areas import KeptAreas
from mtl_perception.mapping.graph.kept_regions import KeptRegions
from mtl_perception.mapping.graph.places import PlaceGraph, Places
from mtl_perception.mapping.graph.regions import Area, Region
from mtl_perception.mapping.graph.road_segments import RoadSegments
from mtl_perception.mapping.graph.rooms import Rooms
from mtl_perception.mapping.graph.square_records import SquareRecords
from mtl_perception.mapping.graph.square_ways import ends_of_ways
from mtl_perception.mapping.graph.squares import STEPS, Squares, id_of


@dataclass(frozen=True, eq=False)
class PlaceWays:
    """All ways that some places hold; each way is held by one of its ends.

    Attributes:
        holders: int64 (H,), ids of these places, of which some may be gone.
        ends: int64 (E, 2), ids of the places at both ends, the lesser first.
        held_by: int64 (E,), ids of the places that hold them.
        lengths: float64 (E,), metres.
    """

    holders: NDArray[np.int64]
    ends: NDArray[np.int64]
    held_by: NDArray[np.int64]
    lengths: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroundChanges:
    """What has changed in the layers of the ground.

    Attributes:
        places: those that are new or others than before, without ways.
        place_regions: int64 (N,), per place the id of its region; -1 for none.
        gone_places: int64 (M,), ids.
        moved_places: int64 (R, 2), ids of places that are new or of another region, and of that region; -1 for none.
        ways: of places of which a way has come, gone, or changed in length.
        squares: int64 (S, 2), x y, where places, regions or whose place is in which region are others than before.
        regions, areas: those that are new or may be others than before.
        gone_regions: as they were.
        gone_areas: ids.
    """

    places: Places
    place_regions: NDArray[np.int64]
    gone_places: NDArray[np.int64]
    moved_places: NDArray[np.int64]
    ways: PlaceWays
    squares: NDArray[np.int64]
    regions: list[Region]
    gone_regions: list[Region]
    areas: list[Area]
    gone_areas: list[int]


class KeptGround:
    """Follows squares of the ground. In memory, a square takes 72 bytes, beside what `Squares` takes for it.

    Attributes:
        squares: that are followed.
        spacing: edge of a square, metres.
        regions, areas: by their ids.
        records: of the squares.
    """

    def __init__(
        self,
        config: MapperConfig,
        class_labels: NDArray[np.uint8],
        squares: Squares,
        places: PlaceGraph,
        rooms: Rooms,
        segments: RoadSegments,
    ) -> None:
        """Begin with nothing known; nobody else takes what was touched of `squares`.

        Args:
            config: of the map.
            class_labels: see `GroundGrid.class_labels`.
            squares, places, rooms, segments: what to follow.
        """
        self.squares, self.spacing = squares, config.place_spacing
        self._class_labels, self._resolution = class_labels, config.grid_resolution
        self.records = SquareRecords(squares, rooms, segments)
        cell_area = config.grid_resolution**2
        self._regions = KeptRegions(squares, self.records, places.ways_of, config.place_spacing, cell_area)
        self._areas = KeptAreas(squares)
        self.regions, self.areas = self._regions.regions, self._areas.areas

    def update(self) -> GroundChanges:
        """Return what has changed since the last call; it costs as much as the blocks of squares that were touched."""
        changes = self.records.update()
        regions, gone_regions = self._regions.update(changes)
        areas, gone_areas = self._areas.update(changes.blocks, self.records["region"], self.regions, regions)
        is_place = changes.now["place"]
        nodes = changes.nodes
        shifted = changes.differ("place", "place_cell", "place_height")
        disturbed = shifted | changes.differ("region", "place_region")
        kept = nodes[is_place & changes.differ(*_SHOWN)]
        moved = nodes[is_place & changes.differ("place", "place_region")]
        return GroundChanges(
            places=self._places(kept),
            place_regions=self.records["place_region"][kept],
            gone_places=id_of(self.squares.of(nodes[changes.before["place"] & ~is_place])),
            moved_places=np.stack([id_of(self.squares.of(moved)), self.records["place_region"][moved]], axis=1),
            ways=self._ways(nodes[shifted], nodes[changes.differ("ways")]),
            squares=self.squares.of(nodes[disturbed]),
            regions=[self.regions[number] for number in regions],
            gone_regions=gone_regions,
            areas=[self.areas[number] for number in areas],
            gone_areas=gone_areas,
        )

    def positions(self, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the positions (N, 3) of the places of nodes (N,), metres in the world."""
        result = np.empty((len(nodes), 3))
        result[:, :2] = (self.records["place_cell"][nodes] + 0.5) * self._resolution
        result[:, 2] = self.records["place_height"][nodes]
        return result

    def _places(self, nodes: NDArray[np.int64]) -> Places:
        records = self.records
        return Places(
            ids=id_of(self.squares.of(nodes)),
            positions=self.positions(nodes),
            clearance=records["place_clearance"][nodes],
            labels=self._class_labels[records["place_class"][nodes]],
            first_seen_ns=records["first_seen_ns"][nodes],
            last_seen_ns=records["last_seen_ns"][nodes],
            edges=np.zeros((0, 2), dtype=np.int64),
            lengths=np.zeros(0),
        )

    def _ways(self, moved: NDArray[np.int64], changed: NDArray[np.int64]) -> PlaceWays:
        """Return the ways that are held by places that have moved, beside such ones, or hold others than before."""
        squares = self.squares
        at = squares.of(moved)
        beside = squares.nodes((at[:, None] - STEPS).reshape(-1, 2))
        holders = np.unique(np.concatenate([moved, changed, beside[beside >= 0]]))
        linked = holders[self.records["place"][holders]]
        ends = ends_of_ways(linked, STEPS, squares.neighbours, squares["ways"])
        positions = [self.positions(side) for side in ends.T]
        ids = id_of(squares.of(ends))
        return PlaceWays(
            holders=id_of(squares.of(holders)),
            ends=np.sort(ids, axis=1),
            held_by=ids[:, 0],
            lengths=np.linalg.norm(positions[0] - positions[1], axis=1),
        )


_SHOWN = (
    "place",
    "place_cell",
    "place_height",
    "place_clearance",
    "place_class",
    "place_region",
    "first_seen_ns",
    "last_seen_ns",
)
"""Fields of a record that its place shows."""
