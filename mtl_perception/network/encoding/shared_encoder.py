# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The one encoder that every task and camera shares, around any of several backbones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.encoding.residual import ResidualEncoder
from mtl_perception.network.encoding.transformers_backbone import STRIDES, TransformersBackbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder gives.

    Attributes:
        stem: (N, stem_width, H/2, W/2), size rounded up.
        maps: four of (N, widths[l], h_l, w_l), finest first, at strides 4, 8, 16, 32, or all at that of the patch.
        summaries: four of (N, embedding), the summary token of each map of a vision transformer; otherwise None.
    """

    stem: Tensor
    maps: list[Tensor]
    summaries: list[Tensor] | None


class SharedEncoder(nn.Module):
    """Images (N, 3, H, W) in 0..1 RGB, of all cameras and frames alike, to the features that all tasks start from.

    Every frame is encoded on its own (as in the unified encoder of Nguyen et al., section III-C), so that the features
    of the last frame can be kept. How the calibration enters is our reading: for `residual` its channels are further
    input channels. Other backbones keep the three that their pretrained weights expect; the calibration, averaged over
    the pixels of each feature, is concatenated to their maps instead.

    Attributes:
        backbone: a `ResidualEncoder` or a `TransformersBackbone`.
        widths: channels of the four maps, those of the calibration included.
        stem_width: channels of the stem.
        is_token_based: the maps are tokens of a vision transformer, all of one size, for `TokenReassembly`; otherwise
            they are for `FeaturePyramid`.
        patch_size: the stride of such maps, pixels; otherwise None.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        *,
        options: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
        geometry: int = 0,
        stem_width: int = 32,
    ) -> None:
        """Build it.

        Args:
            backbone: `residual`, or a model type of the transformers library (see `TransformersBackbone`).
            options: of the backbone. `residual` needs `widths` and `blocks`, four of each.
            pretrained: a folder or the hub's name with pretrained weights; None starts from random ones.
            geometry: the number of channels that describe the calibration.
            stem_width: channels of the stem; `residual` has its own: half of its first width.

        Raises:
            ValueError: no such backbone, or options or pretrained weights that it does not have.
        """
        super().__init__()
        self.geometry = geometry
        self.backbone: ResidualEncoder | TransformersBackbone
        if backbone == "residual":
            if pretrained is not None:
                raise ValueError("the residual backbone has no pretrained weights")
            if options is None or set(options) != {"widths", "blocks"}:
                raise ValueError(f"the residual backbone needs the options widths and blocks, not {options}")
            self.backbone = ResidualEncoder(3 + geometry, options["widths"], options["blocks"])
            self.widths: tuple[int, ...] = tuple(options["widths"])
            self.stem_width = self.backbone.stem_width
            self.patch_size = None
            mean, std = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)
        else:
            self.backbone = TransformersBackbone(backbone, options=options, pretrained=pretrained)
            self.widths = tuple(channels + geometry for channels in self.backbone.channels)
            self.stem = conv_norm_relu(3 + geometry, stem_width, 3, 2)
            self.stem_width = stem_width
            self.patch_size = self.backbone.patch_size
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        self.is_token_based = self.patch_size is not None
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor, geometry: Tensor | None = None) -> EncoderOutput:
        """Encode images and what calibration says about their pixels (N, geometry, H, W).

        Raises:
            ValueError: not the number of geometry channels that the encoder was built for.
        """
        given = 0 if geometry is None else geometry.shape[1]
        if given != self.geometry:
            raise ValueError(f"the encoder takes {self.geometry} geometry channels, not {given}")
        images = (images - self.mean) / self.std
        inputs = images if geometry is None else torch.cat([images, geometry], dim=1)
        if isinstance(self.backbone, ResidualEncoder):
            stem, *maps = self.backbone(inputs.contiguous(memory_format=torch.channels_last))
            return EncoderOutput(stem, maps, None)
        maps, summaries = self.backbone(images)
        if geometry is not None:
            strides = STRIDES if self.patch_size is None else (self.patch_size,) * len(maps)
            maps = [torch.cat([x, average(geometry, stride)], dim=1) for x, stride in zip(maps, strides, strict=True)]
        return EncoderOutput(self.stem(inputs), maps, summaries)


def average(x: Tensor, stride: int) -> Tensor:
    """Return the means of the map's squares of `stride` pixels, those at the border of what lies inside."""
    return functional.avg_pool2d(x, stride, ceil_mode=True, count_include_pad=False)
