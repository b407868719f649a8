# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cameras of a world: rigs, lenses, and how a sensor records light."""
