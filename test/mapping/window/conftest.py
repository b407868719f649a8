# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A corridor, a walk through it and back, and settings under which the walk leaves most of it behind."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig

REACH = {"voxel_size": 0.1, "truncation_voxels": 2.0, "max_depth": 2.0}


@pytest.fixture(scope="session")
def narrow():
    """The smallest window that these cameras may have."""
    return MapperConfig(**REACH, window_radius=8.4)


@pytest.fixture(scope="session")
def wide():
    """A window that holds all of the corridor."""
    return MapperConfig(**REACH, window_radius=1000.0)


@pytest.fixture(scope="session")
def corridor(new_scene):
    """The function that makes the corridor, with furniture at some places."""

    def make(places):
        scene = new_scene().box("floor", (-3, -1.5, -0.1), (25, 1.5, 0))
        scene.box("wall", (-3, 1.5, 0), (25, 1.7, 2)).box("building", (-3, -1.7, 0), (25, -1.5, 2))
        for x in places:
            scene.box("furniture", (x, 0.5, 0), (x + 0.5, 1.0, 1.2))
        return scene

    return make


@pytest.fixture(scope="session")
def there_and_back(corridor, frame):
    """Frames of two cameras; on the way back some furniture is gone and some is new."""
    rng = np.random.default_rng(3)
    before, after = corridor(range(1, 22, 3)), corridor(range(2, 22, 5))
    way = np.concatenate([np.linspace(0, 21, 22), np.linspace(21, 0, 22)])
    frames = []
    for number, x in enumerate(way.tolist()):
        world, back = (before, 0.0) if number < 22 else (after, np.pi)
        place, yaw = (x, rng.uniform(-0.4, 0.4), 1.1), back + rng.uniform(-0.5, 0.5)
        looks = [world.look(place, yaw, 0.3, width=64), world.look(place, yaw + 1.4, 0.1, name="left", width=64)]
        frames.append(frame(*looks, stamp_ns=(number + 1) * 10**9, base=(x, 0.0, 0.0)))
    return frames
