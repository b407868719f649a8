# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Per-camera decoders of depth, semantics, normals and edges (M2H), and light ones."""
