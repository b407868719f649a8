# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""OneFormer's parts without a backbone; importing this module imports transformers, which takes seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
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
        # Not `post_init()`: for classes outside transformers it leaves out modules without parameters of their own
        # (transformers 5), and OneFormer initialises just there.
        self.apply(self._init_weights)
        self._initialise_as_published()

    @torch.no_grad()
    def _initialise_as_published(self) -> None:
        """Give what transformers starts almost at 0 the scale of OneFormer's own code.

        Loaded weights never show the difference; training from scratch does: nearly equal queries take long to part.
        """
        transformer, pixels = self.transformer_module, self.pixel_decoder
        for weight in (transformer.queries_embedder.weight, transformer.level_embed.weight, pixels.level_embed):
            nn.init.normal_(weight)
        nn.init.kaiming_uniform_(pixels.mask_projection.weight, a=1)
        for name, parameter in pixels.encoder.named_parameters():
            if name.endswith(("fc1.weight", "fc2.weight")):
                nn.init.xavier_uniform_(parameter)

    def forward(self, levels: list[Tensor], task: Tensor) -> OneFormerTransformerDecoderOutput:
        """Decode four maps, finest first, for task tokens (N, sequence)."""
        pixels = self.pixel_decoder(levels)
        return self.transformer_module(
            multi_scale_features=pixels.multi_scale_features,
            mask_features=pixels.mask_features,
            task_token=self.task_encoder(task),
        )
