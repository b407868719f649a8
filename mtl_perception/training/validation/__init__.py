# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is worth: on worlds and recordings that no training sees, beside constant predictions."""
