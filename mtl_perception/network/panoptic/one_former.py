# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""OneFormer's parts without a backbone; importing this module imports transformers, which takes seconds."""

from __future__ import annotations

from torch import Tensor
from transformers import OneFormerConfig
from transformers.models.oneformer.modeling_oneformer import (
    OneFormerPixelDecoder,
    OneFormerPreTrainedModel,
    OneFormerTaskModel,
    OneFormerTransformerDecoderOutput,
    OneFormerTransformerModule,
)


class OneFormerDecoders(OneFormerPreTrainedModel):
    """Pixel decoder and task-conditioned transformer decoder of OneFormer (Jain et al. 2023).

    What `OneFormerModel` of transformers holds, but without the backbone, `pixel_level_module.encoder`: the maps come
    from outside. Nor is there the text mapper, which only training needs.
    """

    def __init__(self, config: OneFormerConfig, widths: tuple[int, ...]) -> None:
        """Build the parts for four maps of `widths` channels, finest first, and initialise them as OneFormer does."""
        super().__init__(config)
        self.pixel_decoder = OneFormerPixelDecoder(config, feature_channels=list(widths))
        self.transformer_module = OneFormerTransformerModule(in_features=config.conv_dim, config=config)
        self.task_encoder = OneFormerTaskModel(config)
        self.post_init()

    def forward(self, levels: list[Tensor], task: Tensor) -> OneFormerTransformerDecoderOutput:
        """Decode four maps, finest first, for task tokens (N, sequence)."""
        pixels = self.pixel_decoder(levels)
        return self.transformer_module(
            multi_scale_features=pixels.multi_scale_features,
            mask_features=pixels.mask_features,
            task_token=self.task_encoder(task),
        )
