# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The types that every other part speaks. NumPy only: no torch, no ROS, no Open3D."""

from mtl_perception.core.camera import Camera, Rig, backproject, pixel_rays, project
from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.labels import UNKNOWN, Label, LabelSpace
from mtl_perception.core.prediction import (
    TASKS,
    BevMap,
    CameraPrediction,
    Detection,
    EgoMotion,
    Prediction,
    Steering,
)
from mtl_perception.core.voxels import FREE, UNLABELLED, UNOBSERVED, Occupancy, VoxelGrid

__all__ = [
    "FREE",
    "TASKS",
    "UNKNOWN",
    "UNLABELLED",
    "UNOBSERVED",
    "BevMap",
    "Box",
    "CabinFrame",
    "Camera",
    "CameraPrediction",
    "CameraTruth",
    "Detection",
    "EgoMotion",
    "GroundTruth",
    "Label",
    "LabelSpace",
    "Occupancy",
    "Prediction",
    "Rig",
    "RigFrame",
    "Sample",
    "Steering",
    "Sweep",
    "VoxelGrid",
    "backproject",
    "pixel_rays",
    "project",
]
