# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two small worlds, rendered once for all tests of the sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import LabelSpace, VoxelGrid
from mtl_perception.resources import config_file
from mtl_perception.training.sources import WorldSource

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = VoxelGrid((-16.0, -16.0, -1.0), 0.5, (64, 64, 8))
LAYERS = ("road", "pavement", "unheard_of")


@pytest.fixture(scope="session")
def rendered_worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the worlds of these tests are kept."""
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(scope="session")
def room(rendered_worlds: Path) -> WorldSource:
    """Return one interior, seen by one camera."""
    return WorldSource(
        "indoor", 1, rendered_worlds, LABELS, GRID, LAYERS, cameras="mono", first_seed=3_000_000, image_size=(160, 112)
    )


@pytest.fixture(scope="session")
def street(rendered_worlds: Path) -> WorldSource:
    """Return one street, seen by four cameras in fair weather."""
    source = WorldSource(
        "street", 1, rendered_worlds, LABELS, GRID, LAYERS, first_seed=3_000_000, difficult=0.0, image_size=(160, 112)
    )
    source.sample(0, (160, 112), np.random.default_rng(0))
    return source
