# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ground plane for boxes that reaches farther than the voxels of occupancy, in coarser cells."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core import VoxelGrid
from mtl_perception.network.volume.plane_backbone import PlaneBackbone


class BoxPlane(nn.Module):
    """Fine voxels (B, C, X, Y, Z), coarse ones (B, C, X', Y', Z') around them -> plane (B, width, X', Y').

    All the fine voxels of a coarse cell are folded into its channels, so that nearby things, whose boxes have to be
    placed to half a metre, are seen as finely as the map and occupancy see them. Beyond there are the coarse voxels
    alone.

    Raises:
        ValueError: (when built) the coarse cells are not made of whole fine ones, or do not cover them all.
    """

    def __init__(self, fine: VoxelGrid, coarse: VoxelGrid, inputs: int, width: int) -> None:
        """Build it for `inputs` channels of each."""
        super().__init__()
        cells, self.padding = _cells(fine, coarse)
        self.near = nn.Conv2d(inputs * fine.shape[2], width, cells, cells, bias=False)
        self.backbone = PlaneBackbone(inputs, coarse.shape[2], width, extra=width)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Apply it."""
        near = self.near(fine.permute(0, 4, 1, 2, 3).flatten(1, 2))
        return self.backbone(coarse, functional.pad(near, self.padding))


def _cells(fine: VoxelGrid, coarse: VoxelGrid) -> tuple[int, list[int]]:
    """Return how many fine cells make a coarse one, and how to pad a plane of coarse cells (y before x)."""
    cells = round(coarse.voxel_size / fine.voxel_size)
    padding: list[int] = []
    whole = [abs(cells * fine.voxel_size - coarse.voxel_size) < 1e-6]
    for axis in (1, 0):
        before = (fine.origin[axis] - coarse.origin[axis]) / coarse.voxel_size
        inside = fine.shape[axis] / max(cells, 1)
        padding += [round(before), coarse.shape[axis] - round(before) - round(inside)]
        whole += [abs(before - round(before)) < 1e-6, inside == round(inside)]
    if not all(whole) or min(padding) < 0:
        raise ValueError(f"cells of {coarse.voxel_size} m do not line up with, or do not cover, {fine.voxel_size} m")
    return cells, padding
