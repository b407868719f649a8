# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared multi-task network: torch modules only, each usable alone."""

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multi_task import MultiTaskNetwork, NetworkOutput

__all__ = [
    "CameraBatch",
    "Checkpoint",
    "MultiTaskNetwork",
    "NetworkConfig",
    "NetworkOutput",
    "PreviousFrame",
    "load_checkpoint",
    "save_checkpoint",
]
