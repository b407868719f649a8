# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of one batch: one encoder pass over all images, then each decoder on the rows that carry its truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network import MultiTaskNetwork, PreviousFrame
from mtl_perception.network.config import VOLUME_TASKS
from mtl_perception.network.driving.dual_branch import DualBranchOutput
from mtl_perception.network.geometry import depth_scale, in_full_precision
from mtl_perception.network.multi_task import Features
from mtl_perception.network.panoptic.query_segmentation import QuerySegmentation
from mtl_perception.network.panoptic.targets import query_targets
from mtl_perception.training.balancing.feature_decoupling import decoupling_loss
from mtl_perception.training.losses.consistency import depth_normal_loss, edge_semantic_loss
from mtl_perception.training.losses.depth import depth_loss
from mtl_perception.training.losses.edges import edges_loss
from mtl_perception.training.losses.normals import normals_loss
from mtl_perception.training.losses.panoptic import largest_segments, panoptic_loss, panoptic_maps
from mtl_perception.training.losses.reduction import nearest, stride_of
from mtl_perception.training.losses.semantic import overlap_loss, semantic_loss
from mtl_perception.training.objective.batch_truth import positions, rows_with_truth
from mtl_perception.training.objective.image_pairs import SELF_SUPERVISED, ImagePairs, self_supervised_terms
from mtl_perception.training.objective.motion_losses import MotionLosses
from mtl_perception.training.objective.settings import IMAGE_TASKS
from mtl_perception.training.objective.volume_losses import volume_losses
from mtl_perception.training.samples import TrainingBatch

if TYPE_CHECKING:
    from mtl_perception.training.objective.objective import Objective

_NORMALS = ("normals", "depth")
_EDGES = ("edges", "semantic")


@dataclass(frozen=True)
class Losses:
    """What a batch cost, all of it scalars with a gradient.

    Attributes:
        tasks: the loss of each task that the batch has truth for.
        terms: what is asked for beside the truth, weighted.
    """

    tasks: dict[str, Tensor]
    terms: dict[str, Tensor]

    def numbers(self) -> tuple[dict[str, float], dict[str, float], str | None]:
        """Return tasks and terms as numbers, and in words which of them is not finite; then there are no numbers."""
        named = {**self.tasks, **self.terms}
        if not named:
            return {}, {}, None
        numbers = torch.stack([value.detach().float() for value in named.values()]).tolist()
        values = dict(zip(named, numbers, strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                kind = "loss of task" if name in self.tasks else "term"
                return {}, {}, f"the {kind} '{name}' is {value}"
        return {task: values[task] for task in self.tasks}, {term: values[term] for term in self.terms}, None


class BatchLosses:
    """One evaluation of the objective: what the batch needs is decoded once, and the losses share it."""

    def __init__(
        self,
        objective: Objective,
        network: MultiTaskNetwork,
        batch: TrainingBatch,
        tasks: Collection[str],
        withheld: bool,
    ) -> None:
        """Encode and decode; `withheld`: without the cameras' motion."""
        self.objective, self.network, self.batch, self.settings = objective, network, batch, objective.settings
        self.tasks = frozenset(tasks)
        self.rows = {task: rows for task in tasks if len(rows := rows_with_truth(task, batch))}
        if objective.teacher is not None and "scene_flow" in tasks and len(batch.previous_rows):
            self.rows["scene_flow"] = batch.previous_rows  # the teacher has something to say of all of them
        self.features, _ = network.encode(batch.cameras, self._previous(withheld), tasks=tuple(tasks))
        self.dense, self.embedded = self._decode_dense_with_embedding()
        self.motion = MotionLosses(network, batch, self.features, self.rows, self._depth_of, self._has_pairs)

    def losses(self) -> Losses:
        """Return all of them."""
        tasks: dict[str, Tensor] = {}
        named: dict[str, Callable[[], Tensor | None]] = {
            "depth": self._depth,
            "semantic": self._semantic,
            "normals": self._normals,
            "edges": self._edges,
            "panoptic": self._panoptic,
        }
        for task, loss in named.items():
            if task in self.rows:
                value = loss()
                if value is not None:
                    tasks[task] = value
        volume, terms = volume_losses(
            self.network, self.batch, self.features, self.rows, self._depth_logits_for_volume
        )
        taught = None if self.objective.teacher is None else self.motion.taught(self.objective.teacher)
        if taught is not None:
            terms["distillation"] = self.settings.distillation * taught
        if self.settings.semantic_overlap and "semantic" in self.rows and "semantic" in self.dense:
            terms["semantic_overlap"] = self.settings.semantic_overlap * self._semantic_overlap()
        terms |= self._consistency() | self._self_supervision()
        if self.embedded is not None:
            shared, specific = self.embedded.shared, self.embedded.specific
            terms["decoupling"] = self.settings.decoupling * in_full_precision(decoupling_loss)(shared, specific)
        return Losses(tasks | self.motion.losses() | volume, terms)

    def _previous(self, withheld: bool) -> PreviousFrame | None:
        if self.batch.previous is None or not (self._has_pairs or self.tasks - set(IMAGE_TASKS)):
            return None
        with torch.no_grad():
            memory = self.network.memory_of(self.batch.previous)
        previous = self.batch.previous_frame(memory)
        if not withheld:
            return previous
        return PreviousFrame(previous.features, previous.K, None, previous.valid)

    # Dense tasks

    def _decode_dense_with_embedding(
        self,
    ) -> tuple[dict[str, tuple[Tensor, dict[str, Tensor]]], DualBranchOutput | None]:
        """Decode, and catch the maps that the decoupling term is about, if there are any and it has a weight."""
        branch = getattr(getattr(self.network, "dense", None), "dual_branch", None)
        if branch is None or not self.settings.decoupling:
            return self._decode_dense(), None
        caught: list[DualBranchOutput] = []
        handle = branch.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            return self._decode_dense(), caught[-1] if caught else None
        finally:
            handle.remove()

    def _decode_dense(self) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        """Return, per dense task, the rows it was decoded on and what came out."""
        if not hasattr(self.network, "dense"):
            return {}
        wanted = {task: rows for task, rows in self.rows.items() if task in self.network.dense.tasks}
        if "depth" in self.network.dense.tasks:
            needing = [task for task in ("motion_mask", "scene_flow", *VOLUME_TASKS) if task in self.rows]
            rows = [self.rows[task] for task in ("depth", *needing) if task in self.rows]
            if self._has_pairs:
                rows.append(self.batch.previous_rows)
            if rows:
                wanted["depth"] = torch.cat(rows).unique()
        for weight, pair in ((self.settings.depth_normal, _NORMALS), (self.settings.edge_semantic, _EDGES)):
            if weight and all(task in wanted for task in pair):
                wanted |= dict.fromkeys(pair, torch.cat([wanted[task] for task in pair]).unique())
        if hasattr(self.network.dense, "attention") or hasattr(self.network.dense, "dual_branch"):
            # Here every task's features are computed for each other's sake: all at once costs less.
            union = torch.cat(list(wanted.values())).unique() if wanted else torch.zeros(0)
            decoded = self._decode(union, tuple(wanted)) if wanted else {}
            return dict.fromkeys(wanted, (union, decoded))
        return {task: (rows, self._decode(rows, (task,))) for task, rows in wanted.items()}

    def _decode(self, rows: Tensor, tasks: Collection[str]) -> dict[str, Tensor]:
        return self.network.decode_dense(self._some(rows), self.batch.cameras.select(rows), tasks)

    def _some(self, rows: Tensor) -> Features:
        return self.features.select(rows)

    def _depth(self) -> Tensor:
        rows, decoded = self.dense["depth"]
        logits = decoded["depth_logits"]
        bins = self.network.dense.depth.bins
        logits, truth = self._thinned(logits, nearest(self.batch.depth[rows], logits))
        return in_full_precision(depth_loss)(logits, self._scale(rows), bins, truth)

    def _semantic(self) -> Tensor | None:
        if "semantic" not in self.dense:
            return None  # it comes from the panoptic queries
        logits, truth = self._semantic_logits_and_truth
        weights = self.objective.class_weights.to(logits.device)
        return in_full_precision(semantic_loss)(logits, truth, self.batch.label_table, weights)

    def _semantic_overlap(self) -> Tensor:
        logits, truth = self._semantic_logits_and_truth
        return in_full_precision(overlap_loss)(logits, truth, self.batch.label_table)

    @cached_property
    def _semantic_logits_and_truth(self) -> tuple[Tensor, Tensor]:
        rows, decoded = self.dense["semantic"]
        logits = decoded["semantic_logits"]
        return self._thinned(logits, nearest(self.batch.semantic[rows], logits))

    def _thinned(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (..., h, w) of one size at one of `settings.pixel_stride` pixels along each axis, from any on."""
        stride = self.settings.pixel_stride
        if stride == 1:
            return prediction, truth
        first_row, first_column = torch.randint(stride, (2,)).tolist()
        chosen = (..., slice(first_row, None, stride), slice(first_column, None, stride))
        return prediction[chosen], truth[chosen]

    def _normals(self) -> Tensor:
        rows, decoded = self.dense["normals"]
        normals = decoded["normals"]
        return in_full_precision(normals_loss)(normals, nearest(self.batch.normals[rows], normals))

    def _edges(self) -> Tensor:
        rows, decoded = self.dense["edges"]
        return in_full_precision(edges_loss)(decoded["edge_logits"], self.batch.edges[rows])

    def _panoptic(self) -> Tensor:
        rows, things = self.rows["panoptic"], self.objective.things
        batch, features = self.batch, self._some(rows)
        truth = panoptic_maps(batch.semantic[rows], batch.label_table, batch.instance[rows], things)
        if isinstance(self.network.panoptic, QuerySegmentation):
            targets = largest_segments(query_targets(truth, things), self.network.panoptic.segment_texts)
            return torch.stack(list(self.network.panoptic.loss(features.levels, targets).values())).sum()
        decoded = self.network.decode_panoptic(features)
        return in_full_precision(panoptic_loss)(decoded["centre_logits"], decoded["centre_offsets"], truth, things)

    def _depth_of(self, rows: Tensor, name: str = "depth") -> Tensor | None:
        if "depth" not in self.dense:
            return None
        decoded_rows, decoded = self.dense["depth"]
        return decoded[name][positions(rows, decoded_rows)]

    def _depth_logits_for_volume(self, rows: Tensor) -> Tensor:
        logits = self._depth_of(rows, "depth_logits")
        assert logits is not None  # the network has it for these tasks
        # Depth is what the images show, not what makes the voxels come out right.
        return logits.detach() if "depth" in self.tasks else logits

    # What is asked for without truth

    def _consistency(self) -> dict[str, Tensor]:
        """Return what tasks say about each other, where both were decoded."""
        terms: dict[str, Tensor] = {}
        if self.settings.depth_normal and all(task in self.dense for task in _NORMALS):
            rows, decoded = self.dense["normals"]
            depth, surface = self._depth_of(rows), self._depth_of(rows, "surface")
            assert depth is not None and surface is not None
            visible = torch.where(surface > 0.5, depth, torch.nan)
            stride = stride_of(self.batch.depth, depth)
            K = self.batch.cameras.K[rows]
            value = in_full_precision(depth_normal_loss)(decoded["normals"], visible, K, stride)
            terms["depth_normal"] = self.settings.depth_normal * value
        if self.settings.edge_semantic and all(task in self.dense for task in _EDGES):
            edges, semantic = self.dense["edges"][1]["edge_logits"], self.dense["semantic"][1]["semantic_logits"]
            value = in_full_precision(edge_semantic_loss)(edges, semantic)
            terms["edge_semantic"] = self.settings.edge_semantic * value
        return terms

    @property
    def _has_pairs(self) -> bool:
        """Whether a self-supervised term wants pairs of images that the batch has."""
        wanted = any(getattr(self.settings, name) for name in SELF_SUPERVISED)
        return wanted and len(self.batch.previous_rows) > 0 and "depth" in self.network.config.tasks

    def _self_supervision(self) -> dict[str, Tensor]:
        batch, rows = self.batch, self.batch.previous_rows
        depth = self._depth_of(rows) if self._has_pairs else None
        if depth is None or batch.previous is None or self.features.previous is None:
            return {}
        motion, complete, mask = self.features.previous.previous_from_current, None, None
        if "complete_flow" in self.motion.decoded:
            complete, mask = self.motion.decoded["complete_flow"], self.motion.decoded["flow_mask_logits"]
            depth = functional.interpolate(depth.float()[:, None], complete.shape[-2:], mode="bilinear")[:, 0]
        pairs = ImagePairs.of(batch, depth, None if motion is None else motion[rows], complete, mask)
        weights = {name: getattr(self.settings, name) for name in SELF_SUPERVISED}
        return in_full_precision(self_supervised_terms)(pairs, weights)

    def _scale(self, rows: Tensor) -> Tensor:
        return depth_scale(self.batch.cameras.K[rows], self.network.config.depth_bins.canonical_focal)
