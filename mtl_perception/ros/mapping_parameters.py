# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the mapping node: those of the map itself, and what concerns the node."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mtl_perception.core.settings import Hertz, Live, Metres, ReadOnly, Seconds
from mtl_perception.mapping import MapperConfig
from mtl_perception.ros.frames import FRAME_PREFIX_TEXT, prefixed
from mtl_perception.ros.label_colours import LABEL_COLOURS_TEXT, checked_colours
from mtl_perception.ros.resuming import ResumePolicy
from mtl_perception.ros.worker import FramePolicy

RESPAWNED_AUTOSAVE_PERIOD_S = 30.0
"""How often the map of a node is saved that would be started again after a crash, unless parameters say otherwise."""

RATED_TOPICS = (
    "mesh",
    "points",
    "occupancy_grid",
    "scene_graph",
    "scene_graph_changes",
    "occupancy_band",
    "esdf_slice",
)
"""The topics under `mapping/` that have a parameter `<topic>_rate`."""


class MappingParameters(MapperConfig):
    """The parameters of the mapping node."""

    labels: str = Field("default", description="The classes: a name in config/labels, or a YAML file.")
    map_folder: str = Field(
        "",
        description="Folder of saved maps; no service reaches outside of it. Empty: ~/.ros/mtl_perception/maps.",
    )
    archive_folder: str = Field(
        "",
        description="Where the map keeps what is far from the robot, in a folder that is gone when the node is. "
        "Empty: $TMPDIR, or else /var/tmp.",
    )
    map_frame: str = Field("odom", description="Frame of a loaded map as long as no frame with poses has arrived.")
    frame_policy: FramePolicy = Field(
        "newest",
        description="newest: the newest frame wins and what is dropped is counted; every: all frames are used.",
    )
    on_clock_jump: Annotated[Literal["keep", "reset"], Live] = Field(
        "keep", description="What becomes of the map when the clock jumps back, e.g. because a bag loops."
    )
    surface_colours: Annotated[Literal["camera", "labels"], Live] = Field(
        "camera",
        description="The colours of mapping/mesh and mapping/points: what cameras saw, or those of the classes.",
    )
    label_colours: Annotated[list[str], Live] = Field([""], description=LABEL_COLOURS_TEXT)
    mesh_rate: Annotated[Hertz, Live] = Field(2.0, ge=0.0, le=30.0, description="Rate of mapping/mesh; 0: never.")
    points_rate: Annotated[Hertz, Live] = Field(0.5, ge=0.0, le=30.0, description="Rate of mapping/points; 0: never.")
    points_radius: Annotated[Metres, Live] = Field(
        -1.0,
        ge=-1.0,
        le=10000.0,
        description="mapping/points has what is so near to the robot; -1: max_depth, as far as cameras map, so "
        "that all that changes is in it and messages do not grow with the map; 0: the whole map.",
    )
    occupancy_grid_rate: Annotated[Hertz, Live] = Field(
        1.0, ge=0.0, le=30.0, description="Rate of mapping/occupancy_grid and its updates; 0: never."
    )
    scene_graph_rate: Annotated[Hertz, Live] = Field(
        1.0, ge=0.0, le=30.0, description="Rate of mapping/scene_graph and mapping/scene_graph_markers; 0: never."
    )
    scene_graph_changes_rate: Annotated[Hertz, Live] = Field(
        10.0, ge=0.0, le=30.0, description="Rate of mapping/scene_graph_changes; 0: never."
    )
    occupancy_band_rate: Annotated[Hertz, Live] = Field(
        1.0, ge=0.0, le=30.0, description="Rate of mapping/occupancy_band; 0: never."
    )
    esdf_slice_rate: Annotated[Hertz, Live] = Field(
        1.0, ge=0.0, le=30.0, description="Rate of mapping/esdf_slice; 0: never."
    )
    band_min_height: Annotated[Metres, Live] = Field(
        0.2,
        ge=-100.0,
        le=100.0,
        description="Least height of mapping/occupancy_band and mapping/esdf_slice, above the ground.",
    )
    band_max_height: Annotated[Metres, Live] = Field(
        1.8, ge=-100.0, le=100.0, description="Their greatest height above the ground."
    )
    band_radius: Annotated[Metres, Live] = Field(
        10.0, ge=1.0, le=200.0, description="How far they reach from the robot to each side."
    )
    esdf_max_distance: Annotated[Metres, Live] = Field(
        5.0, ge=0.1, le=50.0, description="Distances in mapping/esdf_slice end here."
    )
    autosave_period: Annotated[Seconds, Live] = Field(
        -1.0,
        ge=-1.0,
        le=86400.0,
        description="The map is saved so often if it has changed, and when the node is deactivated; 0: never; less: "
        f"every {RESPAWNED_AUTOSAVE_PERIOD_S:g} s if the node is started again after a crash (it has a run_id), else "
        "never.",
    )
    autosave_path: str = Field(
        "",
        description="Where to, inside of map_folder; one for each mapping node. Empty: autosave, in a namespace "
        "autosave-<namespace>.",
    )
    autosave_resume: ResumePolicy = Field(
        "run",
        description="Which map at autosave_path the node continues when it is configured. run: one that it has saved "
        "itself before it crashed in the same run; always: whichever is there; never: none.",
    )
    run_id: Annotated[str, ReadOnly] = Field(
        "",
        description="Names the run; who starts the node again after a crash gives it the same one, as the launch file "
        "and up do. Empty: it is not started again.",
    )
    frame_prefix: Annotated[str, ReadOnly] = Field("", description=FRAME_PREFIX_TEXT)

    @property
    def autosave_period_s(self) -> float:
        """How often the map is saved, seconds; 0: never."""
        if self.autosave_period >= 0:
            return self.autosave_period
        return RESPAWNED_AUTOSAVE_PERIOD_S if self.run_id else 0.0

    @property
    def prefixed_map_frame(self) -> str:
        """`map_frame` as it is called in TF and messages."""
        return prefixed(self.frame_prefix, self.map_frame)

    @property
    def points_reach(self) -> float | None:
        """How far `mapping/points` reaches from the robot, metres; None: as far as the map."""
        return (self.max_depth if self.points_radius < 0 else self.points_radius) or None

    @field_validator("label_colours")
    @classmethod
    def _colours_are_colours(cls, entries: list[str]) -> list[str]:
        return checked_colours(entries)

    @model_validator(mode="after")
    def _band_in_order(self) -> MappingParameters:
        if self.band_min_height > self.band_max_height:
            raise ValueError(f"band_min_height {self.band_min_height} is above band_max_height {self.band_max_height}")
        return self

    def mapper_config(self) -> MapperConfig:
        """Return the part that the map is made with."""
        return MapperConfig(**{name: getattr(self, name) for name in MapperConfig.model_fields})
