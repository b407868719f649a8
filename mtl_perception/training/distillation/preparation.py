# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a pretrained model does to images before it looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoImageProcessor
from transformers.image_processing_base import ImageProcessingMixin

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Preparation:
    """From images to a model's inputs, by its own image processor.

    Processors that exist for torchvision only cannot be used where that is not installed; then images are resized and
    normalised as the processor's configuration says. What cannot be put back onto the image's pixels, cropping and
    padding, is never done.
    """

    def __init__(self, name: str) -> None:
        """Prepare for the model `name`, a folder or hub id.

        Raises:
            ValueError: it has no image processor, or one that wants more than images.
        """
        self.name = name
        self._processor: Any = None
        try:
            self._processor = AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False)
        except (ImportError, ValueError):
            try:
                self._settings, _ = ImageProcessingMixin.get_image_processor_dict(name)
            except OSError as error:
                raise ValueError(f"teacher {name} has no preprocessor_config.json") from error
        except OSError as error:
            raise ValueError(f"teacher {name} has no preprocessor_config.json") from error

    def __call__(self, images: NDArray[np.uint8]) -> Mapping[str, Tensor]:
        """Return the inputs for images (N, H, W, 3) RGB of one size.

        Raises:
            ValueError: the model wants more than images (a prompt, patches).
        """
        if self._processor is None:
            return {"pixel_values": _by_settings(images, self._settings)}
        never = {"do_pad": False, "do_center_crop": False}
        known = {key: value for key, value in never.items() if hasattr(self._processor, key)}
        prepared = self._processor(list(images), return_tensors="pt", **known)
        further = sorted(set(prepared) - {"pixel_values", "pixel_mask"})
        if further:
            raise ValueError(f"teacher {self.name} wants more than images: {', '.join(further)}")
        return dict(prepared)


def _by_settings(images: NDArray[np.uint8], settings: Mapping[str, Any]) -> Tensor:
    """Resize and normalise as the common keys of preprocessor_config.json say."""
    pixels = images
    if settings.get("do_resize", True):
        width, height = _target_size(images.shape[2], images.shape[1], settings.get("size", {}))
        shrinks = width * height < images.shape[1] * images.shape[2]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        pixels = np.stack([cv2.resize(image, (width, height), interpolation=way) for image in images])
    factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() * factor
    if settings.get("do_normalize", True):
        mean = torch.tensor(settings.get("image_mean") or _IMAGENET_MEAN)[:, None, None]
        std = torch.tensor(settings.get("image_std") or _IMAGENET_STD)[:, None, None]
        values = (values - mean) / std
    return values


def _target_size(width: int, height: int, size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if "height" in size and "width" in size:
        return int(size["width"]), int(size["height"])
    scale = size.get("shortest_edge", min(width, height)) / min(width, height)
    longest = size.get("longest_edge")
    if longest is not None:
        scale = min(scale, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
