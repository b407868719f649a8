# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The typed configuration of the driving stage: what a file of `config/training` with `stage: driving` may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.validation_text import validation_text
from mtl_perception.training.config import BalancingConfig
from mtl_perception.training.validation.clips import FIRST_UNSEEN_SEED


class ClipsConfig(BaseModel):
    """Which clips are rendered: streets with a driver, some clips of each."""

    model_config = ConfigDict(extra="forbid")

    worlds: int = Field(ge=1, description="number of streets, each of another seed")
    first_seed: int = Field(ge=0, description="seed of the first one")
    clips_per_world: int = Field(3, ge=1)
    frames: int = Field(24, ge=2, description="consecutive frames of a clip")
    rate_hz: float = Field(10.0, gt=0, le=50.0)
    world_seconds: float = Field(20.0, gt=0, le=120.0, description="how long the drive through a world is")
    rigs: tuple[str, ...] = Field(("surround4", "mono"), min_length=1, description="rigs of config/rigs, in turn")
    width: int = Field(240, ge=32, description="of every outside image")
    height: int = Field(176, ge=32)
    difficult: float = Field(0.4, ge=0, le=1, description="share of the worlds with night, fog, noise, blur or dirt")
    seek_rare: bool = Field(
        True, description="choose clips so that what the vehicle and the traffic do comes up equally often in a world"
    )


class DriversConfig(BaseModel):
    """Further drivers, shown without a street: each at some moments of a drive, independent of what happens outside."""

    model_config = ConfigDict(extra="forbid")

    drivers: int = Field(ge=1, description="how many, each of another seed")
    first_seed: int = Field(0, ge=0)
    moments: int = Field(4, ge=1, description="of each driver")


class DrivingStageConfig(BaseModel):
    """Everything that shapes a run of the driving stage.

    Raises:
        pydantic.ValidationError: a value is out of bounds, a key is unknown, or a held-out world is trained on.
    """

    model_config = ConfigDict(extra="forbid")

    stage: Literal["driving"]
    start: str = Field(description="checkpoint whose encoder is kept as it is and which gets the tasks of driving")
    network: str = Field(description="preset that says how the heads look: its sections `steering` and `driving`")
    clips: ClipsConfig
    drivers: DriversConfig | None = Field(
        None,
        description="a clip's driver is exchanged for one of these at most moments: streets cost far more to render",
    )
    held_out: ClipsConfig = Field(description="clips that are never trained on; the run reports its scores on them")
    steps: int = Field(ge=1)
    batch: int = Field(48, ge=1, description="moments a step, each with its past")
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(50, ge=1)
    average_decay: float = Field(0.995, ge=0, lt=1, description="decay of the moving average of the weights")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    steering_emphasis: float = Field(
        6.0, ge=0, description="lambda of the weights exp(lambda |angle|) on the squared error; the angle in radians"
    )
    balancing: BalancingConfig = BalancingConfig(kind="adaptive")
    decoupling: float = Field(0.1, ge=0, description="weight of AFD's decoupling of features; 0: none")
    seed: int = 0
    save_every: int = Field(100, ge=1, description="steps between two saved states")

    @model_validator(mode="after")
    def _held_out_is_unseen(self) -> DrivingStageConfig:
        first, last = self.held_out.first_seed, self.held_out.first_seed + self.held_out.worlds - 1
        if first < self.clips.first_seed + self.clips.worlds and self.clips.first_seed <= last:
            raise ValueError(f"held_out: clips has some of the seeds {first} to {last}, too")
        if self.clips.first_seed + self.clips.worlds > FIRST_UNSEEN_SEED:
            raise ValueError(f"clips: seeds from {FIRST_UNSEEN_SEED} on are of worlds that no training may see")
        return self

    @classmethod
    def load(cls, path: str | Path) -> DrivingStageConfig:
        """Read a configuration from YAML.

        Raises:
            ValueError: a key or value is wrong; the message names the file.
        """
        try:
            return cls.model_validate(read_yaml(Path(path)))
        except ValidationError as error:
            raise ValueError(f"training configuration {path}: {validation_text(error)}") from error


def is_driving_stage(path: str | Path) -> bool:
    """Whether a training configuration is one of this stage."""
    try:
        content = read_yaml(Path(path))
    except ValueError:
        return False  # whoever reads it as a configuration says what is wrong
    return isinstance(content, dict) and content.get("stage") == "driving"
