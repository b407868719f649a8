# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Put together as M2H is, the parts have the number of parameters that M2H publishes."""

import pytest
import torch
from torch import nn

from mtl_perception.network.dense.cross_task_attention import WindowCrossTaskAttention
from mtl_perception.network.dense.gated_fusion import GlobalGatedFusion, UniqueStream
from mtl_perception.network.dense.heads import RefinedHead, UpsamplingHead
from mtl_perception.network.dense.multi_scale_fusion import MultiScaleFusion
from mtl_perception.network.encoding.token_reassembly import TokenReassembly

DINOV2_SMALL = 22_056_576  # Dinov2Model, 12 layers of 384 channels, patches of 14
EMBEDDING = 384


def parameters(width: int, reduction: int, unique: bool) -> int:
    """Return the parameters of an M2H for depth, 41 labels, normals and edges."""
    with torch.device("meta"):
        parts: list[nn.Module] = [
            TokenReassembly(EMBEDDING, width),
            *(MultiScaleFusion(width) for _ in range(4)),
            WindowCrossTaskAttention(width, 4, reduction=reduction),
            *(GlobalGatedFusion(width) for _ in range(2)),
            *(UniqueStream(EMBEDDING, width) for _ in range(2 if unique else 0)),
            *(RefinedHead(width, outputs) for outputs in (65, 41)),
            *(UpsamplingHead(width, outputs) for outputs in (3, 1)),
        ]
    return DINOV2_SMALL + sum(parameter.numel() for part in parts for parameter in part.parameters())


def test_the_full_network() -> None:
    assert parameters(256, 1, unique=True) == pytest.approx(81e6, rel=0.01)


def test_the_small_network() -> None:
    assert parameters(96, 4, unique=False) == pytest.approx(33.7e6, rel=0.01)
