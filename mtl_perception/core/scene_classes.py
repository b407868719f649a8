# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The classes of the scene-level tasks: what driver and vehicle do, how the driver feels, how the traffic is."""

from __future__ import annotations

# The classes of the AIDE dataset (Yang et al. 2023, "AIDE: A Vision-Driven Multi-View, Multi-Modal, Multi-Tasking
# Dataset for Assistive Driving Perception"), numbered as in its authors' `dataset.py`.
DRIVER_BEHAVIOURS = (
    "smoking",
    "making phone",
    "looking around",
    "dozing off",
    "normal driving",
    "talking",
    "body movement",
)
DRIVER_EMOTIONS = ("anxiety", "peace", "weariness", "happiness", "anger")
VEHICLE_BEHAVIOURS = ("parking", "turning", "backward moving", "changing lane", "forward moving")
TRAFFIC_CONTEXTS = ("traffic jam", "waiting", "smooth traffic")
SCENE_CLASSES: dict[str, tuple[str, ...]] = {
    "driver_behaviour": DRIVER_BEHAVIOURS,
    "driver_emotion": DRIVER_EMOTIONS,
    "vehicle_behaviour": VEHICLE_BEHAVIOURS,
    "traffic_context": TRAFFIC_CONTEXTS,
}
