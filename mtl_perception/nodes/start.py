# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `ros2 run` and launch files start: a node's main, safe from signals from the first moment on.

Importing torch and Open3D takes seconds; a signal in that time would end in a traceback and a failure.
"""

from __future__ import annotations

import importlib
import os
import signal
from functools import partial


def _start(module: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: os._exit(0))  # nothing has been opened yet
    importlib.import_module(f"mtl_perception.nodes.{module}").main()


perception_node = partial(_start, "perception_node")
mapping_node = partial(_start, "mapping_node")
evaluation_node = partial(_start, "evaluation_node")
player_node = partial(_start, "player_node")
world_node = partial(_start, "world_node")
lifecycle_manager = partial(_start, "lifecycle_manager")
perception_and_mapping = partial(_start, "perception_and_mapping")
