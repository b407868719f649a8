# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run makes of a network and a batch: losses."""

from __future__ import annotations

from torch import Tensor

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.training.distillation.flow_teacher import FlowTeacher
from mtl_perception.training.objective.batch_losses import BatchLosses, Losses
from mtl_perception.training.objective.settings import IMAGE_TASKS, SUPERVISED, ObjectiveSettings
from mtl_perception.training.samples import TrainingBatch


class Objective:
    """Network and batch -> losses, of the tasks that both have.

    The encoder sees all images; a decoder only those that have truth for it, for time's sake. The frame before is
    encoded apart and without gradient, as the network remembers it when deployed. Losses are computed in float32
    whatever the network computes in.
    """

    def __init__(self, settings: ObjectiveSettings, labels: LabelSpace, class_weights: Tensor) -> None:
        """Keep the settings, the labels, and how much each class (labels,) weighs in semantics."""
        self.settings, self.class_weights = settings, class_weights
        self.things = tuple(label.id for label in labels.labels if label.thing)
        self.teacher = FlowTeacher.load(settings.teacher) if settings.distillation > 0 else None

    def __call__(self, network: MultiTaskNetwork, batch: TrainingBatch, step: int = 0) -> Losses:
        """Return the losses.

        Args:
            network: in training or evaluation mode.
            batch: on the network's device.
            step: of the run; with the settings it decides which tasks have their turn, and whether the network sees the
                cameras' motion.
        """
        turn, rest = divmod(step, self.settings.others_every)
        tasks = [task for task in (IMAGE_TASKS if rest else SUPERVISED) if task in network.config.tasks]
        every = self.settings.withhold_poses_every
        withheld = every > 0 and turn % every == every - 1
        return BatchLosses(self, network, batch, tasks, withheld).losses()
