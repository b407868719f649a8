# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The meshes of what stands and moves in a world."""
