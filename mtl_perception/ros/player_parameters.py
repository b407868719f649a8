# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the player node, all of them fixed when it starts: it plays from then on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mtl_perception.core.settings import Plain, ReadOnly, Seconds


class PlayerParameters(BaseModel):
    """The parameters of the player node."""

    bag: Annotated[str, ReadOnly] = Field("", description="Folder (or .mcap or .db3 file) of the rosbag2 recording.")
    mode: Annotated[Literal["every", "realtime"], ReadOnly] = Field(
        "every", description="every: wait for progress on each instant, as fast as that goes; realtime: keep the pace."
    )
    rate: Annotated[Plain, ReadOnly] = Field(
        1.0, ge=0.001, le=1000.0, description="Bag seconds per second, for mode realtime."
    )
    loop: Annotated[bool, ReadOnly] = Field(False, description="Start again at the end, until stopped.")
    start_offset: Annotated[Seconds, ReadOnly] = Field(
        0.0, ge=0.0, le=1e9, description="So much of the bag is left out; latched messages of that time are sent."
    )
    wait_for: Annotated[list[str], ReadOnly] = Field(
        ["perception/progress"], description="Topics (mtl_perception_msgs/Progress) to wait for, for mode every."
    )
    listeners: Annotated[list[str], ReadOnly] = Field(
        [""],
        description="Full names of nodes that must receive every topic of the bag before it starts; empty: none.",
    )
    clock_listeners: Annotated[list[str], ReadOnly] = Field(
        [""],
        description="Names of nodes that must tell in /diagnostics that they have the bag's time before it starts, for "
        "mode every: they then receive all that is sent; empty: none.",
    )
    progress_timeout: Annotated[Seconds, ReadOnly] = Field(
        30.0, ge=0.1, le=3600.0, description="How long to wait for progress on one instant before going on without it."
    )
    cameras: Annotated[list[str], ReadOnly] = Field(
        [""],
        description="Names of the cameras whose images make an instant, the reference first; empty: all of the bag.",
    )
    absolute_topics: Annotated[bool, ReadOnly] = Field(
        False, description="Publish on the bag's own topic names, not below this node's namespace."
    )


class PlayerCameraParameters(BaseModel):
    """What the player must know of a camera, `<camera>.<name>`: the same parameter as the perception node's."""

    image_topic: Annotated[str, ReadOnly] = Field(
        "", description="Topic of the camera's images; empty: <camera>/image."
    )
