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
from mtl_perception.mapping.graph.square_records import RecordChanges, SquareRecords
from mtl_perception.mapping.graph.squares import STEPS, Squares, id_of, square_of


@dataclass(frozen=True, eq=False)
class GroundChanges:
    """What has changed in the layers of the ground.

    Attributes:
        places: int64 (N,), ids of those that are new or others than before.
        gone_places: int64 (M,), ids.
        moved_places: int64 (R, 3), ids of places that are of another region than before, of the region that each was
            of, and of that which it is of now; -1 for none, and where there was or is no place.
        ways: int64 (E, 2), ids of the places at both ends, the lesser first, of ways that are new or have another
            length.
        gone_ways: int64 (G, 2), likewise.
        squares: int64 (S, 2), x y, where places, regions or whose place is in which region are others than before.
        regions, areas: those that are new or may be others than before.
        gone_regions: as they were.
        gone_areas: ids.
    """

    places: NDArray[np.int64]
    gone_places: NDArray[np.int64]
    moved_places: NDArray[np.int64]
    ways: NDArray[np.int64]
    gone_ways: NDArray[np.int64]
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
        place_count: how many places there are.
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
        self.place_count = 0
        cell_area = config.grid_resolution**2
        self._regions = KeptRegions(squares, self.records, places.ways_of, config.place_spacing, cell_area)
        self._areas = KeptAreas(squares)
        self.regions, self.areas = self._regions.regions, self._areas.areas

    def update(self) -> GroundChanges:
        """Return what has changed since the last call; it costs as much as the blocks of squares that were touched."""
        changes = self.records.update()
        regions, gone_regions = self._regions.update(changes)
        areas, gone_areas = self._areas.update(changes.blocks, self.records["region"], self.regions, regions)
        nodes, before, now = changes.nodes, changes.before, changes.now
        self.place_count += int(now["place"].sum()) - int(before["place"].sum())
        shifted = changes.differ("place", "place_cell", "place_height")
        disturbed = shifted | changes.differ("region", "place_region")
        shown = now["place"] & changes.differ(*_SHOWN)
        old_region, region = (np.where(side["place"], side["place_region"], -1) for side in (before, now))
        moved_places = np.stack([self._ids(nodes), old_region, region], axis=1)
        return GroundChanges(
            places=self._ids(nodes[shown]),
            gone_places=self._ids(nodes[before["place"] & ~now["place"]]),
            moved_places=moved_places[old_region != region],
            ways=self._changed_ways(changes, shifted & now["place"]),
            gone_ways=self._ways(nodes, before["ways"] & ~now["ways"])[1],
            squares=self.squares.of(nodes[disturbed]),
            regions=[self.regions[number] for number in regions],
            gone_regions=gone_regions,
            areas=[self.areas[number] for number in areas],
            gone_areas=gone_areas,
        )

    def place_ids(self) -> NDArray[np.int64]:
        """Return the ids (N,) of all places, rising."""
        return np.sort(self._ids(np.flatnonzero(self.records["place"])))

    def places(self, ids: NDArray[np.int64]) -> tuple[Places, NDArray[np.int64]]:
        """Return places with these ids (N,), without ways, and the id (N,) of the region of each; -1 for none."""
        nodes, records = self._nodes(ids), self.records
        places = Places(
            ids=ids,
            positions=self.positions(nodes),
            clearance=records["place_clearance"][nodes],
            labels=self._class_labels[records["place_class"][nodes]],
            first_seen_ns=records["first_seen_ns"][nodes],
            last_seen_ns=records["last_seen_ns"][nodes],
            edges=np.zeros((0, 2), dtype=np.int64),
            lengths=np.zeros(0),
        )
        return places, records["place_region"][nodes]

    def ways(self) -> NDArray[np.int64]:
        """Return the ids (E, 2) of the places at both ends of all ways, the lesser first."""
        nodes = np.flatnonzero(self.records["ways"])
        return self._ways(nodes, self.records["ways"][nodes])[1]

    def lengths(self, ways: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how long ways (E,) between places with these ids (E, 2) are, metres."""
        one, other = (self.positions(self._nodes(side)) for side in ways.T)
        return np.linalg.norm(one - other, axis=1)

    def positions(self, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the positions (N, 3) of the places of nodes (N,), metres in the world."""
        return self._positions(self.records["place_cell"][nodes], self.records["place_height"][nodes])

    def _positions(self, cells: NDArray[np.int32], heights: NDArray[np.float32]) -> NDArray[np.float64]:
        result = np.empty((len(cells), 3))
        result[:, :2] = (cells + 0.5) * self._resolution
        result[:, 2] = heights
        return result

    def _changed_ways(self, changes: RecordChanges, shifted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the ways that are new, and those of another length, at places that are `shifted` (N,)."""
        squares, ways, nodes = self.squares, self.records["ways"], changes.nodes
        _, new = self._ways(nodes, changes.now["ways"] & ~changes.before["ways"])
        moved = nodes[shifted]
        beside = squares.nodes((squares.of(moved)[:, None] - STEPS).reshape(-1, 2))
        holders = np.union1d(moved, beside[beside >= 0])
        ends, ids = self._ways(holders, ways[holders])
        now = np.stack([self.positions(side) for side in ends.T])
        before = now.copy()
        at = np.minimum(np.searchsorted(nodes, ends.T), len(nodes) - 1)
        other = nodes[at] == ends.T
        was = changes.before[at[other]]
        before[other] = self._positions(was["place_cell"], was["place_height"])
        length, old_length = (np.linalg.norm(one - two, axis=1) for one, two in (now, before))
        return np.unique(np.concatenate([new, ids[length != old_length]]), axis=0)

    def _ways(self, nodes: NDArray[np.int64], ways: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return, of ways that nodes (N,) hold, given as bits (N,), the nodes (E, 2) and ids (E, 2) of both ends.

        The ids are in order, the lesser first.
        """
        holder, way = np.nonzero(ways[:, None] >> np.arange(len(STEPS), dtype=np.uint8) & 1)
        one = self.squares.of(nodes[holder])
        other = one + STEPS[way]
        ids = np.stack([id_of(one), id_of(other)], axis=1)
        return np.stack([nodes[holder], self.squares.nodes(other)], axis=1), np.sort(ids, axis=1)

    def _ids(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        return id_of(self.squares.of(nodes))

    def _nodes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.squares.nodes(square_of(ids))


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
