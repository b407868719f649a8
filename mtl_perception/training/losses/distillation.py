# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses whose truth is what another network says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.network.output import NetworkOutput
from mtl_perception.training.losses.reduction import mean_of, weighted_mean

FLOW_WEIGHT, MASK_WEIGHT = 0.1, 1e-3
"""The unified encoder's beta_1 and beta_2 (section III-C)."""
OFFSET_UNIT = 10.0
"""Pixels of an offset to a thing's centre that count as much as a whole unit of probability elsewhere."""

MATCH_REACH = 4.0
"""Pixels of a match's change beyond which it counts no more: there are two equally good matches then."""

_BOX_MAPS = ("offset", "height", "log_size", "direction", "velocity")

DRIFT_TASKS: Mapping[str, str] = {
    "edge_logits": "edges",
    "normals": "normals",
    "centre_logits": "panoptic",
    "centre_offsets": "panoptic",
    "query_classes": "panoptic",
    "query_masks": "panoptic",
    "map_logits": "bev_map",
    "occupied": "occupancy",
    "occupancy_classes": "occupancy",
    "box_heatmap": "detections",
    **{f"box_{name}": "detections" for name in _BOX_MAPS},
    **{task: task for task in SCENE_TASKS},
    "steering": "steering",
    "steering_log_variance": "steering",
    "motion_logits": "motion_mask",
    "flow_mask_logits": "scene_flow",
    "complete_flow": "scene_flow",
    "independent_flow": "scene_flow",
    "ego_motion": "ego_motion",
    "ego_motion_log_variance": "ego_motion",
    "alignment_depth": "ego_motion",
    "matches": "ego_motion",
    "match_precision": "ego_motion",
}
"""Of each loss that `drift_losses` may return, by its name: the task that it holds where it was."""


@dataclass(frozen=True)
class FlowTarget:
    """What a teacher says of N images and those before.

    Attributes:
        complete_flow: F_C, (N, 3, h, w) metres.
        motion_logits: (N, h, w), of the mask M; None where it does not say.
    """

    complete_flow: Tensor
    motion_logits: Tensor | None

    def select(self, rows: Tensor) -> FlowTarget:
        """Return what it says of some of the images (M,) int64."""
        return FlowTarget(self.complete_flow[rows], None if self.motion_logits is None else self.motion_logits[rows])


def flow_distillation_loss(complete_flow: Tensor, mask_logits: Tensor | None, target: FlowTarget) -> Tensor:
    """Return 0.1 |F_C - F_C'|_1 + 0.001 |M - M'|_1, each a mean over all numbers, M a probability.

    The unified encoder's L_distil (section III-C). Maps of another size than the student's are resized to it.

    Args:
        complete_flow: the student's, (N, 3, h, w) metres.
        mask_logits: the student's, (N, h, w), or None.
        target: the teacher's.
    """
    flow = _resized(target.complete_flow.detach(), complete_flow)
    loss = FLOW_WEIGHT * mean_of((complete_flow.float() - flow).abs())
    if mask_logits is not None and target.motion_logits is not None:
        mask = _resized(target.motion_logits.detach()[:, None], mask_logits)[:, 0].sigmoid()
        loss = loss + MASK_WEIGHT * mean_of((mask_logits.float().sigmoid() - mask).abs())
    return loss


def semantic_imitation_loss(logits: Tensor, rows: Tensor, label_table: Tensor, row_weights: Tensor) -> Tensor:
    """Negative log of the probability that the labels named by a teacher have together, weighted by its confidence.

    Args:
        logits: (N, C, h, w).
        rows: (N, h, w) int64, rows of `label_table`.
        label_table: (R, C) bool; a row of void is all False.
        row_weights: (R,), 0 to 1.
    """
    known = label_table.any(dim=1)[rows]
    flat = logits.float().permute(0, 2, 3, 1)[known]
    named = label_table[rows[known]]
    among = torch.logsumexp(flat.masked_fill(~named, -1e4), dim=1)
    return weighted_mean(torch.logsumexp(flat, dim=1) - among, row_weights.to(flat)[rows[known]])


def drift_losses(
    student: NetworkOutput, start: NetworkOutput, valid: Tensor | None, *, matched_flow: bool = False
) -> dict[str, Tensor]:
    """Return, by a name of `DRIFT_TASKS`, how far a network has gone from where it started.

    Learning without Forgetting (Li and Hoiem 2016): what a network said before is the truth for the tasks that the new
    data has none for. Probabilities are compared by their Kullback-Leibler divergence, so that no change costs 0; other
    numbers by L1, in the output's own unit. What follows from other outputs without parameters of its own is left out,
    and so are depth and semantics, which are to change.

    Args:
        student, start: outputs for the same batch.
        valid: (N,) bool, which cameras have a usable previous image; None: none has.
        matched_flow: whether scene flow is made of the depth task's rigid flow and what moves on top of it: then only
            the latter is held, as a flow that stays where it was would have to undo what the depth learns.
    """
    losses: dict[str, Tensor] = {}
    for name in ("edge_logits", "centre_logits", "map_logits"):
        now, then = getattr(student, name), getattr(start, name)
        if now is not None and then is not None:
            losses[name] = mean_of(_binary_divergence(now, then))
    if student.normals is not None and start.normals is not None:
        losses["normals"] = mean_of(1.0 - functional.cosine_similarity(student.normals.float(), start.normals, dim=1))
    if student.centre_offsets is not None and start.centre_offsets is not None and start.centre_logits is not None:
        change = (student.centre_offsets.float() - start.centre_offsets).abs().sum(dim=1) / OFFSET_UNIT
        losses["centre_offsets"] = mean_of(change.clamp(max=1.0))
    if student.queries is not None and start.queries is not None:
        now_by, then_by = student.queries, start.queries
        losses["query_classes"] = mean_of(_divergence(now_by.class_logits.mT, then_by.class_logits.mT))
        losses["query_masks"] = mean_of(_binary_divergence(now_by.mask_logits, then_by.mask_logits))
    if student.occupancy_logits is not None and start.occupancy_logits is not None:
        now, then = student.occupancy_logits, start.occupancy_logits
        losses["occupied"] = mean_of(_binary_divergence(now[:, 0], then[:, 0]))
        losses["occupancy_classes"] = weighted_mean(_divergence(now[:, 1:], then[:, 1:]), then[:, 0].float().sigmoid())
    if student.boxes is not None and start.boxes is not None:
        now_boxes, then_boxes = student.boxes, start.boxes
        losses["box_heatmap"] = mean_of(_binary_divergence(now_boxes.heatmap, then_boxes.heatmap))
        there = then_boxes.heatmap.float().sigmoid().amax(dim=1)
        for name in _BOX_MAPS:
            change = (getattr(now_boxes, name).float() - getattr(then_boxes, name)).abs().mean(dim=1)
            losses[f"box_{name}"] = weighted_mean(change, there)
    for task in student.scene_logits.keys() & start.scene_logits.keys():
        losses[task] = mean_of(_divergence(student.scene_logits[task], start.scene_logits[task]))
    if student.steering is not None and start.steering is not None:
        losses["steering"] = _distance(student.steering, start.steering)
    if student.steering_log_variance is not None and start.steering_log_variance is not None:
        losses["steering_log_variance"] = _distance(student.steering_log_variance, start.steering_log_variance)
    if valid is not None and bool(valid.any()):
        losses |= _motion_drift(student, start, valid, "independent_flow" if matched_flow else "complete_flow")
    return losses


def _motion_drift(student: NetworkOutput, start: NetworkOutput, valid: Tensor, flow: str) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = {}
    for name in ("motion_logits", "flow_mask_logits"):
        now, then = getattr(student, name), getattr(start, name)
        if now is not None and then is not None:
            losses[name] = mean_of(_binary_divergence(now[valid], then[valid]))
    now, then = getattr(student, flow), getattr(start, flow)
    if now is not None and then is not None:
        losses[flow] = _distance(now[valid], then[valid])
    if student.alignment is not None and start.alignment is not None:
        now_by, then_by = student.alignment, start.alignment
        losses["alignment_depth"] = mean_of(_divergence(now_by.depth_logits[valid], then_by.depth_logits[valid]))
        moved = (now_by.matches.fine[valid] - then_by.matches.fine[valid]).abs().sum(dim=-1).clamp(max=MATCH_REACH)
        precision = then_by.matches.log_precision[valid]
        losses["matches"] = weighted_mean(moved, precision.exp().clamp(max=1.0))
        losses["match_precision"] = _distance(now_by.matches.log_precision[valid], precision)
    elif student.ego_motion is not None and start.ego_motion is not None:  # what is solved for has no gradient
        now_ego, then_ego = student.ego_motion, start.ego_motion
        losses["ego_motion"] = _distance(now_ego.vector[valid], then_ego.vector[valid])
        losses["ego_motion_log_variance"] = _distance(now_ego.log_variance[valid], then_ego.log_variance[valid])
    return losses


def _distance(values: Tensor, start: Tensor) -> Tensor:
    return mean_of((values.float() - start.detach()).abs())


def _binary_divergence(logits: Tensor, start: Tensor) -> Tensor:
    """Return KL(start || now) of independent probabilities given by logits of one shape."""
    probability = start.detach().float().sigmoid()
    now = functional.binary_cross_entropy_with_logits(logits.float(), probability, reduction="none")
    least = functional.binary_cross_entropy_with_logits(start.detach().float(), probability, reduction="none")
    return (now - least).clamp(min=0.0)


def _divergence(logits: Tensor, start: Tensor) -> Tensor:
    """Return KL(start || now) of the distributions over dimension 1."""
    then, now = start.detach().float().log_softmax(dim=1), logits.float().log_softmax(dim=1)
    return (then.exp() * (then - now)).sum(dim=1)


def _resized(values: Tensor, like: Tensor) -> Tensor:
    """Bring maps (N, C, h, w) to the size of others, by bilinear interpolation, in float32."""
    if values.shape[-2:] == like.shape[-2:]:
        return values.float()
    return functional.interpolate(values.float(), like.shape[-2:], mode="bilinear", antialias=True)
