# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panoptic, instance and semantic segmentation by queries (OneFormer), and a light panoptic head."""
