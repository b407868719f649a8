# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A map larger than memory: the blocks around the robot are in memory, the others in files."""
