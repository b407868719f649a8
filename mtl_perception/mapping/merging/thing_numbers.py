# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers by which voxels of another map tell things apart, as numbers of this map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.mapping.fusion.blocks import BLOCK, VOXELS, pack
from mtl_perception.mapping.fusion.instances import NONE, Instances, InstanceState
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.object_cells import neighbours
from mtl_perception.mapping.window.region_file import Region

_UNTAKEN = -1
_WITHIN = np.stack(np.unravel_index(np.arange(VOXELS), (BLOCK,) * 3)[::-1], axis=1)  # x fastest, as voxels are


class ThingNumbers:
    """Gives things of another map numbers of this one: that of the thing that they are here, or else a new one.

    New numbers are taken when they are first needed. When there are no more, things are told from no others, and
    counted in `Instances.refused`.
    """

    def __init__(
        self,
        theirs: InstanceState,
        ours: Instances,
        their_objects: Sequence[MapObject],
        our_objects: Sequence[MapObject],
        same: Mapping[int, int],
    ) -> None:
        """Begin with the things that are the same, as `same_objects` has found them."""
        self._ours, self._label, self._root = ours, theirs.label, theirs.root
        self._number = np.full(len(theirs.label), _UNTAKEN, np.int64)
        self._number[NONE] = NONE
        self._untold: list[tuple[MapObject, int]] = []  # theirs without a number that have one here
        for at in sorted(same, key=lambda at: their_objects[at].vertices):  # of several pieces the largest counts
            item, number = their_objects[at], our_objects[same[at]].instance
            if item.instance != NONE:
                self._number[item.instance] = number
            elif number != NONE:
                self._untold.append((item, number))

    def of_object(self, item: MapObject) -> int:
        """Return the number of one of their objects."""
        untold = [number for other, number in self._untold if other is item]
        return untold[0] if untold else self._number_of(item.instance)

    def of_voxels(
        self, region: Region, self_from_other: Transform, voxel_size: float, edge: float
    ) -> NDArray[np.uint16]:
        """Return the numbers (N, VOXELS) of the voxels of a region of theirs that has been moved to this map.

        Args:
            region: with voxels.
            self_from_other: by which it was moved.
            voxel_size: metres.
            edge: of the objects' cells, metres.
        """
        numbers = region.voxels["instance"]
        roots = self._root[np.where(numbers < len(self._root), numbers, NONE)]
        for root in np.unique(roots).tolist():
            self._number_of(root)
        result = self._number[roots].astype(np.uint16)
        if self._untold:
            self._tell(result, region, inverse(self_from_other), voxel_size, edge)
        return result

    def _number_of(self, root: int) -> int:
        if self._number[root] == _UNTAKEN:
            self._number[root] = self._ours.add(int(self._label[root]))
        return int(self._number[root])

    def _tell(
        self, result: NDArray[np.uint16], region: Region, other_from_self: Transform, voxel_size: float, edge: float
    ) -> None:
        """Give voxels without a number that of the object in whose cells, or beside them, they are."""
        label = region.voxels["label"]
        wanted = np.unique([item.label for item, _ in self._untold])
        block, voxel = np.nonzero((result == NONE) & np.isin(label, wanted))
        if not len(block):
            return
        points = (region.keys[block].astype(np.int64) * BLOCK + _WITHIN[voxel]) * voxel_size
        cells = pack(np.floor(transform_points(other_from_self, points) / edge).astype(np.int64))
        for around in (False, True):
            for item, number in self._untold:
                own = neighbours(item.cells) if around else item.cells
                free = (label[block, voxel] == item.label) & (result[block, voxel] == NONE)
                inside = free & (own[np.minimum(np.searchsorted(own, cells), len(own) - 1)] == cells)
                result[block[inside], voxel[inside]] = number
