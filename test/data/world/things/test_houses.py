# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Houses stand where they are put."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.data.world.rendering.light import street_light, street_sensor
from mtl_perception.data.world.scene import Mesh, Scene
from mtl_perception.data.world.things import houses

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config/labels/default.yaml")


@pytest.mark.parametrize("maker", [houses.terrace, houses.detached, houses.office, houses.hall, houses.chapel])
def test_a_house_stays_on_its_plot(maker: Callable[..., Mesh]) -> None:
    """From the front's plane backwards and between its sides, but for eaves, porches and balconies."""
    width, depth = 14.0, 10.0
    for seed in range(12):
        generator = np.random.default_rng(seed)
        scene = Scene(LABELS, street_light(generator), street_sensor(generator))
        corners = maker(scene, generator, width, 7.0, depth).corners.reshape(-1, 3)
        assert corners[:, 0].min() > -depth - 2.5 and corners[:, 0].max() < 2.5, seed
        assert corners[:, 1].min() > -1.0 and corners[:, 1].max() < width + 1.0, seed
