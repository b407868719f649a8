# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics as EvaluationMetrics and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_perception.messages.stamps import to_header
from mtl_perception_msgs.msg import EvaluationMetric, EvaluationMetrics


def to_evaluation_metrics(metrics: Mapping[str, Mapping[str, float]], frames: int, stamp_ns: int) -> EvaluationMetrics:
    """Return the metrics of each task after so many frames, the newest of which has that stamp."""
    entries = [
        EvaluationMetric(task=task, name=name, value=float(value))
        for task, values in metrics.items()
        for name, value in values.items()
    ]
    return EvaluationMetrics(header=to_header(stamp_ns, ""), frames=frames, metrics=entries)


def from_evaluation_metrics(message: Any) -> dict[str, dict[str, float]]:
    """Return the metrics of each task."""
    metrics: dict[str, dict[str, float]] = {}
    for entry in message.metrics:
        metrics.setdefault(str(entry.task), {})[str(entry.name)] = float(entry.value)
    return metrics
