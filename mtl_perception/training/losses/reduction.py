# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Means over what is known, and truth at the size of a decoder's map."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of(values: Tensor) -> Tensor:
    """Return the mean, or 0 (with a gradient path) where there is no value."""
    return values.sum() / max(1, values.numel())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of finite values with weights of the same shape, or 0 (with a gradient path) if all weigh 0."""
    weights = weights.to(values.dtype)
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def stride_of(truth: Tensor, prediction: Tensor) -> int:
    """Return how many pixels of truth (..., H, W) a pixel of a prediction (..., h, w) stands for along each axis.

    Raises:
        ValueError: the sizes are not those of one stride (the last row or column of a prediction may be cut off).
    """
    full, own = truth.shape[-2:], prediction.shape[-2:]
    stride = -(-full[0] // own[0])
    if any(-(-pixels // stride) != size for pixels, size in zip(full, own, strict=True)):
        raise ValueError(f"truth of {full[1]}x{full[0]} pixels does not fit a map of {own[1]}x{own[0]}")
    return stride


def nearest(truth: Tensor, prediction: Tensor) -> Tensor:
    """Sample truth (..., H, W) at a prediction's size; classes, depths and borders must not be averaged."""
    stride = stride_of(truth, prediction)
    last = [size - 1 for size in truth.shape[-2:]]
    rows, columns = (
        (torch.arange(size, device=truth.device) * stride + stride // 2).clamp(max=end)
        for size, end in zip(prediction.shape[-2:], last, strict=True)
    )
    return truth[..., rows[:, None], columns[None, :]]
