# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a study is: variants of one small network, and the claims they are compared for (`config/studies/*.yaml`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.prediction import Task
from mtl_perception.core.validation_text import validation_text
from mtl_perception.resources import config_file, config_folder
from mtl_perception.training.ablation.metrics import Metric
from mtl_perception.training.ablation.statistics import Relation
from mtl_perception.training.config import merged
from mtl_perception.training.driving.config import ClipsConfig

System = Literal["CvM", "UV-M3TL", "M2H", "MAESTRO", "Unified encoder"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HeldOutConfig(_Section):
    """The frames that all runs of a study are measured on: worlds that no run is trained on."""

    kind: Literal["street", "indoor"]
    cameras: str = Field(default="surround4", description="a rig of config/rigs")
    worlds: int = Field(ge=1, description="three consecutive frames of each are scored")


class SteeringRecipe(_Section):
    """Training of steering on the encoder of the variant that a variant starts from, after the unified encoder."""

    frozen: bool = Field(description="whether the encoder stays as it is")
    steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=8, ge=1, description="moments a step, each with its past")
    frames: int = Field(default=8, ge=1, description="of a moment, at 5 Hz")
    width: int = Field(default=32, ge=8)
    learning_rate: float = Field(default=2e-3, gt=0)
    encoder_learning_rate: float = Field(default=5e-4, gt=0, description="where it learns")
    emphasis: float = Field(default=6.0, ge=0, description="lambda of the weights exp(lambda |angle|)")
    worlds: int = Field(default=256, ge=1)
    held_out_worlds: int = Field(default=48, ge=1)

    def clips(self, worlds: int, first_seed: int) -> ClipsConfig:
        """Return what is rendered: clips of one camera in which curves are as frequent as straight driving."""
        return ClipsConfig(
            worlds=worlds,
            first_seed=first_seed,
            clips_per_world=3,
            frames=2 * self.frames,
            rate_hz=5.0,
            world_seconds=20.0,
            rigs=("mono",),
            width=120,
            height=88,
            difficult=0.4,
            seek_rare=True,
        )


class Variant(_Section):
    """One network and recipe of a study. What is left out is as in the study's base."""

    says: str = Field(description="what it is, for the table")
    like: str = Field(default="", description="another variant, whose changes come before these")
    tasks: tuple[Task, ...] | None = Field(default=None, description="to train; left out: the study's")
    network: dict[str, Any] = Field(default_factory=dict, description="merged into the base network")
    training: dict[str, Any] = Field(default_factory=dict, description="merged into the base recipe")
    start: str = Field(default="", description="another variant, from whose weights (of the same seed) it starts")
    teacher: str = Field(
        default="", description="another variant, whose network (of the same seed) teaches: `objective.distillation`"
    )
    steering: SteeringRecipe | None = Field(
        default=None, description="instead of a training of its own: steering on the encoder of `start`"
    )

    @model_validator(mode="after")
    def _steering_starts(self) -> Variant:
        if self.steering is not None and not self.start:
            raise ValueError("steering needs `start`")
        return self


class Composite(_Section):
    """Several variants that are compared as one."""

    says: str
    of_task: dict[Task, str] = Field(
        default_factory=dict, description="single-task networks: the variant of each task; what they cost is added up"
    )
    worst_of: tuple[str, ...] = Field(
        default=(), description="the variant among these that is the worst by the mean over seeds of what is compared"
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """The variants that it is made of."""
        return tuple(self.of_task.values()) + self.worst_of

    @model_validator(mode="after")
    def _one_kind(self) -> Composite:
        if bool(self.of_task) == bool(self.worst_of):
            raise ValueError("either of_task or worst_of is given")
        return self


class Claim(_Section):
    """One relative claim of a source, as it was fixed before anything was run.

    A claim is that on `metric` the variant `first` is better than (or equal to, or not worse than) `second`; without
    `second`, that the metric is above 0 (or within the margin of it).
    """

    id: str
    says: str = Field(description="the source's claim")
    figure: str = Field(description="the source's figures; as in methods.md")
    metric: str = Field(description="`<task>.<metric>`, `gain`, ...: see `mtl_perception.training.ablation.metrics`")
    first: str
    second: str | None = None
    relation: Relation = "better"
    margin: float = Field(default=0.0, ge=0, description="`equal`, `not_worse`: in the unit of the difference")
    relative: bool = Field(default=False, description="the difference is in percent of `second`")
    seeds: int = Field(default=3, ge=2)
    headline: bool = Field(default=False, description="the one that stands for its system")
    differs: str = Field(default="", description="how our comparison differs from the source's")
    tried: str = Field(default="", description="if it does not hold here: what was tried")

    @model_validator(mode="after")
    def _margin_fits(self) -> Claim:
        if (self.relation == "better") != (self.margin == 0.0):
            raise ValueError(f"claim {self.id}: relation '{self.relation}' with margin {self.margin}")
        return self


class Study(_Section):
    """One study.

    Raises:
        pydantic.ValidationError: a key is unknown, or a name is not one of the study's variants.
    """

    title: str
    system: System
    section: str = Field(description="of methods.md, that the claims are from")
    tasks: tuple[Task, ...] = Field(min_length=1)
    network: dict[str, Any] = Field(default_factory=dict, description="merged into config/studies/base/network.yaml")
    training: dict[str, Any] = Field(default_factory=dict, description="merged into config/studies/base/training.yaml")
    pretrained: bool = Field(
        default=True,
        description="variants that start from no other get their encoder and neck from base/pretraining.yaml",
    )
    held_out: tuple[HeldOutConfig, ...] = Field(min_length=1)
    judged_by: tuple[str, ...] = Field(description="the metrics whose mean relative change is the `gain`")
    reference: str = Field(description="the variant or composite that `gain` is relative to")
    variants: dict[str, Variant] = Field(min_length=1)
    composites: dict[str, Composite] = Field(default_factory=dict)
    claims: tuple[Claim, ...] = Field(min_length=1)

    @classmethod
    def load(cls, name: str) -> Study:
        """Read a study of config/studies by its name, or by path.

        Raises:
            FileNotFoundError: there is no such study.
            ValueError: a key or value is wrong; the message names the file.
        """
        path = config_file("studies", name)
        try:
            return cls.model_validate(read_yaml(path))
        except ValidationError as error:
            raise ValueError(f"study {path}: {validation_text(error)}") from error

    def seeds(self) -> dict[str, int]:
        """Return how many seeds each variant needs: as many as the claims that compare it, directly or not."""
        needed = dict.fromkeys(self.variants, 0)
        for claim in self.claims:
            names = [claim.first, *([claim.second] if claim.second is not None else [])]
            metric = Metric.parse(claim.metric)
            if metric.is_relative:
                names.append(metric.over or self.reference)
            for variant in (part for name in names for part in self.parts(name)):
                for used in self.with_sources(variant):
                    needed[used] = max(needed[used], claim.seeds)
        return needed

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the variants of a name, which is that of a variant or a composite."""
        return self.composites[name].parts if name in self.composites else (name,)

    def with_sources(self, name: str) -> tuple[str, ...]:
        """Return a variant and all whose weights it needs, those first."""
        variant = self.variants[name]
        needed: dict[str, None] = {}
        for source in filter(None, (variant.start, variant.teacher)):
            needed |= dict.fromkeys(self.with_sources(source))
        return (*needed, name)

    def changes(self, name: str) -> tuple[dict[str, Any], dict[str, Any], tuple[Task, ...]]:
        """Return a variant's changes of the base network and of the base recipe, and the tasks that it trains."""
        network, training, tasks = self.network, self.training, self.tasks
        for variant in self.lineage(name):
            network = merged(network, variant.network)
            training = merged(training, variant.training)
            tasks = tasks if variant.tasks is None else variant.tasks
        return network, training, tasks

    def lineage(self, name: str) -> list[Variant]:
        """Return a variant and those that it is like, the most general first."""
        variant = self.variants[name]
        return [*(self.lineage(variant.like) if variant.like else []), variant]

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        for name in self.variants:
            self._check_no_circle(name, ())
        both = self.variants.keys() & self.composites.keys()
        if both:
            raise ValueError(f"'{min(both)}' is a variant and a composite")
        for where, used in self._uses():
            if used not in self.variants and (where == "variant" or used not in self.composites):
                raise ValueError(f"there is no '{used}', which is used as a {where}")
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError("two claims have one id")
        for text in (*self.judged_by, *(claim.metric for claim in self.claims)):
            Metric.parse(text)
        unused = [name for name, seeds in self.seeds().items() if seeds == 0]
        if unused:
            raise ValueError(f"no claim compares '{unused[0]}'")
        return self

    def _uses(self) -> Iterator[tuple[str, str]]:
        for composite in self.composites.values():
            yield from (("variant", part) for part in composite.parts)
        yield "reference", self.reference
        for claim in self.claims:
            over = Metric.parse(claim.metric).over
            if over:
                yield "reference", over
            yield "side of a claim", claim.first
            if claim.second is not None:
                yield "side of a claim", claim.second

    def _check_no_circle(self, name: str, on_the_way: tuple[str, ...]) -> None:
        if name not in self.variants:
            raise ValueError(f"there is no variant '{name}', which '{on_the_way[-1]}' needs")
        if name in on_the_way:
            raise ValueError(f"variant '{name}' needs itself")
        variant = self.variants[name]
        for other in (variant.like, variant.start, variant.teacher):
            if other:
                self._check_no_circle(other, (*on_the_way, name))


def study_names() -> tuple[str, ...]:
    """Return the studies of config/studies, in the order of the sources' sections."""
    names = [path.stem for path in (config_folder() / "studies").glob("*.yaml")]
    return tuple(sorted(names, key=lambda name: (Study.load(name).section, name)))


def base_file(what: Literal["network", "training", "pretraining"]) -> Path:
    """Return a file of what all studies have in common."""
    return config_folder() / "studies" / "base" / f"{what}.yaml"
