# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The steering angle from up to 16 frames: tokens of each frame, attentive pooling over all, and the head.

The unified encoder (section III-D) feeds a sequence of 16 frames from the frozen encoder to an attentive pooler and
says no more; one learned query that attends to all tokens, with codes of their time, is our reading.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import History

# Wavelengths of the time codes, in seconds: from neighbouring frames to the length of a manoeuvre.
SHORTEST_WAVE = 0.1
LONGEST_WAVE = 20.0
WAVES = 16
WHEELBASE = 2.7  # metres, of a car; another vehicle's angle is in the same proportion
SLOWEST = 1.0  # m/s
LARGEST_RATE = 50.0  # rad/s and m/s: what is beyond is no motion of a vehicle
LOG_VARIANCE_START = -4.0  # 0.14 rad
LOG_VARIANCE_REACH = 6.0


class FrameTokens(nn.Module):
    """Maps (N, C, h, w) of all cameras of B frames -> tokens (B, rows * columns, C), whatever the cameras' number.

    Each map is averaged over a grid of rows x columns, then over the cameras of its frame. A frame without cameras has
    zeros.
    """

    def __init__(self, rows: int = 2, columns: int = 4) -> None:
        """Build it for that grid."""
        super().__init__()
        self.grid = (rows, columns)

    def forward(self, features: Tensor, frame_index: Tensor, num_frames: int) -> Tensor:
        """Pool; `frame_index` (N,) int64 is the frame of each map, `num_frames` B."""
        cells = functional.adaptive_avg_pool2d(features.float(), self.grid).flatten(2).transpose(1, 2)
        sums = cells.new_zeros(num_frames, *cells.shape[1:]).index_add(0, frame_index, cells)
        counts = cells.new_zeros(num_frames).index_add(0, frame_index, torch.ones_like(cells[:, 0, 0]))
        return (sums / counts.clamp(min=1.0)[:, None, None]).to(features.dtype)


class MotionToken(nn.Module):
    """How the base moved (B, 6), per second -> one more token (B, 1, width) of the frame.

    Beside the rates themselves the network gets the angle that the front wheels of a vehicle with a wheelbase of
    `WHEELBASE` have on a circle of that curvature (the bicycle model), which holds a division that it would have to
    learn. Below `SLOWEST` the curvature is taken for less than it is: of a vehicle that stands it says nothing.
    """

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.enter = nn.Linear(8, width)
        self.layers = nn.Sequential(nn.GELU(), nn.Linear(width, width))

    def forward(self, twist: Tensor) -> Tensor:
        """Embed rates of rotation (rad/s) and translation (m/s) in the base's axes; NaN: not known."""
        known = torch.isfinite(twist).all(dim=1, keepdim=True)
        rates = torch.where(known, twist, 0.0).clamp(-LARGEST_RATE, LARGEST_RATE)
        turning, moving = rates[:, :3], rates[:, 3:]
        angle = torch.atan(WHEELBASE * turning[:, 2:] / moving.norm(dim=1, keepdim=True).clamp(min=SLOWEST))
        values = torch.cat([turning, moving / 10.0, 4.0 * angle, known.to(rates.dtype)], dim=1)
        token: Tensor = self.layers(self.enter(values.to(self.enter.weight.dtype)))
        return token[:, None]


class AttentivePooler(nn.Module):
    """Tokens (B, T, L, C) of T <= `frames` frames -> (B, C).

    One learned query attends to all tokens of all valid frames, coded by their place in the frame and by their age; an
    MLP follows. Ages are in seconds, so that neither the frame rate nor a lost frame matters.
    """

    def __init__(self, width: int, frames: int = 16, heads: int = 4, tokens: int = 8) -> None:
        """Build it for `tokens` (L) of `width` channels (C) a frame.

        Raises:
            ValueError: `width` is no multiple of `heads`.
        """
        super().__init__()
        if width % heads:
            message = f"a width of {width} does not divide into {heads} heads"
            raise ValueError(message)
        self.frames, self.heads = frames, heads
        self.query = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.time = nn.Linear(2 * WAVES, width)
        self.norm = nn.LayerNorm(width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, age: Tensor, valid: Tensor) -> Tensor:
        """Pool.

        Args:
            tokens: (B, T, L, C).
            age: (B, T) seconds before the newest frame.
            valid: (B, T) bool; what other frames hold does not matter. Without any, the result is a constant.

        Raises:
            ValueError: T is more than `frames`, or L not what the pooler was built for.
        """
        batch, length, count, width = tokens.shape
        if length > self.frames:
            message = f"{length} frames, at most {self.frames}"
            raise ValueError(message)
        if count != len(self.place):
            message = f"{count} tokens a frame, not {len(self.place)}"
            raise ValueError(message)
        kept = valid[:, :, None, None]
        age = torch.where(valid, age.float(), 0.0)
        coded = torch.where(kept, tokens, 0.0) + self._time(age).to(tokens.dtype)[:, :, None] + self.place
        coded = self.norm(coded).flatten(1, 2)
        keys = self.key(coded).unflatten(2, (self.heads, -1))
        values = self.value(coded).unflatten(2, (self.heads, -1))
        query = self.query.view(self.heads, -1)
        scores = torch.einsum("hd,bnhd->bhn", query, keys) / math.sqrt(width / self.heads)
        seen = kept.expand(batch, length, count, 1).reshape(batch, 1, length * count)
        # Not minus infinity, whose softmax is undefined where no frame is valid.
        weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(dim=2)
        pooled = self.query + self.project(torch.einsum("bhn,bnhd->bhd", weights, values).flatten(1))
        return pooled + self.mlp(pooled)

    def _time(self, age: Tensor) -> Tensor:
        # Not a buffer, and in float32 up to the codes: bfloat16 would blur the phase of the short waves.
        waves = torch.logspace(math.log10(SHORTEST_WAVE), math.log10(LONGEST_WAVE), WAVES, device=age.device)
        phase = 2.0 * math.pi * age[:, :, None] / waves
        return self.time(torch.cat([phase.sin(), phase.cos()], dim=2).to(self.time.weight.dtype))


def with_past(now: Tensor, history: History | None, name: str, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return values (B, T, ...) of the last T <= `frames` frames, the newest last, their age and validity (B, T).

    Args:
        now: (B, ...), of the current frame.
        history: has `name` of the frames before, or None.
        name: of the feature.
        frames: most frames, the current one included.
    """
    values, age = now[:, None], now.new_zeros(len(now), 1)
    valid = torch.ones(len(now), 1, dtype=torch.bool, device=now.device)
    if history is None or name not in history.features or frames == 1:
        return values, age, valid
    newest = slice(1 - frames, None)
    values = torch.cat([history.features[name][:, newest], values], dim=1)
    age = torch.cat([history.age[:, newest].to(age.dtype), age], dim=1)
    return values, age, torch.cat([history.valid[:, newest], valid], dim=1)


class SteeringHead(nn.Module):
    """Pooled features (B, width) -> steering angle (B,) in radians and its log variance (B,), both float32.

    The log variance is our addition, within exp(+-3) of 0.14 rad.
    """

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Decode."""
        angle, change = self.layers(pooled).float().unbind(dim=1)
        return angle, LOG_VARIANCE_START + LOG_VARIANCE_REACH * torch.tanh(change / LOG_VARIANCE_REACH)
