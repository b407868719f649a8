# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A 2D grid of obstacles, walls and free ground, in the world frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import UNKNOWN, LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.ground import cell_marks, cell_moves
from mtl_perception.mapping.ground.cell_marks import (
    GROUND,
    HIGH_FREE,
    HIGH_SURFACE,
    LOW_FREE,
    LOW_SURFACE,
    NO_GROUND,
    NOT_LABELLED,
)
from mtl_perception.mapping.ground.cell_moves import CellMoves, Patches, moved
from mtl_perception.mapping.ground.grid_layers import (
    LAYER_TYPES,
    LEAD_BITS,
    LEAST_EVIDENCE,
    MOST_EVIDENCE,
    MOST_LEAD,
    TILE,
    Rectangle,
    centred,
    empty_layers,
    grown,
    layers_between,
)
from mtl_perception.mapping.ground.grid_news import GridChanges, GridNews
from mtl_perception.mapping.poses.trajectory import Correction

OCCUPIED, FREE, UNSEEN = 100, 0, -1

_STRIDE = 2  # pixels that are looked at for obstacles, along each axis
_RAY_STRIDE = 4  # pixels whose rays are walked for free space
_RAY_SAMPLES = 48
_HIT, _MISS = 3, -1  # evidence of a frame: one hit outweighs three looks through (as OctoMap's 0.7 and 0.4 nearly do)
_GROUND_REACH = 8.0  # metres around the robot whose ground tells the robot's height
_GROUND_PIXELS = 50
_GROUND_SHARE = np.float32(0.3)  # of a new ground height in a cell's old one

_MOST_CLASSES = (1 << (8 - LEAD_BITS)) - 2  # all numbers but 0, nothing seen, and the one of what is no ground


@dataclass(frozen=True, eq=False)
class GridMap:
    """A 2D grid in the world frame.

    Attributes:
        origin: (x, y) of the outer corner of cell [0, 0], metres.
        resolution: edge of a cell, metres.
        data: int8 (H, W), row = y, column = x: 100 occupied, 0 free, -1 not seen.
    """

    origin: tuple[float, float]
    resolution: float
    data: NDArray[np.int8]


class GroundGrid:
    """Collects evidence of obstacles, walls and free ground from camera views; grows with the robot, up to a bound.

    A cell takes 8 bytes.

    Attributes:
        news: what changes.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Make an empty grid.

        Raises:
            ValueError: `config.ground_labels` or `config.wall_labels` names a class that `labels` does not have, or
                there are more than 30 classes of the ground.
        """
        cell_marks.prepare()
        cell_moves.prepare()
        self._config = config
        ground_ids = _ids("ground_labels", config.ground_labels, labels)
        if len(ground_ids) > _MOST_CLASSES:
            raise ValueError(f"ground_labels names {len(ground_ids)} classes, at most {_MOST_CLASSES} are possible")
        self._classes = len(ground_ids)
        self._class_of = np.full(256, NO_GROUND, dtype=np.uint8)
        self._class_of[ground_ids] = np.arange(1, len(ground_ids) + 1)
        self._class_of[UNKNOWN] = NOT_LABELLED
        self._label_of = np.full(NO_GROUND + 1, UNKNOWN, dtype=np.uint8)
        self._label_of[1 : len(ground_ids) + 1] = ground_ids
        self._is_wall = np.zeros(256, dtype=bool)
        self._is_wall[_ids("wall_labels", config.wall_labels, labels)] = True
        self._bands = np.array(
            [
                [config.obstacle_min_height, config.obstacle_max_height],
                [config.wall_min_height, config.wall_max_height],
            ]
        )

        self._corner = np.zeros(2, dtype=np.int64)  # index of cell [0, 0], x y; a multiple of TILE, as the shape is
        self._cells = empty_layers(self._corner, self._corner)
        self._ground_height = np.nan
        self._ground_span = (np.inf, -np.inf)  # all heights of the ground lie between
        self.news = GridNews()

    @property
    def corner(self) -> NDArray[np.int64]:
        """The index (2,), x y, of the cell that is [0, 0] in the layers; a multiple of `TILE`."""
        return self._corner

    @property
    def window(self) -> Rectangle:
        """The cells that the grid has."""
        (x, y), (height, width) = self._corner.tolist(), self._cells["seen"].shape
        return x, y, x + width, y + height

    @property
    def resolution(self) -> float:
        """Edge of a cell, metres."""
        return self._config.grid_resolution

    @property
    def ground_height(self) -> float:
        """How high the ground around the robot is, metres in the world; NaN as long as nothing was seen."""
        return self._ground_height

    @ground_height.setter
    def ground_height(self, height: float) -> None:
        self._ground_height = height

    @property
    def class_labels(self) -> NDArray[np.uint8]:
        """The label id of each number (32,) that a ground vote can have; 255 where it is no ground or nothing seen."""
        return self._label_of

    def layer(self, name: str) -> NDArray:
        """Return a layer of cells (H, W) as it stands, not a copy.

        "evidence" and "walls" (int8; there is an obstacle or a wall where it is above 0), "seen" (bool), "ground"
        (float32 metres, NaN where it was not seen), "ground_vote" (uint8, see `LEAD_BITS`).
        """
        return self._cells[name]

    def integrate(self, views: list[DepthView], world_from_base: Transform) -> None:
        """Add what the views of one frame see: each cell counts once, as hit if any view hits it."""
        robot = world_from_base[:3, 3]
        seen = [_seen(view, self._config) for view in views]
        points = np.concatenate([each.points for each in seen])
        labels = np.concatenate([each.labels for each in seen])
        classes = self._class_of[labels]
        self._learn_height(points[(classes != NO_GROUND) & (classes != NOT_LABELLED)], robot)
        window = self._cover(seen, robot[:2])
        if window is None:
            return
        low, rows, columns = window
        cells = {name: layer[rows, columns] for name, layer in self._cells.items()}
        counts = np.zeros((self._classes + 1, *cells["seen"].shape), dtype=np.int32)
        self._learn_ground(points, classes, low, cells, counts)
        self._learn_cells(self._marks(seen, points, labels, low, cells["ground"], counts), low, cells)
        self._learn_classes(counts, low, cells)

    def move(self, correction: Correction) -> CellMoves | None:
        """Move with a corrected trajectory; return from where the cells have come, None if nothing moves.

        All that is known has changed then, but nothing was seen.
        """
        height = self._ground_height
        patches = Patches(self._cells, self._corner, self._config.grid_resolution, height, correction.around)
        if patches.stay:
            return None
        newest = np.array([correction.old.last_ns])
        new_from_old, old = correction.at(newest)[0], correction.old.nearest(newest)[0, :3, 3]
        low, high = grown(patches.low - TILE, patches.high + TILE)
        low, high = self.bounded(low, high, (new_from_old @ [*old, 1.0])[:2])
        cells = empty_layers(low, high)
        moves = patches.move(cells, low)
        self.changes()  # where that was is not known any more
        self._ground_height = float((new_from_old @ [old[0], old[1], height, 1.0])[2])
        self.replace(low, cells, moves.source >= 0)
        return moves

    def replace(self, corner: NDArray[np.int64], cells: dict[str, NDArray], changed: NDArray[np.bool_]) -> None:
        """Take over layers (H, W) from a cell `corner` on; cells `changed` (H, W) are new, but nothing was seen."""
        self._corner, self._cells = corner, cells
        self._ground_span = (np.inf, -np.inf)
        self._span(cells["ground"])
        self.news.start_anew()
        for what in ("cells", "ground"):
            self.news.note(what, changed, corner)

    def changes(self) -> GridChanges:
        """Return in which tiles something has changed since this was asked before."""
        return self.news.take()

    def map(self, cells: Rectangle | None = None) -> GridMap:
        """Return the grid as it stands, or some cells; those that it does not have are unknown."""
        x0, y0, x1, y1 = cells or self.window
        low, high = np.array([x0, y0]), np.array([x1, y1])
        evidence, seen = (moved(self._cells[name], self._corner, low, high, 0) for name in ("evidence", "seen"))
        data = np.where(evidence > 0, OCCUPIED, FREE).astype(np.int8)
        data[~seen] = UNSEEN
        resolution = self._config.grid_resolution
        return GridMap((x0 * resolution, y0 * resolution), resolution, data)

    def state(self) -> dict[str, NDArray]:
        """Return all that the grid has collected."""
        return {"corner": self._corner, "ground_height": np.array(self._ground_height), **self._cells}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Set the grid to what `state` gave; nothing has changed since."""
        self._corner, self._ground_height = state["corner"].copy(), float(state["ground_height"])
        self._cells = {name: state[name].copy() for name in LAYER_TYPES}
        self.changes()
        self.news.start_anew()
        self._span(self._cells["ground"])

    def _learn_height(self, ground: NDArray[np.float64], robot: NDArray[np.float64]) -> None:
        near = np.hypot(ground[:, 0] - robot[0], ground[:, 1] - robot[1]) < _GROUND_REACH
        if np.count_nonzero(near) >= _GROUND_PIXELS:
            self._ground_height = float(np.median(ground[near, 2]))
        elif np.isnan(self._ground_height):
            self._ground_height = float(robot[2]) - self._config.base_height

    def _learn_ground(
        self,
        points: NDArray[np.float64],
        classes: NDArray[np.uint8],
        low: NDArray[np.int64],
        cells: dict[str, NDArray],
        counts: NDArray[np.int32],
    ) -> None:
        """Add the heights of the ground to cells, of which [0, 0] has index `low`; count its points per class."""
        sums = np.zeros(cells["ground"].shape)
        cell_marks.add_ground(points, classes, low, self._config.grid_resolution, sums, counts)
        total = counts.sum(axis=0)
        at = np.nonzero(total)
        mean = (sums[at] / total[at]).astype(np.float32)
        old = cells["ground"][at]
        new = np.where(np.isnan(old), mean, old + _GROUND_SHARE * (mean - old))
        cells["ground"][at] = new
        self._span(new)
        changed = np.zeros(total.shape, dtype=bool)
        changed[at] = new != old
        self.news.note("ground", changed, low)

    def _span(self, heights: NDArray[np.float32]) -> None:
        lowest, highest = self._ground_span
        lowest = float(np.fmin.reduce(heights, axis=None, initial=lowest))
        self._ground_span = lowest, float(np.fmax.reduce(heights, axis=None, initial=highest))

    def _marks(
        self,
        seen: list[_Seen],
        points: NDArray[np.float64],
        labels: NDArray[np.uint8],
        low: NDArray[np.int64],
        ground: NDArray[np.float32],
        counts: NDArray[np.int32],
    ) -> NDArray[np.uint8]:
        """Return the bits of `cell_marks` for cells (H, W), of which [0, 0] has index `low`; count what lies low."""
        marks = np.zeros(ground.shape, dtype=np.uint8)
        lowest, highest = self._ground_span
        heights = np.array([self._ground_height, lowest, highest])
        heights[1:] = np.fmin(heights[0], lowest), np.fmax(heights[0], highest)
        where = (low, self._config.grid_resolution, np.ascontiguousarray(ground), heights, self._bands, marks)
        cell_marks.mark_surfaces(points, labels, self._class_of, self._is_wall, *where, counts)
        for each in seen:
            cell_marks.mark_rays(each.origin, each.ends, _RAY_SAMPLES, *where)
        return marks

    def _learn_cells(self, marks: NDArray[np.uint8], low: NDArray[np.int64], cells: dict[str, NDArray]) -> None:
        free = LOW_FREE | GROUND
        changed = np.zeros(marks.shape, dtype=bool)
        for layer, hit, missed in (
            (cells["evidence"], LOW_SURFACE, free),
            (cells["walls"], HIGH_SURFACE, HIGH_FREE),
        ):
            hits = marks & hit > 0
            at = np.nonzero(hits | (marks & missed > 0))
            old = layer[at]
            new = np.where(hits[at], np.minimum(old + _HIT, MOST_EVIDENCE), np.maximum(old + _MISS, LEAST_EVIDENCE))
            layer[at] = new
            changed[at] |= (old > 0) != (new > 0)
        seen = marks & (LOW_SURFACE | free) > 0
        self.news.note("cells", changed | (seen & ~cells["seen"]), low)
        self.news.note("seen", seen, low)
        cells["seen"] |= seen

    def _learn_classes(self, counts: NDArray[np.int32], low: NDArray[np.int64], cells: dict[str, NDArray]) -> None:
        """Let each cell vote once for the class of which most points lie low in it.

        The vote is the majority vote after Boyer and Moore (1981): one class, and by how much it leads.
        """
        changed = np.zeros(counts.shape[1:], dtype=bool)
        at = np.nonzero(counts.any(axis=0))
        number = counts[:, at[0], at[1]].argmax(axis=0)
        number = np.where(number == 0, NO_GROUND, number)
        vote = cells["ground_vote"][at]
        leader, lead = vote >> LEAD_BITS, (vote & MOST_LEAD).astype(np.int64)
        new = np.where(lead == 0, number, leader)
        lead = np.where(new == number, np.minimum(lead + 1, MOST_LEAD), lead - 1)
        cells["ground_vote"][at] = new << LEAD_BITS | lead
        changed[at] = new != leader
        self.news.note("ground", changed, low)

    def _cover(self, seen: list[_Seen], robot: NDArray[np.float64]) -> tuple[NDArray[np.int64], slice, slice] | None:
        """Grow the grid to hold what was seen, or as much around the robot as the bound allows.

        Returns:
            The index (2,), x y, of the first cell, and the rows and columns, of the tiles in which something may have
            been seen; None if there are none.
        """
        clouds = [cloud for each in seen for cloud in (each.points, each.ends, each.origin[None])]
        if not any(len(each.points) + len(each.ends) for each in seen):
            return None
        lowest, highest = (  # column by column, which is several times faster than along an axis
            np.array([bound([bound(cloud[:, axis]) for cloud in clouds if len(cloud)]) for axis in (0, 1)])
            for bound in (np.min, np.max)
        )
        first, last = (np.floor(at / self._config.grid_resolution).astype(np.int64) for at in (lowest, highest))
        low, high = grown(first, last + 1)
        shape = np.array(self._cells["seen"].shape[::-1])
        if shape.all():
            low, high = np.minimum(low, self._corner), np.maximum(high, self._corner + shape)
        low, high = self.bounded(low, high, robot)
        if (low != self._corner).any() or (high - low != shape).any():
            old, self._cells = self.window, layers_between(self._cells, self._corner, low, high)
            self._corner = low
            self.news.note_window(old, self.window)
        first, end = np.maximum(first // TILE * TILE, low), np.minimum((last // TILE + 1) * TILE, high)
        if (first >= end).any():
            return None
        (x0, y0), (x1, y1) = (first - low).tolist(), (end - low).tolist()
        return first, slice(y0, y1), slice(x0, x1)

    def bounded(
        self, low: NDArray[np.int64], high: NDArray[np.int64], robot: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return as much of the cells from `low` to `high` (2,), around the robot (2,), metres, as the bound allows."""
        if np.prod(high - low) > self._config.max_grid_cells:
            half = int(np.sqrt(self._config.max_grid_cells)) // (2 * TILE) * TILE
            centre = centred(robot[:2], self._config.grid_resolution)
            low = np.maximum(low, centre - half)
            high = np.maximum(low, np.minimum(high, centre + half))
        return low, high


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a view has measured, in the world: points (N, 3) with labels (N,); ends (M, 3) of free rays from origin."""

    points: NDArray[np.float64]
    labels: NDArray[np.uint8]
    origin: NDArray[np.float64]
    ends: NDArray[np.float64]


def _seen(view: DepthView, config: MapperConfig) -> _Seen:
    rotation = np.ascontiguousarray(view.world_from_camera[:3, :3], dtype=np.float64)
    origin = np.ascontiguousarray(view.world_from_camera[:3, 3], dtype=np.float64)
    points = np.empty((view.depth[::_STRIDE, ::_STRIDE].size, 3))
    labels = np.empty(len(points), dtype=np.uint8)
    label = np.ascontiguousarray(view.label)
    count = cell_marks.surface_points(view.depth, view.rays, label, _STRIDE, rotation, origin, points, labels)
    ends = np.empty((view.depth[::_RAY_STRIDE, ::_RAY_STRIDE].size, 3))
    margin = 1.5 * config.grid_resolution
    rays = cell_marks.ray_ends(view.depth, view.rays, _RAY_STRIDE, rotation, origin, config.max_depth, margin, ends)
    return _Seen(points[:count], labels[:count], origin, ends[:rays])


def _ids(setting: str, names: tuple[str, ...], labels: LabelSpace) -> list[int]:
    for name in names:
        if name not in labels.names:
            raise ValueError(f"{setting} names '{name}', which label space '{labels.name}' does not have")
    return [labels.id_of(name) for name in names]
