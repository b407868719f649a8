# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a network in training is worth: a metric a task, on a few worlds that no training sees."""

from __future__ import annotations

import copy
from pathlib import Path

from mtl_perception.core import LabelSpace
from mtl_perception.network import Checkpoint, MultiTaskNetwork
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.validation.clips import ClipStore, held_out
from mtl_perception.training.validation.tables import HEADLINES
from mtl_perception.training.validation.worlds import validate_worlds

KINDS = ("street", "indoor")
RIGS = ("surround4",)


class ProgressMetrics:
    """Measures as the `validate` command does, through the `Perceiver` that the node runs, on fewer frames.

    With few worlds the figures say how a run goes, not what its checkpoint is worth.
    """

    def __init__(self, labels: LabelSpace, clips: Path, worlds: int, image_size: tuple[int, int]) -> None:
        """Look at `worlds` worlds of each kind, whose frames are kept in the folder `clips` once rendered.

        `image_size` is the cameras' width and height in pixels.
        """
        self.labels, self.clips = labels, clips
        self.plans = held_out(KINDS, RIGS, worlds, driving=False, image_size=image_size)

    def __call__(self, network: MultiTaskNetwork) -> dict[str, float]:
        """Return the first headline metric of each task and kind, as `street depth abs_rel`.

        Raises:
            OSError: the clips cannot be read or written.
        """
        device = next(network.parameters()).device
        checkpoint = Checkpoint(copy.deepcopy(network).eval(), self.labels, network.config.tasks, {}, "in training")
        perceiver = Perceiver(checkpoint, device=str(device))
        store = ClipStore(self.clips, self.labels, perceiver.grid)
        figures = validate_worlds(perceiver, self.plans, store, perceiver.tasks).figures
        metrics = {}
        for kind in KINDS:
            for task, entry in figures.get(kind, {}).items():
                name = HEADLINES[task][0]
                if name in entry["metrics"]:
                    metrics[f"{kind} {task} {name}"] = float(entry["metrics"][name]["value"])
        return metrics
