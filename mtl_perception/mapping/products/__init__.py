# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What other programs read of a map, as files."""
