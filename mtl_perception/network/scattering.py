# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sums of rows by an index, right in exported networks, too."""

from __future__ import annotations

import torch
from torch import Tensor


def sums_by_index(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """Add up the rows (N, ...) that have the same index (N,) int64: (count, ...).

    `index_add` is exported as ONNX's ScatterND. onnxruntime adds its updates in several threads that lose each other's
    sums, another few at each run; ScatterElements, which `scatter_add` becomes, it runs in one.
    """
    sums = rows.new_zeros(count, *rows.shape[1:])
    if torch.onnx.is_in_onnx_export():
        return sums.scatter_add(0, index.view(-1, *(1,) * (rows.dim() - 1)).expand_as(rows), rows)
    return sums.index_add(0, index, rows)
