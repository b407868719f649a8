# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether two maps that are laid over each other say the same.

As the acceptance index of Birk and Carpin ("Merging Occupancy Grid Maps From Multiple Mobile Robots", Proc. IEEE 2006,
section IV-C) this counts what both maps know of: surface of one agrees where the other has surface, and contradicts
where the other has seen free space. What the other has not seen says nothing. Here it is counted in 3D, from voxels.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import BLOCK
from mtl_perception.mapping.merging.surface_samples import SurfaceSamples
from mtl_perception.mapping.slices.free_air import FreeAir
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.regions import PLACES, places_of, region_ids

_ON_SURFACE = 1.5  # voxels from the other surface
_IN_FREE = 2.0  # voxels before the other surface, and farther


@dataclass(frozen=True)
class Agreement:
    """How many points of surfaces agree with the other map, and how many contradict it; and of these, how many are of
    things: walls alone are alike in many places."""

    agreeing: int = 0
    contradicting: int = 0
    agreeing_things: int = 0
    contradicting_things: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        """Return both together."""
        return Agreement(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def share(self) -> float:
        """Those that agree, of those that say anything; 0 where none does."""
        return self.agreeing / max(self.agreeing + self.contradicting, 1)

    @property
    def share_of_things(self) -> float:
        """The same of those on things."""
        return self.agreeing_things / max(self.agreeing_things + self.contradicting_things, 1)


def agreement(samples: SurfaceSamples, blocks: MapBlocks, air: FreeAir, config: MapperConfig) -> Agreement:
    """Return how points of another surface, in the world of a map, agree with what that has seen."""
    points = samples.points
    voxel = np.rint(points / config.voxel_size).astype(np.int64)
    keys = (voxel // BLOCK).astype(np.int32)
    within = voxel % BLOCK @ np.array([1, BLOCK, BLOCK**2])
    distance, known = np.zeros(len(points)), np.zeros(len(points), dtype=bool)
    regions = region_ids(keys)
    has_blocks = blocks.have(keys)
    for region in np.unique(regions[has_blocks]).tolist():
        content = blocks.content_of(region, with_voxels=True)
        if content is None:
            continue
        row_of_place = np.full(PLACES, -1)
        row_of_place[places_of(content.keys)] = np.arange(len(content.keys))
        at = np.flatnonzero(regions == region)
        row = row_of_place[places_of(keys[at])]
        at, row = at[row >= 0], row[row >= 0]
        known[at] = content.voxels["weight"][row, within[at]] >= config.min_weight
        distance[at] = content.voxels["tsdf"][row, within[at]] * config.truncation_voxels
    is_free = (known & (distance >= _IN_FREE)) | (~has_blocks & air.has(keys))
    agrees = known & (np.abs(distance) <= _ON_SURFACE)
    told = [agrees, is_free, agrees & samples.of_things, is_free & samples.of_things]
    return Agreement(*(int(np.count_nonzero(each)) for each in told))
