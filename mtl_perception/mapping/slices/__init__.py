# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Horizontal slices of the map: what is between two heights above the ground, as 2D grids and distance fields."""
