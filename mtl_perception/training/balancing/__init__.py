# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much each task's loss counts, and how much the tasks' gradients disagree."""

from mtl_perception.training.balancing.balancer import Balancer
from mtl_perception.training.balancing.conflicts import gradient_conflicts
from mtl_perception.training.balancing.feature_decoupling import Adaptive, decoupling_loss
from mtl_perception.training.balancing.methods import DynamicWeightAverage, Equal, Uncertainty, make_balancer

__all__ = [
    "Adaptive",
    "Balancer",
    "DynamicWeightAverage",
    "Equal",
    "Uncertainty",
    "decoupling_loss",
    "gradient_conflicts",
    "make_balancer",
]
