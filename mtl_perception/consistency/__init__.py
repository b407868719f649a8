# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of a prediction without any ground truth: does it agree with the images, with itself, and over time."""

from mtl_perception.consistency.self_checks import SelfChecks

__all__ = ["SelfChecks"]
