# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Perception and mapping in one process: mapping gets each prediction by reference, without a message in between.

Both keep their names, so start it as a plain process without `name=` (a launch file's `name` would rename both).
"""

from __future__ import annotations

import sys
from typing import Any

from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.ros.process import run


def make_nodes(**node_arguments: Any) -> tuple[PerceptionNode, MappingNode]:
    """Make both nodes, joined; see rclpy.node.Node for the arguments.

    Raises:
        ParameterError: a parameter has a value that cannot be used.
    """
    perception = PerceptionNode(**node_arguments)
    mapping = MappingNode(in_process=True, **node_arguments)
    perception.add_prediction_listener(mapping.submit, lambda: mapping.is_active)
    return perception, mapping


def main() -> None:
    """Run both nodes until a signal; whoever manages them makes their transitions."""
    sys.exit(run(lambda context, _finished: make_nodes(context=context)))


if __name__ == "__main__":
    main()
