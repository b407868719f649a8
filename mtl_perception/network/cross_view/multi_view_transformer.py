# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Features of each view, informed by those of its neighbours before they are matched."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiViewTransformer(nn.Module):
    """Features (N, C, h, w) -> features (N, C, h, w) that know their neighbours.

    CvM's multi-view transformer (Wang et al. 2025), the inner detail after UniMatch (Xu et al. 2023, section 3.1) and
    MVSplat (Chen et al. 2024, section 3.1): a sine position code per window; then in each layer windowed
    self-attention, windowed cross-attention whose queries are a view's tokens and whose keys are those of its
    neighbours in the same window, and a feed-forward network on [x; message]. One head. The map is split into
    windows x windows parts; odd layers shift them by half a window. Sizes that do not divide are padded, and the
    padding is masked.

    All current views are updated together, layer by layer. Views of the frame before are not: their features are those
    that this module has returned for them, and the same in every layer (our reading: the source has no cache). What a
    neighbour has learned from its own neighbours therefore travels on, one camera a layer.

    Raises:
        ValueError: `width` is no multiple of 4, or `windows` is not positive.
    """

    def __init__(self, width: int = 128, layers: int = 6, windows: int = 2) -> None:
        """Build it; at the published sizes it has 3,150,336 parameters."""
        super().__init__()
        if width % 4 or windows < 1:
            raise ValueError(f"width {width} must be a multiple of 4 and windows {windows} at least 1")
        self.windows = windows
        self.layers = nn.ModuleList(TransformerLayer(width) for _ in range(layers))

    def forward(self, features: Tensor, index: Tensor, valid: Tensor, previous: Tensor | None = None) -> Tensor:
        """Exchange information between views.

        Args:
            features: (N, C, h, w), current views.
            index: (N, V) int64, the neighbours of each view: a row of `features`, or N + a row of `previous`.
            valid: (N, V) bool, which of them count; at least one a row.
            previous: (N, C, h, w), what this module returned for the frame before. Without it no index reaches N.
        """
        _, _, height, width = features.shape
        window = math.ceil(height / self.windows), math.ceil(width / self.windows)
        position = sine_position(features.shape[1], *window).to(features)
        tiled = position.repeat(1, self.windows, self.windows)[:, :height, :width]
        x = self._padded(features + tiled, window)
        earlier = None if previous is None else self._padded(previous, window)
        shifts = [(0, 0), (window[0] // 2, window[1] // 2)]
        masks = [self._masks(height, width, window, shift, valid, features) for shift in shifts]
        for number, layer in enumerate(self.layers):
            shift = shifts[number % 2]
            split = self._split(x, window, shift)
            split_earlier = None if earlier is None else self._split(earlier, window, shift)
            x = self._merged(layer(split, split_earlier, index, *masks[number % 2]), window, shift)
        return x[:, :height, :width].permute(0, 3, 1, 2).contiguous()

    def _padded(self, features: Tensor, window: tuple[int, int]) -> Tensor:
        """Return (N, windows * window height, windows * window width, C)."""
        right = self.windows * window[1] - features.shape[3]
        below = self.windows * window[0] - features.shape[2]
        return functional.pad(features, (0, right, 0, below)).permute(0, 2, 3, 1)

    def _split(self, x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
        """Return (N, windows * windows, tokens of a window, C)."""
        count, _, _, channels = x.shape
        rolled = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
        parts = rolled.reshape(count, self.windows, window[0], self.windows, window[1], channels)
        return parts.transpose(2, 3).reshape(count, self.windows**2, window[0] * window[1], channels)

    def _merged(self, x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
        """Undo `_split`."""
        count, _, _, channels = x.shape
        parts = x.reshape(count, self.windows, self.windows, window[0], window[1], channels).transpose(2, 3)
        rolled = parts.reshape(count, self.windows * window[0], self.windows * window[1], channels)
        return torch.roll(rolled, shift, dims=(1, 2))

    def _masks(
        self,
        height: int,
        width: int,
        window: tuple[int, int],
        shift: tuple[int, int],
        valid: Tensor,
        like: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return what is added to the scores of self-attention and of cross-attention.

        Shapes (1, windows^2, T, T) and (N, windows^2, T, V * T), in the type of `like`.
        """
        rows = torch.arange(self.windows * window[0], device=like.device)
        columns = torch.arange(self.windows * window[1], device=like.device)
        real = (rows < height)[:, None] & (columns < width)[None, :]
        # What a shift rolls in from the other side is no neighbour of what is there.
        region = 2 * (rows < shift[0]).long()[:, None] + (columns < shift[1]).long()[None, :]
        real_token = self._split(real[None, :, :, None], window, shift)[0, :, :, 0]
        token_region = self._split(region[None, :, :, None], window, shift)[0, :, :, 0]
        allowed = (token_region[:, :, None] == token_region[:, None, :]) & real_token[:, None, :]
        across = (allowed[None, :, :, None, :] & valid[:, None, None, :, None]).flatten(3)
        return _additive(allowed[None], like), _additive(across, like)


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward network over tokens (N, S windows, T tokens, C)."""

    def __init__(self, width: int) -> None:
        """Build it for `width` channels; the feed-forward network goes from 2 `width` over 8 `width` to `width`."""
        super().__init__()
        self.self_attention = Attention(width)
        self.cross_attention = Attention(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(2 * width, 8 * width, bias=False),
            nn.GELU(),
            nn.Linear(8 * width, width, bias=False),
            nn.LayerNorm(width),
        )

    def forward(
        self, x: Tensor, previous: Tensor | None, index: Tensor, self_mask: Tensor, cross_mask: Tensor
    ) -> Tensor:
        """Apply the layer; neighbours are seen as they entered it, as in UniMatch."""
        views = x if previous is None else torch.cat([x, previous])
        x = x + self.self_attention(x, x, None, self_mask)
        message = self.cross_attention(x, views, index, cross_mask)
        return x + self.feed_forward(torch.cat([x, message], dim=-1))


class Attention(nn.Module):
    """Single-head attention from tokens (N, S, T, C) to those of the same window in the same or in other views."""

    def __init__(self, width: int) -> None:
        """Build it for `width` channels."""
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, views: Tensor, index: Tensor | None, mask: Tensor) -> Tensor:
        """Return the message (N, S, T, C) from `views` (M, S, T, C): the rows `index` (N, V), or without it its own."""
        key, value = self.key(views), self.value(views)
        if index is not None:
            key, value = _gathered(key, index), _gathered(value, index)
        # The windows stand where scaled_dot_product_attention expects heads: both only separate.
        message = functional.scaled_dot_product_attention(self.query(x), key, value, mask)
        return self.norm(self.merge(message))


def sine_position(channels: int, height: int, width: int) -> Tensor:
    """Return the sine position code (C, height, width) of DETR (Carion et al. 2020), rows first, then columns."""
    frequencies = 10000.0 ** (-torch.arange(channels // 4) / (channels // 4))
    codes = []
    for size in (height, width):
        angles = 2 * math.pi * torch.arange(1, size + 1)[:, None] / size * frequencies
        codes.append(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).T)
    shape = (channels // 2, height, width)
    return torch.cat([codes[0][:, :, None].expand(shape), codes[1][:, None, :].expand(shape)])


def _gathered(tokens: Tensor, index: Tensor) -> Tensor:
    """Return, for each row of `index` (N, V), the tokens of its V views one after the other: (N, S, V * T, C)."""
    picked = tokens.index_select(0, index.flatten()).unflatten(0, index.shape)
    return picked.transpose(1, 2).flatten(2, 3)


def _additive(allowed: Tensor, like: Tensor) -> Tensor:
    """Return 0 where `allowed`, else a finite number: padding, which may have nothing to look at, stays finite."""
    zeros = torch.zeros(allowed.shape, dtype=like.dtype, device=like.device)
    return zeros.masked_fill(~allowed, torch.finfo(like.dtype).min / 2)
