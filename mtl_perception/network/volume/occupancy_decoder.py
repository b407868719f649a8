# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic occupancy from one query a class (the decoder that MAESTRO's scene prototypes are the queries of)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# Class probability of each query for its own class before training.
INITIAL_CONFIDENCE = 0.9
# What is added to a score before its logarithm.
SMALLEST_SCORE = 1e-6
# Where all mask logits of a voxel are below it, they are raised until the greatest is it.
SMALLEST_MASK = -20.0


@dataclass(frozen=True)
class OccupancyMasks:
    """What the queries predict; query and class K are free space.

    Attributes:
        class_logits: (B, K + 1 queries, K + 1 classes).
        mask_logits: (B, K + 1 queries, X, Y, Z).
    """

    class_logits: Tensor
    mask_logits: Tensor


class OccupancyDecoder(nn.Module):
    """Queries (B, K, C), voxels (B, C, X, Y, Z) -> logits (B, 1 + K, X, Y, Z): occupied or not, and the class if so.

    MAESTRO does not specify its decoder (section 3.4); ours is read from the same laboratory's ProtoOcc (Kim et al.
    2024) and MaskFormer (Cheng et al. 2021): the queries, and a learned one for free space, attend to each other; an
    MLP turns each into a mask by dot products with the voxels; a voxel's score for class c is the sum over the queries
    of softmax(class) times sigmoid(mask). Query k is fixed to class k, so no matching is needed; before training it
    says so with a probability of 0.9.

    The scores s (K + 1 classes) are turned into the format of `PlaneOccupancyDecoder`: channel 0 is
    log(sum of s over classes but free) - log(s of free), so its sigmoid is the share of the scores that is not free;
    the other channels are log(s), whose softmax is the share of each class in that. Only ratios count, so a voxel's
    masks are divided by the greatest before they are summed: where all are tiny nothing underflows.

    Raises:
        ValueError: (when built) `width` is not a multiple of `heads`.
    """

    def __init__(self, width: int, classes: int, layers: int = 2, heads: int = 4) -> None:
        """Build it for `width` channels C and K = `classes`."""
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.free = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.layers = nn.Sequential(*(_SelfAttentionLayer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes + 1)
        own = math.log(INITIAL_CONFIDENCE / (1 - INITIAL_CONFIDENCE) * classes)
        self.own_class = nn.Parameter(own * torch.eye(classes + 1))
        self.mask = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width))

    def forward(self, queries: Tensor, voxels: Tensor) -> Tensor:
        """Return the logits."""
        return self.logits(self.masks(queries, voxels))

    def masks(self, queries: Tensor, voxels: Tensor) -> OccupancyMasks:
        """Return the classes and masks of the queries, which a loss may need besides the logits."""
        queries = torch.cat([queries, self.free.expand(len(queries), -1, -1)], dim=1)
        queries = self.norm(self.layers(queries))
        masks = self.mask(queries) @ voxels.flatten(2)
        return OccupancyMasks(self.classifier(queries) + self.own_class, masks.unflatten(2, voxels.shape[2:]))

    @staticmethod
    def logits(masks: OccupancyMasks) -> Tensor:
        """Combine classes and masks into logits."""
        masks_of = masks.mask_logits.flatten(2).float()
        greatest = masks_of.detach().amax(dim=1, keepdim=True)
        shift = functional.relu(SMALLEST_MASK - greatest)  # there a sigmoid is an exponential, so ratios stay
        shares = masks.class_logits.float().softmax(dim=2).transpose(1, 2)
        occupied, free = shares[:, :-1], shares[:, -1:]
        # One product for the sum, the classes and free space, in which all that follows is done in place.
        scores = torch.cat([occupied.sum(dim=1, keepdim=True), occupied, free], dim=1) @ (masks_of + shift).sigmoid_()
        logits = scores.div_((greatest + shift).sigmoid_()).add_(SMALLEST_SCORE).log()
        logits[:, :1] -= logits[:, -1:]
        logits = logits[:, :-1].to(masks.mask_logits.dtype)
        return logits.unflatten(2, masks.mask_logits.shape[2:])


class _SelfAttentionLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised first and added to its input: (B, Q, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(inplace=True), nn.Linear(2 * width, width)
        )

    def forward(self, queries: Tensor) -> Tensor:
        projected = self.projections(self.attention_norm(queries)).unflatten(2, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind()
        attended = functional.scaled_dot_product_attention(query, key, value)
        queries = queries + self.attention_output(attended.transpose(1, 2).flatten(2))
        return queries + self.feed_forward(queries)
