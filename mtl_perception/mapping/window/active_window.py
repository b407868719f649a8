# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which regions of the map are in memory: those around the robot, and all that a camera can say something about."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import BLOCK
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.map_surface import MapSurface
from mtl_perception.mapping.window.reach import Reach
from mtl_perception.mapping.window.regions import REGION, distances, region_ids

_SHARE = 4  # of the regions outside, one in so many leaves with a frame: many at once would make the frame late
_LOG = logging.getLogger(__name__)


class ActiveWindow:
    """Moves regions between memory and the archive.

    A region comes back when it is within the cameras' depth of the robot, or in a camera's reach, and leaves when all
    of it is farther from the robot than `config.active_radius`, which is more by at least a region's diagonal: a robot
    that goes to and fro over a border moves nothing. `config.max_blocks` holds at any moment.

    Attributes:
        evicted_blocks: that had to leave for want of room while they were near enough to stay, each time counted.
        dropped_blocks: that were lost because they had to leave and could not be written.
        refused_blocks: that a view wanted and did not get: it needs more than `max_blocks` at once.
        centre: (3,), where the robot was last, in the world; None before the first frame.
    """

    def __init__(self, config: MapperConfig, blocks: MapBlocks, surface: MapSurface) -> None:
        """Take over a map."""
        self._config = config
        self._blocks = blocks
        self._surface = surface
        self._block_edge = BLOCK * config.voxel_size
        self._is_full_disk_known = False
        self.evicted_blocks = self.dropped_blocks = self.refused_blocks = 0
        self.centre: NDArray[np.float64] | None = None

    def move(self, views: Sequence[DepthView], robot: NDArray[np.float64]) -> list[Reach]:
        """Follow the robot to `robot` (3,) in the world, before `views` are fused; return what each view reaches."""
        self.centre = robot.copy()
        depth = self._config.max_depth + self._config.longest_band
        reaches = [Reach(view, depth, self._block_edge) for view in views]
        away = self._distances(self._blocks.resident)
        outside = np.flatnonzero(away > self._config.active_radius)
        outside = outside[np.argsort(-away[outside], kind="stable")]
        regions = self._blocks.resident[outside]
        for reach in reaches:
            regions = regions[~reach.touches(regions)]
        self._send_away(regions[: -(-len(regions) // _SHARE)])
        self._bring_back_within(depth)
        return reaches

    def open_at(self, centre: NDArray[np.float64]) -> None:
        """Bring back what is around a place (3,) in the world, as much as there is room for."""
        self.centre = centre
        self._bring_back_within(self._config.active_radius)

    def make_room(self, wanted: NDArray[np.int32], reach: Reach) -> NDArray[np.int32]:
        """Bring back what a view reaches and make room for blocks `wanted` (N, 3); return those that have room."""
        archive = self._blocks.archive
        near = archive.near(reach.low, reach.high)
        back = archive.among(np.concatenate([near[reach.touches(near)], region_ids(wanted)]))
        new = wanted[self._blocks.store.find(wanted) < 0]
        need = len(self._blocks.store) + len(new) + sum(map(archive.block_count, back.tolist()))
        if need > self._config.max_blocks:
            wanted, back = self._squeeze(wanted, new, back, reach)
        for region in back.tolist():
            self._blocks.bring_back(region)
        return wanted

    def _squeeze(
        self, wanted: NDArray[np.int32], new: NDArray[np.int32], back: NDArray[np.int64], reach: Reach
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Send away what must make room; return which of the blocks `wanted` and of the regions `back` then fit.

        What the view reaches comes first, then the rest; each in the order of distance from the robot.
        """
        archive, store = self._blocks.archive, self._blocks.store
        new = new[~archive.has_blocks(new)]
        counted = np.concatenate([region_ids(store.keys()), region_ids(new)])
        regions, sizes = np.unique(counted, return_counts=True)
        returning = {region: archive.block_count(region) for region in back.tolist()}
        regions = np.concatenate([regions, np.setdiff1d(back, regions)])
        sizes = np.concatenate([sizes, np.zeros(len(regions) - len(sizes), int)])
        sizes += np.array([returning.get(region, 0) for region in regions.tolist()], int)
        is_needed = reach.touches(regions) | np.isin(regions, region_ids(wanted))
        order = np.lexsort((regions, self._distances(regions), ~is_needed))
        excess = regions[order[np.cumsum(sizes[order]) > self._config.max_blocks]]
        leaving = excess[np.isin(excess, self._blocks.resident)]
        self._send_away(leaving[::-1], must=True)
        is_refused = np.isin(region_ids(wanted), excess)
        self.refused_blocks += int(np.count_nonzero(is_refused))
        return wanted[~is_refused], back[~np.isin(back, excess)]

    def _bring_back_within(self, radius: float) -> None:
        """Bring back, as long as there is room, regions of which anything is within `radius` of the robot."""
        assert self.centre is not None  # set before
        regions = self._blocks.archive.near(self.centre - radius, self.centre + radius)
        away = self._distances(regions)
        for number in np.argsort(away, kind="stable").tolist():
            region = int(regions[number])
            room = self._config.max_blocks - len(self._blocks.store)
            if away[number] > radius or self._blocks.archive.block_count(region) > room:
                return
            self._blocks.bring_back(region)

    def _send_away(self, regions: NDArray[np.int64], must: bool = False) -> None:
        """Move regions to the archive; those that cannot be written stay in memory, unless they must leave it."""
        if len(regions):
            self._surface.update()  # as long as all neighbours are there
        for region in regions.tolist():
            count = len(self._blocks.keys_in(region))
            try:
                self._blocks.send_away(region)
                self.evicted_blocks += count * must
                self._is_full_disk_known = False
            except OSError as error:
                if not self._is_full_disk_known:
                    _LOG.error("a part of the map cannot be written: %s", error)
                self._is_full_disk_known = True
                if not must:
                    return
                self._surface.note(self._blocks.drop(region))
                self.dropped_blocks += count

    def _distances(self, regions: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self.centre is not None  # set before
        return distances(regions, self.centre, REGION * self._block_edge)
