# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The surface of the map: meshing of changed blocks, and mesh files."""
