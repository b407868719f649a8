# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the lifecycle manager."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from mtl_perception.core.settings import ReadOnly, Seconds


class ManagerParameters(BaseModel):
    """The parameters of the lifecycle manager."""

    node_names: Annotated[list[str], ReadOnly] = Field(
        ["perception", "mapping"], description="The nodes to drive, in the order in which they are activated."
    )
    autostart: Annotated[bool, ReadOnly] = Field(
        True, description="Whether to activate them as soon as they are there."
    )
    transition_timeout: Annotated[Seconds, ReadOnly] = Field(
        120.0, ge=1.0, le=3600.0, description="How long a transition may take."
    )
