# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is sent of the 2D grid: whole grids, seldom, and between them updates, for all that keep a copy.

RViz's Map display and Nav2's StaticLayer put an update's cells at column `x` and row `y` of the whole grid that they
have. They look at no stamp, ignore what reaches beyond that grid, and may take a whole grid over some time after it was
sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from map_msgs.msg import OccupancyGridUpdate
from nav_msgs.msg import OccupancyGrid

from mtl_perception.mapping import OccupancyFollower
from mtl_perception.messages.maps import to_cells, to_occupancy_grid
from mtl_perception.messages.stamps import to_header

if TYPE_CHECKING:
    from mtl_perception.mapping import Mapper, OccupancyChanges

# RViz takes a whole grid over when it has the transform, Nav2 when its costmap is updated next, mostly once a second.
_BEFORE_GRID_S = 0.5  # from an update to the whole grid that ends its validity
_AFTER_GRID_S = 2.0  # from a whole grid on; what updates tell until then is told once more after that time


@dataclass(frozen=True, eq=False)
class GridMessages:
    """What is to be sent now.

    Attributes:
        whole: a grid that replaces the one before, if there is one.
        updates: of the last whole grid.
        is_all: whether nothing is left to be said unless the map changes.
    """

    whole: OccupancyGrid | None
    updates: tuple[OccupancyGridUpdate, ...]
    is_all: bool


class OccupancyGridMessages:
    """Follows the 2D grid of a map for all that listen.

    An update has the stamp of the grid that it belongs to, and no two grids in a row have the same: so a receiver that
    looks at stamps knows which updates are for the grid that it has, in whatever order messages of two topics arrive.

    Attributes:
        follower: knows what has not been sent; `start_anew` lets the whole grid be sent next.
    """

    def __init__(self) -> None:
        """Begin with no grid."""
        self.follower = OccupancyFollower()
        self._asked_ns = self._stamp_ns = -1
        self._whole_s = self._update_s = float("-inf")  # when one was sent last

    def next(self, mapper: Mapper, now_s: float, stamp_ns: int, frame_id: str) -> GridMessages:
        """Return what is to be sent of a map's grid.

        Args:
            mapper: has the map.
            now_s: the time of a clock that never goes back, seconds.
            stamp_ns: of the map. A whole grid that would have the stamp of the one before gets one a nanosecond later.
            frame_id: of the map.
        """
        if self.follower.starts_anew and now_s - self._update_s < _BEFORE_GRID_S:
            return GridMessages(None, (), is_all=False)
        again = now_s - self._whole_s < _AFTER_GRID_S
        changes = mapper.occupancy_grid_changes(self.follower, again)
        whole = None
        if changes.whole is not None:
            is_same = stamp_ns in (self._asked_ns, self._stamp_ns)
            self._asked_ns, self._stamp_ns = stamp_ns, self._stamp_ns + 1 if is_same else stamp_ns
            self._whole_s = now_s
            whole = to_occupancy_grid(changes.whole, self._stamp_ns, frame_id)
        updates = self._updates(changes, frame_id)
        if updates:
            self._update_s = now_s
        return GridMessages(whole, updates, is_all=not self.follower.tells_again)

    def hurry(self) -> None:
        """Let the whole grid be sent next, however recent the last update is."""
        self.follower.start_anew()
        self._update_s = float("-inf")

    def _updates(self, changes: OccupancyChanges, frame_id: str) -> tuple[OccupancyGridUpdate, ...]:
        header = to_header(self._stamp_ns, frame_id)
        updates = []
        for part in changes.parts:
            height, width = part.data.shape
            cells = to_cells(part.data)
            updates.append(
                OccupancyGridUpdate(header=header, x=part.column, y=part.row, width=width, height=height, data=cells)
            )
        return tuple(updates)
