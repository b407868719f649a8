# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The typed configuration of a training run: what `config/training/*.yaml` may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class SourceConfig(BaseModel):
    """One source of samples and how many frames of it a step takes."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["camvid", "rgbd", "street", "indoor"]
    frames_per_step: int = Field(ge=1)
    folder: str = Field(default="", description="of a recording, in the data folder; empty for rendered sources")
    last_id: int = Field(default=0, description="rgbd: train on frame ids below this one")
    worlds: int = Field(default=0, description="rendered sources: number of worlds, each of another seed")
    cameras: str = Field(default="surround4", description="rendered sources: a rig of config/rigs")


class StageConfig(BaseModel):
    """A part of the run at one input size; small inputs first cost less and learn as much (progressive resizing)."""

    model_config = ConfigDict(extra="forbid")

    until: float = Field(gt=0, le=1, description="fraction of the run at which the stage ends")
    width: int = Field(ge=64, multiple_of=16)
    height: int = Field(ge=64, multiple_of=16)


class LossWeights(BaseModel):
    """The weight of each task in the sum."""

    model_config = ConfigDict(extra="forbid")

    depth: float = 1.0
    semantic: float = 1.0
    motion_mask: float = 1.0
    occupancy: float = 1.0


class TrainingConfig(BaseModel):
    """Everything that shapes a training run.

    Raises:
        pydantic.ValidationError: a value is out of bounds or a key is unknown.
    """

    model_config = ConfigDict(extra="forbid")

    network: str = Field(description="preset, a file of config/networks without its ending")
    labels: str = Field(description="label space, a file of config/labels without its ending")
    licence: str = Field(description="of the weights, for the model card")
    start: str = Field(default="", description="checkpoint whose weights training starts from; empty: random ones")
    start_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of those weights in the checkpoint that the run gives: keeps what they were good at "
        "(Wortsman et al. 2022, Robust fine-tuning of zero-shot models)",
    )
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    steps: int = Field(ge=1)
    kernel_learning_rate: float = Field(gt=0, description="of the hidden convolution kernels (Muon)")
    learning_rate: float = Field(gt=0, description="of everything else (AdamW)")
    warmup_steps: int = Field(ge=1)
    average_decay: float = Field(ge=0, lt=1, description="decay of the exponential moving average of the weights")
    weights: LossWeights = LossWeights()
    seed: int = 0
    save_every: int = Field(ge=1, description="steps between two saved states")

    @classmethod
    def load(cls, path: str | Path) -> TrainingConfig:
        """Read a training configuration from YAML.

        Raises:
            ValueError: a key or value is wrong; the message names the file.
        """
        try:
            return cls.model_validate(yaml.safe_load(Path(path).read_text()))
        except (ValidationError, yaml.YAMLError) as error:
            raise ValueError(f"training configuration {path}: {error}") from error

    def input_size(self, step: int) -> tuple[int, int]:
        """Return the input (width, height) at a step."""
        stage = next((s for s in self.stages if step < s.until * self.steps), self.stages[-1])
        return stage.width, stage.height
