# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a multi-backbone teacher learns from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import LabelSpace
from mtl_perception.network.motion.flow_composition import independent_flow, rigid_flow
from mtl_perception.network.teacher import FLOW_TASKS, MultiBackboneTeacher
from mtl_perception.training.distillation.schedule import TeacherConfig
from mtl_perception.training.losses.motion import motion_loss
from mtl_perception.training.losses.reduction import stride_of
from mtl_perception.training.losses.scene_flow import scene_flow_loss
from mtl_perception.training.objective.batch_losses import Losses
from mtl_perception.training.objective.batch_truth import flow_truth, positions
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.objective.settings import ObjectiveSettings
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingBatch


class TeacherObjective:
    """Teacher and batch -> losses of the tasks that learn at the step, each from its own branch.

    Where the paper is self-supervised, this has truth: depth, pose and flow are learnt from it, and the motion branch
    is told the true poses (our reading: known poses take the ambiguity of scale away). Depth that composes the flow is
    the scene branch's, as in the paper. As long as the mask does not learn, all of the flow counts: a decoder of masks
    that is still random must not scale it.
    """

    def __init__(
        self, settings: ObjectiveSettings, labels: LabelSpace, class_weights: Tensor, config: TeacherConfig, steps: int
    ) -> None:
        """Keep the settings of the branches' own objective, and the schedule of a run of `steps`."""
        self.objective = Objective(settings.model_copy(update={"distillation": 0.0}), labels, class_weights)
        self.config, self.steps = config, steps

    def __call__(self, teacher: MultiBackboneTeacher, batch: TrainingBatch, step: int = 0) -> Losses:
        """Return the losses; what does not learn at the step is frozen by this."""
        learning = [task for task in self.config.learning(step, self.steps) if task in teacher.tasks]
        teacher.train_only(learning)
        tasks: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        if set(learning).intersection(teacher.scene.config.tasks):
            seen = self.objective(teacher.scene, batch, step)
            tasks, terms = tasks | seen.tasks, terms | seen.terms
        if "ego_motion" in learning:
            tasks |= self.objective(teacher.pose, batch, step).tasks
        if set(learning).intersection(FLOW_TASKS):
            tasks |= _motion_losses(teacher, batch, learning)
        return Losses(tasks, terms)


def _motion_losses(teacher: MultiBackboneTeacher, batch: TrainingBatch, learning: Collection[str]) -> dict[str, Tensor]:
    """Return the losses of flow and mask on the rows that have truth for them."""
    rows = _rows(batch)
    if batch.previous is None or not len(rows):
        return {}
    at = positions(rows, batch.previous_rows)
    current, motion = batch.cameras.select(rows), batch.previous_from_current[at]
    said = teacher(current, batch.previous.select(at), motion)
    complete, independent, mask = said.complete_flow, said.independent_flow, said.flow_mask_logits
    assert complete is not None and independent is not None and mask is not None and said.depth is not None
    losses: dict[str, Tensor] = {}
    with torch.autocast(batch.depth.device.type, enabled=False):
        if "motion_mask" in learning:
            losses["motion_mask"] = motion_loss(mask, batch.motion_mask[rows])
        if "scene_flow" in learning:
            true_mask = batch.motion_mask[rows]
            if "motion_mask" not in learning:
                stride = stride_of(true_mask, complete)
                independent = _unmasked(complete, said.depth, batch.cameras.K[rows], motion, stride)
                mask, true_mask = mask.detach(), torch.full_like(true_mask, UNKNOWN_MOTION)
            truth = replace(flow_truth(batch, rows), motion_mask=true_mask)
            losses["scene_flow"] = scene_flow_loss(complete, independent, mask, truth)
    return losses


def _unmasked(complete: Tensor, depth: Tensor, K: Tensor, motion: Tensor, stride: int) -> Tensor:
    """Return F_I (N, 3, h, w) where everything moves."""
    size = complete.shape[-2:]
    depth = functional.interpolate(depth.detach().float()[:, None], size, mode="bilinear")[:, 0]
    return independent_flow(torch.ones_like(depth), complete.float(), rigid_flow(depth, K, motion, stride))


def _rows(batch: TrainingBatch) -> Tensor:
    """Return the rows (M,) that have a frame before and truth for flow or mask."""
    flow = torch.isfinite(batch.scene_flow).flatten(1).any(dim=1)
    mask = (batch.motion_mask != UNKNOWN_MOTION).flatten(1).any(dim=1)
    known = (flow | mask)[batch.previous_rows]
    return batch.previous_rows[known]
