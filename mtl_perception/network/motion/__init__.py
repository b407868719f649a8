# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two frames: ego motion, scene flow and motion masks."""
