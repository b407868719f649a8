# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a student learns from a labelled bag, and what it must not unlearn."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkOutput, PreviousFrame
from mtl_perception.network.geometry import depth_scale
from mtl_perception.training.distillation.labelling import Rows
from mtl_perception.training.losses.depth import depth_loss
from mtl_perception.training.losses.distillation import DRIFT_TASKS, drift_losses, semantic_imitation_loss
from mtl_perception.training.losses.reduction import nearest
from mtl_perception.training.objective.batch_losses import Losses
from mtl_perception.training.objective.image_pairs import SELF_SUPERVISED, ImagePairs, self_supervised_terms
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.objective.settings import ObjectiveSettings
from mtl_perception.training.samples import TrainingBatch

LEARNT = ("depth", "semantic")
DRIFT = 1.0
"""Weight of the mean of all that `drift_losses` returns."""
SELF_SUPERVISION = dict.fromkeys(SELF_SUPERVISED, 0.0) | {"photometric": 0.3, "smoothness": 0.01}
"""Weights of the self-supervision of depth between two frames of known poses."""


class BagObjective(Objective):
    """Depth and semantics as the teachers say, the other tasks as the student did before (Learning without Forgetting).

    Where a frame has one before, and its poses are known, depth must also explain the one by the other: this holds its
    scale to the poses', and sharpens what the teacher blurs.

    A student that was trained before keeps the statistics of its batch norms: they are of far more images than a bag
    has, and its frozen start is then the same function at the first step.
    """

    def __init__(
        self,
        labels: LabelSpace,
        class_weights: Tensor,
        rows: Rows,
        start: MultiTaskNetwork | None,
        known: Collection[str] = (),
    ) -> None:
        """Keep what is needed.

        Args:
            labels: that know what the teachers' rows stand for.
            class_weights: (labels,).
            rows: of the teachers' semantics.
            start: the student before it learns, frozen; None if it starts from random weights.
            known: the tasks that it has learnt before.
        """
        super().__init__(ObjectiveSettings.model_validate({}), labels, class_weights)
        self.confidence, self.start = torch.from_numpy(rows.weights), start
        self.known = frozenset(known)

    def __call__(self, network: MultiTaskNetwork, batch: TrainingBatch, step: int = 0) -> Losses:
        """Return the losses of depth and semantics, and the terms, among them `drift_term` of each task that is held.

        A task that is not held in this batch (it looks at a cabin or at a frame before, and there is none) has no term.
        """
        if self.start is not None:
            hold_statistics(network)
            self.start.to(batch.depth.device)
        tasks = [task for task in network.config.tasks if task in self.known.union(LEARNT)]
        output = network(batch.cameras, tasks, _previous(network, batch))
        with torch.autocast(batch.depth.device.type, enabled=False):
            losses = self.teachers_losses(network, output, batch)
            terms = _self_supervision(output, batch)
            if self.start is not None:
                with torch.no_grad():
                    before = self.start(batch.cameras, tasks, _previous(self.start, batch))
                terms |= _drift(output, before, _paired(batch), network.config.scene_flow == "matches")
        return Losses(losses, terms)

    def teachers_losses(
        self, network: MultiTaskNetwork, output: NetworkOutput, batch: TrainingBatch
    ) -> dict[str, Tensor]:
        """Return how far depth and semantics are from what the teachers say."""
        assert output.depth_logits is not None and output.semantic_logits is not None
        scale = depth_scale(batch.cameras.K, network.config.depth_bins.canonical_focal)
        table = batch.label_table
        weights = self.class_weights.to(table.device)
        lightest = torch.where(table, weights, weights.max()).amin(dim=1)
        rows = nearest(batch.semantic, output.semantic_logits)
        truth = nearest(batch.depth, output.depth_logits)
        bins = network.dense.depth.bins
        return {
            "depth": depth_loss(output.depth_logits.float(), scale, bins, truth),
            "semantic": semantic_imitation_loss(
                output.semantic_logits, rows, table, lightest * self.confidence.to(lightest.device)
            ),
        }


def _self_supervision(output: NetworkOutput, batch: TrainingBatch) -> dict[str, Tensor]:
    """Return the weighted terms of depth for the rows that have a frame before; flow and mask are held, not taught."""
    if batch.previous is None or output.depth is None:
        return {}
    pairs = ImagePairs.of(batch, output.depth[batch.previous_rows].float(), batch.previous_from_current)
    return self_supervised_terms(pairs, SELF_SUPERVISION)


def drift_term(task: str) -> str:
    """Return the name of the term that holds a task where it was."""
    return f"drift_{task}"


def _drift(
    output: NetworkOutput, before: NetworkOutput, paired: Tensor | None, matched_flow: bool
) -> dict[str, Tensor]:
    """Return the term of each task that is held; their sum is the weighted mean of all losses of drift."""
    losses = drift_losses(output, before, paired, matched_flow=matched_flow)
    terms: dict[str, Tensor] = {}
    for name, loss in losses.items():
        term = drift_term(DRIFT_TASKS[name])
        terms[term] = terms.get(term, 0.0) + DRIFT * loss / len(losses)
    return terms


def hold_statistics(network: nn.Module) -> None:
    """Put the batch norms of a network into evaluation mode: their statistics neither change nor follow the batch."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _previous(network: MultiTaskNetwork, batch: TrainingBatch) -> PreviousFrame | None:
    if batch.previous is None:
        return None
    with torch.no_grad():
        return batch.previous_frame(network.memory_of(batch.previous))


def _paired(batch: TrainingBatch) -> Tensor | None:
    """Return which images (N,) have one before."""
    if batch.previous is None:
        return None
    paired = torch.zeros(len(batch.cameras.images), dtype=torch.bool, device=batch.depth.device)
    paired[batch.previous_rows] = True
    return paired
