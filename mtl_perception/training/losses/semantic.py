# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of semantic segmentation."""

from __future__ import annotations

import torch
from torch import Tensor

_UNFELT = 0.003
"""Errors of so little are left out of the overlap: most pixels are nowhere near most classes, and sorting is dear."""


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


def overlap_loss(logits: Tensor, rows: Tensor, label_table: Tensor) -> Tensor:
    """Return one minus the intersection over union of the classes, made smooth: a small class counts like a large one.

    The Lovasz-softmax loss of all images together (Berman et al. 2018, "The Lovasz-Softmax Loss", equations 8 and 9),
    the mean over the classes that are there. Pixels whose annotation stands for several classes do not take part.

    Args:
        logits: (N, C, h, w).
        rows: (N, h, w) int64, rows of `label_table`.
        label_table: (R, C) bool; a row of void is all False.
    """
    exact = (label_table.sum(dim=1) == 1)[rows]
    probability = logits.float().permute(0, 2, 3, 1)[exact].softmax(dim=1)
    true = label_table[rows[exact]]
    losses = [
        _lovasz(torch.where(true[:, label], 1 - probability[:, label], probability[:, label]), true[:, label])
        for label in true.any(dim=0).nonzero()[:, 0].tolist()
    ]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _lovasz(errors: Tensor, true: Tensor) -> Tensor:
    """Return the Lovasz extension of the Jaccard loss of one class at errors (P,) of pixels that are `true` or not."""
    size = true.sum()
    felt = errors > _UNFELT
    ordered, order = errors[felt].sort(descending=True)
    hit = true[felt][order].float()
    # Were the first n pixels wrong and the others right: what would be left of the intersection, over the union.
    jaccard = 1 - (size - hit.cumsum(dim=0)) / (size + (1 - hit).cumsum(dim=0))
    return (ordered * jaccard.diff(prepend=jaccard.new_zeros(1))).sum()
