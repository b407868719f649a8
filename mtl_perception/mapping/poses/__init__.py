# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot was: which poses are believed, its trajectory, and what happens to the map when that is corrected."""
