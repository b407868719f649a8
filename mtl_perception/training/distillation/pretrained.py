# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pretrained models of transformers as teachers: any depth estimation, any semantic or universal segmentation.

Only safetensors are read (a pickle runs code when it is opened) and no code of a repository is ever run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import yaml
from huggingface_hub import hf_hub_download
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForDepthEstimation,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from mtl_perception.training.distillation.preparation import Preparation

METRIC_MODELS = ("glpn", "tipsv2_dpt", "zoedepth")
"""Model types that give metres, whatever their weights; others say so by `depth_estimation_type`."""
DepthIs = Literal["auto", "metres", "inverse"]
"""What a depth model gives: metres, inverse depth up to scale and shift, or which of these its type tells."""
BOX_MASK_MODELS = ("detr",)
"""Model types that transformers counts as universal, but whose masks are those of boxes (`pred_masks`)."""


class DepthTeacher:
    """A depth estimation model.

    Attributes:
        name: hub id or folder.
        metric: whether it gives metres; else inverse depth up to scale and shift.
        licence: as its model card says.
    """

    def __init__(self, name: str, device: str = "cpu", depth_is: DepthIs = "auto") -> None:
        """Load it.

        Args:
            name: hub id or folder.
            device: as torch names it.
            depth_is: what it gives, for models that do not tell: many of type `dpt` have a metric head and do not.

        Raises:
            ValueError: it is no depth estimation model, has no safetensors, needs more than images, or there is no such
                device or no such `depth_is`.
            FileNotFoundError: there is no such model.
        """
        if depth_is not in get_args(DepthIs):
            raise ValueError(f"a depth teacher gives one of {', '.join(get_args(DepthIs))}, not '{depth_is}'")
        self.name, self.licence = name, licence_of(name)
        self._model = _loaded(AutoModelForDepthEstimation, name, device)
        self._prepare = Preparation(name)
        self.metric = depth_is == "metres" if depth_is != "auto" else _tells_metres(self._model.config)

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return depth (N, h, w) of images (N, H, W, 3) RGB at `size` (w, h): metres, or inverse and relative."""
        output = self._model(**_inputs(self._prepare(images), self._model.device))
        depth = functional.interpolate(output.predicted_depth[:, None].float(), size[::-1], mode="bilinear")[:, 0]
        return np.asarray(depth.cpu().numpy(), np.float32)


class SegmentationTeacher:
    """A semantic segmentation model, or one of masks and classes (MaskFormer, Mask2Former, EoMT).

    Attributes:
        name: hub id or folder.
        id2label: its classes.
        licence: as its model card says.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        """Load it.

        Raises:
            ValueError: it is no segmentation model, or one whose masks are those of boxes, has no safetensors, needs
                more than images, or there is no such device.
            FileNotFoundError: there is no such model.
        """
        self.name, self.licence = name, licence_of(name)
        self._model = _loaded(_segmentation_kind(name), name, device)
        self._prepare = Preparation(name)
        self.id2label: Mapping[int, str] = {int(k): str(v) for k, v in self._model.config.id2label.items()}

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
        """Return class probabilities (N, classes, h, w) of images (N, H, W, 3) RGB at `size` (w, h)."""
        output = self._model(**_inputs(self._prepare(images), self._model.device))
        if hasattr(output, "masks_queries_logits"):
            # The last class is "nothing". As MaskFormer (Cheng et al. 2021, section 3.4) infers semantics.
            classes = output.class_queries_logits.float().softmax(dim=-1)[..., :-1]
            masks = functional.interpolate(output.masks_queries_logits.float(), size[::-1], mode="bilinear").sigmoid()
            scores = torch.einsum("nqc,nqhw->nchw", classes, masks)
            return (scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-6)).cpu()
        logits = functional.interpolate(output.logits.float(), size[::-1], mode="bilinear")
        return logits.softmax(dim=1).cpu()


def licence_of(name: str) -> str:
    """Return the licence that a model's card (README.md) declares, or "unknown: check"."""
    try:
        path = Path(name) / "README.md" if Path(name).is_dir() else Path(hf_hub_download(name, "README.md"))
        _, header, _ = path.read_text().split("---", 2)
        content = yaml.safe_load(header)
    except (OSError, ValueError, yaml.YAMLError):  # the hub's errors are among these
        return "unknown: check"
    if not isinstance(content, dict):
        return "unknown: check"
    key = "license_name" if content.get("license") == "other" else "license"
    return str(content.get(key) or "unknown: check")


def _tells_metres(config: Any) -> bool:
    told = getattr(config, "depth_estimation_type", None)
    return told == "metric" if told is not None else config.model_type in METRIC_MODELS


def _segmentation_kind(name: str) -> Any:
    """Return the class that loads a model: of masks and classes if its configuration is of such a one.

    Raises:
        ValueError, FileNotFoundError: as `SegmentationTeacher`.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES

    config = _or_explained(name, lambda: AutoConfig.from_pretrained(name, trust_remote_code=False))
    if config.model_type in BOX_MASK_MODELS:
        raise ValueError(
            f"teacher {name} is a model of type {config.model_type}: its masks are those of boxes; semantic, or masks "
            "with classes (MaskFormer, Mask2Former, EoMT) are expected"
        )
    universal = config.model_type in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES
    return AutoModelForUniversalSegmentation if universal else AutoModelForSemanticSegmentation


def _loaded(kind: Any, name: str, device: str) -> Any:
    safely = {"use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}
    model, report = _or_explained(name, lambda: kind.from_pretrained(name, **safely, output_loading_info=True))
    weights = {part: {f"{part}.{key}" for key, _ in child.named_parameters()} for part, child in model.named_children()}
    # Transformers fills what a file lacks with random numbers; some models' files lack weights that nobody uses.
    absent = sorted(part for part, own in weights.items() if own and own <= set(report["missing_keys"]))
    if absent:
        raise ValueError(f"teacher {name} is not a {kind.__name__[len('AutoModelFor') :]}: no weights of {absent[0]}")
    try:
        return model.to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:  # the latter: torch without CUDA
        raise ValueError(f"device '{device}' cannot be used: {error}") from error


def _or_explained(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, RuntimeError, ImportError) as error:  # also: shapes that differ, a backbone's library
        reason = " ".join(str(error).split())
        if isinstance(error, OSError) and not Path(name).is_dir():
            raise FileNotFoundError(f"teacher {name} is neither a folder nor on the hub: {reason}") from error
        raise ValueError(f"teacher {name} cannot be loaded (safetensors only): {reason}") from error


def _inputs(prepared: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {key: value.to(device) for key, value in prepared.items()}
