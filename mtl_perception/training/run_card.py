# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run's checkpoint says of itself: which tasks it can do, and how it came to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_perception.network import NetworkConfig
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.start import Start
from mtl_perception.training.state import Record

OF_THESE_WEIGHTS = ("validation", "losses", "metrics")
"""What a card says of its own weights only: nothing of it is true of weights that were trained on."""


def trained_tasks(network: NetworkConfig, config: TrainingConfig, record: Record, start: Start) -> tuple[str, ...]:
    """Return the tasks that a network has learnt: others have random weights and must not be published.

    Those that a batch had truth for, those that a term without truth teaches, and those of the start.
    """
    learnt = {*record.losses, *start.trained_tasks}
    if "panoptic" in record.losses and network.dense.semantic_from == "queries":
        learnt.add("semantic")
    if "distillation" in record.terms:
        learnt.add("scene_flow")
    if "photometric" in record.terms:
        learnt |= {"depth", "ego_motion"} if config.objective.withhold_poses_every else {"depth"}
    return tuple(task for task in network.tasks if task in learnt)


def without_effect(network: NetworkConfig, config: TrainingConfig, record: Record, start: Start) -> list[str]:
    """Return in words what a run was asked for and has not done, since its data never had what it needs."""
    untrained = sorted(set(network.tasks) - set(trained_tasks(network, config, record, start)))
    lines = [f"task '{task}' had no truth in any batch: the checkpoint does not claim it" for task in untrained]
    absent = [term for term in config.objective.weighted_terms if term not in record.terms]
    return lines + [f"objective.{term} never had what it compares: it had no effect" for term in absent]


def run_card(config: TrainingConfig, record: Record, start: Start) -> dict[str, Any]:
    """Return the card of a run's checkpoint, with that of what it started from, as far as it still is true."""
    card: dict[str, Any] = {
        "licence": config.licence,
        "training": json.loads(with_names(config).model_dump_json()),
        "step": record.step,
        "hours": round(record.seconds / 3600, 2),
        "losses": _rounded(record.losses),
        "metrics": _rounded(record.metrics),
    }
    if start.card:
        card["start"] = past(start.card)
    return card


def with_names(config: TrainingConfig) -> TrainingConfig:
    """Return a configuration with the names of files in place of their paths, which are those of one machine."""
    names = {key: name_of(getattr(config, key)) for key in ("network", "labels", "start")}
    objective = config.objective.model_copy(update={"teacher": name_of(config.objective.teacher)})
    return config.model_copy(update={**names, "objective": objective})


def name_of(source: str) -> str:
    """Return the name of a file; a hub id, or what comes with the package, has no other."""
    return Path(source).name if Path(source).is_file() else source


def past(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stays true of a checkpoint's card when the weights change."""
    return {key: value for key, value in card.items() if key not in OF_THESE_WEIGHTS}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
