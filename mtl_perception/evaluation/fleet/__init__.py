# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many bags, evaluated in this process, in processes of this machine, or on a Ray cluster."""

from mtl_perception.evaluation.fleet.engine import Advanced, Engine, MakeWork, Work
from mtl_perception.evaluation.fleet.fleet import FleetOutcome, Progress, run_fleet
from mtl_perception.evaluation.fleet.jobs import BagJob, bags_in
from mtl_perception.evaluation.fleet.local import InProcess, LocalWorkers
from mtl_perception.evaluation.fleet.ray_engine import RayEngine

__all__ = [
    "run_fleet",
    "FleetOutcome",
    "Progress",
    "bags_in",
    "BagJob",
    "Engine",
    "InProcess",
    "LocalWorkers",
    "RayEngine",
    "Advanced",
    "MakeWork",
    "Work",
]
