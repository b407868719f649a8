# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Single-task networks beside the multi-task one: same encoder, same data, same number of steps for each network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.prediction import Task
from mtl_perception.core.validation_text import validation_text
from mtl_perception.files import write_whole
from mtl_perception.network import load_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training.config import TERM_TASKS, TrainingConfig
from mtl_perception.training.run_card import with_names
from mtl_perception.training.trainer import CHECKPOINT, Trainer
from mtl_perception.training.validation.tables import HEADLINES, number

MULTI = "all tasks"
_VALIDATION = "validation.json"

Validate = Callable[[Path, tuple[str, ...]], dict[str, Any]]
"""Checkpoint, tasks -> report, as `validate` makes it."""


class SingleTaskConfig(BaseModel):
    """What is compared: `config/training/single_task.yaml`.

    Raises:
        pydantic.ValidationError: a value is out of bounds or a key is unknown.
    """

    model_config = ConfigDict(extra="forbid")

    training: str = Field(description="of all networks: a file of config/training without its ending, or a path")
    changes: dict[str, Any] = Field(default_factory=dict, description="of that file's keys, for all networks")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="each network is trained with each of them")
    tasks: dict[Task, tuple[Task, ...]] = Field(
        min_length=1, description="per task that is compared, all that its single-task network is trained for"
    )

    @classmethod
    def load(cls, path: Path) -> SingleTaskConfig:
        """Read the YAML.

        Raises:
            ValueError: a key or value is wrong; the message names the file.
        """
        try:
            return cls.model_validate(read_yaml(path))
        except ValidationError as error:
            raise ValueError(f"single-task configuration {path}: {validation_text(error)}") from error


@dataclass(frozen=True)
class SingleTaskRun:
    """One network with one seed.

    Attributes:
        name: the task that is compared, or `MULTI`.
        seed: of the training.
        config: of the training.
        compared: the tasks whose figures are taken from it.
        folder: of the run.
    """

    name: str
    seed: int
    config: TrainingConfig
    compared: tuple[str, ...]
    folder: Path

    def report(self) -> dict[str, Any] | None:
        """Return the figures of a finished run; None where it is not finished."""
        path = self.folder / _VALIDATION
        return json.loads(path.read_text()) if path.is_file() else None

    def perform(self, data: Path, cache: Path, validate: Validate) -> dict[str, Any]:
        """Make the run, or what is left of it, and return its figures; a finished one is not made again.

        Args:
            data: folder of the recordings.
            cache: folder of rendered worlds, which all runs share.
            validate: measures the checkpoint.

        Raises:
            ValueError: the folder has a run of another configuration.
            OSError, FloatingPointError: as `Trainer`.
        """
        checkpoint = self.folder / CHECKPOINT
        report = self.report()
        if report is None:
            Trainer(self.config, data, self.folder, cache=cache).train()
            report = validate(checkpoint, self.compared)
            write_whole(self.folder / _VALIDATION, json.dumps(report, indent=1) + "\n")
        elif TrainingConfig.model_validate(load_checkpoint(checkpoint).card["training"]) != with_names(self.config):
            raise ValueError(f"{self.folder} has a finished run of another configuration")
        return report


def planned(config: SingleTaskConfig, out: Path) -> list[SingleTaskRun]:
    """Return the runs of a comparison, below a folder: those of the multi-task network first.

    Raises:
        FileNotFoundError: there is no such training configuration.
        ValueError: a change is wrong, or a task is not one of the network's.
    """
    content = read_yaml(config_file("training", config.training)) | config.changes
    everything = tuple(dict.fromkeys(task for tasks in config.tasks.values() for task in tasks))
    networks: list[tuple[str, tuple[Task, ...]]] = [(MULTI, everything), *config.tasks.items()]
    runs = []
    for name, tasks in networks:
        for seed in config.seeds:
            try:
                training = TrainingConfig.model_validate({**_of_tasks(content, tasks), "tasks": tasks, "seed": seed})
                training.network_config()
            except ValueError as error:
                raise ValueError(f"single-task comparison, '{name}': {error}") from error
            compared = tuple(config.tasks) if name == MULTI else (name,)
            runs.append(SingleTaskRun(name, seed, training, compared, out / name.replace(" ", "_") / f"seed_{seed}"))
    return runs


def _of_tasks(content: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """Return a training configuration without what it says of other tasks than these."""
    balancing, objective = content.get("balancing", {}), content.get("objective", {})
    weights = {task: weight for task, weight in balancing.get("weights", {}).items() if task in tasks}
    terms = {term: value for term, value in objective.items() if set(TERM_TASKS.get(term, ())) <= set(tasks)}
    return {**content, "balancing": {**balancing, "weights": weights}, "objective": terms}


@dataclass(frozen=True)
class Comparison:
    """One metric of one task on some data: means over seeds.

    Attributes:
        data, task, metric: what it is.
        multi, single: of the multi-task network and of the task's own.
        gain: by how much the multi-task network is better, in the metric's unit.
        multi_interval, single_interval: 95 % intervals over worlds; None where there are several seeds.
    """

    data: str
    task: str
    metric: str
    multi: float
    single: float
    gain: float
    multi_interval: tuple[float, float] | None = None
    single_interval: tuple[float, float] | None = None


def compared(finished: Sequence[tuple[SingleTaskRun, Mapping[str, Any]]]) -> list[Comparison]:
    """Return the usual metrics of all tasks whose own network and the multi-task one are finished."""
    multi = [report for run, report in finished if run.name == MULTI]
    result = []
    for task in dict.fromkeys(run.name for run, _ in finished if run.name != MULTI):
        single = [report for run, report in finished if run.name == task]
        for data in multi[0]["figures"] if multi else ():
            for metric in HEADLINES[task]:
                means = [_mean(reports, data, task, metric) for reports in (multi, single)]
                better = _entry(single[0], data, task, metric).get("better", "")
                if better and np.isfinite(means).all():
                    gain = means[0] - means[1] if better == "higher" else means[1] - means[0]
                    spreads = [_spread(reports, data, task, metric) for reports in (multi, single)]
                    result.append(Comparison(data, task, metric, means[0], means[1], gain, *spreads))
    return result


def comparison_text(runs: Sequence[SingleTaskRun], rows: Sequence[Comparison]) -> str:
    """Return the comparison as Markdown."""
    steps = sorted({run.config.steps for run in runs})
    lines = [
        "# One network for all tasks, or one for each?",
        "",
        f"Networks of one encoder (`{runs[0].config.network}`), trained on the same data for the same number of steps "
        f"({'/'.join(map(str, steps))}) each: `python -m mtl_perception single-task`. In brackets 95 % intervals over "
        "the worlds. Steering and the classes of driver, vehicle and traffic are not compared: they are read from an "
        "encoder that is frozen, whatever it was trained for.",
        "",
        "| data | task | metric | multi-task | single-task | gain |",
        "|-|-|-|-|-|-|",
    ]
    for row in rows:
        cells = (_with_interval(row.multi, row.multi_interval), _with_interval(row.single, row.single_interval))
        lines.append(f"| {row.data} | {row.task} | {row.metric} | {' | '.join(cells)} | {row.gain:+.3f} |")
    won = sum(row.gain > 0 for row in rows)
    return "\n".join([*lines, "", f"The multi-task network is better in {won} of {len(rows)} rows."]) + "\n"


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    return number(value) if interval is None else f"{number(value)} [{number(interval[0])}, {number(interval[1])}]"


def _spread(reports: Sequence[Mapping[str, Any]], data: str, task: str, metric: str) -> tuple[float, float] | None:
    spread = _entry(reports[0], data, task, metric).get("interval") if len(reports) == 1 else None
    return None if spread is None else (float(spread[0]), float(spread[1]))


def _mean(reports: Sequence[Mapping[str, Any]], data: str, task: str, metric: str) -> float:
    return float(np.mean([_entry(report, data, task, metric).get("value", np.nan) for report in reports]))


def _entry(report: Mapping[str, Any], data: str, task: str, metric: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = report["figures"].get(data, {}).get(task, {}).get("metrics", {}).get(metric, {})
    return entry
