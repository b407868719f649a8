# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layers of a map in bird's-eye view."""

from __future__ import annotations

from torch import Tensor, nn

from mtl_perception.network.blocks import conv_norm_relu


class MapSegmentationHead(nn.Module):
    """Plane features (B, C, X, Y) -> logits (B, layers, X, Y), each layer a binary map of its own.

    Layers may overlap (a crossing is drivable too), hence one sigmoid each, and two 3x3 convolutions before them, as in
    BEVFusion (Liu et al. 2023), whose head and loss MAESTRO takes (section 3.5).
    """

    def __init__(self, width: int, layers: int) -> None:
        """Build it for `width` channels."""
        super().__init__()
        self.body = nn.Sequential(conv_norm_relu(width, width), conv_norm_relu(width, width))
        self.logits = nn.Conv2d(width, layers, 1)

    def forward(self, plane: Tensor) -> Tensor:
        """Return the logits."""
        return self.logits(self.body(plane))
