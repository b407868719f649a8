# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From images to feature maps: backbones, pyramids, token reassembly."""
