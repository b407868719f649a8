# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the shared network: data sources, losses, the trainer, validation."""
