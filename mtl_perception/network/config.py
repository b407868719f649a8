# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The typed configuration of a network: what `config/networks/*.yaml` may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mtl_perception.core import VoxelGrid

Task = Literal["depth", "semantic", "motion_mask", "occupancy"]

# What each task's decoder reads of another's: occupancy lifts with the depth distribution, motion warps with the depth.
REQUIRES: dict[str, tuple[str, ...]] = {
    "depth": (),
    "semantic": (),
    "motion_mask": ("depth",),
    "occupancy": ("depth",),
}


class GridConfig(BaseModel):
    """The occupancy grid, in the base frame."""

    model_config = ConfigDict(extra="forbid")

    origin: tuple[float, float, float] = Field(description="outer corner of voxel (0, 0, 0), metres")
    voxel_size: float = Field(gt=0, description="edge of a voxel, metres")
    shape: tuple[int, int, int] = Field(description="voxels in x, y, z")

    def to_grid(self) -> VoxelGrid:
        """Return the grid as a core type."""
        return VoxelGrid(self.origin, self.voxel_size, self.shape)


class DepthBins(BaseModel):
    """Depth bins, uniform in log depth. They hold for the canonical focal length and scale with a camera's own."""

    model_config = ConfigDict(extra="forbid")

    nearest: float = Field(gt=0, description="first bin's depth, metres")
    farthest: float = Field(gt=0, description="last bin's depth, metres")
    count: int = Field(ge=8, le=256)
    canonical_focal: float = Field(
        gt=0, description="focal length in pixels of the network's input for which they hold"
    )


class NetworkConfig(BaseModel):
    """Everything that shapes a `MultiTaskNetwork`.

    Raises:
        pydantic.ValidationError: a value is out of bounds or a key is unknown.
    """

    model_config = ConfigDict(extra="forbid")

    preset: str
    tasks: tuple[Task, ...] = Field(min_length=1, description="decoders that the network has")
    num_labels: int = Field(ge=2, le=250)
    input_pixels: int = Field(ge=64 * 64, description="pixels of a network input; its shape follows the camera's")
    encoder_widths: tuple[int, int, int, int] = Field(description="channels at strides 4, 8, 16, 32")
    encoder_blocks: tuple[int, int, int, int] = Field(description="residual blocks at strides 4, 8, 16, 32")
    pyramid_width: int = Field(ge=8)
    detail_width: int = Field(ge=8, description="channels of the decoders' last stage, at stride 2")
    depth_bins: DepthBins
    motion_embedding: int = Field(ge=4, description="channels of the embedding that is compared over time")
    motion_radius: int = Field(ge=1, le=6, description="search radius of that comparison, pixels at stride 4")
    lift_width: int = Field(ge=4, description="channels lifted into a voxel")
    grid: GridConfig

    @model_validator(mode="after")
    def _requirements(self) -> NetworkConfig:
        for task in self.tasks:
            for needed in REQUIRES[task]:
                if needed not in self.tasks:
                    raise ValueError(f"task '{task}' needs task '{needed}', which is not in tasks {self.tasks}")
        return self

    @classmethod
    def load(cls, path: str | Path) -> NetworkConfig:
        """Read a preset from YAML.

        Raises:
            ValueError: a key or value is wrong; the message names the file.
        """
        try:
            return cls.model_validate(yaml.safe_load(Path(path).read_text()))
        except (ValidationError, yaml.YAMLError) as error:
            raise ValueError(f"network configuration {path}: {error}") from error

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the network's input (width, height) for an image: near `input_pixels`, multiples of 16."""
        scale = (self.input_pixels / (width * height)) ** 0.5
        return max(32, round(width * scale / 16) * 16), max(32, round(height * scale / 16) * 16)
