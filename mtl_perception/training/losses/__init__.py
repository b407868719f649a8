# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of each task: plain functions, tensors in, a scalar out; 0 with a gradient path where nothing is known."""
