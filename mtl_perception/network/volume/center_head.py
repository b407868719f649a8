# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""3D boxes as peaks of a map of the ground plane (CenterPoint, Yin et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core import VoxelGrid
from mtl_perception.network.blocks import conv_norm_relu

# The heatmap's initial probability, so that the many empty cells do not dominate the first steps (Lin et al. 2017).
INITIAL_LOGIT = -2.19
# Channels of offset, height, log size, direction, velocity.
REGRESSED = (2, 1, 3, 2, 2)
# Logarithms of a size are bounded when decoded: between 2 cm and 50 m.
LOG_SIZE = (-4.0, 4.0)


@dataclass(frozen=True)
class BoxMaps:
    """What is predicted at each cell of the ground plane; all but the heatmap mean something at box centres only.

    Attributes:
        heatmap: (B, classes, X, Y), logits of a box's centre being in the cell.
        offset: (B, 2, X, Y), from the cell's centre to the box's, in cells along x and y (-0.5 to 0.5).
        height: (B, 1, X, Y), z of the box's centre in the base frame, metres.
        log_size: (B, 3, X, Y), logarithms of length (along the heading), width, height in metres.
        direction: (B, 2, X, Y), sine and cosine of the yaw about the base frame's z, 0 along its x (REP-103).
        velocity: (B, 2, X, Y), x and y in the base frame's axes, m/s.
    """

    heatmap: Tensor
    offset: Tensor
    height: Tensor
    log_size: Tensor
    direction: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class Boxes:
    """Boxes in the base frame; the leading dimensions are (M,) for one frame's, (B, R) for candidates of a batch.

    Attributes:
        centre: (..., 3) metres.
        size: (..., 3) length, width, height, metres.
        yaw: (...) radians about z, 0 along x, -pi to pi.
        velocity: (..., 2) m/s.
        label: (...) int64, index among the head's classes.
        score: (...) 0 to 1, highest first.
    """

    centre: Tensor
    size: Tensor
    yaw: Tensor
    velocity: Tensor
    label: Tensor
    score: Tensor

    def select(self, rows: Tensor | int) -> Boxes:
        """Return some of the boxes: an index or a mask of the first dimension."""
        return Boxes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class CenterHead(nn.Module):
    """Plane features (B, C, X, Y) -> `BoxMaps`, and these -> boxes.

    Boxes are the highest 3x3 peaks of the heatmap, which takes the place of non-maximum suppression (Yin et al. 2021,
    section 4). One heatmap of all classes and two branches (what, and where) are ours, to be light; CenterPoint has a
    branch for each quantity and group of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        """Build it for `width` channels."""
        super().__init__()
        self.shared = conv_norm_relu(width, width)
        heatmap = nn.Conv2d(width, classes, 1)
        nn.init.constant_(heatmap.bias, INITIAL_LOGIT)  # type: ignore[arg-type]
        self.what = nn.Sequential(conv_norm_relu(width, width), heatmap)
        self.where = nn.Sequential(conv_norm_relu(width, width), nn.Conv2d(width, sum(REGRESSED), 1))

    def forward(self, plane: Tensor) -> BoxMaps:
        """Return the maps."""
        shared = self.shared(plane)
        return BoxMaps(self.what(shared), *self.where(shared).split(REGRESSED, dim=1))

    @staticmethod
    def candidates(maps: BoxMaps, grid: VoxelGrid, top_k: int) -> Boxes:
        """Return the R = `top_k` best boxes (B, R) of each frame, however low their scores: static shapes, float32."""
        scores = maps.heatmap.float().sigmoid()
        peaks = scores * (maps.heatmap == functional.max_pool2d(maps.heatmap, 3, 1, 1))
        _, _, size_x, size_y = scores.shape
        score, place = peaks.flatten(1).topk(min(top_k, peaks[0].numel()))
        cell = place % (size_x * size_y)
        label = place.div(size_x * size_y, rounding_mode="floor")
        rest = torch.cat([maps.offset, maps.height, maps.log_size, maps.direction, maps.velocity], dim=1).float()
        rest = rest.flatten(2).gather(2, cell[:, None].expand(-1, rest.shape[1], -1)).transpose(1, 2)
        offset, height, log_size, direction, velocity = rest.split(REGRESSED, dim=2)
        index = torch.stack([cell.div(size_y, rounding_mode="floor"), cell % size_y], dim=2)
        origin = torch.tensor(grid.origin[:2], device=rest.device, dtype=rest.dtype)
        ground = origin + (index + 0.5 + offset) * grid.voxel_size
        return Boxes(
            centre=torch.cat([ground, height], dim=2),
            size=log_size.clamp(*LOG_SIZE).exp(),
            yaw=torch.atan2(direction[..., 0], direction[..., 1]),
            velocity=velocity,
            label=label,
            score=score,
        )

    @staticmethod
    def decode(maps: BoxMaps, grid: VoxelGrid, top_k: int, threshold: float) -> list[Boxes]:
        """Return each frame's boxes with a score of `threshold` or more, at most `top_k`."""
        candidates = CenterHead.candidates(maps, grid, top_k)
        frames = (candidates.select(frame) for frame in range(len(candidates.score)))
        return [boxes.select(boxes.score >= threshold) for boxes in frames]
