# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road segments: the places of streets, parted at junctions and about every 20 metres between them.

A place on a road is of a junction where three or more arms of road leave its surroundings. The road between junctions
has anchors, 20 metres apart along the road: a segment is what is nearest to one anchor, so it reaches across the road.
Anchors stay, and with them the ids of their segments. Places beside a road go with the nearest place on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.graph.regions import RegionIds, renamed
from mtl_perception.mapping.graph.road_walks import count_arms, rim_of, spread
from mtl_perception.mapping.graph.squares import RING, STEPS, Field, Squares, around
from mtl_perception.mapping.ground.ground_grid import GroundGrid

_NONE, _STRETCH, _CROSSING, _BESIDE = range(4)

FIELDS: dict[str, Field] = {
    "road_kind": ("uint8", (), _NONE),  # what a place of a street is of: a stretch of road, a junction, or beside
    "segment": ("int64", (), -1),  # id of the segment or junction of a place on a road; -1 none
    "is_anchor": ("bool", (), False),
    "anchor": ("int64", (), -1),  # node of the nearest anchor along a stretch; -1 none
    "road_place": ("int64", (), -1),  # node of the place on a road that a place of a street goes with; -1 none
}
"""What is found of a square."""

_SPACING = 20.0  # metres between anchors
_LEAST_SPACING = 10.0  # metres; of two anchors that turn out to be nearer, along the road, the younger goes
_JUNCTION_REACH = 9.0  # metres around a place; arms of road that lead farther are counted
_LEAST_ARM = 2  # squares that an arm is wide
_LEAST_PLACES = 8  # of a piece of road that gets its first anchor
_ROADSIDE = 12.0  # metres from the road; what is farther is of no segment


class RoadSegments:
    """Finds the segments of roads among squares, looking again only around places that have changed."""

    def __init__(
        self, config: MapperConfig, labels: LabelSpace, grid: GroundGrid, squares: Squares, ids: RegionIds
    ) -> None:
        """Start without segments; `squares` has the `FIELDS` of places and of segments.

        Raises:
            ValueError: `config.road_labels` names a class that is not one of `config.ground_labels`, or one of
                `config.room_labels`.
        """
        for name in config.road_labels:
            if name not in config.ground_labels or name in config.room_labels:
                raise ValueError(f"road_labels names '{name}', which must be one of ground_labels and not of room_labels")
        self._kind_of_class = np.full(len(grid.class_labels), _BESIDE, dtype=np.uint8)
        self._kind_of_class[np.isin(grid.class_labels, [labels.id_of(name) for name in config.road_labels])] = _STRETCH
        indoors = [labels.id_of(name) for name in config.room_labels]
        self._kind_of_class[np.isin(grid.class_labels, [*indoors, grid.class_labels[0]])] = _NONE
        self._metre = UNIT / config.place_spacing
        self._squares, self._ids = squares, ids
        reach = max(2, round(_JUNCTION_REACH / config.place_spacing))
        self._rim = rim_of(reach)
        span = np.arange(-reach, reach + 1)
        self._window = np.stack(np.meshgrid(span, span), axis=-1).reshape(-1, 2)

    def update(self, changed: NDArray[np.int64]) -> None:
        """Follow the squares; `changed` (N,) are the nodes of which the place or its ways have changed."""
        squares = self._squares
        near = self._around(changed, RING)  # with both ends of every way
        kinds = np.where(squares["is_place"][near], self._kind_of_class[squares["place_class"][near]], _NONE)
        near, kinds = near[kinds | squares["road_kind"][near] > 0], kinds[kinds | squares["road_kind"][near] > 0]
        if not len(near):
            return
        same = (kinds == _STRETCH) & (squares["road_kind"][near] == _CROSSING)
        self._become(near[~same], kinds[~same])
        tested = self._around(near, self._window)
        tested = tested[np.isin(squares["road_kind"][tested], (_STRETCH, _CROSSING))]
        arms = count_arms(tested, *self._ways, squares["road_kind"], _BESIDE, self._rim, _LEAST_ARM)
        self._become(tested, np.where(arms > 2, _CROSSING, _STRETCH))
        ...

    def of(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id of the segment or junction with which the place of each node (N,) goes, -1 for none."""
        road = self._squares["road_place"][nodes]
        return np.where(road >= 0, self._squares["segment"][road], -1)

    def are_junctions(self, nodes)
