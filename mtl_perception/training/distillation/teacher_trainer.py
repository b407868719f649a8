# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The run of a multi-backbone teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.network.teacher import MultiBackboneTeacher
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.distillation.teacher_objective import TeacherObjective
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.sources import Source
from mtl_perception.training.trainer import CHECKPOINT, Trainer


class TeacherTrainer(Trainer):
    """Trains the teacher of a configuration's network, stage by stage, as `Trainer` trains the network itself.

    The result, `checkpoint.safetensors`, is a file for `MultiBackboneTeacher.load` and `objective.teacher`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: Path,
        folder: Path,
        *,
        cache: Path | None = None,
        sources: Sequence[Source] | None = None,
        quiet: bool = False,
    ) -> None:
        """Prepare the run, and take up the saved state if the folder holds one; arguments are those of `Trainer`.

        Raises:
            ValueError, FileNotFoundError: as `Trainer`; or the configuration has no teacher, or asks for what a teacher
                does not have: weights to start from, or one encoder whose gradients tasks could disagree on.
        """
        if config.teacher is None:
            raise ValueError("the training configuration has no teacher")
        for key in ("start", "start_share", "conflicts_every", "validate_every"):
            if getattr(config, key):
                raise ValueError(f"a teacher is trained without '{key}'")
        teacher = config.teacher
        super().__init__(
            config,
            data,
            folder,
            cache=cache,
            sources=sources,
            quiet=quiet,
            # It is called as an objective of a network is, and nothing else is done with it.
            objective=lambda weights: cast(
                Objective, TeacherObjective(config.objective, self.labels, weights, teacher, config.steps)
            ),
        )

    def _build(self, config: NetworkConfig) -> MultiTaskNetwork:
        assert self.config.teacher is not None
        teacher = self.config.teacher
        # Trained, averaged, saved and restored as a network is: as a module with parameters.
        return cast(MultiTaskNetwork, MultiBackboneTeacher.of(config, teacher.scene, teacher.pose, teacher.motion))

    def _save_checkpoint(self) -> None:
        cast(MultiBackboneTeacher, self.average).save(self.folder / CHECKPOINT)
