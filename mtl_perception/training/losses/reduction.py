# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Means over what is known."""

from __future__ import annotations

from torch import Tensor


def mean_of(values: Tensor) -> Tensor:
    """Return the mean, or 0 (with a gradient path) where there is no value."""
    return values.sum() / max(1, values.numel())
