# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fusion of depth, colour and labels into the voxel blocks.

A voxel keeps a truncated signed distance, a weight, a colour and ONE label with the lead of its vote (weighted
majority vote after Boyer and Moore, 1981): memory does not depend on the number of classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion import block_search, voxel_update
from mtl_perception.mapping.fusion.block_search import blocks_at_surfaces, blocks_in_sight, farthest_of_tiles
from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, BLOCK, VOXELS, BlockStore, pack, unpack
from mtl_perception.mapping.fusion.instances import Instances
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.fusion.voxel_update import update_voxels

_STRIDE = 2  # every second pixel finds the blocks to make; blocks are many pixels wide
_TILE = 16  # pixels; tile of the coarse depth image that tells hidden blocks


class Fusion:
    """Integrates camera views into voxel blocks."""

    def __init__(self, config: MapperConfig, store: BlockStore, labels: LabelSpace) -> None:
        """Prepare to fuse into `store`."""
        voxel_update.prepare()
        block_search.prepare()
        self.config = config
        self.store = store
        self.instances = Instances(labels)

    def touched(self, view: DepthView, wanted: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the keys (N, 3), in order, of blocks `wanted` (M, 3) and of all that a view looks at or through."""
        return unpack(_distinct(np.concatenate([pack(wanted), pack(self._blocks_in_sight(view))])))

    def integrate(self, view: DepthView, touched: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Fuse a view into blocks `touched` (N, 3), which are made where they are missing.

        Returns these, and those among them whose mesh may have changed.

        Raises:
            MemoryError: the store has no room for all of them.
        """
        return touched, touched[self._update(touched, view)]

    def blocks_at_surfaces(self, view: DepthView) -> NDArray[np.int32]:
        """Return the keys (N, 3) of blocks that a measured surface's band reaches."""
        found = np.empty(3 * view.depth[::_STRIDE, ::_STRIDE].size, np.int64)
        count = blocks_at_surfaces(
            view.depth,
            view.rays,
            view.facing,
            np.float32(self.config.truncation),
            _STRIDE,
            np.ascontiguousarray(view.world_from_camera[:3, :3], dtype=np.float64),
            np.ascontiguousarray(view.world_from_camera[:3, 3], dtype=np.float64),
            BLOCK * self.config.voxel_size,
            found,
        )
        return unpack(_distinct(found[:count]))

    def _blocks_in_sight(self, view: DepthView) -> NDArray[np.int32]:
        """Return the keys (N, 3) of blocks of the map that the view looks at or through, to carve free space."""
        keys = self.store.keys()
        edge = BLOCK * self.config.voxel_size
        height, width = view.depth.shape
        farthest = np.empty((-(-height // _TILE), -(-width // _TILE)), np.float32)
        farthest_of_tiles(view.depth, _TILE, farthest)
        sees = np.empty(len(keys), dtype=bool)
        blocks_in_sight(
            _transformed(inverse(view.world_from_camera), (keys + 0.5) * edge),
            np.ascontiguousarray(view.K, dtype=np.float64),
            0.87 * edge,
            self.config.max_depth,
            np.float32(self.config.longest_band),
            height,
            width,
            _TILE,
            farthest,
            sees,
        )
        return keys[sees]

    def _update(self, keys: NDArray[np.int32], view: DepthView) -> NDArray[np.bool_]:
        """Update the voxels of blocks `keys` (N, 3); return (N,) whether anything changed that a mesh depends on."""
        pixel_from_world = _projection(view)
        corners = _transformed(pixel_from_world, keys * (BLOCK * self.config.voxel_size)).astype(np.float32)
        offsets = (_LATTICE * self.config.voxel_size) @ pixel_from_world[:3, :3].T.astype(np.float32)
        voxels, config = self.store.voxels, self.config
        changed = np.zeros(len(keys), dtype=bool)
        update_voxels(
            self.store.activate(keys),
            corners,
            np.ascontiguousarray(offsets.T, dtype=np.float32),
            *(np.ascontiguousarray(image) for image in (view.depth, view.facing, view.weight, view.colour, view.label)),
            np.ascontiguousarray(view.label_weight),
            self.instances.assign(view, self.store),
            *(voxels[name] for name in ATTRIBUTES),
            np.float32(config.truncation),
            np.float32(config.voxel_size),
            np.float32(config.max_depth + config.longest_band),
            np.float32(config.max_weight),
            np.float32(config.min_weight),
            changed,
        )
        return changed


def _distinct(packed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return packed keys in order, each once; several times as fast as np.unique for some thousands of them."""
    ordered = np.sort(packed)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=-1))]


def _transformed(transform: Transform, points: NDArray) -> NDArray[np.float64]:
    """Transform points (N, 3), each as if it were alone: a matrix product may round a row by the number of rows."""
    x, y, z = points.T
    rows = [row[0] * x + row[1] * y + row[2] * z + row[3] for row in transform[:3].tolist()]
    return np.ascontiguousarray(np.stack(rows, axis=1))


def _projection(view: DepthView) -> Transform:
    """Return the transform from the world to (u * z, v * z, z)."""
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = view.K
    return intrinsics @ inverse(view.world_from_camera)


_Z, _Y, _X = np.unravel_index(np.arange(VOXELS), (BLOCK, BLOCK, BLOCK))
_LATTICE = np.stack([_X, _Y, _Z], axis=1).astype(np.float32)
