# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where each pixel was in the previous image, by comparing features over the whole image and then nearby."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.geometry import in_full_precision, sampling_grid

COARSE_STRIDE, STRIDE = 8, 4
WINDOW = 2
"""Cells around the best match whose mean, weighted by how well they match, is the match to a part of a cell."""
RADIUS = 2
"""Cells around the coarse match that are searched at the fine stride."""
PRECISION_MIDDLE, PRECISION_REACH = 0.0, 7.0
"""Bounds of the log precision: a standard deviation between 0.03 and 33 cells."""


@dataclass(frozen=True)
class Matches:
    """Of each pixel of N images, where it was in the previous image; float32.

    Attributes:
        similarity: (N, P, P), logits of the coarse match, each of the P = h/2 * w/2 pixels at stride 8 against all.
        coarse: (N, h/2, w/2, 2), in pixels of the map at stride 8, x first.
        fine: (N, h, w, 2), in pixels of the map at stride 4.
        log_precision: (N, h, w), log of the inverse variance (a coordinate) of what is left between the fine match and
            the reprojection of the pixel's depth by the camera's true motion; low where things move by themselves,
            depth is uncertain, or nothing matches.
        still_log_precision: (N, h, w), the same if the pixel's true depth were known: of the match alone.
    """

    similarity: Tensor
    coarse: Tensor
    fine: Tensor
    log_precision: Tensor
    still_log_precision: Tensor

    def select(self, rows: Tensor) -> Matches:
        """Return those of some of the images (M,) int64."""
        return Matches(*(getattr(self, field.name)[rows] for field in fields(self)))


class PairMatching(nn.Module):
    """Shared levels of two frames -> `Matches`.

    Coarse: all pixels against all (GMFlow, Xu et al. 2022, section 3.2), then the mean of the neighbourhood of the best
    one, so that a second, far maximum does not pull it away (our reading: their softmax is over the whole image). Fine:
    a window around the coarse match at stride 4, and a correction by a small network that sees the window (as one step
    of RAFT, Teed and Deng 2020). No pose enters.
    """

    scale: nn.Parameter

    def __init__(self, shared: int, width: int, fine_width: int) -> None:
        """Build it for levels of `shared` channels."""
        super().__init__()
        self.embed_coarse = nn.Sequential(conv_norm_relu(shared, shared), nn.Conv2d(shared, width, 1))
        self.embed_fine = nn.Sequential(conv_norm_relu(shared, shared // 2), nn.Conv2d(shared // 2, fine_width, 1))
        self.scale = nn.Parameter(torch.tensor([10.0, 10.0]))  # of the similarities in both softmaxes
        window = (2 * RADIUS + 1) ** 2
        self.refine = nn.Sequential(
            conv_norm_relu(window + 2 + 2 + 1 + shared, shared), conv_norm_relu(shared, shared // 2)
        )
        self.correction = nn.Conv2d(shared // 2, 2, 1)
        self.log_precision = nn.Conv2d(shared // 2, 2, 1)  # with the depth that is estimated, and with the true one
        for parameter in self.correction.parameters():
            nn.init.zeros_(parameter)

    def embeddings(self, levels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the unit-length embeddings that are compared, and kept for the next frame."""
        return {
            "match_coarse": functional.normalize(self.embed_coarse(levels[1]), dim=1),
            "match_fine": functional.normalize(self.embed_fine(levels[0]), dim=1),
        }

    def forward(self, finest: Tensor, current: Mapping[str, Tensor], previous: Mapping[str, Tensor]) -> Matches:
        """Match.

        Args:
            finest: (N, C, h, w), the current images' level at stride 4.
            current, previous: what `embeddings` gave for both frames.
        """
        similarity = self._similarity(current["match_coarse"].float(), previous["match_coarse"].float())
        coarse, certainty = self._best(similarity, current["match_coarse"].shape[-2:])
        height, width = finest.shape[-2:]
        start = _enlarged(coarse, height, width)
        certainty = functional.interpolate(certainty[:, None], (height, width), mode="bilinear")
        nearby, offset = self._window(current["match_fine"].float(), previous["match_fine"].float(), start)
        own = _pixels(height, width, start.device)
        moved = (start - own).permute(0, 3, 1, 2).clamp(-16, 16) / 4
        seen = torch.cat([nearby, offset.permute(0, 3, 1, 2), moved, certainty], dim=1)
        hidden = self.refine(torch.cat([seen.to(finest.dtype), finest], dim=1))
        correction = self.correction(hidden).float().permute(0, 2, 3, 1)
        bounded = PRECISION_REACH * torch.tanh(self.log_precision(hidden).float() / PRECISION_REACH)
        log_precision, still_log_precision = (PRECISION_MIDDLE + bounded).unbind(dim=1)
        return Matches(similarity, coarse, start + offset + correction, log_precision, still_log_precision)

    @in_full_precision
    def _similarity(self, current: Tensor, previous: Tensor) -> Tensor:
        return self.scale[0] * torch.einsum("ncp,ncq->npq", current.flatten(2), previous.flatten(2))

    @in_full_precision
    def _best(self, similarity: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return matches (N, h, w, 2) and the share of the whole softmax that lies in the best one's window."""
        height, width = size
        places = _pixels(height, width, similarity.device).flatten(0, 1)
        around = places[similarity.argmax(dim=2)]
        near = ((places[:, 0] - around[..., :1]).abs() <= WINDOW) & ((places[:, 1] - around[..., 1:]).abs() <= WINDOW)
        weights = similarity.softmax(dim=2) * near
        share = weights.sum(dim=2)
        matches = torch.einsum("npq,qc->npc", weights, places) / share.clamp(min=1e-6)[..., None]
        return matches.view(-1, height, width, 2), share.view(-1, height, width)

    @in_full_precision
    def _window(self, current: Tensor, previous: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return similarities (N, K, h, w) around `start`, and the offset (N, h, w, 2) that they speak for."""
        side = torch.arange(-RADIUS, RADIUS + 1, device=start.device, dtype=start.dtype)
        steps = torch.stack([side.repeat(len(side)), side.repeat_interleave(len(side))], dim=1)
        count, height, width, _ = start.shape
        places = (start[:, None] + steps[None, :, None, None]).flatten(0, 1)
        grid = sampling_grid(places).view(count, len(steps) * height, width, 2)
        sampled = functional.grid_sample(previous, grid, align_corners=False).view(
            count, previous.shape[1], len(steps), height, width
        )
        similarity = self.scale[1] * torch.einsum("nchw,nckhw->nkhw", current, sampled)
        offset = torch.einsum("nkhw,kc->nhwc", similarity.softmax(dim=1), steps)
        return similarity, offset


def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """Return the coordinates (h, w, 2) of a map's pixels, x first."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device).float(), torch.arange(width, device=device).float(), indexing="ij"
    )
    return torch.stack([columns, rows], dim=-1)


def _enlarged(matches: Tensor, height: int, width: int) -> Tensor:
    """Bring matches to twice the resolution: coordinates of the finer map, at each of its pixels."""
    coarse = matches - _pixels(matches.shape[1], matches.shape[2], matches.device)
    fine = functional.interpolate(coarse.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False)
    return _pixels(height, width, matches.device) + (COARSE_STRIDE / STRIDE) * fine.permute(0, 2, 3, 1)
