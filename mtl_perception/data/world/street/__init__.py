# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Streets: their layout, what stands along them, and who drives and walks there."""
