# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The runs of a study: which there are, and how one is made. Each is a function of its definition and seed alone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from mtl_perception.files import write_whole
from mtl_perception.resources import PACKAGE, config_folder
from mtl_perception.training.ablation.measuring import measure, weight_spread
from mtl_perception.training.ablation.steering import train_steering
from mtl_perception.training.ablation.study import HeldOutConfig, SteeringRecipe, Study, base_file
from mtl_perception.training.config import TrainingConfig, merged
from mtl_perception.training.trainer import CHECKPOINT, Trainer

PRETRAINING = "pretraining"
PRETRAINED_PARTS = ("encoder", "neck")
RESULT = "result.json"
SPENT = "spent.json"
_FORMAT = 2
"""Changes when the same definition gives other figures."""
_CODE = ("core", "data", "evaluation", "network", "training")
_SETTINGS = ("labels", "rigs")
"""Folders of the package and of `config` that figures follow from, beside modules at the package's top."""


@dataclass(frozen=True)
class Places:
    """Folders: of the studies' runs, of rendered worlds (shared by all runs), of the recordings."""

    out: Path
    cache: Path
    data: Path


@dataclass(frozen=True)
class Run:
    """One variant trained with one seed.

    Attributes:
        variant, seed: which it is.
        digest: of all that it follows from, the code with it; runs of equal digests are the same, whatever their study.
        config: of the training; paths of other runs' checkpoints apart, a function of the study.
        folder: where it is kept.
        sources: runs whose weights it needs.
        held_out: what it is scored on.
        steering: instead of a training, steering on the encoder of the first source.
    """

    variant: str
    seed: int
    digest: str
    config: TrainingConfig
    folder: Path
    sources: tuple[Run, ...]
    held_out: tuple[HeldOutConfig, ...]
    steering: SteeringRecipe | None = None

    @property
    def checkpoint(self) -> Path:
        """The weights that it gives."""
        return self.folder / CHECKPOINT

    def result(self) -> dict[str, Any] | None:
        """Return what it gave; None while it is not finished."""
        path = self.folder / RESULT
        return json.loads(path.read_text()) if path.is_file() else None


def definition(study: Study) -> str:
    """Return a digest of all that a study's results and verdicts follow from, its texts apart.

    It is written down with the results: claims, metrics, margins and budgets cannot be changed afterwards unnoticed.
    """
    content = study.model_dump(mode="json", exclude={"title", "system", "section"})
    for part in (*content["variants"].values(), *content["composites"].values()):
        del part["says"]
    for claim in content["claims"]:
        for text in ("says", "figure", "differs", "tried"):
            del claim[text]
    return _digest([_FORMAT, content, _base("network"), _base("training"), _base("pretraining")])


def plan(study: Study, places: Places, *, steps: int | None = None, seeds: int | None = None) -> list[Run]:
    """Return the runs of a study, each after those that it needs.

    Args:
        study: which.
        places: where the runs are kept.
        steps: of each run, instead of the study's.
        seeds: at most so many of each variant.

    Raises:
        ValueError: a variant's recipe is wrong; names it.
    """
    runs: dict[tuple[str, int], Run] = {}
    for name, needed in study.seeds().items():
        for seed in range(needed if seeds is None else min(needed, seeds)):
            _add(study, name, seed, places, steps, runs)
    return list(runs.values())


def perform(run: Run, places: Places) -> dict[str, Any]:
    """Make a run, or what is left of it, and return its result; a finished one is not made again.

    Raises:
        ValueError, OSError, FloatingPointError: as `Trainer`.
    """
    found = run.result()
    if found is not None:
        return found
    torch.set_num_threads(1)
    run.folder.mkdir(parents=True, exist_ok=True)
    before = _spent(run.folder) - _cpu_seconds()
    try:
        figures = _figures(run, places)
    finally:
        write_whole(run.folder / SPENT, json.dumps({"cpu_seconds": before + _cpu_seconds()}) + "\n")
    result = {
        "variant": run.variant,
        "seed": run.seed,
        "digest": run.digest,
        "steps": run.config.steps if run.steering is None else run.steering.steps,
        "cpu_seconds": round(before + _cpu_seconds(), 1),
        "machine": machine(),
        "figures": {name: value for name, value in sorted(figures.items()) if value == value},
    }
    write_whole(run.folder / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def machine() -> str:
    """Return the processor and the version of torch."""
    model = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"one thread of {model}, {os.cpu_count()} cores, torch {torch.__version__}"


def _figures(run: Run, places: Places) -> dict[str, float]:
    if run.steering is not None:
        return train_steering(run.sources[0].checkpoint, run.steering, run.seed, places.cache / "steering")
    Trainer(run.config, places.data, run.folder, cache=places.cache, quiet=True).train()
    if not run.held_out:
        return {}
    figures = measure(run.checkpoint, run.held_out, places.cache / "held_out")
    return figures | {"weight_spread": weight_spread(run.folder)}


def _add(
    study: Study, name: str, seed: int, places: Places, steps: int | None, runs: dict[tuple[str, int], Run]
) -> Run:
    if (name, seed) in runs:
        return runs[name, seed]
    variant = study.variants[name]
    start = _add(study, variant.start, seed, places, steps, runs) if variant.start else None
    if start is None and study.pretrained:
        start = runs.setdefault((PRETRAINING, 0), _pretraining(places, steps))
    teacher = _add(study, variant.teacher, seed, places, steps, runs) if variant.teacher else None
    network, changes, tasks = study.changes(name)
    recipe = merged(_base("training"), changes) | {"network_changes": network, "tasks": list(tasks), "seed": seed}
    if start is not None and start.variant == PRETRAINING:
        recipe = {"start_parts": list(PRETRAINED_PARTS)} | recipe
    recipe |= _shortened(recipe, steps)
    needed = [start.digest if start else "", teacher.digest if teacher else ""]
    held_out = [config.model_dump() for config in study.held_out]
    steering = variant.steering
    if steering is not None and steps is not None:
        steering = steering.model_copy(update={"steps": steps, "worlds": 1, "held_out_worlds": 1})
    of_steering = None if steering is None else steering.model_dump()
    paths: dict[str, Any] = {"network": str(base_file("network")), "start": str(start.checkpoint) if start else ""}
    if teacher is not None:
        paths["objective"] = recipe.get("objective", {}) | {"teacher": str(teacher.checkpoint)}
    try:
        config = TrainingConfig.model_validate(recipe | paths)
        digest = _digest([_followed_from(config), needed, held_out, of_steering])
    except ValueError as error:
        raise ValueError(f"variant '{name}': {error}") from error
    sources = tuple(source for source in (start, teacher) if source is not None)
    folder = places.out / "runs" / digest
    runs[name, seed] = Run(name, seed, digest, config, folder, sources, study.held_out, steering)
    return runs[name, seed]


def _pretraining(places: Places, steps: int | None) -> Run:
    """Return the run whose encoder all variants start from, as the sources start from networks trained on ImageNet."""
    recipe = merged(_base("training"), _base("pretraining"))
    recipe |= _shortened(recipe, steps)
    config = TrainingConfig.model_validate(recipe | {"network": str(base_file("network"))})
    digest = _digest(_followed_from(config))
    return Run(PRETRAINING, 0, digest, config, places.out / "runs" / digest, (), ())


def _followed_from(config: TrainingConfig) -> list[Any]:
    """Return all that the weights of a run follow from but for other runs' weights.

    The whole network stands for its changes: studies that arrive at the same one share its runs.
    """
    content = config.model_dump(mode="json", exclude={"network", "network_changes", "start"})
    del content["objective"]["teacher"]
    return [_FORMAT, _code(), config.network_config().model_dump(mode="json"), content]


@lru_cache(maxsize=1)
def _code() -> str:
    """Return a digest of the code and settings that figures follow from."""
    files = [*PACKAGE.glob("*.py"), *(path for folder in _CODE for path in (PACKAGE / folder).rglob("*.py"))]
    files += [path for folder in _SETTINGS for path in (config_folder() / folder).glob("*.yaml")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _shortened(recipe: Mapping[str, Any], steps: int | None) -> dict[str, int]:
    return {} if steps is None else {"steps": steps, "warmup_steps": min(recipe["warmup_steps"], steps)}


def _base(what: Literal["network", "training", "pretraining"]) -> dict[str, Any]:
    content = yaml.safe_load(base_file(what).read_text())
    assert isinstance(content, dict)
    return content


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _spent(folder: Path) -> float:
    """Return the CPU seconds of earlier attempts that were interrupted."""
    path = folder / SPENT
    return float(json.loads(path.read_text())["cpu_seconds"]) if path.is_file() else 0.0


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has waited for (the loader of its batches)."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        yield from path.read_text().splitlines()
