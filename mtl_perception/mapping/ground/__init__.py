# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground plan: obstacles and free ground in two dimensions."""
