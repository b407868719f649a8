# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of panoptic segmentation, and the panoptic maps it is made from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_perception.network.panoptic.light import centre_losses
from mtl_perception.network.panoptic.targets import LABEL_DIVISOR, QueryTargets, centre_targets, is_thing
from mtl_perception.training.losses.reduction import stride_of


def panoptic_loss(centre_logits: Tensor, centre_offsets: Tensor, panoptic: Tensor, things: Sequence[int]) -> Tensor:
    """Return the light head's loss: squared error of the centres' heatmap, L1 of the offsets (Panoptic-DeepLab).

    Args:
        centre_logits: (N, h, w).
        centre_offsets: (N, 2, h, w), pixels of that map.
        panoptic: (N, H, W) int64, see `panoptic_maps`.
        things: the labels of what can be counted.
    """
    stride = stride_of(panoptic, centre_logits)
    losses = centre_losses(centre_logits, centre_offsets, centre_targets(panoptic, things, stride))
    return losses["centre"] + losses["offset"]


def panoptic_maps(rows: Tensor, label_table: Tensor, instance: Tensor, things: Sequence[int]) -> Tensor:
    """Return label * 1000 + instance (N, H, W) int64; -1 where the class is not certain or things are not told apart.

    Things are numbered anew from 1 on in each image, as recordings may have any numbers; those without a number stay
    without one (crowds). Stuff has instance 0.

    Args:
        rows: (N, H, W) int64, rows of `label_table`.
        label_table: (R, labels) bool, which classes a row may stand for.
        instance: (N, H, W) integers, 0 no thing, -1 unknown.
        things: the labels of what can be counted.

    Raises:
        ValueError: an image shows 1000 things or more.
    """
    certain = label_table.sum(dim=1) == 1
    label = label_table.to(torch.int64).argmax(dim=1)[rows]
    result = torch.full_like(rows, -1)
    for image, (own, numbers) in enumerate(zip(label, instance.long(), strict=True)):
        thing = is_thing(own, things)
        known = certain[rows[image]] & (~thing | (numbers >= 0))
        counted = thing & (numbers > 0)
        _, compact = torch.unique(numbers[counted], return_inverse=True)
        if counted.any() and int(compact.max()) + 1 >= LABEL_DIVISOR:
            raise ValueError(
                f"an image shows {int(compact.max()) + 1} things, at most {LABEL_DIVISOR - 1} are possible"
            )
        panoptic = own * LABEL_DIVISOR
        panoptic[counted] += compact + 1
        result[image] = torch.where(known, panoptic, result[image])
    return result


def largest_segments(targets: QueryTargets, most: int) -> QueryTargets:
    """Return targets of the `most` largest segments of each image; where the others are is not known then."""
    masks, labels, known = [], [], targets.known.clone()
    for image, (mask, label) in enumerate(zip(targets.mask_labels, targets.class_labels, strict=True)):
        order = mask.flatten(1).sum(dim=1).argsort(descending=True, stable=True)
        kept, dropped = order[:most].sort().values, order[most:]
        known[image] &= ~mask[dropped].any(dim=0)
        masks.append(mask[kept])
        labels.append(label[kept])
    return QueryTargets(masks, labels, known)
