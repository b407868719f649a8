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
    content = bytes(graph.to_binary(True))  # before it, the file has a header
    if not path.is_file() or not path.read_bytes().endswith(content):
        raise OSError(errno.ENOSPC, f"not all of the {len(content)} bytes of the scene graph could be written", str(path))


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
