# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the user's maps lie."""

from __future__ import annotations

import os
from pathlib import Path


def map_path(folder: str, name: str) -> Path:
    """Return where the map `name` lies in the folder of maps; "" stands for `map`.

    Raises:
        ValueError: the name leads out of the folder.
    """
    root = Path(folder).expanduser() if folder else _ros_home() / "mtl_perception" / "maps"
    root = root.resolve()
    path = (root / (name or "map")).resolve()
    if path == root or not path.is_relative_to(root):
        raise ValueError(f"path '{name}' is not inside of map_folder '{root}'")
    return path


def _ros_home() -> Path:
    return Path(os.environ.get("ROS_HOME") or "~/.ros").expanduser()
