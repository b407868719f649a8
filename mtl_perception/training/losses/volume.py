# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of the 3D half: occupancy, BEV map, boxes, prototypes, and where a task's features are suppressed.

All are computed in float32, and are 0 with a gradient path where nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import FREE, UNLABELLED, UNOBSERVED, VoxelGrid
from mtl_perception.network.volume.center_head import BoxMaps
from mtl_perception.training.losses.reduction import mean_of
from mtl_perception.training.samples import BoxTruth

FOCUS = 2.0
"""Exponent of the focal losses (Lin et al. 2017)."""
LEAST_OVERLAP = 0.1
"""CenterPoint's: a box this near to a true one still overlaps so much, hence counts as less of a mistake."""
REGRESSION_WEIGHT = 0.25
VELOCITY_WEIGHT = 0.2


def occupancy_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Occupied or free on observed voxels (cross-entropy plus soft Dice), and the class where it is annotated.

    Args:
        logits: (B, 1 + labels, X, Y, Z).
        truth: (B, X, Y, Z) uint8.
    """
    logits = logits.float()
    observed = truth != UNOBSERVED
    occupied = observed & (truth != FREE)
    target = occupied.float()
    bce = functional.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    # Occupied voxels are few: they weigh three times as much.
    weighted = mean_of((bce * (1 + 2 * target))[observed])
    dice = _dice(logits[:, 0].sigmoid() * observed, target)
    labelled = occupied & (truth != UNLABELLED)
    classes = logits[:, 1:].permute(0, 2, 3, 4, 1)[labelled]
    return weighted + dice + 0.3 * mean_of(functional.cross_entropy(classes, truth[labelled].long(), reduction="none"))


def map_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Per layer the focal loss (BEVFusion, Liu et al. 2023: a sigmoid each, gamma 2, no alpha) plus soft Dice.

    Dice, which is ours, keeps thin layers from being drowned by the ground beside them. The mean over the layers of
    which anything is known.

    Args:
        logits: (B, L, X, Y).
        truth: (B, L, X, Y), 0 or 1; NaN unknown.
    """
    known = torch.isfinite(truth).float()
    target = truth.float().nan_to_num(0.0)
    logits = logits.float()
    cells = known.sum(dim=(0, 2, 3))
    focal = (_focal(logits, target) * known).sum(dim=(0, 2, 3)) / cells.clamp(min=1.0)
    dice = _dice(logits.sigmoid() * known, target, dim=(0, 2, 3))
    present = (cells > 0).float()
    return ((focal + dice) * present).sum() / present.sum().clamp(min=1.0)


def boxes_loss(maps: BoxMaps, truths: Sequence[BoxTruth | None], grid: VoxelGrid, classes: Sequence[int]) -> Tensor:
    """Gaussian focal loss of the heatmap plus L1 of what is regressed at the boxes' centres (Yin et al. 2021).

    Boxes of other classes, and those whose centre is outside the grid, are no boxes. One that is not seen is neither
    right nor wrong: where its Gaussian is, the heatmap is not trained. Velocities count where they are known. As in
    CenterPoint both sums are over the number of boxes, and the regression weighs a quarter, velocity a fifth of that.

    Args:
        maps: (B, ..., X, Y).
        truths: of each frame (B); None where boxes are not annotated: such a frame does not count.
        grid: whose plane the maps are of.
        classes: label ids of the heatmap's channels.
    """
    parts = [getattr(maps, field.name) for field in fields(maps)]
    heatmap = maps.heatmap.float()
    values = torch.cat([part.float() for part in parts[1:]], dim=1)
    total = sum(part.float().sum() for part in parts) * 0.0
    count = 0
    for frame, truth in enumerate(truths):
        if truth is None:
            continue
        targets = _box_targets(truth, grid, classes)
        device = heatmap.device
        total = total + _gaussian_focal(
            heatmap[frame], torch.from_numpy(targets.heatmap).to(device), torch.from_numpy(targets.ignored).to(device)
        )
        cells = torch.from_numpy(targets.cells).to(device)
        wanted = torch.from_numpy(targets.values).to(device)
        predicted = values[frame][:, cells[:, 0], cells[:, 1]].T
        known = torch.isfinite(wanted)
        weights = wanted.new_tensor([1.0] * (wanted.shape[1] - 2) + [VELOCITY_WEIGHT] * 2)
        difference = (predicted - wanted.nan_to_num(0.0)).abs() * known * weights
        total = total + REGRESSION_WEIGHT * difference.sum()
        count += len(cells)
    return total / max(1, count)


def prototype_loss(mask_logits: Tensor, truth: Tensor) -> Tensor:
    """Dice plus Lovasz-softmax of the voxels' classes: what prototypes are averaged over (MAESTRO's L_CPG).

    Args:
        mask_logits: (B, K + 1, X, Y, Z), the last class is free space.
        truth: (B, X, Y, Z) uint8 occupancy; unobserved and unlabelled voxels do not count.
    """
    classes = mask_logits.shape[1]
    known = (truth != UNOBSERVED) & (truth != UNLABELLED)
    probability = mask_logits.float().softmax(dim=1).movedim(1, -1)[known]
    labels = truth[known].long()
    target = functional.one_hot(torch.where(labels == FREE, classes - 1, labels), classes).float()
    present = target.amax(dim=0, keepdim=True) if len(target) else target.new_zeros(1, classes)
    present = present[0]
    dice = _dice(probability, target, dim=(0,))
    lovasz = torch.stack([_lovasz(probability[:, index], target[:, index]) for index in range(classes)])
    return ((dice + lovasz) * present).sum() / present.sum().clamp(min=1.0)


def suppression_loss(logits: Tensor, region: Tensor) -> Tensor:
    """Focal loss of a task's suppression scores against its region of interest (MAESTRO's L_Sup).

    Args:
        logits: (B, X, Y) or (B, X, Y, Z).
        region: of the same shape, 1 inside and 0 outside; NaN unknown. See `region_of_boxes`, `region_of_map` and
            `region_of_occupancy`.
    """
    known = torch.isfinite(region)
    return mean_of(_focal(logits[known].float(), region[known].float()))


def region_of_boxes(truths: Sequence[BoxTruth | None], grid: VoxelGrid, classes: Sequence[int]) -> Tensor:
    """Return the cells (B, X, Y) float32 whose centre is in a box of some classes; NaN in boxes that are not seen.

    A frame whose boxes are not annotated is NaN throughout.
    """
    regions = np.zeros((len(truths), *grid.shape[:2]), np.float32)
    centres = grid.centres()[:, :, 0, :2]
    for region, truth in zip(regions, truths, strict=True):
        if truth is None:
            region[:] = np.nan
            continue
        for index in np.argsort(truth.seen, kind="stable"):  # those that are seen last: they count
            if truth.label[index] in classes:
                cosine, sine = math.cos(truth.yaw[index]), math.sin(truth.yaw[index])
                along, across = ((centres - truth.centre[index, :2]) @ np.array([[cosine, -sine], [sine, cosine]])).T
                half = truth.size[index, :2] / 2
                inside = (np.abs(along) <= half[0]) & (np.abs(across) <= half[1])
                region[inside.T] = 1.0 if truth.seen[index] else np.nan
    return torch.from_numpy(regions)


def region_of_map(bev_map: Tensor) -> Tensor:
    """Return the cells (B, X, Y) that any layer (B, L, X, Y) covers; NaN where no layer is known."""
    known = torch.isfinite(bev_map).any(dim=1)
    covered = bev_map.nan_to_num(0.0).amax(dim=1)
    return torch.where(known, covered, torch.nan)


def region_of_occupancy(occupancy: Tensor) -> Tensor:
    """Return the occupied voxels (B, X, Y, Z) of a grid of label ids; NaN where it was not observed."""
    return torch.where(occupancy == UNOBSERVED, torch.nan, (occupancy != FREE).float())


@dataclass(frozen=True, eq=False)
class _BoxTargets:
    """What a frame's maps should be.

    Attributes:
        heatmap: float32 (classes, X, Y), 1 in the cells of centres only.
        ignored: bool (classes, X, Y), where the heatmap is not trained.
        cells: int64 (M, 2) of the boxes' centres.
        values: float32 (M, 10), as the maps behind the heatmap have them; NaN unknown.
    """

    heatmap: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    cells: NDArray[np.int64]
    values: NDArray[np.float32]


def _box_targets(truth: BoxTruth, grid: VoxelGrid, classes: Sequence[int]) -> _BoxTargets:
    shape = (len(classes), *grid.shape[:2])
    place = (truth.centre[:, :2].astype(np.float64) - grid.origin[:2]) / grid.voxel_size
    cells = np.floor(place).astype(np.int64)
    inside = ((cells >= 0) & (cells < grid.shape[:2])).all(axis=1) & np.isin(truth.label, classes)
    heatmap, unseen = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for index in np.flatnonzero(inside):
        channel = list(classes).index(int(truth.label[index]))
        gaussian, within = _gaussian(cells[index], truth.size[index, :2] / grid.voxel_size, grid.shape[:2])
        if truth.seen[index]:
            heatmap[channel] = np.maximum(heatmap[channel], gaussian)
        else:
            unseen[channel] |= within
    chosen = np.flatnonzero(inside & truth.seen)
    values = np.concatenate(
        [
            place[chosen] - cells[chosen] - 0.5,
            truth.centre[chosen, 2:],
            np.log(np.maximum(truth.size[chosen], 1e-2)),
            np.sin(truth.yaw[chosen, None]),
            np.cos(truth.yaw[chosen, None]),
            truth.velocity[chosen],
        ],
        axis=1,
    ).astype(np.float32)
    return _BoxTargets(heatmap, unseen & (heatmap < 1.0), cells[chosen], values)


def _gaussian(
    cell: NDArray[np.int64], size: NDArray[np.floating], shape: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a Gaussian (X, Y) around a cell for a box of a size in cells, cut off at its radius, and where it is."""
    length, width = float(size[0]), float(size[1])
    # The shift of both corners inwards that leaves the least overlap (CornerNet, Law and Deng 2018, section 3.2).
    around = length + width
    shift = (around - math.sqrt(around**2 - 4 * (1 - LEAST_OVERLAP) * length * width)) / 4
    radius = max(1, int(shift))
    deviation = (2 * radius + 1) / 6
    x, y = (np.arange(count) - middle for count, middle in zip(shape, cell, strict=True))
    gaussian = np.exp(-(x[:, None] ** 2 + y[None] ** 2) / (2 * deviation**2))
    within = (np.abs(x) <= radius)[:, None] & (np.abs(y) <= radius)[None]
    return np.where(within, gaussian, 0.0).astype(np.float32), within


def _gaussian_focal(logits: Tensor, target: Tensor, ignored: Tensor) -> Tensor:
    """Return the sum of the focal loss in which cells near a centre count less as wrong (Law and Deng 2018, eq. 1)."""
    probability = logits.sigmoid()
    right = (1 - probability) ** FOCUS * functional.softplus(-logits)
    wrong = (1 - target) ** 4 * probability**FOCUS * functional.softplus(logits)
    return (torch.where(target == 1.0, right, wrong) * ~ignored).sum()


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sigmoid focal loss of each element, without alpha."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    missing = probability + target - 2 * probability * target  # 1 - the probability of what is right
    return missing**FOCUS * cross_entropy


def _dice(probability: Tensor, target: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """Return 1 - the soft Dice coefficient, smoothed by 1, over some dimensions (None: all)."""
    overlap = (probability * target).sum(dim=dim)
    return 1 - (2 * overlap + 1) / (probability.sum(dim=dim) + target.sum(dim=dim) + 1)


def _lovasz(probability: Tensor, target: Tensor) -> Tensor:
    """Return the Lovasz extension of 1 - IoU of one class (Berman et al. 2018): both (M,)."""
    errors, order = (target - probability).abs().sort(descending=True)
    ordered = target[order]
    missed = ordered.sum() - ordered.cumsum(0)
    union = ordered.sum() + (1 - ordered).cumsum(0)
    jaccard = 1 - missed / union.clamp(min=1.0)
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return errors @ steps
