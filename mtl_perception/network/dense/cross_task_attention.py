# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks look at each other inside small windows (M2H's window-based cross-task attention, WMCA)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

POOL = 2


class WindowCrossTaskAttention(nn.Module):
    """T maps (N, width, h, w), one a task, to T maps of that shape (M2H, WMCA).

    Maps are cut into windows of `window` x `window` pixels; in each window the tokens of all tasks attend to each other
    (T * window^2 tokens, one shared self-attention). Windows are not shifted and there is no position or task
    embedding, as in M2H's published code; what tells tasks apart are their own layer norms. Maps that do not divide
    into windows are padded right and below. Unlike that code, nothing attends to the padding, so that a window at the
    border sees its own pixels only.

    `reduction` > 1 is M2H-small's cheaper form (there 4): 1x1 convolution to width / reduction channels and 2x2 max
    pooling before; a 1x1 convolution back and bilinear x2 after (in this order, which commutes and costs a quarter).
    A map's own pixels reach the result only through the attention; there is no shortcut around it.

    Raises:
        ValueError: `width` / `reduction` is not a whole number of heads; (in forward) not `tasks` maps.
    """

    def __init__(
        self, width: int, tasks: int, layers: int = 2, heads: int = 4, window: int = 7, reduction: int = 1
    ) -> None:
        """Build it; `tasks` maps will come in a fixed order."""
        super().__init__()
        if width % (reduction * heads):
            raise ValueError(f"width {width} / reduction {reduction} does not divide into {heads} heads")
        self.tasks, self.window, self.reduction = tasks, window, reduction
        inner = width // reduction
        self.layers = nn.ModuleList([CrossTaskLayer(inner, tasks, heads) for _ in range(layers)])
        if reduction > 1:
            self.narrow = nn.ModuleList([nn.Conv2d(width, inner, 1) for _ in range(tasks)])
            self.widen = nn.ModuleList([nn.Conv2d(inner, width, 1) for _ in range(tasks)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Let the tasks attend to each other."""
        if len(maps) != self.tasks:
            raise ValueError(f"attention across {self.tasks} tasks got {len(maps)} maps")
        if self.reduction == 1:
            return self._attend(maps)
        height, width = maps[0].shape[-2:]
        # ceil_mode, so that the last row and column of an odd size are not lost.
        pooled = [
            functional.max_pool2d(narrow(x), POOL, ceil_mode=True) for narrow, x in zip(self.narrow, maps, strict=True)
        ]
        attended = [widen(x) for widen, x in zip(self.widen, self._attend(pooled), strict=True)]
        finer = [functional.interpolate(x, scale_factor=float(POOL), mode="bilinear") for x in attended]
        return [x[:, :, :height, :width] for x in finer]

    def _attend(self, maps: Sequence[Tensor]) -> list[Tensor]:
        count, channels, height, width = maps[0].shape
        side, tasks = self.window, self.tasks
        rows, columns = -(-height // side), -(-width // side)
        padding = (0, columns * side - width, 0, rows * side - height)
        x = functional.pad(torch.stack(list(maps), dim=1), padding)
        x = x.view(count, tasks, channels, rows, side, columns, side).permute(0, 3, 5, 1, 4, 6, 2)
        x = x.reshape(count * rows * columns, tasks, side * side, channels)
        visible = self._visible(count, height, width, maps[0].device) if any(padding) else None
        for layer in self.layers:  # padding stays unseen, so that windows need not be put together in between
            x = layer(x, visible)
        x = x.view(count, rows, columns, tasks, side, side, channels).permute(0, 3, 6, 1, 4, 2, 5)
        x = x.reshape(count, tasks, channels, rows * side, columns * side)[..., :height, :width]
        return list(x.unbind(dim=1))

    def _visible(self, count: int, height: int, width: int, device: torch.device) -> Tensor:
        """Return which tokens of each window are pixels of the map, (N * windows, 1, 1, T * window^2)."""
        side = self.window
        inside = torch.ones(height, width, dtype=torch.bool, device=device)
        inside = functional.pad(inside, (0, -width % side, 0, -height % side))
        windows = inside.view(-(-height // side), side, -(-width // side), side).permute(0, 2, 1, 3)
        tokens = windows.reshape(-1, side * side).repeat(count, self.tasks)
        return tokens[:, None, None, :]


class CrossTaskLayer(nn.Module):
    """Self-attention over the tokens of all tasks of a window, then a GELU feed-forward of four times the width.

    Norms are one a task, before the attention and at the very end; both shortcuts start behind the first norm (M2H's
    published code). In and out: (windows, T, tokens, channels).
    """

    def __init__(self, width: int, tasks: int, heads: int) -> None:
        """Build it."""
        super().__init__()
        self.heads = heads
        self.before = TaskLayerNorm(width, tasks)
        self.after = TaskLayerNorm(width, tasks)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Apply the layer; `visible` (windows, 1, 1, T * tokens) False keeps a token from being attended to."""
        windows, tasks, tokens, channels = x.shape
        joined = self.before(x).reshape(windows, tasks * tokens, channels)
        split = self.query_key_value(joined).view(windows, tasks * tokens, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(dim=0)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        joined = joined + self.output(attended.transpose(1, 2).reshape(windows, tasks * tokens, channels))
        joined = joined + self.feed_forward(joined)
        return self.after(joined.view(windows, tasks, tokens, channels))


class TaskLayerNorm(nn.Module):
    """Layer norm over the channels with scales and offsets of each task's own: (windows, T, tokens, channels)."""

    def __init__(self, width: int, tasks: int) -> None:
        """Build it."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(tasks, 1, width))
        self.bias = nn.Parameter(torch.zeros(tasks, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias
