# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Map settings by the size of what is seen. Imports nothing heavy, for command lines name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCENES: Mapping[str, Mapping[str, Any]] = {
    "indoor": {
        "voxel_size": 0.05,
        "max_depth": 6.0,
        "grid_resolution": 0.1,
        "place_spacing": 0.75,
        "object_gap": 0.2,
    },
    "street": {
        "voxel_size": 0.2,
        "max_depth": 25.0,
        "grid_resolution": 0.25,
        "place_spacing": 1.5,
        "object_gap": 0.6,
    },
}
"""Fields of MapperConfig."""
