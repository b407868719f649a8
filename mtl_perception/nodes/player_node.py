# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The player node: replays a bag and finishes at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rclpy.context import Context
from rclpy.node import Node

from mtl_perception.ros.parameters import ParameterError, ParameterNode, Parameters, full_name
from mtl_perception.ros.player import BagPlayer, PlayerSummary
from mtl_perception.ros.player_parameters import PlayerCameraParameters, PlayerParameters
from mtl_perception.ros.process import run


class PlayerNode(ParameterNode):
    """Plays the bag of its parameter `bag` from the moment it is made.

    `summary` says what has been played; `on_finished` is called with it, from another thread, at the end of the bag.
    """

    def __init__(
        self, *, on_finished: Callable[[PlayerSummary], None] = lambda _summary: None, **node_arguments: Any
    ) -> None:
        """Make a node called `player` and start; see rclpy.node.Node for the other arguments.

        Raises:
            ParameterError: a parameter has a value that cannot be used.
        """
        self._player: BagPlayer | None = None
        super().__init__("player", **node_arguments)
        settings = Parameters(self, PlayerParameters).value
        if not settings.bag:
            raise ParameterError(f"{full_name(self)}: parameter 'bag' is empty: it names the recording to play")
        cameras = [name for name in settings.cameras if name]
        known = {name: Parameters(self, PlayerCameraParameters, prefix=f"{name}.").value for name in cameras}
        image_topics = [camera.image_topic or f"{name}/image" for name, camera in known.items()]
        self._player = BagPlayer(self, settings, image_topics, on_finished)
        self._player.start()

    @property
    def summary(self) -> PlayerSummary:
        """What has been played so far."""
        return PlayerSummary() if self._player is None else self._player.summary

    def destroy_node(self) -> None:
        """Stop playing, then end the node."""
        if self._player is not None:  # None after a refused parameter
            self._player.stop()
        super().destroy_node()


def main() -> None:
    """Play a bag until its end or a signal; the exit code is 1 when the bag could not be read."""
    failed: list[str] = []

    def make_nodes(context: Context, finished: Callable[[], None]) -> list[Node]:
        def end(summary: PlayerSummary) -> None:
            failed.extend([summary.error] if summary.error else [])
            finished()

        return [PlayerNode(context=context, on_finished=end)]

    code = run(make_nodes)
    sys.exit(1 if failed else code)


if __name__ == "__main__":
    main()
