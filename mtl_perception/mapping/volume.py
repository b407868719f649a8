# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The voxels of a map and their surface, in memory around the robot and on disk elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import BLOCK, Key
from mtl_perception.mapping.fusion.fusion import Fusion
from mtl_perception.mapping.fusion.instances import Instances
from mtl_perception.mapping.fusion.measured import NEVER_NS
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.ground.ground_grid import GridMap, GroundGrid
from mtl_perception.mapping.poses.other_robots import OtherRobots
from mtl_perception.mapping.poses.reanchoring import anchors_of, moved
from mtl_perception.mapping.poses.trajectory import Correction
from mtl_perception.mapping.slices.esdf_slice import EsdfSlice, esdf_of
from mtl_perception.mapping.slices.free_air import FreeAir
from mtl_perception.mapping.slices.height_band import Area, Bounds, GroundHeights, band_grid, cell_edge
from mtl_perception.mapping.surface.meshing import MeshArrays, MeshBlock
from mtl_perception.mapping.window.active_window import ActiveWindow
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.map_surface import MapSurface
from mtl_perception.mapping.window.reach import Reach
from mtl_perception.mapping.window.set_aside import SetAside


class Volume:
    """All voxel blocks of a map, what is fused into them, and the meshes that follow.

    Attributes:
        blocks: in memory and in the archive.
        aside: blocks that newer ones have replaced, until the trajectory is corrected.
        surface: the meshes of the blocks.
        window: which blocks are in memory.
        air: blocks without voxels that are known to be free.
        others: the robots that have measured blocks beside this one.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace, folder: Path | None) -> None:
        """Make an empty volume; the folder for what is not in memory is made in `folder`, see `PrivateFolder`.

        Raises:
            OSError: it cannot be made.
        """
        self._config, self._labels, self._folder = config, labels, folder
        self._take(RegionArchive(config.voxel_size, config.max_depth, folder))
        self.aside = SetAside(folder)
        self.air = FreeAir(config)
        self.others = OtherRobots()

    @property
    def instances(self) -> Instances:
        """What the instances of voxels stand for."""
        return self._fusion.instances

    def sizes(self) -> dict[str, int]:
        """Return what `MapStats` tells of it."""
        archive, window = self.blocks.archive, self.window
        return {
            "blocks": len(self.blocks),
            "archived_blocks": archive.blocks,
            "vertices": self.blocks.vertices,
            "evicted_blocks": window.evicted_blocks,
            "refused_blocks": window.refused_blocks,
            "dropped_blocks": window.dropped_blocks,
            "aside_blocks": len(self.aside),
            "damaged_regions": archive.damaged_regions,
        }

    def copy_to(self, other: Volume) -> None:
        """Let an empty volume have the same blocks around the same place; what is on disk is shared by links."""
        self.blocks.copy_to(other.blocks)
        self.aside.copy_to(other.aside)
        other.window.centre = None if self.window.centre is None else self.window.centre.copy()

    def close(self) -> None:
        """Remove what is on disk."""
        self.blocks.archive.close()
        self.aside.close()

    def approach(self, views: Sequence[DepthView], robot: NDArray[np.float64]) -> list[Reach]:
        """Follow the robot to `robot` (3,) in the world, before `views` are fused; return what each view reaches."""
        return self.window.move(views, robot)

    def fuse(self, view: DepthView, reach: Reach, stamp_ns: int, before_ns: int | None) -> NDArray[np.int32]:
        """Fuse a view; return the keys (N, 3) of blocks whose mesh may have changed.

        What the view looks at and was seen last before `before_ns` is set aside first.
        """
        wanted = self.window.make_room(self._fusion.blocks_at_surfaces(view), reach)
        touched = self._fusion.touched(view, wanted)
        if before_ns is not None:
            self._set_aside(touched, stamp_ns, before_ns)
        fused, changed = self._fusion.integrate(view, touched)
        self.blocks.note(fused, changed, stamp_ns)
        self.surface.note(changed)
        return changed

    def note_free(self, views: Sequence[DepthView], reaches: Sequence[Reach]) -> None:
        """Learn what is free between the cameras and what they see."""
        for view, reach in zip(views, reaches, strict=True):
            self.air.integrate(view, reach.low, reach.high)

    def meant(self, meshes: dict[Key, MeshBlock]) -> dict[Key, MeshBlock]:
        """Return meshes with the things that their instances stand for."""
        return {
            key: replace(mesh, instances=self.instances.meant(mesh.instances, mesh.labels))
            for key, mesh in meshes.items()
        }

    def mesh_of_things(self) -> MeshArrays:
        """Return the mesh of the whole map as it was meshed last, with the things that its instances stand for."""
        mesh = self.surface.joined()
        return replace(mesh, instances=self.instances.meant(mesh.instances, mesh.labels))

    def points(self, radius: float | None) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the surface as it was meshed last, as points; see `Mapper.points`."""
        centre = self.window.centre
        if radius is None or centre is None:
            mesh = self.surface.joined()
            return mesh.vertices, mesh.colours, mesh.labels
        mesh = self.surface.joined_near(centre, radius)
        near = ((mesh.vertices - centre) ** 2).sum(axis=1) <= radius**2
        return mesh.vertices[near], mesh.colours[near], mesh.labels[near]

    def band(self, grid: GroundGrid, band: tuple[float, float], bounds: Bounds | None, margin: int = 0) -> GridMap:
        """Return what is between two heights above the ground that a grid knows; see `Mapper.occupancy_band`.

        Raises:
            ValueError: the heights or the bounds are in the wrong order, or there are too many cells.
        """
        x, y = (0.0, 0.0) if self.window.centre is None else self.window.centre[:2].tolist()
        area = Area(bounds, margin, (x, y))
        return band_grid(self.blocks, self.air, self._heights(grid), self._config, band, area)

    def esdf(
        self, grid: GroundGrid, band: tuple[float, float], bounds: Bounds | None, max_distance: float
    ) -> EsdfSlice:
        """Return the distance to the nearest obstacle there; see `Mapper.esdf_slice`."""
        margin = 0 if bounds is None else math.ceil(max_distance / cell_edge(self._config)) + 1
        height = self._heights(grid).usual + sum(band) / 2
        return esdf_of(self.band(grid, band, bounds, margin), height, max_distance, margin)

    def anchors(self, points: NDArray[np.float64], otherwise_ns: int) -> NDArray[np.int64]:
        """Return the stamps (N,) of the poses on which the blocks around points (N, 3) hang; see `anchors_of`."""
        return self.block_anchors(np.floor(points / (BLOCK * self._config.voxel_size)).astype(np.int32), otherwise_ns)

    def block_anchors(self, keys: NDArray[np.int32], otherwise_ns: int) -> NDArray[np.int64]:
        """Return the same for blocks (N, 3)."""
        return self._anchors_of(self.blocks.measured.of(keys, NEVER_NS), otherwise_ns)

    def move(self, correction: Correction, now_ns: int) -> None:
        """Move with a corrected trajectory; nothing is set aside any more.

        Raises:
            OSError: a part of the map cannot be read or written; the volume is unchanged.
        """
        archive = RegionArchive(self._config.voxel_size, self._config.max_depth, self._folder)
        try:
            anchors = partial(self._anchors_of, otherwise_ns=now_ns)  # what was never measured moves like the newest
            keys = moved(self.blocks, self.aside, correction.at, anchors, self._config, archive)
        except BaseException:
            archive.close()
            raise
        self.aside.close()
        self.aside = SetAside(self._folder)
        self.air.move(correction.around)
        if self.window.centre is not None:
            self.window.centre = correction.at(np.array([now_ns]))[0][:3] @ [*self.window.centre, 1.0]
        self.replace(archive, keys)

    def replace(self, archive: RegionArchive, changed: NDArray[np.int32]) -> None:
        """Let the blocks of an archive be all blocks; of `changed` (N, 3) the meshes are not those of the voxels."""
        instances, centre = self.instances, self.window.centre
        self.blocks.archive.close()
        self._take(archive)
        self._fusion.instances = instances
        self.surface.note(changed)
        if centre is not None:
            self.window.open_at(centre)

    def _anchors_of(self, seen_ns: NDArray[np.int64], otherwise_ns: int) -> NDArray[np.int64]:
        return anchors_of(self.others.as_times(seen_ns), otherwise_ns, self._config)

    def _heights(self, grid: GroundGrid) -> GroundHeights:
        below = 0.0 if self.window.centre is None else float(self.window.centre[2]) - self._config.base_height
        return GroundHeights.of(grid, below)

    def _take(self, archive: RegionArchive) -> None:
        """Let the blocks of an archive be all blocks."""
        self.blocks = MapBlocks(self._config, archive)
        self.surface = MapSurface(self.blocks, self._config.min_weight)
        self.window = ActiveWindow(self._config, self.blocks, self.surface)
        self._fusion = Fusion(self._config, self.blocks.store, self._labels)

    def _set_aside(self, touched: NDArray[np.int32], now_ns: int, before_ns: int) -> None:
        there = touched[self.blocks.store.find(touched) >= 0]
        seen_ns = self.blocks.measured.of(there, now_ns)
        old = self.others.as_times(seen_ns[:, 1]) < before_ns
        if old.any():
            self.aside.put(there[old], seen_ns[old], self.blocks.store.read(there[old]))
            self.blocks.remove(there[old])
            self.surface.note(there[old])
