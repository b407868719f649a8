# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The voxel blocks of the map: Open3D's hash from block keys to rows, and the rows' voxels in NumPy arrays.

Open3D's own VoxelBlockGrid would either copy the whole map whenever it grows (2.7 s at 5,000 blocks, measured) or hold
all of its memory from the start. These arrays are reserved once; the system gives them memory when a row is first used.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

BLOCK = 8
"""Voxels along a block's edge. A block's key (x, y, z) times BLOCK is its first voxel; voxels lie at lattice points."""
VOXELS = BLOCK**3
FARTHEST_BLOCK = 1 << 20
"""Keys lie within plus and minus this: see `pack`."""

Key = tuple[int, int, int]

ATTRIBUTES = {
    "tsdf": ("float32", ()),  # signed distance to the surface, in truncation distances, -1..1
    "weight": ("float32", ()),  # evidence, in exact observations; 0 = never seen
    "color": ("float32", (3,)),  # RGB 0..255
    "label": ("uint8", ()),  # label id that leads the vote, 255 = no vote yet
    "votes": ("float32", ()),  # the leader's lead
    "instance": ("uint16", ()),  # the thing that leads another vote (fusion.instances), 0 = none
    "instance_votes": ("uint8", ()),  # that leader's lead, in looks
}
"""What each voxel holds: type and shape."""


class BlockStore:
    """A hash map from block keys to the voxels of a block, up to a number of blocks.

    Attributes:
        voxel_size: edge of a voxel, metres.
        voxels: per attribute, an array (rows, VOXELS) or (rows, VOXELS, 3); x runs fastest, then y, then z.
    """

    def __init__(self, voxel_size: float, max_blocks: int) -> None:
        """Make an empty store.

        Raises:
            MemoryError: the system does not promise memory for `max_blocks`.
        """
        self.voxel_size = voxel_size
        self.voxels: dict[str, NDArray] = {
            name: np.zeros((max_blocks, VOXELS, *shape), dtype) for name, (dtype, shape) in ATTRIBUTES.items()
        }
        # What the hash map knows too, but takes ten times as long to tell.
        self._keys = np.zeros((max_blocks, 3), np.int32)
        self._is_used = np.zeros(max_blocks, dtype=bool)
        self._rows = o3d.core.HashSet(max_blocks, o3d.core.int32, o3d.core.SizeVector([3]), o3d.core.Device("CPU:0"))

    def __len__(self) -> int:
        """Return the number of blocks."""
        return int(self._rows.size())

    def flat(self, name: str) -> NDArray:
        """Return an attribute of all voxels as a writable view (rows * VOXELS,) or (rows * VOXELS, 3)."""
        array = self.voxels[name]
        return array.reshape(-1, *array.shape[2:])

    def keys(self) -> NDArray[np.int32]:
        """Return the keys (N, 3) of all blocks, in no particular order."""
        return self._keys[np.flatnonzero(self._is_used)]

    def find(self, keys: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the rows (N,) of keys (N, 3); -1 where there is no such block."""
        if not len(keys):
            return np.zeros(0, dtype=np.int64)
        rows, found = self._rows.find(_tensor(keys))
        return np.where(found.numpy(), rows.numpy(), -1).astype(np.int64)

    def activate(self, keys: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the rows (N,) of distinct keys (N, 3), adding blocks that have seen nothing where there were none.

        Raises:
            MemoryError: there is no room for so many blocks.
        """
        rows, is_new = self._made(keys)
        for name in ATTRIBUTES:  # a row may have belonged to a block that was erased
            self.voxels[name][rows[is_new]] = 255 if name == "label" else 0
        return rows

    def erase(self, keys: NDArray[np.int32]) -> None:
        """Remove blocks by their keys (N, 3)."""
        rows = self.find(keys)
        self._is_used[rows[rows >= 0]] = False
        if len(keys):
            self._rows.erase(_tensor(keys))

    def read(self, keys: NDArray[np.int32]) -> dict[str, NDArray]:
        """Return copies (N, VOXELS, ...) of the attributes of blocks `keys` (N, 3), which are there."""
        rows = self.find(keys)
        return {name: array[rows] for name, array in self.voxels.items()}

    def fill(self, keys: NDArray[np.int32], voxels: Mapping[str, NDArray]) -> None:
        """Set distinct blocks `keys` (N, 3), which are added where they are missing, to what `read` gave.

        Raises:
            MemoryError: there is no room for so many blocks.
        """
        rows, _ = self._made(keys)
        for name, array in self.voxels.items():
            array[rows] = voxels[name]

    def _made(self, keys: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Return the rows (N,) of distinct keys (N, 3), and the places (M,) of those that have just been made."""
        rows = self.find(keys)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            if len(self) + len(missing) > len(self.voxels["tsdf"]):
                raise MemoryError(f"{len(self) + len(missing)} blocks do not fit, {len(self.voxels['tsdf'])} do")
            made, _ = self._rows.insert(_tensor(keys[missing]))
            rows[missing] = made.numpy()
            self._keys[rows[missing]], self._is_used[rows[missing]] = keys[missing], True
        return rows, missing


def pack(keys: NDArray) -> NDArray[np.int64]:
    """Return one sortable integer for each integer key (..., 3); coordinates lie within +-2^20."""
    shifted = np.asarray(keys, dtype=np.int64) + FARTHEST_BLOCK
    return (shifted[..., 0] << 42) | (shifted[..., 1] << 21) | shifted[..., 2]


def unpack(packed: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the keys (..., 3) that `pack` made integers of."""
    mask = (1 << 21) - 1
    parts = np.stack([packed >> 42, (packed >> 21) & mask, packed & mask], axis=-1)
    return (parts - FARTHEST_BLOCK).astype(np.int32)


def _tensor(keys: NDArray[np.int32]) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(keys, dtype=np.int32))
