# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learning from other networks: a teacher of many backbones, and pretrained models that label a user's own bag."""
