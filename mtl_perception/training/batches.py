# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The batches of a run, a function of the seed and the step alone: an interrupted run goes on with the same ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from mtl_perception.core import LabelSpace
from mtl_perception.training.augmentation import augment
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.samples import TrainingBatch, collate
from mtl_perception.training.sources import Source


class StepDataset(Dataset[TrainingBatch]):
    """Item k is the batch of step k."""

    def __init__(
        self, config: TrainingConfig, sources: Sequence[Source], labels: LabelSpace, grid_shape: tuple[int, int, int]
    ) -> None:
        """Draw from `sources`, one for each of `config.sources`."""
        self.config, self.sources, self.labels, self.grid_shape = config, sources, labels, grid_shape

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.config.steps

    def __getitem__(self, step: int) -> TrainingBatch:
        """Draw, augment and join the samples of a step."""
        rng = np.random.default_rng([self.config.seed, step])
        size = self.config.input_size(step)
        samples = []
        for source, settings in zip(self.sources, self.config.sources, strict=True):
            for _ in range(settings.frames_per_step):
                index = int(rng.integers(source.available(step / self.config.steps)))
                samples.append(augment(source.sample(index, size, rng), rng))
        return collate(samples, self.labels, self.grid_shape)

    def class_weights(self, steps: int = 30) -> torch.Tensor:
        """Return a weight (labels,) of each class, rare ones more, from the labels of the first steps."""
        counts = np.zeros(len(self.labels))
        for step in range(steps):
            batch = self[step]
            rows = torch.bincount(batch.semantic.flatten(), minlength=len(batch.label_table)).numpy().astype(float)
            table = batch.label_table.numpy()
            counts += (rows[:, None] * table / np.maximum(table.sum(axis=1, keepdims=True), 1)).sum(axis=0)
        frequency = np.maximum(counts / counts.sum(), 1e-5)
        weights = np.sqrt(np.median(frequency) / frequency)
        return torch.from_numpy(np.clip(weights, 0.5, 4.0)).float()
