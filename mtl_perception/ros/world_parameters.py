# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the world node: those of the world, and how fast it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mtl_perception.core.settings import Hertz, Metres, Plain, ReadOnly, Seconds, Unit
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.frames import WorldSettings


class WorldParameters(BaseModel):
    """The parameters of the world node."""

    kind: Literal["street", "indoor", "mesh"] = Field("street", description="What to show.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Which street or interior.")
    seconds: Seconds = Field(20.0, gt=0.0, le=120.0, description="How long the robot is on its way.")
    loop: Annotated[bool, ReadOnly] = Field(False, description="Start again at the end, until stopped.")
    frame_rate: Hertz = Field(10.0, gt=0.0, le=100.0, description="Frames per second of the world.")
    speed: Plain = Field(
        1.0,
        ge=0.0,
        le=100.0,
        description="With use_sim_time: simulated seconds a second, at most; 0: as fast as frames are rendered.",
    )
    rig: str = Field("surround4", description="The cameras: mono, stereo, surround4, surround6 or a YAML file.")
    image_width: Annotated[int, Unit("px")] = Field(
        0, ge=0, le=4096, description="Width of all images; 0: the rig's own."
    )
    image_height: Annotated[int, Unit("px")] = Field(
        0, ge=0, le=4096, description="Height of all images; 0: the rig's own."
    )
    labels: str = Field("default", description="The classes: a name in config/labels, or a YAML file.")
    cabin: bool = Field(False, description="Show the driver, too.")
    night: bool = Field(False, description="Street lamps and headlights; indoors some lamps are off.")
    fog: Metres = Field(0.0, ge=0.0, le=10000.0, description="The way after which fog hides 63 %; 0: no fog.")
    noise: Plain = Field(1.0, ge=0.0, le=20.0, description="Factor on the noise of the cameras.")
    exposure_changes: Plain = Field(
        0.0, ge=0.0, le=2.0, description="Standard deviation of the exposure's logarithm over time."
    )
    motion_blur: Seconds = Field(0.0, ge=0.0, le=0.1, description="For how long the shutter is open.")
    lens_dirt: Plain = Field(0.0, ge=0.0, le=1.0, description="Share of the lens that drops and dust cover.")
    mesh: str = Field("", description="For the kind mesh: its file, PLY, OBJ, GLB or STL; metres, z up.")
    mesh_label: str = Field("building", description="The class of a mesh without labels.")
    trajectory: str = Field("", description="The way through a mesh, a TUM file; empty: one is found.")
    workers: Annotated[int, Unit("processes")] = Field(
        0, ge=0, le=256, description="Processes that render; 0: as many as there are cores."
    )

    def settings(self) -> WorldSettings:
        """Return the part that the world is made from.

        Raises:
            ValueError: the values do not go together.
        """
        if (self.image_width == 0) != (self.image_height == 0):
            raise ValueError(f"image_width {self.image_width} and image_height {self.image_height}: give both or none")
        return WorldSettings(
            kind=self.kind,
            seed=self.seed,
            seconds=self.seconds,
            rate_hz=self.frame_rate,
            cameras=self.rig,
            image_size=(self.image_width, self.image_height) if self.image_width else None,
            conditions=Conditions(
                night=self.night,
                fog_visibility_m=self.fog or None,
                noise=self.noise,
                exposure_changes=self.exposure_changes,
                motion_blur_s=self.motion_blur,
                lens_dirt=self.lens_dirt,
            ),
            cabin=self.cabin,
            mesh=Path(self.mesh) if self.mesh else None,
            mesh_label=self.mesh_label,
            trajectory=Path(self.trajectory) if self.trajectory else None,
            labels=self.labels,
        )
