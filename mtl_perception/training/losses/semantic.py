# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of semantic segmentation."""

from __future__ import annotations

import torch
from torch import Tensor


def semantic_loss(logits: Tensor, rows: Tensor, label_table: Tensor, class_weights: Tensor) -> Tensor:
    """Negative log of the probability that the annotated classes have together (a label may stand for several).

    Args:
        logits: (N, C, h, w).
        rows: (N, h, w) int64, rows of `label_table`.
        label_table: (R, C) bool; a row of void is all False.
        class_weights: (C,), of each class; a row weighs as its lightest class.
    """
    table = label_table.any(dim=1)
    weight_of_row = torch.where(label_table, class_weights, class_weights.max()).amin(dim=1) * table
    known = table[rows]
    flat = logits.float().permute(0, 2, 3, 1)[known]
    candidates = label_table[rows[known]]
    among = torch.logsumexp(flat.masked_fill(~candidates, -1e4), dim=1)
    weights = weight_of_row[rows[known]]
    return (weights * (torch.logsumexp(flat, dim=1) - among)).sum() / weights.sum().clamp(min=1.0)
