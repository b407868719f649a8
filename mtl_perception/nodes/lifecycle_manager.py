# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drives managed nodes: up in order, down in reverse, up again after a crash; gives way to other managers."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from mtl_perception.ros.diagnostics import Diagnostics, Level, Status
from mtl_perception.ros.manager_parameters import ManagerParameters
from mtl_perception.ros.parameters import ParameterNode, Parameters
from mtl_perception.ros.process import run

_UP = (
    (State.PRIMARY_STATE_UNCONFIGURED, Transition.TRANSITION_CONFIGURE, "configure"),
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_ACTIVATE, "activate"),
)
_DOWN = (
    (State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_DEACTIVATE, "deactivate"),
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_CLEANUP, "clean up"),
)
_PRIMARY_STATES = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)
_POLL_S = 0.1
_LOOK_S = 0.5  # how often it is looked whether all nodes are as they were left
_ASK_AGAIN_S = 2.0  # a request or its answer can be lost while two processes are still finding each other


class TransitionError(Exception):
    """A node did not make a transition; the text names both and says why."""


class _Managed:
    """One node that is driven, seen through its lifecycle services."""

    def __init__(self, manager: Node, name: str, closing: threading.Event) -> None:
        self.name = name
        self._closing = closing
        self.is_left_alone = ""  # why, once somebody else drives it
        self.has_ended = False  # it was shut down
        self.is_away = False  # it did not answer when it was last looked at
        self.is_given_up = False  # it came back, but cannot be brought up
        self._unconfigured_looks = 0
        self._ours: Counter[int] = Counter()  # per start state, transitions of ours that have not been heard of yet
        self._manager = manager
        self._change = manager.create_client(ChangeState, f"{name}/change_state")
        self._get = manager.create_client(GetState, f"{name}/get_state")
        manager.create_subscription(TransitionEvent, f"{name}/transition_event", self._transition, 10)

    @property
    def is_there(self) -> bool:
        return bool(self._get.service_is_ready() and self._change.service_is_ready())

    def state(self, timeout_s: float) -> int:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            state = self._ask_state()
            if state is not None:
                return state
        raise TransitionError(f"node '{self.name}' did not tell its state within {timeout_s:g} s")

    def change(self, start: int, transition: int, label: str, timeout_s: float) -> None:
        request = ChangeState.Request()
        request.transition.id = transition
        self._ours[start] += 1
        until = time.monotonic() + timeout_s
        asked = [self._change.call_async(request)]
        while time.monotonic() < until:
            answers = [future.result() for future in asked if self._is_answered(future)]
            if any(answer.success for answer in answers):
                return
            # A node that is busy with the transition does not answer; one that does answer has not heard, or is done.
            state = self._ask_state()
            if state in _PRIMARY_STATES and state != start:
                return
            if answers:
                raise TransitionError(f"node '{self.name}' could not {label}: its own log and diagnostics say why")
            if state == start:
                asked.append(self._change.call_async(request))
        raise TransitionError(f"node '{self.name}' did not {label} within {timeout_s:g} s")

    def look(self) -> bool:
        """Whether the node has come back from a crash and is unconfigured; called again and again while it is to be up.

        It is looked at twice: when somebody else cleans the node up, its state may be known before the event that says
        so.
        """
        state = self._ask_state()
        if state is None and not self.is_away:
            self._manager.get_logger().warning(f"node '{self.name}' does not answer")
        self.is_away = state is None
        if self.is_away:
            self.is_given_up = False
        self._unconfigured_looks = self._unconfigured_looks + 1 if state == State.PRIMARY_STATE_UNCONFIGURED else 0
        if self._unconfigured_looks < 2 or self.is_left_alone or self.is_given_up:
            return False
        self._unconfigured_looks = 0
        self.has_ended = False
        self._ours.clear()  # of its former life
        return True

    def _ask_state(self) -> int | None:
        future = self._get.call_async(GetState.Request())
        if self._is_answered(future):
            return int(future.result().current_state.id)
        self._get.remove_pending_request(future)
        return None

    def _is_answered(self, future: Any) -> bool:
        """Wait for an answer, up to the time after which it is asked for again."""
        answered = threading.Event()
        future.add_done_callback(lambda _: answered.set())
        until = time.monotonic() + _ASK_AGAIN_S
        while not answered.wait(_POLL_S) and time.monotonic() < until:
            if self._closing.is_set():
                raise TransitionError("the manager was stopped")
        return bool(future.done())

    def _transition(self, event: TransitionEvent) -> None:
        start = event.start_state.id
        if start not in _PRIMARY_STATES:
            return  # the second half of a transition
        if self._ours[start] > 0:
            self._ours[start] -= 1
        elif event.goal_state.id == State.TRANSITION_STATE_SHUTTINGDOWN:
            self.has_ended = True
        elif not self.is_left_alone:
            taken = f"'{event.start_state.label}' to '{event.goal_state.label}'"
            self.is_left_alone = f"another manager took it from {taken}"
            self._manager.get_logger().warning(f"node '{self.name}' is left alone from now on: {self.is_left_alone}")


class LifecycleManager(ParameterNode):
    """Makes the transitions of the nodes in `node_names`, on a thread of its own.

    Once they are up it keeps them up: a node whose process has died and was started anew is unconfigured, and is
    configured and activated again. One that cannot be brought up again is given up until it has been away once more.

    Services: `~/startup`, `~/reset` (deactivate and clean up, in reverse order), `~/shutdown` and `~/is_active`, which
    succeeds while all nodes are up. A node on which somebody else makes a transition is left alone from then on.
    """

    def __init__(self, **node_arguments: Any) -> None:
        """Begin to manage; see rclpy.node.Node for the arguments.

        Raises:
            ParameterError: a parameter has a value that cannot be used.
        """
        super().__init__("lifecycle_manager", **node_arguments)
        self._values = Parameters(self, ManagerParameters).value
        self._closing = threading.Event()
        self._managed = [_Managed(self, name, self._closing) for name in self._values.node_names]
        self._failure = ""
        self._waiting_for: tuple[str, ...] = ()
        self._keeps_up = False  # whether all are up as far as this manager has to do with it
        self._diagnostics = Diagnostics(self, self._statuses)
        self.create_timer(1.0, self._diagnostics.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(Trigger, "~/startup", self._serve(self.startup))
        self.create_service(Trigger, "~/reset", self._serve(self.reset))
        self.create_service(Trigger, "~/shutdown", self._serve(self.shutdown))
        self.create_service(Trigger, "~/is_active", self._tell_active)
        self._is_busy = False
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._task = threading.Thread(target=self._work, name="lifecycle_manager", daemon=True)
        self._task.start()
        if self._values.autostart:
            self._begin(self.startup)

    def startup(self) -> None:
        """Configure all nodes, then activate all, in order; waits until they are there. Not for the executor's thread.

        Raises:
            TransitionError: a node did not do it.
        """
        self._keeps_up = False
        self._await_nodes()
        self._bring_up(self._managed)
        self._keeps_up = True
        self.get_logger().info(f"active: {', '.join(managed.name for managed in self._driven())}")

    def reset(self) -> None:
        """Deactivate and clean up all nodes, in reverse order. Not for the executor's thread.

        Raises:
            TransitionError: a node did not do it.
        """
        self._keeps_up = False
        for step in _DOWN:
            for managed in reversed(self._managed):
                if not managed.has_ended:
                    self._step(managed, step)

    def shutdown(self) -> None:
        """Take all nodes down to their final state, in reverse order. Not for the executor's thread.

        Raises:
            TransitionError: a node did not do it.
        """
        self.reset()
        step = (State.PRIMARY_STATE_UNCONFIGURED, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, "shut down")
        for managed in reversed(self._managed):
            if not managed.has_ended:
                self._step(managed, step)

    def destroy_node(self) -> None:
        """Stop managing; the nodes stay in the state that they are in."""
        self._closing.set()
        self._requests.put(lambda: None)
        self._task.join(5.0)
        super().destroy_node()

    def _driven(self) -> Iterable[_Managed]:
        return (managed for managed in self._managed if not managed.is_left_alone)

    def _await_nodes(self) -> None:
        while True:
            self._waiting_for = tuple(managed.name for managed in self._managed if not managed.is_there)
            if not self._waiting_for:
                return
            if self._closing.wait(_POLL_S):
                raise TransitionError("the manager was stopped")

    def _step(self, managed: _Managed, step: tuple[int, int, str]) -> None:
        start, transition, label = step
        if self._closing.is_set():
            raise TransitionError("the manager was stopped")
        if managed.is_left_alone or managed.state(self._values.transition_timeout) != start:
            return
        began = time.monotonic()
        managed.change(start, transition, label, self._values.transition_timeout)
        self.get_logger().info(f"{label} '{managed.name}': done in {time.monotonic() - began:.1f} s")

    def _bring_up(self, nodes: Iterable[_Managed]) -> None:
        nodes = list(nodes)
        for step in _UP:
            for managed in nodes:
                self._step(managed, step)

    def _begin(self, action: Callable[[], None]) -> None:
        self._is_busy = True
        self._requests.put(action)

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                action = self._requests.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._keeps_up:
                    self._attempt(self._look_round)
                continue
            if self._attempt(action):
                self._failure = ""
            self._is_busy = False

    def _look_round(self) -> None:
        back = [managed for managed in list(self._driven()) if managed.look()]
        if not back:
            return
        names = ", ".join(managed.name for managed in back)
        self.get_logger().warning(f"came back unconfigured and is brought up again: {names}")
        for managed in back:
            managed.is_given_up = True  # unless it comes up now
        self._bring_up(back)
        for managed in back:
            managed.is_given_up = False
        self._failure = ""
        self.get_logger().info(f"active again: {names}")

    def _attempt(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except TransitionError as error:
            if not self._closing.is_set():
                self._failure = str(error)
                self.get_logger().error(self._failure)
            return False
        return True

    def _serve(self, action: Callable[[], None]) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def serve(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            if self._is_busy:
                response.success, response.message = False, "another request is still being worked on"
                return response
            self._begin(action)
            response.success, response.message = True, "begun; diagnostics tell how it goes"
            return response

        return serve

    def _tell_active(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        status = self._status()
        response.success = self._keeps_up and status.level == Level.OK
        response.message = status.message
        return response

    def _statuses(self) -> Iterable[Status]:
        yield self._status()

    def _status(self) -> Status:
        alone = {managed.name: managed.is_left_alone for managed in self._managed if managed.is_left_alone}
        away = [managed.name for managed in self._driven() if managed.is_away and self._keeps_up]
        if self._failure:
            return Status("manager", Level.ERROR, self._failure, alone)
        if self._waiting_for:
            return Status("manager", Level.WARN, f"waiting for the nodes {', '.join(self._waiting_for)}", alone)
        if away:
            return Status("manager", Level.WARN, f"no answer from the nodes {', '.join(away)}", alone)
        left = "".join(f"; '{name}' is left alone: {why}" for name, why in alone.items())
        return Status("manager", Level.OK, f"all nodes are {'up' if self._keeps_up else 'there'}{left}", alone)


def main() -> None:
    """Run the manager until a signal."""
    sys.exit(run(lambda context, _finished: [LifecycleManager(context=context)]))


if __name__ == "__main__":
    main()
