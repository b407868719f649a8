# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared multi-task network: torch modules only, each usable alone."""

from mtl_perception.network.batch import CameraBatch, History, PreviousFrame
from mtl_perception.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multi_task import MultiTaskNetwork
from mtl_perception.network.output import NetworkOutput

__all__ = [
    "CameraBatch",
    "Checkpoint",
    "History",
    "MultiTaskNetwork",
    "NetworkConfig",
    "NetworkOutput",
    "PreviousFrame",
    "load_checkpoint",
    "save_checkpoint",
]
