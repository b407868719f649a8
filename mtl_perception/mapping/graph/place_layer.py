# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layer of places takes no memory: nodes and edges are made of the records of squares when they are asked for.

There are some eight places for each metre of a street, each with four ways and an edge from its region. As nodes and
edges they would take 2 kB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.ground_layers import PLACE_SYMBOL, ROOM_SYMBOL, place_nodes
from mtl_perception.mapping.graph.kept_graph import Ends
from mtl_perception.mapping.graph.kept_ground import GroundChanges, KeptGround
from mtl_perception.mapping.graph.regions import Region
from mtl_perception.mapping.graph.scene_graph import PLACE_LAYER, SceneEdge, SceneNode, symbol_of


class PlaceLayer:
    """Lends a graph its places, with the ways between them and the edges from their regions.

    Attributes:
        layer, symbol: see `kept_graph.Lender`.
    """

    layer = PLACE_LAYER
    symbol = PLACE_SYMBOL

    def __init__(self, ground: KeptGround, labels: LabelSpace) -> None:
        """Make nodes of the places of a ground, as it was looked at last."""
        self._ground, self._labels = ground, labels

    @property
    def count(self) -> int:
        """How many places there are."""
        return self._ground.place_count

    def nodes(self, ids: Sequence[int] | None = None) -> list[SceneNode]:
        """Return the nodes with these ids, rising; None: all."""
        numbers = self._ground.place_ids() if ids is None else np.array(ids, dtype=np.int64) - PLACE_SYMBOL
        return [*place_nodes(*self._ground.places(numbers), self._labels)]

    def edges(self, ends: Sequence[Ends] | None = None) -> list[SceneEdge]:
        """Return the edges with these ends, rising; None: all."""
        if ends is None:
            ends = sorted([*ends_of(self._ground.ways()), *self._from_regions()])
        ways = np.array([pair for pair in ends if symbol_of(pair[0]) == PLACE_SYMBOL], dtype=np.int64).reshape(-1, 2)
        lengths = iter(self._ground.lengths(ways - PLACE_SYMBOL).tolist())
        return [
            SceneEdge(source, target, next(lengths) if symbol_of(source) == PLACE_SYMBOL else 1.0)
            for source, target in ends
        ]

    def parents(
        self, changes: GroundChanges, new_regions: Sequence[Region], were: set[int]
    ) -> tuple[set[Ends], set[Ends]]:
        """Return the ends of edges from regions that are new, and of those that are gone.

        Args:
            changes: of the ground.
            new_regions: that were not there before.
            were: ids of the regions that were there before, of those that `changes` names.
        """
        now = {ends for region in new_regions for ends in _ends_from(region)}
        before = {ends for region in changes.gone_regions for ends in _ends_from(region)}
        for place, old, new in changes.moved_places.tolist():
            if old in were:
                before.add((ROOM_SYMBOL + old, PLACE_SYMBOL + place))
            if new in self._ground.regions:
                now.add((ROOM_SYMBOL + new, PLACE_SYMBOL + place))
        return now, before - now

    def _from_regions(self) -> Iterable[Ends]:
        ids = self._ground.place_ids()
        for place, region in zip(ids.tolist(), self._ground.places(ids)[1].tolist(), strict=True):
            if region in self._ground.regions:
                yield ROOM_SYMBOL + region, PLACE_SYMBOL + place


def ends_of(ways: NDArray[np.int64]) -> list[Ends]:
    """Return the ends of the edges of ways (E, 2), by the ids of places."""
    return [(one, other) for one, other in (ways + PLACE_SYMBOL).tolist()]


def _ends_from(region: Region) -> list[Ends]:
    return [(ROOM_SYMBOL + region.id, PLACE_SYMBOL + place) for place in region.places.tolist()]
