# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow from matches: the measured displacement, trusted as far as the network thinks right, and corrected."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.motion.displacement import EVIDENCE, Displacement

OUTPUT_SCALE = 0.1
"""Metres of a correction of 1."""


class MatchedSceneFlow(nn.Module):
    """Shared features and measured displacements -> what each pixel's point has moved by itself, (N, 3, h, w) metres.

    For small computers, in place of the unified encoder's decoder, which has to learn the camera's motion and the depth
    over again to tell the complete flow: matches and depth are there already, and their difference is the independent
    flow of a thing that moves, noise where nothing does. RAFT-3D (Teed and Deng 2021) iterates on the same quantities.
    """

    def __init__(self, shared: int) -> None:
        """Build it for `shared` channels at stride 4."""
        super().__init__()
        self.decode = nn.Sequential(
            conv_norm_relu(shared + EVIDENCE + 1, shared),
            conv_norm_relu(shared, shared // 2),
            nn.Conv2d(shared // 2, 6, 1),
        )

    def forward(self, shared: Tensor, displacement: Displacement, depth: Tensor) -> Tensor:
        """Decode; `depth` (N, h, w) metres."""
        seen = torch.cat([displacement.evidence(), depth.detach().log()[:, None]], dim=1)
        decoded = self.decode(torch.cat([seen.to(shared.dtype), shared], dim=1)).float()
        trust, correction = decoded[:, :3].sigmoid(), decoded[:, 3:]
        return trust * displacement.metres + OUTPUT_SCALE * correction
