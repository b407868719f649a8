# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The second stage of training: steering and the scene-level classes, from sequences, on a frozen shared encoder."""
