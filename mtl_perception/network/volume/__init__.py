# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 3D half: lifting into voxels, prototypes, boxes, BEV map, occupancy (MAESTRO)."""
