# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a frozen teacher says of flow and motion masks."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from mtl_perception.network import MultiTaskNetwork, PreviousFrame, load_checkpoint
from mtl_perception.network.teacher import FORMAT, MultiBackboneTeacher
from mtl_perception.training.losses.distillation import FlowTarget
from mtl_perception.training.samples import TrainingBatch


class FlowTeacher:
    """A multi-backbone teacher, or any network of this suite with scene flow. It never learns."""

    def __init__(self, teacher: MultiBackboneTeacher | MultiTaskNetwork) -> None:
        """Freeze the teacher and take it."""
        self.teacher = teacher.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path) -> FlowTeacher:
        """Read a teacher: a file that `MultiBackboneTeacher.save` wrote, or a checkpoint (file or hub id).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is neither, or has no scene flow.
        """
        if _is_teacher(path):
            return cls(MultiBackboneTeacher.load(path))
        checkpoint = load_checkpoint(path)
        if "scene_flow" not in checkpoint.network.config.tasks:
            raise ValueError(f"teacher {checkpoint.name} has no scene flow to teach")
        return cls(checkpoint.network)

    @torch.no_grad()
    def __call__(self, batch: TrainingBatch) -> FlowTarget | None:
        """Return what it says of the M rows of a batch that have a frame before; None where none has."""
        if batch.previous is None:
            return None
        self.teacher.to(batch.depth.device)
        current, motion = batch.cameras.select(batch.previous_rows), batch.previous_from_current
        if isinstance(self.teacher, MultiBackboneTeacher):
            # The depth composes the independent flow only, which nobody learns from.
            depth = current.images.new_ones(len(current.images), *current.images.shape[-2:])
            said = self.teacher.flow(current, batch.previous, motion, depth)
            return FlowTarget(said["complete_flow"], said["flow_mask_logits"])
        valid = torch.ones(len(motion), dtype=torch.bool, device=motion.device)
        before = PreviousFrame(self.teacher.memory_of(batch.previous), batch.previous.K, motion, valid)
        output = self.teacher(current, ("scene_flow",), before)
        assert output.complete_flow is not None  # there is a frame before, and its pose
        return FlowTarget(output.complete_flow, output.flow_mask_logits)


def _is_teacher(path: str | Path) -> bool:
    if not Path(path).is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except SafetensorError:
        return False
