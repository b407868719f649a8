# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the user's maps lie."""

from __future__ import annotations

import os
from pathlib import Path

_NOT_READ = "\ufffd"  # what stands for bytes that are no text
_LONGEST = 1024  # bytes of a path below the folder
_LONGEST_PART = 200  # of one name: while a map is saved, its folder has a longer one


def map_path(folder: str, name: str) -> Path:
    """Return where the map `name` lies in the folder of maps; "" stands for `map`.

    Raises:
        ValueError: the name leads out of the folder, is none, or is of something that the suite itself keeps there.
    """
    _check(name)
    root = Path(folder).expanduser() if folder else _ros_home() / "mtl_perception" / "maps"
    root = root.resolve()
    try:
        path = (root / (name or "map")).resolve()
    except (OSError, RuntimeError) as error:  # links that lead in circles
        raise ValueError(f"path {name!r} in map_folder '{root}' leads nowhere: {error}") from error
    if path == root or not path.is_relative_to(root):
        raise ValueError(f"path '{name}' is not inside of map_folder '{root}'")
    return path


def _check(name: str) -> None:
    """Refuse a name that no file can have, that hides, or that would look like something else in a log."""
    if len(name.encode(errors="surrogatepass")) > _LONGEST:
        raise ValueError(f"path {name[:40]!r}... has {len(name)} characters, which is too long")
    if not name.isprintable() or _NOT_READ in name or any("\ud800" <= letter <= "\udfff" for letter in name):
        raise ValueError(f"path {name!r} has characters that cannot be printed")
    parts = [part for part in name.split("/") if part]
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        raise ValueError(f"path {name[:40]!r}... has a part of more than {_LONGEST_PART} bytes")
    hidden = [part for part in parts if part.startswith(".") and part.strip(".")]
    if hidden:
        raise ValueError(f"path '{name}' has the hidden part '{hidden[0]}': names of maps begin with no dot")


def _ros_home() -> Path:
    return Path(os.environ.get("ROS_HOME") or "~/.ros").expanduser()
