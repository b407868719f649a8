# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene graphs as files of spark-dsg, which does not tell whether writing them has failed."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import spark_dsg


def write_graph(path: Path, graph: spark_dsg.DynamicSceneGraph) -> None:
    """Write a graph with its mesh to a new file `.sparkdsg`.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full.
    """
    graph.save(str(path), True)
    content = bytes(graph.to_binary(True))
    if not _ends_after(path, content):
        raise OSError(errno.ENOSPC, "not all of the scene graph could be written", str(path))


def write_graph_json(path: Path, graph: spark_dsg.DynamicSceneGraph) -> None:
    """Write a graph without its mesh to a new file `.json`.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full.
    """
    graph.save(str(path), False)
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        raise OSError(errno.ENOSPC, "not all of the scene graph could be written", str(path)) from error


def _ends_after(path: Path, content: bytes) -> bool:
    """Return whether a file has, after some short header, the first bytes of `content` and as many in all."""
    with path.open("rb") as file:
        header = file.read(4096).find(content[:256])
    return header >= 0 and path.stat().st_size == header + len(content)
