# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow from matches: how far a match says that a point has moved in the direction that the network sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.motion.displacement import EVIDENCE, Displacement

EXPECTED_SCALE = 0.3
"""Metres of an expectation of 1."""
LARGEST_LOG_PRECISION = 8.0


class MatchedSceneFlow(nn.Module):
    """Shared features and measured displacements -> what each pixel's point has moved by itself, (N, 3, h, w) metres.

    For small computers, in place of the unified encoder's decoder, which has to learn the camera's motion and the depth
    over again to tell the complete flow: matches and depth are there already, and their difference is the independent
    flow of a thing that moves, noise where nothing does. RAFT-3D (Teed and Deng 2021) iterates on the same quantities.

    How far something has come towards the camera, the difference of two predicted depths tells badly, and a match not
    at all. What a picture does show is which way a car or a person is heading; with that the match tells the distance,
    unless the way is that of the camera: then there is an expectation, of a precision that the network gives, too.
    """

    def __init__(self, shared: int) -> None:
        """Build it for `shared` channels at stride 4."""
        super().__init__()
        self.decode = nn.Sequential(
            conv_norm_relu(shared + EVIDENCE + 1, shared),
            conv_norm_relu(shared, shared // 2),
            nn.Conv2d(shared // 2, 5, 1),
        )

    def forward(self, shared: Tensor, displacement: Displacement, depth: Tensor) -> Tensor:
        """Decode; `depth` (N, h, w) metres."""
        seen = torch.cat([displacement.evidence(), depth.detach().log()[:, None]], dim=1)
        decoded = self.decode(torch.cat([seen.to(shared.dtype), shared], dim=1)).float()
        direction, expected, precision = decoded.split([3, 1, 1], dim=1)
        direction = functional.normalize(direction, dim=1)
        precision = precision[:, 0].clamp(-LARGEST_LOG_PRECISION, LARGEST_LOG_PRECISION).exp()
        return direction * displacement.along(direction, EXPECTED_SCALE * expected[:, 0], precision)[:, None]
