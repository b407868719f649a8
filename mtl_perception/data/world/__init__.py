# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up streets and interiors with exact ground truth, ray-cast on the CPU: for training, demo, and as an oracle."""

from mtl_perception.data.world.world import KINDS, World

__all__ = ["KINDS", "World"]
