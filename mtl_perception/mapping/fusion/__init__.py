# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What depth images say about voxels: views, gates, blocks, and the compiled loops of fusion."""
