# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a user may set about the map, each with its unit, bounds and meaning."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mtl_perception.core.settings import Live, Metres, Plain, Seconds, Unit
from mtl_perception.mapping.fusion.blocks import BLOCK
from mtl_perception.mapping.window.regions import REGION


class MapperConfig(BaseModel):
    """Settings of a `Mapper`. The defaults suit a room; a street wants about voxel_size 0.2 and max_depth 25."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    voxel_size: Metres = Field(0.05, ge=0.005, le=2.0, description="Edge of a voxel of the surface model.")
    truncation_voxels: Annotated[float, Unit("voxels")] = Field(
        3.0,
        ge=2.0,
        le=8.0,
        description="Half width of the band around a surface in which depth is fused: at 2 exact depth gives "
        "the finest map, depth with errors needs more.",
    )
    min_depth: Annotated[Metres, Live] = Field(0.2, ge=0.0, le=10.0, description="Nearer depth is ignored.")
    max_depth: Metres = Field(
        6.0, ge=0.5, le=200.0, description="Farther depth makes no surface, but proves free space up to here."
    )
    max_relative_std: Annotated[Plain, Live] = Field(
        0.25, gt=0.0, le=10.0, description="Depth whose standard deviation is a larger share of itself is ignored."
    )
    max_depth_ramp: Annotated[Plain, Live] = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="Depth that climbs by more than this share a pixel on both sides is an edge "
        "smeared by the network, and ignored.",
    )
    max_pose_jump: Annotated[Metres, Live] = Field(
        0.3,
        gt=0.0,
        le=1000.0,
        description="A pose farther from where the motion so far leads is a jump; 10 m/s^2 are allowed for.",
    )
    pose_jump_patience: Annotated[Seconds, Live] = Field(
        1.0, ge=0.0, le=60.0, description="Frames after a jump are refused for so long; then it is no glitch."
    )
    on_pose_jump: Annotated[Literal["move", "spread", "refuse"], Live] = Field(
        "move",
        description="When a jump lasts, move: the map moves with its frame (an odometry that began anew); spread: the "
        "drift since the last correction is undone along the trajectory (a localiser's frame); refuse: nothing is "
        "mapped until the pose is back or the map is reset.",
    )
    revisit_distance: Metres = Field(
        0.0,
        ge=0.0,
        le=100000.0,
        description="What is seen again after the robot has driven farther than this is mapped anew, and the older "
        "surface kept aside until the trajectory is corrected; 0: never, poses do not drift.",
    )
    max_weight: Plain = Field(
        64.0, ge=1.0, le=10000.0, description="Cap of a voxel's weight, in exact observations; lower adapts faster."
    )
    min_weight: Plain = Field(
        0.5, gt=0.0, le=1000.0, description="A voxel of less weight makes no surface, in exact observations."
    )
    max_blocks: Annotated[int, Unit("blocks")] = Field(
        30000,
        ge=64,
        le=1000000,
        description="Most blocks of 8x8x8 voxels in memory (14 kB each); beyond, those farthest away go to disk.",
    )
    window_radius: Metres = Field(
        0.0,
        ge=0.0,
        le=10000.0,
        description="What is farther from the robot goes to disk, and comes back on return; at least max_depth "
        "with the band and the diagonal of 4x4x4 blocks. 0: what max_blocks has room for, by experience.",
    )
    grid_resolution: Metres = Field(0.1, ge=0.01, le=5.0, description="Edge of a cell of the 2D grid.")
    max_grid_cells: Annotated[int, Unit("cells")] = Field(
        4_000_000,
        ge=4096,
        le=400_000_000,
        description="Most cells of the 2D grid (16 bytes each); beyond, a square around the robot is kept.",
    )
    ground_labels: tuple[str, ...] = Field(
        ("road", "pavement", "floor"), description="Classes that the robot's ground consists of."
    )
    base_height: Metres = Field(
        0.0,
        ge=-10.0,
        le=100.0,
        description="Height of the base frame over the ground; used while no ground has been seen.",
    )
    obstacle_min_height: Metres = Field(
        0.2, ge=0.0, le=10.0, description="Things lower above the ground are no obstacle."
    )
    obstacle_max_height: Metres = Field(
        1.8, gt=0.0, le=100.0, description="Things higher above the ground are no obstacle."
    )
    wall_labels: tuple[str, ...] = Field(
        ("wall", "building"), description="Classes that part rooms from each other; furniture does not."
    )
    wall_min_height: Metres = Field(0.4, ge=0.0, le=10.0, description="Walls lower above the ground part no rooms.")
    wall_max_height: Metres = Field(
        1.9, gt=0.0, le=100.0, description="Walls higher above the ground part no rooms: lintels."
    )
    room_labels: tuple[str, ...] = Field(
        ("floor",), description="Those classes of the ground that rooms have; the others are of streets."
    )
    road_labels: tuple[str, ...] = Field(
        ("road",), description="Those classes of the ground whose shape tells where roads meet."
    )
    door_width: Metres = Field(1.0, ge=0.2, le=10.0, description="Ways between walls that are narrower part rooms.")
    place_spacing: Metres = Field(
        0.75,
        ge=0.1,
        le=20.0,
        description="Edge of the squares of ground of which each has at most one place; a street wants 1.5.",
    )
    robot_radius: Metres = Field(0.2, ge=0.0, le=3.0, description="A place has at least so much room around it.")
    place_max_step: Metres = Field(
        0.2, ge=0.0, le=10.0, description="There is no way over a higher step of the ground."
    )
    object_gap: Metres = Field(
        0.2, ge=0.01, le=10.0, description="Surfaces of one class that are nearer than this are one object."
    )
    object_min_vertices: Annotated[int, Unit("vertices")] = Field(
        40, ge=1, le=1000000, description="An object of fewer mesh vertices is not reported."
    )
    track_min_score: Annotated[Plain, Live] = Field(
        0.3, ge=0.0, le=1.0, description="Boxes of a lower score continue tracks of moving things, but begin none."
    )
    track_max_unseen: Annotated[Seconds, Live] = Field(
        2.0, ge=0.0, le=60.0, description="A track that no box has continued for so long has ended."
    )

    @model_validator(mode="after")
    def _ranges_in_order(self) -> MapperConfig:
        if self.min_depth >= self.max_depth:
            raise ValueError(f"min_depth {self.min_depth} must be below max_depth {self.max_depth}")
        if self.obstacle_min_height >= self.obstacle_max_height:
            raise ValueError(
                f"obstacle_min_height {self.obstacle_min_height} must be below "
                f"obstacle_max_height {self.obstacle_max_height}"
            )
        return self

    @model_validator(mode="after")
    def _window_holds_what_cameras_reach(self) -> MapperConfig:
        if self.window_radius and self.window_radius < self._least_radius:
            raise ValueError(
                f"window_radius {self.window_radius} must be at least {self._least_radius:.2f} for max_depth "
                f"{self.max_depth}: that, {self.longest_band:.2f} of band and {self._region_diagonal:.2f} of a region"
            )
        return self

    def check_live(self, other: MapperConfig) -> None:
        """Check that a map with these settings can go on with others.

        Raises:
            ValueError: they differ in one that is not `Live`.
        """
        for name, field in type(self).model_fields.items():
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others and Live not in field.metadata:
                raise ValueError(f"{name} {mine} of a map cannot become {others}")

    @property
    def active_radius(self) -> float:
        """Blocks farther from the robot leave memory, metres."""
        # A floor, a ceiling and as much of walls, two blocks deep, fill max_blocks up to here.
        filled = BLOCK * self.voxel_size * math.sqrt(self.max_blocks / (6.0 * math.pi))
        return self.window_radius or max(self._least_radius, filled)

    @property
    def _least_radius(self) -> float:
        return self.max_depth + self.longest_band + self._region_diagonal

    @property
    def _region_diagonal(self) -> float:
        return math.sqrt(3.0) * REGION * BLOCK * self.voxel_size

    @property
    def truncation(self) -> float:
        """Half width of the fused band around a surface, metres, at a right angle to it."""
        return self.truncation_voxels * self.voxel_size

    @property
    def longest_band(self) -> float:
        """How far the band reaches along a ray that grazes the surface, metres: no farther than a block's edge."""
        return self.truncation / self.least_facing

    @property
    def least_facing(self) -> float:
        """The cosine of the most grazing angle at which the band is still at a right angle to the surface."""
        return self.truncation_voxels / BLOCK
