# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs nodes until a signal or until one says that it has finished, and ends the process cleanly."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.parameters import ParameterError

_WAIT_S = 0.2  # waiting without limit is a busy loop in executors built against an old C library


def run(make_nodes: Callable[[Context, Callable[[], None]], Sequence[Node]], args: Sequence[str] | None = None) -> int:
    """Spin nodes in one executor until SIGINT, SIGTERM or until they have finished; return the exit code.

    Nodes are brought to their end in the order in which they were made, while the middleware still works.

    Args:
        make_nodes: called with the context and a function to call when the process may end.
        args: the command line, by default sys.argv.
    """
    context = Context()
    rclpy.init(
        args=list(sys.argv if args is None else args), context=context, signal_handler_options=SignalHandlerOptions.NO
    )
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: signals.append(number))
    done = threading.Event()
    try:
        nodes = list(make_nodes(context, done.set))
    except ParameterError as error:
        get_logger("mtl_perception").fatal(str(error))
        rclpy.shutdown(context=context)
        return 1
    spinning = Spinning(context, nodes, done.set)
    # Python runs signal handlers in this thread only, so it must do nothing but wait for them.
    while not signals and not done.wait(0.1):
        pass
    spinning.stop()
    close(nodes)
    rclpy.try_shutdown(context=context)
    return 1 if spinning.failure else 0


def close(nodes: Sequence[Node]) -> None:
    """End nodes that no executor spins any more: managed ones make their shutdown transition, all are destroyed."""
    for node in nodes:
        if isinstance(node, ManagedNode):
            node.shut_down()
        elif isinstance(node, LifecycleNode):
            node.trigger_shutdown()
        node.destroy_node()


class Spinning(threading.Thread):
    """Spins nodes until `stop`. An exception of a callback ends it, too: `failure` then tells it, else it is ""."""

    def __init__(
        self,
        context: Context,
        nodes: Sequence[Node],
        on_end: Callable[[], None] = lambda: None,
        *,
        name: str = "executor",
    ) -> None:
        """Start a thread of that name; `on_end` is called when nothing is spun any more."""
        super().__init__(name=name, daemon=True)
        self.failure = ""
        # Far less work per message than with rclpy's default executor.
        self._executor: Executor = EventsExecutor(context=context)
        self._on_end = on_end
        self._stopping = threading.Event()
        for node in nodes:
            self.add(node)
        self.start()

    def add(self, node: Node) -> None:
        """Spin one more node."""
        self._executor.add_node(node)

    def stop(self) -> None:
        """Return when no callback runs any more."""
        self._stopping.set()
        self._executor.wake()
        self.join()
        self._executor.shutdown()

    def run(self) -> None:
        """Spin: the thread's own."""
        try:
            while not self._stopping.is_set():
                self._executor.spin_once(_WAIT_S)
        except ExternalShutdownException:
            pass  # somebody shut the context down: that is a way to end
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._on_end()
