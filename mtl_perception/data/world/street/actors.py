# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everybody who moves on a street besides the robot."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world.scene import Scene
from mtl_perception.data.world.street.clearance import Clearance
from mtl_perception.data.world.street.driving import Drive
from mtl_perception.data.world.street.motor_traffic import MotorTraffic, robot_place
from mtl_perception.data.world.street.roads import StreetPlan
from mtl_perception.data.world.street.walkers import Walkers


def add_traffic(scene: Scene, plan: StreetPlan, drive: Drive, generator: np.random.Generator) -> None:
    """Put vehicles, cyclists and people around a drive, so that nobody is ever in anybody's way.

    They are there from 2 s before the drive to 2 s after it.

    Raises:
        KeyError: the scene's label space lacks "car", "truck", "cyclist" or "pedestrian".
    """
    clearance = Clearance(-2.0, drive.duration_s + 2.0)
    x, y, yaw = robot_place(drive, clearance.times)
    clearance.take(x, y, yaw, 5.5, 2.3)
    MotorTraffic(scene, plan, drive, generator, clearance).fill(float(generator.uniform(0.5, 1.5)))
    Walkers(scene, plan, drive, generator, clearance).fill(float(generator.uniform(0.5, 1.6)))
