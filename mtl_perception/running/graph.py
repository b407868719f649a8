# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes of the suite as `up` runs them: all in this process, or each in one of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol

from rclpy.context import Context
from rclpy.node import Node

from mtl_perception.ros.process import Spinning
from mtl_perception.running.respawning import Respawner
from mtl_perception.running.supervision import Exit, Supervisor

_RESPAWNED = ("perception", "mapping", "lifecycle_manager")  # half a score, or half a bag, is none


class Graph(Protocol):
    """Perception, mapping and, where asked for, evaluation, with their manager.

    Started on entering the `with` block, ended on leaving it.
    """

    def __enter__(self) -> Graph:
        """Start perception, mapping and the manager."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End everything that runs."""

    def play(self) -> None:
        """Start the player."""

    @property
    def played(self) -> bool:
        """Whether the player has come to the end of its bag."""

    def look_after(self) -> None:
        """Start again what has died, where that was asked for; to be called a few times a second."""

    def failure(self) -> str:
        """Return which node died for good and what it said, or ""."""

    def close(self) -> str:
        """End everything that runs, in order; return what went wrong on the way, or ""."""


class OneProcess:
    """All nodes in this process; perception hands its results to mapping by reference."""

    def __init__(self, context: Context, *, evaluate: bool = False) -> None:
        """`context` is initialised with the nodes' arguments; `evaluate` adds the evaluation node."""
        self._context = context
        self._evaluate = evaluate
        self._nodes: list[Node] = []
        self._spinning: Spinning | None = None
        self._played = False
        self._player_error = ""

    def __enter__(self) -> OneProcess:
        """Start all nodes but the player.

        Raises:
            ValueError: a parameter has a value that cannot be used.
        """
        from mtl_perception.nodes.lifecycle_manager import LifecycleManager
        from mtl_perception.nodes.perception_and_mapping import make_nodes

        self._nodes = [*make_nodes(context=self._context)]
        if self._evaluate:
            from mtl_perception.nodes.evaluation_node import EvaluationNode

            self._nodes.append(EvaluationNode(context=self._context))
        self._nodes.append(LifecycleManager(context=self._context))
        self._spinning = Spinning(self._context, self._nodes, name="nodes")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End everything that runs."""
        self.close()

    def play(self) -> None:
        """Start the player.

        Raises:
            ValueError: a parameter has a value that cannot be used.
        """
        from mtl_perception.nodes.player_node import PlayerNode
        from mtl_perception.ros.player import PlayerSummary

        def end(summary: PlayerSummary) -> None:
            self._player_error = summary.error
            self._played = True

        assert self._spinning is not None
        player = PlayerNode(context=self._context, on_finished=end)
        self._nodes.insert(0, player)  # it ends first
        self._spinning.add(player)

    @property
    def played(self) -> bool:
        """Whether the player has come to the end of its bag."""
        return self._played and not self._player_error

    def look_after(self) -> None:
        """Nothing: in one process no node dies alone."""

    def failure(self) -> str:
        """Return which node died and what it said, or ""."""
        if self._player_error:
            return f"player: {self._player_error}"
        if self._spinning is not None and self._spinning.failure:
            return f"a node failed: {self._spinning.failure}"
        return ""

    def close(self) -> str:
        """End the player, perception, mapping, evaluation and the manager, in this order."""
        from mtl_perception.ros.process import close

        if self._spinning is None:
            return ""
        nodes, self._nodes = self._nodes, []
        self._spinning.stop()
        close(nodes)
        failure, self._spinning = self.failure(), None
        return failure


class SeparateProcesses:
    """One process a node, supervised: none of them is left behind."""

    def __init__(self, ros_arguments: Sequence[str], *, evaluate: bool = False, respawn: bool = False) -> None:
        """`ros_arguments` are those of every node; `evaluate` adds the evaluation node.

        With `respawn`, perception, mapping and the manager are started again when they die.
        """
        self._ros_arguments = list(ros_arguments)
        self._evaluate = evaluate
        self._supervisor = Supervisor()
        self._respawner = Respawner(self._supervisor, _RESPAWNED if respawn else ())
        self._closed = False

    def __enter__(self) -> SeparateProcesses:
        """Start all nodes but the player."""
        self._start("perception", "perception_node")
        self._start("mapping", "mapping_node")
        if self._evaluate:
            self._start("evaluation", "evaluation_node")
        self._start("lifecycle_manager", "lifecycle_manager")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End everything that runs."""
        self.close()

    def play(self) -> None:
        """Start the player."""
        self._start("player", "player_node")

    @property
    def played(self) -> bool:
        """Whether the player has come to the end of its bag."""
        return any(end.name == "player" and end.code == 0 for end in self._supervisor.ended())

    def look_after(self) -> None:
        """Start again what has died, where that was asked for."""
        self._respawner.poll()

    def failure(self) -> str:
        """Return which node died for good and what it said, or ""."""
        ends = (end for end in self._supervisor.ended() if not self._respawner.takes_care_of(end.name))
        return _report(end for end in ends if end.name != "player" or end.code != 0)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the nodes that are running, by name."""
        return self._supervisor.pids

    def close(self) -> str:
        """Interrupt all and wait until they have ended."""
        if self._closed:
            return ""
        self._closed = True
        known = {end.name for end in self._supervisor.ended()}
        interrupted = (0, -signal.SIGINT)  # the latter while it was still importing
        ends = self._supervisor.stop()
        return _report(end for end in ends if end.name not in known and end.code not in interrupted)

    def _start(self, name: str, module: str) -> None:
        # Until the node has handlers of its own, a signal ends it without a traceback.
        quiet = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)"
        run = f"{quiet}; from mtl_perception.nodes.{module} import main; main()"
        self._supervisor.start(name, [sys.executable, "-c", run, *self._ros_arguments])


def _report(ends: Iterable[Exit]) -> str:
    return "\n".join(str(end) for end in ends)
