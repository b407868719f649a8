# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The batches of a run, a function of the seed and the step alone: an interrupted run goes on with the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from mtl_perception.core import LabelSpace
from mtl_perception.training.augmentation import augment
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.samples import TrainingBatch, TrainingSample, collate, label_table
from mtl_perception.training.sources import Source


class StepDataset(Dataset[TrainingBatch]):
    """Item k is the batch of step k, a function of the seed, k and this process's rank alone.

    A step of n processes has n times the frames of each source. They are the ones that a single process would draw
    whose configuration asks for n times as many, each process takes every n-th.
    """

    def __init__(
        self,
        config: TrainingConfig,
        sources: Sequence[Source],
        labels: LabelSpace,
        grid_shape: tuple[int, int, int],
        layers: Sequence[str] = (),
        *,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """Draw from `sources`, one for each of `config.sources`.

        Raises:
            ValueError: there is no such rank.
        """
        if not 0 <= rank < processes:
            raise ValueError(f"rank is {rank}, expected 0 to {processes - 1}, for {processes} processes")
        self.config, self.sources, self.labels = config, sources, labels
        self.grid_shape, self.layers = grid_shape, tuple(layers)
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.config.steps

    def __getitem__(self, step: int) -> TrainingBatch:
        """Draw, augment and join the samples of a step."""
        return collate(self.samples(step), self.labels, self.grid_shape, self.layers)

    def samples(self, step: int) -> list[TrainingSample]:
        """Return this process's samples of a step."""
        size = self.config.input_size(step)
        return [augment(self.sources[number].sample(index, size, rng), rng) for number, index, rng in self._draws(step)]

    def drawn(self, step: int) -> list[tuple[str, int]]:
        """Return where this process's samples of a step come from: kind of source and index, in their order."""
        return [(self.config.sources[number].kind, index) for number, index, _ in self._draws(step)]

    def class_weights(self, steps: int = 30) -> torch.Tensor:
        """Return a weight (labels,) of each class, rare ones more, from the labels of the first steps.

        It is the same in all processes: each looks at what all of them draw.
        """
        counts = np.zeros(len(self.labels))
        for step in range(min(steps, len(self))):
            for number, index, rng in self._draws(step, everyone=True):
                sample = self.sources[number].sample(index, self.config.input_size(step), rng)
                of_id = np.bincount(sample.semantic.reshape(-1), minlength=256)
                table = label_table(sample.dataset, self.labels)
                counts += (of_id[:, None] * table / np.maximum(table.sum(axis=1, keepdims=True), 1)).sum(axis=0)
        frequency = np.maximum(counts / max(counts.sum(), 1.0), 1e-5)  # without any label all weigh 1
        weights = np.sqrt(np.median(frequency) / frequency)
        return torch.from_numpy(np.clip(weights, 0.5, 4.0)).float()

    def _draws(self, step: int, everyone: bool = False) -> Iterator[tuple[int, int, np.random.Generator]]:
        """Yield the number of the source, the index, and the generator that all else of the sample is drawn from.

        Those of this process, or of all.
        """
        first, stride = (0, 1) if everyone else (self.rank, self.processes)
        for number, (source, settings) in enumerate(zip(self.sources, self.config.sources, strict=True)):
            for frame in range(first, settings.frames_per_step * self.processes, stride):
                rng = np.random.default_rng([self.config.seed, step, number, frame])
                yield number, int(rng.integers(source.available(step / self.config.steps))), rng
