# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pretrained models as teachers: what is loaded, what is refused, and what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForDepthEstimation,
    DetrConfig,
    DetrForSegmentation,
    DetrImageProcessorPil,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessorPil,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessorPil,
    ResNetConfig,
    SegformerConfig,
    SegformerForImageClassification,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
)

from mtl_perception.training.distillation.preparation import Preparation
from mtl_perception.training.distillation.pretrained import (
    BOX_MASK_MODELS,
    METRIC_MODELS,
    DepthTeacher,
    SegmentationTeacher,
    licence_of,
)

IMAGES = np.random.default_rng(0).integers(0, 255, (2, 60, 90, 3)).astype(np.uint8)


def test_a_relative_depth_model(depth_folder: Path) -> None:
    teacher = DepthTeacher(str(depth_folder))
    assert not teacher.metric and teacher.licence == "unknown: check"
    depth = teacher(IMAGES, (45, 30))
    assert depth.shape == (2, 30, 45)
    assert depth[:, -3:].mean() > depth[:, 12:15].mean() + 0.5  # the ground comes nearer


def test_a_metric_depth_model(tmp_path: Path) -> None:
    config = GLPNConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        max_depth=10,
    )
    GLPNForDepthEstimation(config).save_pretrained(tmp_path)
    GLPNImageProcessorPil().save_pretrained(tmp_path)
    teacher = DepthTeacher(str(tmp_path))
    depth = teacher(IMAGES, (90, 60))
    assert teacher.metric and depth.shape == (2, 60, 90) and depth.min() > 0.0 and depth.max() < 10.0


def test_what_a_depth_model_gives_may_be_told(depth_folder: Path, tmp_path: Path) -> None:
    assert DepthTeacher(str(depth_folder), depth_is="metres").metric
    folder = tmp_path / "metric"
    shutil.copytree(depth_folder, folder)
    config = json.loads((folder / "config.json").read_text()) | {"depth_estimation_type": "metric", "max_depth": 80}
    (folder / "config.json").write_text(json.dumps(config))
    assert DepthTeacher(str(folder)).metric and not DepthTeacher(str(folder), depth_is="inverse").metric
    with pytest.raises(ValueError, match="gives one of auto, metres, inverse, not 'feet'"):
        DepthTeacher(str(depth_folder), depth_is="feet")  # type: ignore[arg-type]


def test_all_model_types_that_are_told_apart_exist() -> None:
    assert set(METRIC_MODELS) <= MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES.keys()
    assert set(BOX_MASK_MODELS) <= MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES.keys()


def test_a_semantic_model(segmentation_folder: Path) -> None:
    teacher = SegmentationTeacher(str(segmentation_folder))
    assert teacher.licence == "mit" and teacher.id2label[4] == "spaceship"
    probability = teacher(IMAGES, (30, 20))
    assert probability.shape == (2, 5, 20, 30)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(2, 20, 30))
    chosen = probability.argmax(dim=1)
    assert (chosen[:, :4] == 2).float().mean() > 0.8 and (chosen[:, 14:] == 0).float().mean() > 0.8


def test_a_model_of_masks_and_classes(tmp_path: Path) -> None:
    backbone = {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        "window_size": 4,
        "image_size": 64,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    decoder = {"model_type": "detr", "d_model": 16, "decoder_layers": 1, "encoder_layers": 1, "num_queries": 5}
    decoder |= {
        "decoder_ffn_dim": 16,
        "encoder_ffn_dim": 16,
        "decoder_attention_heads": 2,
        "encoder_attention_heads": 2,
    }
    config = MaskFormerConfig(
        backbone_config=backbone, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, num_labels=3
    )
    MaskFormerForInstanceSegmentation(config).save_pretrained(tmp_path)
    MaskFormerImageProcessorPil(size={"height": 64, "width": 96}).save_pretrained(tmp_path)
    probability = SegmentationTeacher(str(tmp_path))(IMAGES, (90, 60))
    assert probability.shape == (2, 3, 60, 90)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(2, 60, 90), atol=1e-3, rtol=1e-3)


def test_a_model_whose_masks_are_those_of_boxes_is_refused(tmp_path: Path) -> None:
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = DetrConfig(
        backbone_config=backbone,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=4,
        num_labels=3,
    )
    DetrForSegmentation(config).save_pretrained(tmp_path)
    DetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="of type detr: its masks are those of boxes"):
        SegmentationTeacher(str(tmp_path))


def test_weights_that_would_run_code_are_refused(depth_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(depth_folder, folder)
    model = AutoModelForDepthEstimation.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be loaded \(safetensors only\)"):
        DepthTeacher(str(folder))


def test_code_of_a_repository_is_not_run(depth_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    shutil.copytree(depth_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "unheard_of",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForDepthEstimation": "own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('this was run')\n")
    with pytest.raises(ValueError, match=r"trust_remote_code|custom code"):
        DepthTeacher(str(folder))


def test_a_model_of_another_kind_is_refused(segmentation_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"teacher {segmentation_folder} cannot be loaded"):
        DepthTeacher(str(segmentation_folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot be loaded"):
        DepthTeacher(str(tmp_path / "empty"))


def test_a_backbone_without_the_weights_of_a_head_is_refused(segmentation_folder: Path, tmp_path: Path) -> None:
    """Transformers would give it a head of random numbers."""
    shutil.copytree(segmentation_folder, tmp_path / "backbone")
    sizes = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 1, 1]}
    SegformerForImageClassification(SegformerConfig(**sizes)).save_pretrained(tmp_path / "backbone")
    with pytest.raises(ValueError, match="is not a SemanticSegmentation: no weights of decode_head"):
        SegmentationTeacher(str(tmp_path / "backbone"))


def test_a_device_that_there_is_not(depth_folder: Path) -> None:
    with pytest.raises(ValueError, match="device 'gramophone' cannot be used"):
        DepthTeacher(str(depth_folder), "gramophone")


@pytest.mark.parametrize(
    ("header", "licence"),
    [("license: mit", "mit"), ("license: other\nlicense_name: own", "own"), ("license: other", "unknown: check")],
)
def test_the_licence_is_that_of_the_card(header: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\n")
    assert licence_of(str(tmp_path)) == licence


def test_images_are_prepared_as_its_settings_say_where_the_processor_cannot_be_used(tmp_path: Path) -> None:
    """DepthPro's processor exists for torchvision only."""
    settings = {"image_processor_type": "DepthProImageProcessorFast", "size": {"height": 32, "width": 48}}
    settings |= {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    prepare = Preparation(str(tmp_path))
    prepare._processor = None  # as it is without torchvision
    prepare._settings = settings
    pixels = prepare(np.full((1, 60, 90, 3), 255, np.uint8))["pixel_values"]
    assert pixels.shape == (1, 3, 32, 48)
    torch.testing.assert_close(pixels, torch.ones_like(pixels))
    prepare._settings = settings | {"size": {"shortest_edge": 30}}
    assert prepare(IMAGES)["pixel_values"].shape == (2, 3, 30, 45)
