# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What queries are trained with: each segment is assigned one query, whose class and mask it then corrects."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.panoptic.assignment import assign
from mtl_perception.network.panoptic.targets import QueryTargets

# The weights of the unified encoder, section III-A; those of OneFormer.
CLASSIFICATION, MASK, DICE, CONTRAST = 2.0, 5.0, 5.0, 0.5

_NO_SEGMENT = 0.1  # weight of a query that rightly finds nothing
_OVERSAMPLING, _UNCERTAIN = 3, 0.75  # of three times the points, three quarters are where the mask is undecided


class QueryLoss(nn.Module):
    """Set prediction with mask losses at sampled points (Mask2Former, Cheng et al. 2022), and contrast (OneFormer).

    Everything is computed in float32. Points come from torch's global generator.
    """

    def __init__(self, points: int) -> None:
        """Compare masks at `points` points."""
        super().__init__()
        self.points = points
        self.log_scale = nn.Parameter(torch.tensor(-math.log(0.07)))  # OneFormer's initial temperature

    def forward(self, layers: Sequence[tuple[Tensor, Tensor]], targets: QueryTargets) -> dict[str, Tensor]:
        """Return the weighted "classification", "mask" (cross-entropy) and "dice" losses, summed over the layers.

        A layer is its class logits (N, Q, K + 1) and its mask logits (N, Q, h, w).
        """
        losses = torch.stack([self._layer(*layer, targets) for layer in layers]).sum(dim=0)
        return {
            "classification": CLASSIFICATION * losses[0],
            "mask": MASK * losses[1],
            "dice": DICE * losses[2],
        }

    def contrast(self, queries: Tensor, texts: Tensor) -> Tensor:
        """Return the weighted contrast of queries and texts, (N, Q, E) each: an image's own text is to fit it best."""
        image = functional.normalize(queries.float().flatten(1), dim=1)
        text = functional.normalize(texts.float().flatten(1), dim=1)
        similarity = self.log_scale.float().exp().clamp(max=100.0) * (image @ text.T)
        own = torch.arange(len(similarity), device=similarity.device)
        both = functional.cross_entropy(similarity, own) + functional.cross_entropy(similarity.T, own)
        return CONTRAST * both

    def _layer(self, class_logits: Tensor, mask_logits: Tensor, targets: QueryTargets) -> Tensor:
        """Return the three unweighted losses of one layer, (3,)."""
        class_logits, mask_logits = class_logits.float(), mask_logits.float()
        no_segment = class_logits.shape[-1] - 1
        classes = torch.full(class_logits.shape[:2], no_segment, device=class_logits.device)
        mask, dice = mask_logits.sum() * 0.0, mask_logits.sum() * 0.0
        for image, (masks, labels) in enumerate(zip(targets.mask_labels, targets.class_labels, strict=True)):
            if len(labels) == 0:
                continue
            truth = masks.float()
            certain = targets.known[image, None].float()
            queries = self._match(class_logits[image], mask_logits[image], truth, labels, certain)
            classes[image, queries] = labels
            own = mask_logits[image, queries]
            points = self._undecided_points(own.detach())
            weight = _sample(certain.expand(len(own), -1, -1), points)
            logits, target = _sample(own, points), _sample(truth, points)
            mask = mask + _cross_entropy(logits, target, weight).sum()
            dice = dice + _dice(logits.sigmoid() * weight, target * weight).sum()
        segments = max(sum(len(labels) for labels in targets.class_labels), 1)
        weights = torch.ones(no_segment + 1, device=class_logits.device)
        weights[-1] = _NO_SEGMENT
        classification = functional.cross_entropy(class_logits.transpose(1, 2), classes, weight=weights)
        return torch.stack([classification, mask / segments, dice / segments])

    @torch.no_grad()
    def _match(
        self, class_logits: Tensor, mask_logits: Tensor, truth: Tensor, labels: Tensor, certain: Tensor
    ) -> Tensor:
        """Return the query (M,) of each segment of one image: the assignment with the smallest sum of losses."""
        points = torch.rand(1, self.points, 2, device=truth.device)
        logits = _sample(mask_logits[None], points)[0]
        target, weight = _sample(truth[None], points)[0], _sample(certain[None], points)[0]
        # Cross-entropy of logit x with target t is softplus(x) - x t: a matrix product instead of Q x M x P values.
        negative = (functional.softplus(logits) * weight).sum(dim=1)[:, None]
        cross_entropy = (negative - (logits * weight) @ target.T) / weight.sum().clamp(min=1.0)
        probability, target = logits.sigmoid() * weight, target * weight
        size = probability.sum(dim=1)[:, None] + target.sum(dim=1)[None]
        dice = 1.0 - (2.0 * probability @ target.T + 1.0) / (size + 1.0)
        classification = -class_logits.softmax(dim=1)[:, labels]
        cost = CLASSIFICATION * classification + MASK * cross_entropy + DICE * dice
        return torch.as_tensor(assign(cost.T.nan_to_num(1e6, 1e6, -1e6).cpu().numpy()), device=truth.device)

    def _undecided_points(self, logits: Tensor) -> Tensor:
        """Return points (M, P, 2) for masks (M, h, w), most of them where the logit is near 0 (PointRend's choice)."""
        candidates = torch.rand(len(logits), _OVERSAMPLING * self.points, 2, device=logits.device)
        undecided = int(_UNCERTAIN * self.points)
        best = _sample(logits, candidates).abs().topk(undecided, dim=1, largest=False).indices
        chosen = candidates.gather(1, best[..., None].expand(-1, -1, 2))
        return torch.cat([chosen, candidates[:, : self.points - undecided]], dim=1)


def _sample(maps: Tensor, points: Tensor) -> Tensor:
    """Sample maps (M, h, w) at points (M, P, 2) in 0..1, x first -> (M, P); or maps (1, C, h, w) at (1, P, 2)."""
    stacked = maps if maps.ndim == 4 else maps[:, None]
    sampled = functional.grid_sample(stacked, 2.0 * points[:, None] - 1.0, align_corners=False)[:, :, 0]
    return sampled if maps.ndim == 4 else sampled[:, 0]


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean cross-entropy (M,) over points (M, P)."""
    every = functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="none")
    return every.sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def _dice(probability: Tensor, target: Tensor) -> Tensor:
    """Return one minus the Dice coefficient (M,) over points (M, P), smoothed by one point."""
    overlap = (probability * target).sum(dim=1)
    return 1.0 - (2.0 * overlap + 1.0) / (probability.sum(dim=1) + target.sum(dim=1) + 1.0)
