# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where training samples come from: recordings in memory, bags, and rendered worlds kept on disk once rendered."""

from mtl_perception.training.sources.bag import BagSource
from mtl_perception.training.sources.base import Size, Source
from mtl_perception.training.sources.camvid import CamVidSource
from mtl_perception.training.sources.configured import make_source
from mtl_perception.training.sources.rgbd import RgbdSource
from mtl_perception.training.sources.world import WorldSource

__all__ = ["BagSource", "CamVidSource", "RgbdSource", "Size", "Source", "WorldSource", "make_source"]
