# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small pretrained models of transformers, in folders: they know that the ground is below and the sky above."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)

CLASSES = ("road", "building", "sky", "person", "spaceship")
HORIZON = 0.5


@pytest.fixture(scope="session")
def segmentation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SegFormer that says sky in the upper third, building to the middle, road below."""
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=16,
        num_labels=len(CLASSES),
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    model = SegformerForSemanticSegmentation(config)
    rows = torch.arange(16) / 16
    target = torch.where(rows < 0.33, 2, torch.where(rows < HORIZON, 1, 0))[None, :, None].expand(2, 16, 16)
    _fit(model, lambda output: functional.cross_entropy(output.logits, target), steps=40)
    folder = tmp_path_factory.mktemp("segmentation")
    model.save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


@pytest.fixture(scope="session")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Depth Anything whose relative depth rises from the middle of the image to its lower border, as flat ground."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        image_size=56,
        patch_size=14,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="relative",
    )
    model = DepthAnythingForDepthEstimation(config)
    rows = (torch.arange(56) + 0.5) / 56
    target = (0.1 + 4.0 * (rows - HORIZON).clamp(min=0.0))[None, :, None].expand(2, 56, 56)
    _fit(model, lambda output: (output.predicted_depth - target).abs().mean(), steps=60, size=56)
    folder = tmp_path_factory.mktemp("depth")
    model.save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(folder)
    return folder


def _fit(model, loss, steps: int, size: int = 64) -> None:  # type: ignore[no-untyped-def]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(torch.randn(2, 3, size, size))).backward()
        optimizer.step()
    model.eval()
