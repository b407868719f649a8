# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the managed nodes of this suite share: transitions that say why they failed, and diagnostics from the start."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lifecycle_msgs.msg import State
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks, QoSPublisherMatchedInfo
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import QoSProfile
from rclpy.timer import Timer

from mtl_perception.ros import qos
from mtl_perception.ros.clock_watch import CLOCK_STATUS, STAMP_KEY
from mtl_perception.ros.diagnostics import Diagnostics, Level, Status
from mtl_perception.ros.memory import give_memory_back
from mtl_perception.ros.notices import Notices
from mtl_perception.ros.parameters import ParameterNode
from mtl_perception.ros.process_status import process_status, resident_mib

_SUMMARY_PERIOD_S = 30.0
_JUMP_AHEAD_S = 5.0  # a clock that leaps farther forward has not merely been told of late
_STANDS_STILL_S = 3.0  # simulated time that has not moved for so long is worth a warning
_PLAYER_STARTS_S = 12.0  # a player that waits for the nodes may come up after them


class ConfigurationError(Exception):
    """A transition cannot be made; the text says why and names the parameter, file or topic."""


class ManagedNode(ParameterNode, LifecycleNode):
    """A lifecycle node whose transitions are plain methods that raise when they cannot be made.

    rclpy swallows what a transition callback raises; here the reason is logged and shown in diagnostics, what was
    half-made is undone, and the node is back in the state it came from.
    """

    def __init__(self, name: str, **node_arguments: Any) -> None:
        """Make an unconfigured node; see rclpy.node.Node for the arguments."""
        super().__init__(name, **node_arguments)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._failure = ""
        self._clock_notices = Notices()
        self._clock_moved = (0, time.monotonic())  # what the clock showed when it was last seen to move, and when
        self._output_publishers: list[LifecyclePublisher[Any]] = []
        self.diagnostics = Diagnostics(self, self._statuses)
        self._looks_until_memory_is_given_back = 0
        self._diagnostics_timer = self.create_steady_timer(1.0, self._look)
        self._summary_timer = self.create_steady_timer(_SUMMARY_PERIOD_S, self._report_regularly)
        # The clock starting to be simulated is no jump: whatever has been received by then is kept.
        threshold = JumpThreshold(
            min_forward=Duration(seconds=_JUMP_AHEAD_S), min_backward=Duration(nanoseconds=-1), on_clock_change=False
        )
        self._jump_handle = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)

    def configure(self) -> None:
        """Make what the parameters say; raise when that is not possible."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working, keep what was made."""

    def cleanup(self) -> None:
        """Give back what `configure` made; called also after a `configure` that failed half-way.

        Its memory goes back to the machine within two seconds.
        """

    def clock_jumped_back(self, clock_ns: int) -> None:
        """React to the node's clock having been set back to `clock_ns`, e.g. by a bag that loops."""

    def statuses(self) -> Iterable[Status]:
        """Return what diagnostics show while the node is configured."""
        return ()

    def summary(self) -> str:
        """Return in a few words how the node has fared since the last call; "" when there is nothing to tell."""
        return ""

    def device(self) -> tuple[str, Mapping[str, object]]:
        """Return where the node computes, and what diagnostics tell about it."""
        return "cpu", {}

    @property
    def is_waited_for(self) -> bool:
        """Whether a player waits for this node, so that it is no news that the clock stands still meanwhile."""
        return False

    def stamps_set_back(self, stamp_ns: int) -> None:
        """Let diagnostics tell that what arrives is of an earlier time again, though the clock has not jumped."""
        self._clock_notices.note(
            "stamps set back", f"stamps were set back to {stamp_ns * 1e-9:.3f} s: a bag that loops?"
        )

    @property
    def is_configured(self) -> bool:
        """Whether the node is neither unconfigured nor finalized."""
        return self._state_id not in (State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_FINALIZED)

    @property
    def is_active(self) -> bool:
        """Whether the node is active."""
        return self._state_id == State.PRIMARY_STATE_ACTIVE

    @property
    def clock_ns(self) -> int:
        """The node's clock, nanoseconds."""
        return int(self.get_clock().now().nanoseconds)

    def create_output(
        self,
        message_type: Any,
        topic: str,
        profile: QoSProfile | None = None,
        on_subscribed: Callable[[], None] | None = None,
    ) -> LifecyclePublisher[Any]:
        """Make a publisher that is silent while the node is not active and goes at cleanup; QoS can be overridden.

        The executor calls `on_subscribed` after somebody has subscribed, even if somebody else has left meanwhile.
        """
        so_far = 0

        def matched(info: QoSPublisherMatchedInfo) -> None:
            nonlocal so_far
            # Not total_count_change: Fast DDS sets it to 0 when somebody asks for the number of subscriptions.
            if on_subscribed is not None and info.total_count > so_far:
                on_subscribed()
            so_far = info.total_count

        publisher = self.create_lifecycle_publisher(
            message_type,
            topic,
            profile or qos.output(),
            qos_overriding_options=qos.overridable(),
            event_callbacks=PublisherEventCallbacks(matched=matched if on_subscribed else None),
        )
        self._output_publishers.append(publisher)
        return publisher

    def create_steady_timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """Make a timer that runs by the wall, whatever `/clock` does."""
        return self.create_timer(period_s, callback, clock=self.steady_clock)

    def shut_down(self) -> None:
        """Bring the node to its end from whatever state it is in, for a process that ends."""
        if self._state_id != State.PRIMARY_STATE_FINALIZED:
            self.trigger_shutdown()

    def destroy_node(self) -> None:
        """Give everything back, so that the node is gone from the graph.

        rclpy leaves the state machine, and with it the node and its lifecycle services, to the garbage collector:
        until that runs, other nodes still see a node that answers nothing.
        """
        self._jump_handle.unregister()
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the transition: rclpy calls this."""
        before = self._entities()
        result = self._attempt("configure", self.configure)
        if result == TransitionCallbackReturn.SUCCESS:
            return super().on_configure(state)
        self._undo()
        self._destroy_all_but(before)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the transition: rclpy calls this."""
        super().on_activate(state)
        before = self._entities()
        result = self._attempt("activate", self.activate)
        self._summary_timer.reset()
        if result != TransitionCallbackReturn.SUCCESS:
            failure = self._failure
            self._attempt("deactivate", self.deactivate)
            self._failure = failure
            self._destroy_all_but(before)
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the transition: rclpy calls this."""
        result = self._attempt("deactivate", self.deactivate)
        self._log_summary()
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the transition: rclpy calls this."""
        # The executor lets go of what was destroyed only after this, and with it of all that its callbacks refer to.
        self._looks_until_memory_is_given_back = 2
        return self._undo()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the transition: rclpy calls this."""
        if state.state_id == State.PRIMARY_STATE_ACTIVE:
            self.on_deactivate(state)
        return self._undo()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the transition: rclpy calls this; the node is unconfigured afterwards."""
        return self._undo()

    @property
    def _state_id(self) -> int:
        return int(self._state_machine.current_state[0])

    def _look(self) -> None:
        self.diagnostics.publish()
        if self._looks_until_memory_is_given_back:
            self._looks_until_memory_is_given_back -= 1
            if not self._looks_until_memory_is_given_back:
                give_memory_back()

    def _attempt(self, what: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:  # the reason must reach the user, and rclpy would swallow it
            self._failure = f"{what} failed: {error}"
            self.get_logger().error(self._failure)
            if not isinstance(error, (ConfigurationError, ValueError, OSError)):
                self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        self._failure = ""
        return TransitionCallbackReturn.SUCCESS

    def _undo(self) -> TransitionCallbackReturn:
        failure = self._failure
        result = self._attempt("cleanup", self.cleanup)
        for publisher in self._output_publishers:
            self.destroy_lifecycle_publisher(publisher)
        self._output_publishers.clear()
        self._failure = failure or self._failure
        return result

    def _entities(self) -> set[Any]:
        return {*self.subscriptions, *self.timers, *self.services}

    def _destroy_all_but(self, kept: set[Any]) -> None:
        """Give back what a transition that failed has made and nobody holds: it would go on receiving."""
        destroy = (
            (self.subscriptions, self.destroy_subscription),
            (self.timers, self.destroy_timer),
            (self.services, self.destroy_service),
        )
        for entities, give_back in destroy:
            for entity in [entity for entity in entities if entity not in kept]:
                give_back(entity)

    def _on_jump(self, jump: TimeJump) -> None:
        seconds = jump.delta.nanoseconds * 1e-9
        if seconds < 0:
            self._clock_notices.note("jumps back", f"the clock jumped back by {-seconds:.3f} s")
            self.clock_jumped_back(self.clock_ns)
        elif self.clock_ns > jump.delta.nanoseconds:  # else it was 0 before: nothing had told of the time
            self._clock_notices.note("jumps ahead", f"the clock jumped ahead by {seconds:.3f} s")

    def _clock_status(self) -> Status:
        noted = self._clock_notices.take()
        is_simulated = self.get_clock().ros_time_is_active
        problem = self._clock_problem() if is_simulated else ""
        level = Level.ERROR if problem and not self.clock_ns else Level.WARN if problem or noted else Level.OK
        source = "simulated, from /clock" if is_simulated else "the machine's own"
        values = {**self._clock_notices.counts, **({STAMP_KEY: self.clock_ns} if is_simulated else {})}
        return Status(CLOCK_STATUS, level, "; ".join(filter(None, (problem, *noted))) or source, values)

    def _clock_problem(self) -> str:
        clock_ns, now = self.clock_ns, time.monotonic()
        seen_ns, moved = self._clock_moved
        if clock_ns != seen_ns:
            self._clock_moved = (clock_ns, now)
            return ""
        if now - moved < (_PLAYER_STARTS_S if self.is_waited_for and not clock_ns else _STANDS_STILL_S):
            return ""
        topic = self.resolve_topic_name("/clock")
        publishers = self.get_publishers_info_by_topic(topic)
        why = "is published, but nothing arrives" if publishers else "is not published"
        if not clock_ns:
            return f"use_sim_time is set, and topic '{topic}' {why}: there is no time"
        if self.is_waited_for and publishers:
            return ""
        return f"topic '{topic}' {why}{'' if publishers else ' any more'}: time stands still since {now - moved:.0f} s"

    def _report_regularly(self) -> None:
        """Log one line on how the node fares, but nothing while nothing happens and nothing is wrong."""
        if not self.is_active:
            return
        complaints = self.diagnostics.complaints
        if not self._log_summary(f"not good: {', '.join(complaints)}" if complaints else "") and complaints:
            self.get_logger().warning(f"no frame came; {'; '.join(complaints.values())}")

    def _log_summary(self, addition: str = "") -> bool:
        summary = self.summary()
        if summary:
            self.get_logger().info("; ".join(filter(None, [summary, f"{resident_mib():.0f} MiB", addition])))
        return bool(summary)

    def _statuses(self) -> Iterable[Status]:
        state_label = str(self._state_machine.current_state[1])
        level = Level.ERROR if self._failure else Level.OK
        yield Status("lifecycle", level, self._failure or state_label, {"state": state_label})
        yield process_status(*self.device())
        yield self._clock_status()
        refused = self.refusals.take()
        level = Level.WARN if refused else Level.OK
        yield Status("parameters", level, "; ".join(refused) or "as they were set", self.refusals.counts)
        if self._state_id in (State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE):
            yield from self.statuses()
