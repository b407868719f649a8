# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the configuration of a source to the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mtl_perception.core import LabelSpace, VoxelGrid
from mtl_perception.training.config import SourceConfig
from mtl_perception.training.sources.bag import BagSource
from mtl_perception.training.sources.base import Source
from mtl_perception.training.sources.camvid import CamVidSource
from mtl_perception.training.sources.rgbd import RgbdSource
from mtl_perception.training.sources.world import WorldSource
from mtl_perception.training.validation.clips import FIRST_UNSEEN_SEED


def make_source(
    config: SourceConfig, data: Path, cache: Path, labels: LabelSpace, grid: VoxelGrid, layers: Sequence[str]
) -> Source:
    """Build the source that a configuration names.

    Args:
        config: the source's configuration.
        data: folder of the recordings and bags.
        cache: folder of rendered worlds.
        labels: the label space.
        grid: of occupancy and BEV map.
        layers: of the BEV map, in the network's order.

    Raises:
        ValueError: the grid does not reach as far to the left of the base as to the right (samples are mirrored); or a
            recording is not there, or not what it should be: names its folder; or worlds are among those that
            validation looks at.
    """
    if not math.isclose(-grid.origin[1], grid.origin[1] + grid.voxel_size * grid.shape[1], abs_tol=1e-6):
        raise ValueError(f"the grid starts at y = {grid.origin[1]}: it must reach as far to the left as to the right")
    if config.kind == "camvid":
        return CamVidSource(data / config.folder)
    if config.kind == "rgbd":
        return RgbdSource(data / config.folder, config.last_id, grid)
    if config.kind == "bag":
        return BagSource(data / config.folder, labels, grid, layers, ground_known=config.ground_known)
    if config.first_seed + config.worlds > FIRST_UNSEEN_SEED:
        raise ValueError(f"{config.kind}: seeds from {FIRST_UNSEEN_SEED} on are of worlds that no training may see")
    return WorldSource(
        config.kind,
        config.worlds,
        cache,
        labels,
        grid,
        layers,
        cameras=config.cameras,
        first_seed=config.first_seed,
        difficult=config.difficult,
        gap_s=config.gap_s,
        image_size=config.image_size,
        first_camera_only=config.first_camera_only,
    )
