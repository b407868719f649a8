# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a source of training samples is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mtl_perception.training.samples import TrainingSample

Size = tuple[int, int]
"""Width and height in pixels."""


class Source(Protocol):
    """A set of frames that samples can be drawn from."""

    def available(self, progress: float) -> int:
        """Return how many frames may be drawn when a fraction `progress` of the run is done."""

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return frame `index` at `size`, randomly cropped where that keeps its truth true.

        It is a function of the arguments alone.
        """
