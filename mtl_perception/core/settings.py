# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a setting says of itself beside its type, bounds and text: its unit, and when a change takes effect.

    voxel_size: Metres = Field(0.05, ge=0.005, le=2.0, description="Edge of a voxel.")
    mesh_rate: Annotated[Hertz, Live] = Field(2.0, ge=0.0, le=30.0, description="Rate of mapping/mesh; 0: never.")

Both are metadata of the field's type, so they do nothing unless somebody asks (`mtl_perception.ros.parameters` does).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated


class Change(Enum):
    """When a changed value takes effect."""

    LIVE = "live"
    CONFIGURE = "when configured"
    READ_ONLY = "read-only"


Live = Change.LIVE
"""At once: from the next frame on."""
ReadOnly = Change.READ_ONLY
"""Never: the value is that of the start."""


@dataclass(frozen=True)
class Unit:
    """The unit of a number, by its symbol; "" for what has none (shares, factors)."""

    symbol: str


Metres = Annotated[float, Unit("m")]
Seconds = Annotated[float, Unit("s")]
Hertz = Annotated[float, Unit("Hz")]
Plain = Annotated[float, Unit("")]
"""A share, a factor, a probability."""
