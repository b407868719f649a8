# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The typed configuration of a training run: what `config/training/*.yaml` may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.prediction import Task
from mtl_perception.core.validation_text import validation_text
from mtl_perception.network import NetworkConfig
from mtl_perception.resources import config_file
from mtl_perception.training.distillation.schedule import TeacherConfig
from mtl_perception.training.objective.image_pairs import SELF_SUPERVISED
from mtl_perception.training.objective.settings import SUPERVISED, ObjectiveSettings


class SourceConfig(BaseModel):
    """One source of samples and how many frames of it a step takes."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["camvid", "rgbd", "street", "indoor", "bag"]
    frames_per_step: int = Field(ge=1, description="of each process: the source's weight in the mixture")
    folder: str = Field(default="", description="of a recording or bag, in the data folder; empty for rendered sources")
    last_id: int = Field(default=0, description="rgbd: train on frame ids below this one")
    ground_known: bool = Field(
        default=True, description="bag: the base frame's z = 0 plane is the ground, as on wheels; not of a held camera"
    )
    worlds: int = Field(default=0, ge=0, description="rendered sources: number of worlds, each of another seed")
    first_seed: int = Field(default=0, ge=0, description="rendered sources: the seed of the first world")
    cameras: str = Field(default="surround4", description="rendered sources: a rig of config/rigs")
    difficult: float = Field(
        default=0.0, ge=0, le=1, description="rendered sources: share of the worlds with night, rain, fog, ..."
    )
    gap_s: tuple[float, float] = Field(
        default=(0.1, 0.3), description="rendered sources: the frame before is so much earlier, drawn from this range"
    )
    image_size: tuple[int, int] = Field(default=(240, 176), description="rendered sources: width and height, pixels")
    first_camera_only: bool = Field(
        default=False, description="rendered sources: as a robot sees that has only the first camera of the rig"
    )


class StageConfig(BaseModel):
    """A part of the run at one input size; small inputs first cost less and learn as much (progressive resizing)."""

    model_config = ConfigDict(extra="forbid")

    until: float = Field(gt=0, le=1, description="fraction of the run at which the stage ends")
    width: int = Field(ge=64, multiple_of=16)
    height: int = Field(ge=64, multiple_of=16)


class BalancingConfig(BaseModel):
    """How the tasks' losses are weighed against each other; methods: `mtl_perception.training.balancing`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["equal", "uncertainty", "dynamic_average", "adaptive"] = "equal"
    weights: dict[Task, float] = Field(
        default_factory=dict, description="a factor of a task's loss before the method sees it; 1 where none is given"
    )
    temperature: float = Field(
        default=2.0, gt=0, description="dynamic_average, adaptive: higher is nearer to equal weights"
    )
    period: int = Field(
        default=100, ge=1, description="dynamic_average, adaptive: steps from one comparison of a loss with itself on"
    )


class TrainingConfig(BaseModel):
    """Everything that shapes a training run.

    The learning rates rise over `warmup_steps`, stay, and fall over the last `decay_fraction` of the run to zero, by
    one minus the square root of the part done (Hägele et al. 2024, "Scaling laws and compute-optimal training beyond
    fixed training durations"). Until the fall begins, a run knows its length only by the stages' input sizes and by how
    many of the worlds it draws from, so an interrupted run may be lengthened: raise `steps` and go on from its state.

    Raises:
        pydantic.ValidationError: a value is out of bounds or a key is unknown.
    """

    model_config = ConfigDict(extra="forbid")

    network: str = Field(description="preset: a file of config/networks without its ending, or a path")
    network_changes: dict[str, Any] = Field(
        default_factory=dict, description="merged into the preset, section by section; null switches a section off"
    )
    tasks: tuple[Task, ...] | None = Field(
        default=None, description="to train; left out: all of the preset's that there are losses for"
    )
    labels: str = Field(description="label space, a file of config/labels without its ending")
    licence: str = Field(description="of the weights, for the model card")
    start: str = Field(
        default="",
        description="checkpoint whose weights training starts from; decoders that it lacks, and all if empty: random",
    )
    start_parts: tuple[str, ...] = Field(
        default=(), description="parts of the network (encoder, neck, ...) that are started from there; empty: all"
    )
    frozen: tuple[str, ...] = Field(
        default=(), description="parts of the network that stay as they start; their norms keep their statistics, too"
    )
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
    decay_fraction: float = Field(default=0.2, ge=0, le=1, description="share of the run in which the rates fall")
    average_decay: float = Field(ge=0, lt=1, description="decay of the exponential moving average of the weights")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of convolutions and products (autocast); weights and optimisers stay float32"
    )
    objective: ObjectiveSettings = ObjectiveSettings.model_validate({})
    teacher: TeacherConfig | None = Field(
        default=None, description="train, instead of the network, its multi-backbone teacher (unified encoder)"
    )
    balancing: BalancingConfig = BalancingConfig()
    seed: int = Field(default=0, ge=0)
    save_every: int = Field(default=100, ge=1, description="steps between two saved states")
    validate_every: int = Field(default=0, ge=0, description="steps between two validations; 0: none")
    validation_worlds: int = Field(default=2, ge=1, description="of each kind, none of them in any training")
    conflicts_every: int = Field(
        default=0, ge=0, description="steps between two measurements of the tasks' gradient conflicts; 0: none"
    )
    tensorboard: bool = Field(default=True, description="whether to write TensorBoard files")

    @model_validator(mode="after")
    def _stages_in_order(self) -> TrainingConfig:
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)):
            raise ValueError(f"stages must end one after the other, not at {', '.join(map(str, ends))}")
        return self

    @model_validator(mode="after")
    def _parts_have_weights(self) -> TrainingConfig:
        if self.start_parts and not self.start:
            raise ValueError("start_parts needs `start`")
        random = sorted(set(self.frozen) - set(self.start_parts)) if self.start_parts or not self.start else []
        if random:
            raise ValueError(f"frozen: '{random[0]}' would keep random weights: let it be started from a checkpoint")
        if self.conflicts_every and "encoder" in self.frozen:
            raise ValueError("conflicts_every is of gradients on the encoder, which is frozen")
        return self

    @classmethod
    def load(cls, path: str | Path) -> TrainingConfig:
        """Read a training configuration from YAML.

        Raises:
            ValueError: a key or value is wrong; the message names the file.
        """
        try:
            return cls.model_validate(read_yaml(Path(path)))
        except ValidationError as error:
            raise ValueError(f"training configuration {path}: {validation_text(error)}") from error

    def network_config(self) -> NetworkConfig:
        """Return the network: the preset with its changes, restricted to the tasks that are trained.

        Raises:
            FileNotFoundError: there is no such preset.
            ValueError: the preset or a change is wrong, or a task is not one of the network's.
        """
        path = config_file("networks", self.network)
        content = read_yaml(path)
        try:
            config = NetworkConfig.model_validate(merged(content, self.network_changes))
        except ValidationError as error:
            raise ValueError(f"network configuration {path} with network_changes: {validation_text(error)}") from error
        untrained = sorted(set(self.tasks or ()) - set(SUPERVISED))
        if untrained:
            raise ValueError(f"there is no loss for task '{untrained[0]}'")
        config = config.restricted(self.tasks or [task for task in config.tasks if task in SUPERVISED])
        self._check_terms(config)
        return config

    def _check_terms(self, network: NetworkConfig) -> None:
        """Raise ValueError if a term of the objective would do nothing with this network."""
        for term, tasks in TERM_TASKS.items():
            absent = [task for task in tasks if task not in network.tasks]
            if getattr(self.objective, term) > 0 and absent:
                raise ValueError(f"objective.{term} needs task '{absent[0]}', which is not trained")
        if network.dense.semantic_from == "queries":
            for term in ("semantic_overlap", "edge_semantic"):
                if getattr(self.objective, term) > 0:
                    raise ValueError(f"objective.{term} needs semantics from a head, not from the panoptic queries")
            if "semantic" in network.tasks and "panoptic" not in network.tasks:
                raise ValueError("semantics come from the panoptic queries: task 'panoptic' has to be trained, too")
        for term in ("motion_consistency", "motion_sparsity"):
            if getattr(self.objective, term) > 0 and self.teacher is not None:
                raise ValueError(f"objective.{term} is of a network: a teacher's flow is learnt from truth alone")
        if self.objective.decoupling > 0 and not network.dense_dual_branch:
            raise ValueError("objective.decoupling needs a network with dense_dual_branch")

    def input_size(self, step: int) -> tuple[int, int]:
        """Return the input (width, height) at a step."""
        stage = next((s for s in self.stages if step < s.until * self.steps), self.stages[-1])
        return stage.width, stage.height

    def learning_rate_factor(self, step: int) -> float:
        """Return what the learning rates are multiplied by at a step."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        start = self.decay_start
        if step < start:
            return warm
        return warm * (1.0 - math.sqrt((step - start + 1) / (self.steps - start + 1)))

    @property
    def decay_start(self) -> int:
        """The step at which the learning rates begin to fall."""
        return self.steps - round(self.decay_fraction * self.steps)

    def obstacles(self, other: TrainingConfig, step: int) -> list[str]:
        """Return the keys for which a run of this cannot go on from the state of a run of `other` after `step` steps.

        All that the weights follow from must be the same, what is only named here apart; the number of steps may differ
        until the fall of the learning rates begins, if no teacher is trained, whose stages follow from it.
        """
        lengthened = self.teacher is None and step <= min(self.decay_start, other.decay_start)
        may_differ: dict[str, Any] = dict.fromkeys(_BOOKKEEPING + _NAMES + ("steps",) * lengthened, True)
        may_differ["objective"] = {"teacher"}
        theirs = other.model_dump(exclude=may_differ)
        return [key for key, value in self.model_dump(exclude=may_differ).items() if value != theirs[key]]


TERM_TASKS: Mapping[str, tuple[Task, ...]] = {
    "depth_normal": ("depth", "normals"),
    "semantic_overlap": ("semantic",),
    "edge_semantic": ("edges", "semantic"),
    "distillation": ("scene_flow",),
    **dict.fromkeys(SELF_SUPERVISED, ("depth",)),
    **dict.fromkeys(("motion_consistency", "motion_sparsity"), ("depth", "scene_flow")),
}
"""Per term of the objective the tasks that it is about."""
_BOOKKEEPING = ("licence", "save_every", "validate_every", "validation_worlds", "conflicts_every", "tensorboard")
"""Keys that no weight follows from."""
_NAMES = ("network", "network_changes", "labels", "start")
"""Keys that say where something is; the state knows its content (`state.identity_of`)."""


def merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested mapping with changes; what is not a mapping on both sides is replaced."""
    result = dict(content)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
