# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Published image backbones, from the transformers library, with or without their pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

STRIDES = (4, 8, 16, 32)
EXAMPLES = ("swin", "resnet", "convnext", "dinov2", "dinov3_vit")


class TransformersBackbone(nn.Module):
    """Images normalised as for ImageNet, (N, 3, H, W), to four maps, finest first, each (N, channels, h, w).

    A backbone in stages (Swin, Liu et al. 2021; ResNet; ConvNeXt) gives its stages at strides 4, 8, 16 and 32, sizes
    rounded up. A vision transformer (DINOv2, Oquab et al. 2023; DINOv3) gives the patch tokens behind its blocks at
    1/4, 1/2, 3/4 and all of its depth (3, 6, 9 and 12 of 12, as in M2H's code), all at the stride of its patch, sizes
    rounded up, and the summary (CLS) token behind the same blocks.

    Images are padded on the right and at the bottom, so every size works and pixels keep their coordinates.

    Attributes:
        channels: of the four maps.
        patch_size: of a vision transformer, in pixels; otherwise None.
    """

    def __init__(self, name: str, *, options: Mapping[str, Any] | None = None, pretrained: str | None = None) -> None:
        """Build it.

        Args:
            name: the library's model type, such as `swin`, `resnet`, `convnext`, `dinov2`.
            options: entries of its configuration that differ from the library's (or the pretrained model's).
            pretrained: a folder or the hub's name of a saved model. None starts from random weights, without network.

        Raises:
            ValueError: there is no such backbone or no such option, the pretrained model is of another type, a vision
                transformer has less than four blocks, or the maps of other backbones are not at the strides above.
        """
        super().__init__()
        config = configuration(name, dict(options or {}), pretrained)
        # The key of those whose tokens can stay tokens: vision transformers.
        is_token_based = hasattr(config, "reshape_hidden_states")
        self.patch_size: int | None = None
        if is_token_based:
            self.patch_size = config.patch_size
            depth = config.num_hidden_layers
            if depth < 4:
                raise ValueError(f"{name} needs at least 4 blocks, not {depth}")
            config.out_features = [f"stage{depth * quarter // 4}" for quarter in (1, 2, 3, 4)]
            config.reshape_hidden_states = False
            config.return_class_token = True  # of those that would otherwise drop it
        else:
            config.out_features = [stage for stage in config.stage_names if stage != "stem"]

        from transformers import MODEL_FOR_BACKBONE_MAPPING  # takes seconds: who does not need it should not wait

        # Not AutoBackbone: it asks the hub even for a local folder.
        backbone: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
        if pretrained is None:
            self.model = backbone(config)
        else:
            # float32, whatever the weights were saved in; in training mode, as modules are when they are built.
            self.model = backbone.from_pretrained(pretrained, config=config, dtype=torch.float32).train()
        self.channels: tuple[int, ...] = (config.hidden_size,) * 4 if is_token_based else self.measure(name)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor] | None]:
        """Return the maps, finest first, and of a vision transformer the summary tokens, each (N, channels)."""
        height, width = images.shape[-2:]
        multiple = self.patch_size or STRIDES[-1]
        output = self.model(functional.pad(images, (0, -width % multiple, 0, -height % multiple)))
        if self.patch_size is None:
            return [
                x[:, :, : divide_up(height, stride), : divide_up(width, stride)]
                for x, stride in zip(output.feature_maps, STRIDES, strict=True)
            ], None
        size = divide_up(height, multiple), divide_up(width, multiple)
        # In front of the patches come the summary and the registers, or the summary is handed out on its own.
        summaries = getattr(output, "cls_tokens", None) or [tokens[:, 0] for tokens in output.feature_maps]
        patches = [tokens[:, -size[0] * size[1] :] for tokens in output.feature_maps]
        return [x.transpose(1, 2).unflatten(2, size) for x in patches], list(summaries)

    def measure(self, name: str) -> tuple[int, ...]:
        """Return the channels of the maps, or raise ValueError if these are not at the strides that users rely on.

        Measured, because what some of the library's models say of themselves is wrong.
        """
        size = 2 * STRIDES[-1]
        self.eval()
        with torch.no_grad():
            maps = self.model(torch.zeros(1, 3, size, size)).feature_maps
        self.train()
        strides = tuple(size / x.shape[-1] for x in maps)
        if strides != STRIDES:
            raise ValueError(f"the maps of {name} are at strides {strides}, not {STRIDES}")
        return tuple(x.shape[1] for x in maps)


def configuration(name: str, options: dict[str, Any], pretrained: str | None) -> PreTrainedConfig:
    """Return the backbone's configuration, or raise ValueError."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_BACKBONE_MAPPING, AutoConfig

    if name not in CONFIG_MAPPING or CONFIG_MAPPING[name] not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"there is no backbone {name!r}; there are residual, {', '.join(EXAMPLES)} and others")
    # The library itself takes any name.
    unknown = [option for option in options if not hasattr(AutoConfig.for_model(name), option)]
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}")
    if pretrained is None:
        return AutoConfig.for_model(name, **options)
    config = AutoConfig.from_pretrained(pretrained, **options)
    if config.model_type != name:
        raise ValueError(f"{pretrained} is of the type {config.model_type}, not {name}")
    return config


def divide_up(size: int, stride: int) -> int:
    """Return the quotient rounded up."""
    return -(-size // stride)
