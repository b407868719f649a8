# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How each camera has moved since the frame before, from the feature pyramids of both frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.blocks import ResidualBlock, conv_norm_relu
from mtl_perception.network.motion.se3 import matrix_from_vector, rig_motion, vector_from_matrix

OUTPUT_SCALE = 0.01  # of monodepth2: starts near the identity
# Where the log variances start, and how far they can go from there: 1 degree and 2 cm, times or over e^3.
LOG_VARIANCE_START = -8.0
LOG_VARIANCE_REACH = 6.0


@dataclass(frozen=True)
class EgoMotion:
    """The motion of N cameras from the previous to the current frame; float32 whatever the network computes in.

    Attributes:
        vector: (N, 6), axis-angle (rad) and translation (m) of previous_from_current.
        log_variance: (N, 6), of the components of `vector`, rad^2 and m^2.
    """

    vector: Tensor
    log_variance: Tensor

    @property
    def previous_from_current(self) -> Tensor:
        """The motion as matrices (N, 4, 4): T_{t->s}, target t the current and source s the previous frame."""
        return matrix_from_vector(self.vector)


def base_twist(motion: EgoMotion | None, previous: PreviousFrame | None, batch: CameraBatch) -> Tensor | None:
    """Return how each frame's base has moved per second since the frame before, as told by the images alone.

    Args:
        motion: of the cameras, or None.
        previous: the frame before, with the seconds since then, or None.
        batch: the current cameras; B frames.

    Returns:
        (B, 6) rates of rotation (rad/s) and translation (m/s) in the axes of the base at the frame before, NaN where
        not known; None where it is known of no frame.
    """
    if motion is None or previous is None or previous.elapsed is None:
        return None
    valid, frames = previous.of_one_frame, batch.frame_index
    moved, _ = rig_motion(
        motion.previous_from_current, batch.base_from_camera, motion.log_variance, valid, frames, batch.num_frames
    )
    share = valid.to(previous.elapsed.dtype)
    count = share.new_zeros(batch.num_frames).index_add(0, frames, share)
    elapsed = share.new_zeros(batch.num_frames).index_add(0, frames, share * previous.elapsed) / count
    return vector_from_matrix(moved) / elapsed[:, None]  # 0 / NaN where no camera has an image of the frame before


class EgoMotionDecoder(nn.Module):
    """Two pyramids of (N, width, h, w), finest first -> `EgoMotion` (unified encoder, section III-C).

    On each level the features of both frames and the downsampled result of the finer level pass two residual blocks;
    the coarsest result goes through monodepth2's head (Godard et al. 2019). The paper gives no widths: the blocks have
    half of `width`, which suits a CPU. The log variance, from the same head, is our addition: it weighs the cameras of
    a rig against each other.
    """

    def __init__(self, width: int, levels: int = 4, hidden: int = 256) -> None:
        """Build it for `levels` of `width` channels; `hidden` channels in the head."""
        super().__init__()
        channels = width // 2
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _Residual(2 * width + (channels if level else 0), channels),
                _Residual(channels, channels),
            )
            for level in range(levels)
        )
        self.head = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, 1, 1),
            nn.ReLU(inplace=True),
        )
        self.vector = nn.Conv2d(hidden, 6, 1)
        self.log_variance = nn.Conv2d(hidden, 6, 1)

    def forward(self, previous_levels: Sequence[Tensor], current_levels: Sequence[Tensor]) -> EgoMotion:
        """Decode.

        Raises:
            ValueError: the number of levels is not that of the decoder.
        """
        if not len(previous_levels) == len(current_levels) == len(self.blocks):
            message = f"{len(previous_levels)} and {len(current_levels)} levels, not {len(self.blocks)}"
            raise ValueError(message)
        finer: Tensor | None = None
        for block, previous, current in zip(self.blocks, previous_levels, current_levels, strict=True):
            features = [previous, current]
            if finer is not None:
                # At half the size this is the mean of 2x2 pixels; it also fits odd sizes.
                features.append(functional.interpolate(finer, current.shape[-2:], mode="bilinear"))
            finer = block(torch.cat(features, dim=1))
        hidden = self.head(finer)
        vector = OUTPUT_SCALE * self.vector(hidden).float().mean(dim=(2, 3))
        change = self.log_variance(hidden).float().mean(dim=(2, 3))
        bounded = LOG_VARIANCE_REACH * torch.tanh(change / LOG_VARIANCE_REACH)
        return EgoMotion(vector, LOG_VARIANCE_START + bounded)


class SeparateEgoMotion(nn.Module):
    """Two images (N, 3, H, W) -> `EgoMotion`, with an encoder of its own that sees both at once.

    What the unified encoder's shared pose decoder is compared with: as in monodepth2 the images are stacked, and only
    the last map, at stride 32, goes to the decoder. `width` is that of the shared levels, which set its size.
    """

    def __init__(self, width: int) -> None:
        """Build it; its maps have from a half to twice `width` channels."""
        super().__init__()
        widths = (width // 2, width, width, 2 * width, 2 * width)
        self.encoder = nn.Sequential(
            conv_norm_relu(6, widths[0], 3, 2),
            *(ResidualBlock(before, after, 2) for before, after in pairwise(widths)),
        )
        self.decoder = EgoMotionDecoder(width, levels=1)

    def forward(self, previous: Tensor, current: Tensor) -> EgoMotion:
        """Tell the motion."""
        first, second = self.encoder(torch.cat([previous, current], dim=1)).chunk(2, dim=1)
        motion: EgoMotion = self.decoder([first], [second])
        return motion


class _Residual(nn.Module):
    """ReLU(ConvBNReLU(ConvBN(x)) + Shortcut(x)), as the paper prints it: (N, inputs, h, w) -> (N, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), _BatchNorm(outputs))
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), _BatchNorm(outputs), nn.ReLU())
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), _BatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm that falls back on its running statistics where a single value a channel has none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
