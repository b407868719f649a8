# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What panoptic heads are to learn, from panoptic maps: label * 1000 + instance (0 for stuff), -1 unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LABEL_DIVISOR = 1000
_IMAGE = 1 << 32
"""Image and segment in one number: to tell numbers apart takes a hundredth of the time that rows take."""


@dataclass(frozen=True)
class CentreTargets:
    """Truth for `LightPanopticHead`, at its maps' size.

    Attributes:
        heatmap: (N, h, w), 1 at the centre of each thing, falling off as a Gaussian.
        offsets: (N, 2, h, w), x first, from each pixel to its thing's centre of mass, pixels of the map; 0 elsewhere.
        thing: (N, h, w) bool, where the offsets hold.
        known: (N, h, w) bool, where the heatmap holds.
    """

    heatmap: Tensor
    offsets: Tensor
    thing: Tensor
    known: Tensor


@dataclass(frozen=True)
class QueryTargets:
    """Truth for `QuerySegmentation`: the segments that a task asks for in N images, at any one size.

    Attributes:
        mask_labels: N x (M_i, H, W) bool; M_i may be 0.
        class_labels: N x (M_i,) int64.
        known: (N, H, W) bool, where the masks' truth is known.
    """

    mask_labels: list[Tensor]
    class_labels: list[Tensor]
    known: Tensor


def centre_targets(panoptic: Tensor, thing_labels: Sequence[int], stride: int = 2, sigma: float = 4.0) -> CentreTargets:
    """Turn panoptic maps into centres and offsets (Panoptic-DeepLab, Cheng et al. 2020, section 3.1).

    Pixels of a thing's label without an instance number (crowds) are not known.

    Args:
        panoptic: (N, H, W) integers.
        thing_labels: which labels are things.
        stride: of the maps to make, (ceil(H / stride), ceil(W / stride)).
        sigma: of the Gaussians, pixels of the map; the paper's 8 at full size is 4 at stride 2.
    """
    panoptic = panoptic[:, ::stride, ::stride].long()
    images, height, width = panoptic.shape
    of_thing = is_thing(panoptic.div(LABEL_DIVISOR, rounding_mode="floor"), thing_labels)
    thing = of_thing & (panoptic % LABEL_DIVISOR > 0)
    known = (panoptic >= 0) & (thing | ~of_thing)
    image, row, column = thing.nonzero(as_tuple=True)
    segments, segment = torch.unique(image * _IMAGE + panoptic[thing], return_inverse=True)
    position = torch.stack([column, row], dim=1).float()
    total = torch.zeros(len(segments), 3, device=panoptic.device)
    total.index_add_(0, segment, torch.cat([position, torch.ones_like(position[:, :1])], dim=1))
    centre = total[:, :2] / total[:, 2:]
    offsets = torch.zeros(images, height, width, 2, device=panoptic.device)
    offsets[thing] = centre[segment] - position
    heatmap = torch.zeros(images, height, width, device=panoptic.device)
    column_weight = _gaussian(centre[:, 0].round(), width, sigma)
    row_weight = _gaussian(centre[:, 1].round(), height, sigma)
    gaussians = row_weight[:, :, None] * column_weight[:, None, :]
    of_image = segments.div(_IMAGE, rounding_mode="floor")
    heatmap.scatter_reduce_(0, of_image[:, None, None].expand_as(gaussians), gaussians, "amax")
    return CentreTargets(heatmap, offsets.permute(0, 3, 1, 2), thing, known)


def query_targets(panoptic: Tensor, thing_labels: Sequence[int], task: str = "panoptic") -> QueryTargets:
    """Turn panoptic maps (N, H, W) into the segments that a task asks for (OneFormer, Jain et al. 2023, section 3.1).

    "panoptic": one mask a thing and one a class of stuff; "instance": things only; "semantic": one mask a class.
    Things without an instance number (crowds) count in "semantic" only, and are not known otherwise.
    """
    panoptic = panoptic.long()
    known = panoptic >= 0
    if task == "semantic":
        panoptic = panoptic.div(LABEL_DIVISOR, rounding_mode="floor") * LABEL_DIVISOR
    else:
        label = panoptic.div(LABEL_DIVISOR, rounding_mode="floor")
        known = known & ((panoptic % LABEL_DIVISOR > 0) | ~is_thing(label, thing_labels))
    mask_labels, class_labels = [], []
    for image, image_known in zip(panoptic, known, strict=True):
        segments = torch.unique(image[image_known])
        labels = segments.div(LABEL_DIVISOR, rounding_mode="floor")
        if task == "instance":
            things = is_thing(labels, thing_labels)
            segments, labels = segments[things], labels[things]
        mask_labels.append(image == segments[:, None, None])
        class_labels.append(labels)
    return QueryTargets(mask_labels, class_labels, known)


def is_thing(labels: Tensor, thing_labels: Sequence[int]) -> Tensor:
    """Return which of the labels are things, bool, of the same shape."""
    return torch.isin(labels, torch.tensor(list(thing_labels), dtype=labels.dtype, device=labels.device))


def _gaussian(centre: Tensor, size: int, sigma: float) -> Tensor:
    """Return (M, size): a Gaussian about each of the centres (M,), 1 at its peak."""
    distance = torch.arange(size, device=centre.device) - centre[:, None]
    return torch.exp(-0.5 * (distance / sigma).square())
