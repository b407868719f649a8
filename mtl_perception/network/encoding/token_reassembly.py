# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A pyramid of maps from the tokens of a vision transformer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class TokenReassembly(nn.Module):
    """Tokens of four depths, all on the patches' grid, to levels at 4, 2, 1 and 1/2 times that grid (M2H, MSTR).

    The reassembly of DPT (Ranftl et al. 2021, section 3.1) with its "project" readout: each depth joins the summary
    token to every patch, changes the width, resizes with learned filters, and ends at the width of all levels.

    Maps (N, embedding + geometry, h, w) and summaries (N, embedding) to (N, width, 4h, 4w), (N, width, 2h, 2w),
    (N, width, h, w) and (N, width, h/2, w/2), the last size rounded up. The geometry channels take part in the first
    step like those of the token (our reading; the published method knows no calibration).
    """

    def __init__(
        self, embedding: int, width: int, widths: Sequence[int] = (48, 96, 192, 384), geometry: int = 0
    ) -> None:
        """Build it for tokens of `embedding` channels; `widths` are those between, finest first.

        Raises:
            ValueError: there are not four widths.
        """
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"the reassembly needs four widths, not {len(widths)}")
        # One linear layer of [patch; summary]: the summary's part is the same at every patch, so it is computed once.
        self.patch = nn.ModuleList(nn.Conv2d(embedding + geometry, embedding, 1) for _ in widths)
        self.summary = nn.ModuleList(nn.Linear(embedding, embedding, bias=False) for _ in widths)
        self.project = nn.ModuleList(nn.Conv2d(embedding, inner, 1) for inner in widths)
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(widths[0], widths[0], 4, 4),
                nn.ConvTranspose2d(widths[1], widths[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(widths[3], widths[3], 3, 2, 1),
            ]
        )
        self.smooth = nn.ModuleList(nn.Conv2d(inner, width, 3, 1, 1) for inner in widths)

    def forward(self, maps: Sequence[Tensor], summaries: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels, finest first."""
        levels = []
        for depth, (tokens, summary) in enumerate(zip(maps, summaries, strict=True)):
            joined = functional.gelu(self.patch[depth](tokens) + self.summary[depth](summary)[:, :, None, None])
            levels.append(self.smooth[depth](self.resize[depth](self.project[depth](joined))))
        return levels
