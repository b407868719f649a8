# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One vector for each class of what is in the scene (MAESTRO, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_perception.network.volume.volume_blocks import PointwiseConv


class ClassPrototypeGenerator(nn.Module):
    """Voxels (B, C, X, Y, Z) -> prototypes (B, K, C) and mask logits (B, K + 1, X, Y, Z).

    A light classifier assigns each voxel to its most confident class; prototype k is the mean of the features of class
    k's voxels, or zero where there are none, plus a learned embedding (MAESTRO, section 3.2, eq. 1). The paper's
    average pooling is read as the mean over the mask, not over the volume. The last mask class, which has no prototype,
    is free space: without it every empty voxel would count for some class (also our reading).

    No gradient passes the assignment: prototypes train the voxels, and the classifier learns from its logits alone.
    """

    def __init__(self, width: int, classes: int, learned_only: bool = False) -> None:
        """Build it for `width` channels and K = `classes` classes; with `learned_only` the embeddings are all."""
        super().__init__()
        self.classes, self.learned_only = classes, learned_only
        if not learned_only:
            self.classifier = nn.Sequential(
                PointwiseConv(width, width // 2), nn.ReLU(inplace=True), PointwiseConv(width // 2, classes + 1)
            )
        self.embedding = nn.Parameter(0.02 * torch.randn(classes, width))

    def forward(self, voxels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return prototypes and mask logits, None where there are only embeddings."""
        if self.learned_only:
            return self.embedding.expand(len(voxels), -1, -1), None
        logits = self.classifier(voxels)
        best = logits.argmax(dim=1).flatten(1)
        masks = (best[:, :, None] == torch.arange(self.classes, device=best.device)).to(voxels.dtype)
        sums = masks.transpose(1, 2) @ voxels.flatten(2).transpose(1, 2)
        count = masks.sum(dim=1, dtype=torch.float32).clamp(min=1.0)[:, :, None]
        return (sums.float() / count).to(voxels.dtype) + self.embedding, logits
