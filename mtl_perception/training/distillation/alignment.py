# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bringing relative depth to metres.

Relative models (DPT, Depth Anything: Ranftl et al. 2020, Yang et al. 2024) give the inverse of depth up to a scale and
a shift that differ from image to image. Both are found per image from pixels of known depth, its anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_ANCHORS = 40
LEAST_SPREAD = 1.3  # between the far and the near end of the anchors: within less, the shift is guesswork
WORST_RESIDUAL = 0.25  # median, relative: beyond it the anchors and the model do not see the same scene
_TURNING_POINT = 0.1  # of the robust losses, relative
_ROUNDS = 8  # of each
_FARTHEST = 1000.0


@dataclass(frozen=True)
class Alignment:
    """1 / depth = scale * relative + shift, in 1/m; `residual` is the anchors' median relative error."""

    scale: float
    shift: float
    residual: float

    def depth(self, relative: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return metres; what the model puts beyond a kilometre, or behind infinity, is a kilometre away."""
        inverse = self.scale * relative.astype(np.float64) + self.shift
        return (1.0 / np.maximum(inverse, 1.0 / _FARTHEST)).astype(np.float32)


def align(
    relative: NDArray[np.floating],
    depth: NDArray[np.floating],
    weight: NDArray[np.floating] | None = None,
    worst: float = WORST_RESIDUAL,
) -> Alignment | None:
    """Fit scale and shift to anchors, robustly, by reweighted least squares of the relative error.

    First with Huber's loss, which has one minimum; from there with Geman and McClure's, to which outliers mean nothing.

    Args:
        relative: (K,), the model's values there, larger where nearer.
        depth: (K,) metres; +inf for the sky, whose inverse depth is 0.
        weight: (K,), or None: all alike.
        worst: median relative error beyond which the fit is not believed.

    Returns:
        The alignment; None where the anchors are too few, too much at one depth, contradict the model, or would turn
        near into far.
    """
    relative, depth = relative.astype(np.float64), depth.astype(np.float64)
    base = np.ones(len(depth)) if weight is None else weight.astype(np.float64)
    known = np.isfinite(relative) & (depth > 0.0) & (base > 0.0)  # NaN is not above 0
    relative, depth, base = relative[known], depth[known], base[known]
    placed = np.isfinite(depth)
    if placed.sum() < FEWEST_ANCHORS:
        return None
    near, far = np.quantile(depth[placed], (0.1, 0.9))
    if far < LEAST_SPREAD * near or np.ptp(relative[placed]) == 0.0:
        return None
    # Times depth, so that what is left over is a relative error; the sky's is one of a point as far as the farthest.
    factor, target = np.where(placed, depth, far), placed.astype(np.float64)
    rows = np.stack([relative * factor, factor], axis=1)
    current = base
    for iteration in range(2 * _ROUNDS):
        root = np.sqrt(current)
        solution, *_ = np.linalg.lstsq(rows * root[:, None], target * root, rcond=None)
        error = np.abs(rows @ solution - target)
        if iteration < _ROUNDS:
            current = base * np.minimum(1.0, _TURNING_POINT / np.maximum(error, 1e-9))
        else:
            current = base / (1.0 + (error / _TURNING_POINT) ** 2) ** 2
    residual = float(np.median(error[placed]))
    if solution[0] <= 0.0 or residual > worst:
        return None
    return Alignment(float(solution[0]), float(solution[1]), residual)
