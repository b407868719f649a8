# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From what the panoptic heads say to panoptic maps, instances and semantics.

A panoptic map is int32: label * 1000 + instance, with instance 0 for stuff and 1 to 999 for things; -1 is unknown.
Instances of a label are numbered from the most certain on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.panoptic.query_segmentation import QueryOutput
from mtl_perception.network.panoptic.targets import LABEL_DIVISOR, is_thing

UNKNOWN = -1


@dataclass(frozen=True)
class PanopticOutput:
    """Panoptic maps of N images, and how certain each of their segments is.

    Attributes:
        panoptic: (N, H, W) int32.
        segments: (N, S) int32, the values in the map, -1 in unused places.
        scores: (N, S), 0..1; 0 in unused places.
    """

    panoptic: Tensor
    segments: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Instance:
    """One thing in an image: its mask (H, W) bool, its label and its score in 0..1."""

    mask: Tensor
    label: int
    score: float


def panoptic_from_queries(
    output: QueryOutput,
    thing_labels: Sequence[int],
    size: tuple[int, int],
    lowest_score: float = 0.8,
    lowest_overlap: float = 0.8,
    most: int = 64,
) -> PanopticOutput:
    """Let queries compete for the pixels (OneFormer and MaskFormer, Cheng et al. 2021, section 3.4).

    A pixel goes to the query with the largest score times mask probability, and stays unknown where that query's own
    mask does not hold it. A query that loses too much of its mask to others is dropped with all its pixels.

    Args:
        output: of Q queries for the panoptic (or instance) task.
        thing_labels: which labels are things; segments of stuff with the same label are one.
        size: (H, W) of the map.
        lowest_score: class probability of a query that counts.
        lowest_overlap: the part of its own mask that a query must have won.
        most: how many queries may compete, the most certain ones (at most 999); it bounds time and memory.
    """
    probability, label = output.class_logits.float().softmax(dim=-1)[..., :-1].max(dim=-1)
    is_segment = output.class_logits.argmax(dim=-1) < output.class_logits.shape[-1] - 1
    score = torch.where(is_segment & (probability > lowest_score), probability, 0.0)
    score, query = score.topk(min(most, score.shape[1]), dim=1)
    label = label.gather(1, query)
    logits = output.mask_logits.gather(1, query[..., None, None].expand(-1, -1, *output.mask_logits.shape[-2:]))
    mask = functional.interpolate(logits.float(), size, mode="bilinear", align_corners=False).sigmoid()
    winner = (score[..., None, None] * mask).argmax(dim=1)
    inside = mask.gather(1, winner[:, None])[:, 0] >= 0.5
    won = _counts(winner, inside, score.shape[1])
    area = (mask >= 0.5).float().sum(dim=(2, 3))  # exact up to 2^24 pixels, and much faster than of booleans
    kept = (score > 0.0) & (won > 0) & (won >= lowest_overlap * area)
    value, listed = _values(label, kept, thing_labels)
    panoptic = _look_up(value, winner).where(inside, UNKNOWN)
    return PanopticOutput(panoptic, value.where(listed, UNKNOWN), score.where(listed, 0.0))


def panoptic_from_centres(
    semantic: Tensor,
    confidence: Tensor,
    centre_logits: Tensor,
    offsets: Tensor,
    thing_labels: Sequence[int],
    classes: int,
    lowest_score: float = 0.1,
    lowest_confidence: float = 0.0,
    window: int = 7,
    most: int = 64,
) -> PanopticOutput:
    """Give each pixel of a thing to the centre that its offset points to (Panoptic-DeepLab, section 3.1).

    Centres are maxima of their window. A thing's label is what most of its pixels say. Where no centre was found in the
    whole image, things are unknown. Segments: `most` things, then all classes as stuff.

    Args:
        semantic: (N, H, W) labels; anything outside 0..classes-1 is unknown.
        confidence: (N, H, W), 0..1, of the labels.
        centre_logits, offsets: (N, h, w) and (N, 2, h, w) of `LightPanopticHead`; any size.
        thing_labels: which labels are things.
        classes: K.
        lowest_score: probability of a centre that counts.
        lowest_confidence: below it a pixel is unknown.
        window: odd, pixels of the centres' map.
        most: how many things an image may have, at most 999; it bounds time and memory.
    """
    size = semantic.shape[-2:]
    semantic = semantic.long()
    known = (semantic >= 0) & (semantic < classes) & (confidence >= lowest_confidence)
    semantic = semantic.where(known, 0)
    thing = known & is_thing(semantic, thing_labels)
    score, centre = _peaks(centre_logits.float().sigmoid(), lowest_score, window, most)
    most = score.shape[1]
    owner = _nearest_centre(centre, score > 0.0, offsets.float())
    owner = functional.interpolate(owner[:, None].float(), size, mode="nearest")[:, 0].long()
    votes = _counts(owner * classes + semantic, thing, most * classes).unflatten(1, (most, classes))
    thing_kept = (score > 0.0) & (votes.sum(dim=2) > 0)
    thing_label = votes.argmax(dim=2)

    stuff = known & ~thing
    stuff_label = torch.arange(classes, device=semantic.device).expand(len(semantic), -1)
    stuff_kept = _counts(semantic, stuff, classes) > 0
    segment = torch.where(thing, owner, most + semantic)
    kept = torch.cat([thing_kept, stuff_kept], dim=1)
    value, listed = _values(torch.cat([thing_label, stuff_label], dim=1), kept, thing_labels)
    panoptic = _look_up(value, segment).where(known, UNKNOWN)

    count = _counts(segment, known, most + classes).clamp(min=1)
    mean = _sums(segment, confidence.float() * known, most + classes) / count
    scores = mean * torch.cat([score, torch.ones_like(stuff_kept, dtype=score.dtype)], dim=1)
    return PanopticOutput(panoptic, value.where(listed, UNKNOWN), scores.where(listed, 0.0))


def semantic_from_queries(output: QueryOutput) -> Tensor:
    """Return class probabilities (N, K, h, w): what the queries that hold a pixel say (MaskFormer, section 3.4).

    Where queries overlap their sum is scaled back to 1; below 1, the rest is the probability that none holds the pixel.
    """
    classes = output.class_logits.softmax(dim=-1)[..., :-1]
    semantic = torch.einsum("nqk,nqhw->nkhw", classes, output.mask_logits.sigmoid())
    return semantic / semantic.sum(dim=1, keepdim=True).clamp(min=1.0)


def instances_from_queries(
    output: QueryOutput, thing_labels: Sequence[int], size: tuple[int, int], lowest_score: float = 0.5
) -> list[list[Instance]]:
    """Return the things of each image, the most certain first; unlike in a panoptic map, their masks may overlap.

    The score is the class's probability times the mean of the mask's probability within the mask (Mask2Former, Cheng
    et al. 2022).
    """
    probability, label = output.class_logits.float().softmax(dim=-1).max(dim=-1)
    mask = functional.interpolate(output.mask_logits.float(), size, mode="bilinear", align_corners=False).sigmoid()
    binary = mask > 0.5
    quality = (mask * binary).sum(dim=(2, 3)) / binary.sum(dim=(2, 3)).clamp(min=1)
    score = (probability * quality).where(is_thing(label, thing_labels), 0.0)
    order = score.argsort(dim=1, descending=True)
    return [
        [
            Instance(binary[image, query], int(label[image, query]), float(score[image, query]))
            for query in order[image]
            if score[image, query] > lowest_score
        ]
        for image in range(len(score))
    ]


def _peaks(probability: Tensor, lowest: float, window: int, most: int) -> tuple[Tensor, Tensor]:
    """Return the scores (N, most) of the highest peaks of (N, h, w), 0 if too low, and positions (N, most, 2), x, y."""
    width = probability.shape[2]
    # By place rather than by value: of equal neighbours (common in bfloat16) only the first is a peak.
    _, place = functional.max_pool2d(probability[:, None], window, 1, window // 2, return_indices=True)
    flat = probability.flatten(1)
    is_peak = place.flatten(1) == torch.arange(flat.shape[1], device=flat.device)
    score, index = flat.where(is_peak & (flat > lowest), 0.0).topk(min(most, flat.shape[1]), dim=1)
    return score, torch.stack([index % width, index.div(width, rounding_mode="floor")], dim=2)


def _nearest_centre(centre: Tensor, valid: Tensor, offsets: Tensor) -> Tensor:
    """Return for each pixel (N, h, w) the index of the valid centre nearest to where its offset points."""
    _, _, height, width = offsets.shape
    rows = torch.arange(height, device=offsets.device, dtype=offsets.dtype)
    columns = torch.arange(width, device=offsets.device, dtype=offsets.dtype)
    target = torch.stack([offsets[:, 0] + columns, offsets[:, 1] + rows[:, None]], dim=1).flatten(2)
    # |target - centre|^2 without what is equal for all centres: one matrix product.
    centre = centre.to(offsets.dtype)
    distance = centre.square().sum(dim=2, keepdim=True) - 2.0 * centre @ target
    distance = distance.masked_fill(~valid[..., None], torch.inf)
    return distance.argmin(dim=1).unflatten(1, (height, width))


def _values(label: Tensor, kept: Tensor, thing_labels: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Number segments (N, S) within their labels: map values, and which are the first of their value."""
    same = (label[:, :, None] == label[:, None, :]) & kept[:, None, :]
    earlier = same.tril(diagonal=-1).sum(dim=2)
    thing = is_thing(label, thing_labels)
    value = label * LABEL_DIVISOR + torch.where(thing, earlier + 1, 0)
    return value.where(kept, UNKNOWN).to(torch.int32), kept & (thing | (earlier == 0))


def _look_up(value: Tensor, segment: Tensor) -> Tensor:
    """Return the values (N, S) at segment indices (N, H, W)."""
    return value.gather(1, segment.flatten(1)).view_as(segment)


def _counts(index: Tensor, counted: Tensor, length: int) -> Tensor:
    """Return how often each index < length occurs where `counted`, (N, length) int64, for maps (N, H, W)."""
    return _sums(index, counted.long(), length)


def _sums(index: Tensor, values: Tensor, length: int) -> Tensor:
    """Return the sum of values (N, H, W) at each index < length, (N, length)."""
    total = torch.zeros(len(index), length, dtype=values.dtype, device=values.device)
    return total.scatter_add(1, index.flatten(1), values.flatten(1))
