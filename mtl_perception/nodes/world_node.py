# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The world node: a made-up world in place of a robot, with the ground truth on `ground_truth/...`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from mtl_perception.ros.diagnostics import Status
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.parameters import Parameters
from mtl_perception.ros.process import run
from mtl_perception.ros.world_parameters import WorldParameters
from mtl_perception.ros.world_player import WorldPlayer


class WorldNode(ManagedNode):
    """Publishes a world. With `use_sim_time` it is the source of `/clock`, and no other may run."""

    _player: WorldPlayer | None = None

    def __init__(self, **node_arguments: Any) -> None:
        """Make an unconfigured node called `world`; see rclpy.node.Node for the arguments.

        Raises:
            ParameterError: a parameter has a value that cannot be used.
        """
        super().__init__("world", **node_arguments)
        self._settings = Parameters(self, WorldParameters, is_configured=lambda: self.is_configured)

    def configure(self) -> None:
        """Build the world: that takes seconds."""
        simulated = bool(self.get_parameter("use_sim_time").value)
        self._player = WorldPlayer(self, self._settings.value, simulated=simulated)

    def activate(self) -> None:
        """Begin at the world's beginning."""
        assert self._player is not None  # the node is configured
        self._player.start()

    def deactivate(self) -> None:
        """Stop publishing; the world stays."""
        if self._player is not None:
            self._player.stop()

    def cleanup(self) -> None:
        """End the processes that render."""
        if self._player is not None:
            self._player.close()
        self._player = None

    def statuses(self) -> Iterable[Status]:
        """Return what diagnostics show."""
        if self._player is not None:
            yield self._player.status()


def main() -> None:
    """Show a world until a signal."""
    sys.exit(run(lambda context, _finished: [WorldNode(context=context)]))


if __name__ == "__main__":
    main()
