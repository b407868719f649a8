# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of a batch's temporal tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.geometry import depth_scale, in_full_precision
from mtl_perception.network.motion.alignment import LOG_VARIANCE, Alignment, AlignmentProblem
from mtl_perception.network.motion.ego_motion import EgoMotion
from mtl_perception.network.motion.matching import STRIDE
from mtl_perception.network.motion.se3 import inverse
from mtl_perception.network.multi_task import Features
from mtl_perception.training.distillation.flow_teacher import FlowTeacher
from mtl_perception.training.losses.depth import depth_loss
from mtl_perception.training.losses.distillation import flow_distillation_loss
from mtl_perception.training.losses.ego_motion import matching_loss, step_loss
from mtl_perception.training.losses.motion import motion_loss
from mtl_perception.training.losses.pose import LIKELIHOOD, pose_loss, variance_loss
from mtl_perception.training.losses.reduction import nearest
from mtl_perception.training.losses.scene_flow import independent_flow_of, scene_flow_loss
from mtl_perception.training.objective.batch_truth import flow_truth, positions
from mtl_perception.training.samples import TrainingBatch

STEP = 2.0
"""Weight of the step that alignment takes from the true motion."""


class MotionLosses:
    """Masks, flow and ego motion of those rows of a batch that have truth for them."""

    def __init__(
        self,
        network: MultiTaskNetwork,
        batch: TrainingBatch,
        features: Features,
        rows: Mapping[str, Tensor],
        depth_of: Callable[[Tensor], Tensor | None],
        every_pair: bool,
    ) -> None:
        """Decode.

        Args:
            network: that the features are of.
            batch: whose images they are of.
            features: of all images.
            rows: per task, the images (M,) with truth for it.
            depth_of: returns the depth of some images as the network has decoded it.
            every_pair: whether flow is wanted of all images that have one before, with truth or without.
        """
        self.network, self.batch, self.features, self.rows = network, batch, features, rows
        wanted = {task for task in ("motion_mask", "scene_flow") if task in rows}
        chosen = [rows[task] for task in sorted(wanted)]
        if every_pair and "scene_flow" in network.config.tasks:
            wanted.add("scene_flow")
            chosen.append(batch.previous_rows)
        self.decoded_rows, self.decoded = self._decode(wanted, chosen, depth_of)

    def losses(self) -> dict[str, Tensor]:
        """Return the tasks' losses."""
        losses: dict[str, Tensor] = {}
        if "ego_motion" in self.rows:
            ego = self._ego_motion()
            if ego is not None:
                losses["ego_motion"] = ego
        rows, decoded = self.decoded_rows, self.decoded
        if "motion_logits" in decoded and "motion_mask" in self.rows:
            truth = self.batch.motion_mask[rows]
            losses["motion_mask"] = in_full_precision(motion_loss)(decoded["motion_logits"], truth)
        if "complete_flow" in decoded and "scene_flow" in self.rows:
            losses["scene_flow"] = in_full_precision(scene_flow_loss)(
                decoded["complete_flow"],
                decoded["independent_flow"],
                decoded["flow_mask_logits"],
                flow_truth(self.batch, rows),
            )
        return losses

    def taught(self, teacher: FlowTeacher) -> Tensor | None:
        """Return how far flow and mask are from what a teacher says of them; None where nothing was decoded."""
        said = teacher(self.batch) if "complete_flow" in self.decoded and "scene_flow" in self.rows else None
        if said is None:
            return None
        target = said.select(positions(self.decoded_rows, self.batch.previous_rows))
        return in_full_precision(flow_distillation_loss)(
            self.decoded["complete_flow"], self.decoded["flow_mask_logits"], target
        )

    def _decode(
        self, wanted: Collection[str], rows: list[Tensor], depth_of: Callable[[Tensor], Tensor | None]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the rows that masks and flow were decoded on, and what came out."""
        if not wanted:
            return self.batch.previous_rows[:0], {}
        chosen = torch.cat(rows).unique()
        cameras, features = self.batch.cameras.select(chosen), self.features.select(chosen)
        return chosen, self.network.decode_motion(features, cameras, wanted, depth_of(chosen))

    def _ego_motion(self) -> Tensor | None:
        rows = self.rows["ego_motion"]
        truth = self.batch.previous_from_current[positions(rows, self.batch.previous_rows)]
        alignment, estimate = self.features.alignment, self.features.ego_motion
        solved = None if estimate is None else EgoMotion(estimate.vector[rows], estimate.log_variance[rows])
        if alignment is None:
            return None if solved is None else in_full_precision(pose_loss)(solved, truth)
        loss = self._alignment(alignment, rows, truth) + STEP * self._step(alignment, rows, truth)
        if solved is not None:
            loss = loss + LIKELIHOOD * in_full_precision(variance_loss)(solved, truth, LOG_VARIANCE[0])
        return loss

    @in_full_precision
    def _step(self, alignment: Alignment, rows: Tensor, motion: Tensor) -> Tensor:
        """Return the loss of where alignment leads from the true motion, of frames with rows that have truth."""
        cameras = self.batch.cameras
        extrinsics = cameras.base_from_camera[rows].double()
        frames, valid = cameras.frame_index[rows], torch.zeros(len(cameras.K), dtype=torch.bool, device=rows.device)
        valid[rows] = True
        true = torch.eye(4, dtype=torch.float64, device=rows.device).repeat(cameras.num_frames, 1, 1)
        moved, there = extrinsics @ motion.double() @ inverse(extrinsics), frames.unique()
        first = torch.stack([(frames == frame).int().argmax() for frame in there])
        true[there] = moved[first]  # its cameras' motions hardly differ
        depth, matches = alignment.depth, alignment.matches
        problem = AlignmentProblem(
            depth, matches.fine, matches.log_precision, cameras, cameras.K, valid, STRIDE
        )
        step, _ = problem.step(true)
        return step_loss(step[there], true[there])

    @in_full_precision
    def _alignment(self, alignment: Alignment, rows: Tensor, motion: Tensor) -> Tensor:
        """Return the loss of matches and of the depth that alignment has of its own."""
        batch, head = self.batch, self.network.motion.alignment.depth
        logits, K = alignment.depth_logits[rows], batch.cameras.K[rows]
        scale = depth_scale(K, self.network.config.depth_bins.canonical_focal)
        of_depth = depth_loss(logits, scale, head.bins, nearest(batch.depth[rows], logits))
        flow = flow_truth(batch, rows)
        moved = independent_flow_of(flow.velocity, motion, flow.base_from_camera, flow.seconds)
        moved = torch.where((flow.motion_mask == 0)[:, None] & moved.isnan(), 0.0, moved)
        matches = alignment.matches.select(rows)
        return of_depth + matching_loss(matches, alignment.depth[rows], batch.depth[rows], moved, K, K, motion)
