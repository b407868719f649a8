# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a student learns from a labelled bag, and what it must not unlearn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkOutput, PreviousFrame
from mtl_perception.network.geometry import depth_scale
from mtl_perception.training.distillation.labelling import Rows
from mtl_perception.training.losses.depth import depth_loss
from mtl_perception.training.losses.distillation import DRIFT_TASKS, drift_losses, semantic_imitation_loss
from mtl_perception.training.losses.reduction import nearest, stride_of
from mtl_perception.training.losses.self_supervised import normalised_disparity, smoothness_loss
from mtl_perception.training.objective.batch_losses import Losses
from mtl_perception.training.objective.image_pairs import SELF_SUPERVISED, ImagePairs, self_supervised_terms
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.objective.settings import ObjectiveSettings
from mtl_perception.training.samples import TrainingBatch

LEARNT = ("depth", "semantic")
DRIFT = 1.0
"""Weight of the mean of all that `drift_losses` returns."""
PHOTOMETRIC, SMOOTHNESS = 0.3, 0.01
"""Weights of the self-supervision of depth: by the frame before, and by the image itself."""


class BagObjective(Objective):
    """Depth and semantics as the teachers say, the other tasks as the student did before (Learning without Forgetting).

    Where a frame has one before, depth must also explain the one by the other: this holds its scale to the cameras'
    motion, and sharpens what the teacher blurs. The motion is the bag's; where the bag has no poses, it is what the
    student told of it before it learnt, if it could. That is held, not taught, so no gradient reaches it.

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
        batch = self._comparable(batch)
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

    def _comparable(self, batch: TrainingBatch) -> TrainingBatch:
        """Return the batch with the frames before whose motion is known or can be estimated, and no others."""
        if batch.previous is None:
            return batch
        motion, rows = batch.previous_from_current, batch.previous_rows
        known = torch.isfinite(motion).flatten(1).all(dim=1)
        if not known.all() and self.start is not None and "ego_motion" in self.known:
            with torch.no_grad():
                remembered = batch.previous_frame(self.start.memory_of(batch.previous))
                unposed = replace(remembered, previous_from_current=None)
                features, _ = self.start.encode(batch.cameras, unposed, tasks=("ego_motion",))
            assert features.ego_motion is not None
            estimated = features.ego_motion.previous_from_current[rows]
            motion = torch.where(known[:, None, None], motion, estimated)
            known = torch.ones_like(known)
        some = known.nonzero()[:, 0]
        return replace(
            batch,
            previous=batch.previous.select(some) if len(some) else None,
            previous_from_current=motion[some],
            previous_rows=rows[some],
            seconds=batch.seconds[some],
        )


def drift_term(task: str) -> str:
    """Return the name of the term that holds a task where it was."""
    return f"drift_{task}"


def hold_statistics(network: nn.Module) -> None:
    """Put the batch norms of a network into evaluation mode: their statistics neither change nor follow the batch."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _self_supervision(output: NetworkOutput, batch: TrainingBatch) -> dict[str, Tensor]:
    """Return the weighted terms of depth; flow and mask are held, not taught."""
    assert output.depth is not None
    depth = output.depth.float()
    image = functional.avg_pool2d(batch.cameras.images, stride_of(batch.depth, depth), ceil_mode=True)
    terms = {"smoothness": SMOOTHNESS * smoothness_loss(normalised_disparity(depth), image)}
    if batch.previous is not None:
        pairs = ImagePairs.of(batch, depth[batch.previous_rows], batch.previous_from_current)
        terms |= self_supervised_terms(pairs, dict.fromkeys(SELF_SUPERVISED, 0.0) | {"photometric": PHOTOMETRIC})
    return terms


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
