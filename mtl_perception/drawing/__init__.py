# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of images, meshes and occupancy: RGB uint8 arrays, drawn on the CPU without a display."""
