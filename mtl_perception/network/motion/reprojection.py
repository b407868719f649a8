# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels move by themselves: the current image against the previous one, warped as if the scene stood still."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.config import ReprojectionMotionConfig
from mtl_perception.network.dense.detail import DetailDecoder
from mtl_perception.network.geometry import reproject, sampling_grid

STRIDE = 4


class ReprojectionMotionDecoder(nn.Module):
    """Motion logits from two frames with known camera motion.

    The previous embedding is warped by the predicted depth and the camera's motion; a static point then matches in
    place, a moving one matches beside. A local cost volume (as PWC-Net's, Sun et al. 2018, section 3) shows where it
    matches; the epipolar direction tells a wrong depth (along it) from motion of its own (across it).
    """

    def __init__(self, shared: int, stem: int, config: ReprojectionMotionConfig, further: int = 0) -> None:
        """Build it for `shared` channels at stride 4 and `stem` at stride 2.

        The cost volume has (2 radius + 1)^2 channels; `further` channels of evidence may come from elsewhere.
        """
        super().__init__()
        self.radius, self.further = config.radius, further
        radius, embedding = config.radius, config.embedding
        self.embed = nn.Sequential(conv_norm_relu(shared, shared // 2), nn.Conv2d(shared // 2, embedding, 1))
        evidence = (2 * radius + 1) ** 2 + embedding + 3 + 2 + 1 + 1 + further
        self.decode = nn.Sequential(
            conv_norm_relu(evidence + shared, shared), conv_norm_relu(shared, shared // 2), nn.Conv2d(shared // 2, 1, 1)
        )
        if config.detail:
            self.detail = DetailDecoder(shared // 2, stem, config.detail, 1)
            for parameter in self.detail.logits.parameters():  # a mask at stride 4 is where it starts
                nn.init.zeros_(parameter)

    def embedding(self, shared: Tensor) -> Tensor:
        """Return the unit-length embedding (N, E, H/4, W/4) that is compared, and kept for the next frame."""
        return functional.normalize(self.embed(shared), dim=1)

    def forward(
        self,
        shared: Tensor,
        stem: Tensor,
        embedding: Tensor,
        depth: Tensor,
        batch: CameraBatch,
        previous: PreviousFrame,
        further: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits (N, H/2, W/2) that follow what the image shows, and those at stride 4, (N, H/4, W/4).

        Without `detail` in the configuration both are the latter.

        Args:
            shared: (N, C, H/4, W/4).
            stem: (N, C', H/2, W/2).
            embedding: (N, E, H/4, W/4).
            depth: (N, H/4, W/4) metres; no gradient reaches it from here.
            batch: the current images.
            previous: what was kept of the frame before, with the cameras' motion.
            further: (N, F, H/4, W/4); None is taken for zeros.

        Raises:
            ValueError: the cameras' poses are not known.
        """
        motion = previous.previous_from_current
        if motion is None:
            raise ValueError("motion masks by reprojection need the cameras' poses")
        depth = depth.float()  # pixel coordinates need more digits than bfloat16 has
        pixels, in_front = reproject(depth, batch.K, motion, previous.K, STRIDE)
        farther, _ = reproject(1.1 * depth, batch.K, motion, previous.K, STRIDE)
        grid = sampling_grid(pixels)
        inside = in_front & (grid.abs() <= 1).all(dim=-1)
        before, seen = previous.features["embedding"].float(), previous.features["thumbnail"].float()
        warped = functional.grid_sample(before, grid, align_corners=False)
        warped_image = functional.grid_sample(seen, grid, align_corners=False)
        evidence = torch.cat(
            [
                self._cost_volume(embedding, warped),
                (embedding - warped).abs(),
                (thumbnail(batch.images) - warped_image).abs(),
                (farther - pixels).permute(0, 3, 1, 2).clamp(-4, 4),
                inside[:, None].to(depth.dtype),
                depth[:, None].log(),
            ],
            dim=1,
        )
        if self.further:
            nothing = evidence.new_zeros(len(evidence), self.further, *evidence.shape[2:])
            evidence = torch.cat([evidence, nothing if further is None else further], dim=1)
        hidden = self.decode[:-1](torch.cat([evidence.to(shared.dtype), shared], dim=1))
        coarse = self.decode[-1](hidden)
        if not hasattr(self, "detail"):
            return coarse[:, 0], coarse[:, 0]
        fine = functional.interpolate(coarse, stem.shape[-2:], mode="bilinear") + self.detail(hidden, stem)
        return fine[:, 0], coarse[:, 0]

    def _cost_volume(self, current: Tensor, warped: Tensor) -> Tensor:
        """Compare each pixel with those around it in the warped map: (N, side^2, h, w), zero beyond the border."""
        side, (height, width) = 2 * self.radius + 1, current.shape[-2:]
        around = functional.pad(warped, (self.radius,) * 4)
        own = current.to(warped.dtype)
        # A map at a time: all windows at once would not fit into a processor's cache.
        return torch.stack(
            [(own * around[:, :, y : y + height, x : x + width]).sum(dim=1) for y in range(side) for x in range(side)],
            dim=1,
        )


def thumbnail(images: Tensor) -> Tensor:
    """Return the images at stride 4, (N, 3, H/4, W/4), sizes rounded up."""
    return functional.avg_pool2d(images, STRIDE, ceil_mode=True)
