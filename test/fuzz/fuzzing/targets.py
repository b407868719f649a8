# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All targets."""

from fuzzing import image_targets, mesh_targets, message_targets, product_targets, recording_targets, settings_targets

TARGETS = (
    *image_targets.TARGETS,
    *message_targets.TARGETS,
    *settings_targets.TARGETS,
    *recording_targets.TARGETS,
    *product_targets.TARGETS,
    *mesh_targets.TARGETS,
)
