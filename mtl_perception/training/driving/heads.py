# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A pass of the heads of driving over a batch of moments, as the network makes it frame by frame, and its losses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtl_perception.core.prediction import Task
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.network.batch import CameraBatch, History
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.network.driving.driving_tasks import DRIVER_TASKS, DrivingTasks
from mtl_perception.network.driving.dual_branch import DualBranchEmbedding, DualBranchOutput
from mtl_perception.training.balancing import decoupling_loss
from mtl_perception.training.driving.config import DrivingStageConfig
from mtl_perception.training.driving.features import UNKNOWN_CLASS
from mtl_perception.training.driving.losses import nearly_straight_loss, scene_class_loss, steering_loss
from mtl_perception.training.driving.moments import Moments

DRIVING_TASKS: tuple[Task, ...] = ("steering", *SCENE_TASKS)
"""What the stage trains."""


class DrivingHeads:
    """The losses of all tasks of driving on a batch."""

    def __init__(
        self,
        driving: DrivingTasks,
        class_weights: Mapping[str, Tensor],
        angle_variance: float,
        config: DrivingStageConfig,
    ) -> None:
        """Take the network's part, weights (K,) by task, the variance of the true angles and the settings."""
        self._driving, self._class_weights, self._variance = driving, class_weights, angle_variance
        self._config = config

    def losses(self, batch: Moments) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the tasks' losses, and further terms that are weighted already; scalars.

        What the driver does cannot be known where nothing of the driver is: such rows count for the others only.
        """
        with _embedding_kept(self._driving) as kept:
            output = run_heads(self._driving, batch)
        config = self._config
        losses = {
            "steering": steering_loss(
                output["steering"],
                output["steering_log_variance"],
                batch.steering,
                config.steering_emphasis,
                self._variance,
            )
            + nearly_straight_loss(output["steering"], batch.steering, self._variance)
        }
        unseen = ~(batch.cabin.valid.any(dim=1) | batch.cabin.joints_valid)
        for column, task in enumerate(SCENE_CLASSES):
            true = batch.classes[:, column]
            if task in DRIVER_TASKS:
                true = true.masked_fill(unseen, UNKNOWN_CLASS)
            losses[task] = scene_class_loss(
                output["scene_logits"][task], true, self._class_weights[task], config.label_smoothing
            )
        if not config.decoupling or not kept:
            return losses, {}
        embedded = kept[0]
        return losses, {"decoupling": config.decoupling * decoupling_loss(embedded.shared, embedded.specific)}


def run_heads(driving: DrivingTasks, batch: Moments, tasks: Collection[str] = DRIVING_TASKS) -> dict[str, Any]:
    """Return what `NetworkOutput` says of driving, for B moments at once."""
    count = len(batch)
    now = batch.frame_index < count
    before = batch.frame_index[~now] - count
    memory = driving.frame_memory(batch.outside[~now], before, batch.num_frames - count, tasks, batch.twist[count:])
    valid = batch.past >= 0
    history = None
    if valid.any():
        rows = (batch.past - count).clamp(min=0)
        history = History({name: kept[rows] for name, kept in memory.items()}, batch.age, valid)
    result: dict[str, Any] = driving(
        batch.outside[now],
        _cameras(batch.frame_index[now], count),
        tasks,
        history,
        batch.cabin_maps,
        batch.cabin,
        batch.twist[:count],
    )
    return result


def _cameras(frame_index: Tensor, count: int) -> CameraBatch:
    """Return cameras without images: the heads look at the features, and at which frame they are of."""
    empty = torch.zeros(len(frame_index), 3, 0, 0)
    pose = torch.eye(4).expand(len(frame_index), 4, 4)
    known = torch.zeros(len(frame_index), dtype=torch.bool)
    return CameraBatch(empty, pose[:, :3, :3], pose, known, frame_index, count)


@contextmanager
def _embedding_kept(driving: DrivingTasks) -> Iterator[list[DualBranchOutput]]:
    """Give what the dual branch embeds meanwhile, for the decoupling of its features; nothing without one."""
    kept: list[DualBranchOutput] = []

    def keep(_module: nn.Module, _inputs: Any, output: DualBranchOutput) -> None:
        kept.append(output)

    embedding = driving.scene.embedding
    if not isinstance(embedding, DualBranchEmbedding):
        yield kept
        return
    handle = embedding.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
