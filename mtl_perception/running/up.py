# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception up`: the whole graph, from live topics or a bag, watched from start to end."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_perception.running.parameter_files import unknown_parameters
from mtl_perception.running.settings import (
    UpSettings,
    configured_cameras,
    ros_arguments,
    set_up_middleware,
    write_parameters,
)
from mtl_perception.scenes import SCENES

if TYPE_CHECKING:
    from mtl_perception.running.graph import Graph
    from mtl_perception.running.monitor import MonitorNode
    from mtl_perception.running.recorder import PredictionRecorder

_POLL_S = 0.1
_START_TIMEOUT_S = 180.0
_SETTLED_S = 1.0  # nothing reported for so long: nothing is under way any more
_SETTLE_TIMEOUT_S = 60.0
_DIAGNOSTICS_TIMEOUT_S = 3.0
_SAVE_TIMEOUT_S = 120.0
_LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--bag", type=Path, help="play this recording, and end with it (default: live topics)")
    parser.add_argument("--checkpoint", default="", help="a file, one of the package by its name, or a hub id")
    parser.add_argument("--config", type=Path, metavar="YAML", help="parameters laid over config/perception.yaml")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write summary.json, pictures and the map there")
    parser.add_argument("--evaluate", action="store_true", help="score against ground truth; report in OUT/evaluation")
    parser.add_argument("--scene", choices=tuple(SCENES), help="map settings for it (default: the configuration's)")
    parser.add_argument("--realtime", action="store_true", help="play at the recorded pace; the newest frame wins")
    parser.add_argument("--rate", type=_positive, default=1.0, help="with --realtime: bag seconds per second")
    parser.add_argument("--processes", action="store_true", help="one process a node (default: all in one)")
    parser.add_argument("--respawn", action="store_true", help="with --processes: start nodes again that die")
    parser.add_argument("--namespace", default="", metavar="NS", help="namespace of all nodes and topics")
    parser.add_argument("--frame-prefix", default="", metavar="PREFIX", help="of frames that parameters name, e.g. a/")
    parser.add_argument("--log-level", choices=_LOG_LEVELS, default="info", help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run until the bag ends or SIGINT comes; 0 when all went well.

    Raises:
        ValueError, OSError: the bag, the configuration or a parameter cannot be used.
    """
    if arguments.evaluate and arguments.out is None:
        raise ValueError("--evaluate needs --out: the report goes to OUT/evaluation")
    if arguments.respawn and not arguments.processes:
        raise ValueError("--respawn needs --processes: in one process no node can die alone")
    namespace = arguments.namespace.strip("/")
    cabin_cameras, cabin_joints = cabin_of(arguments.bag)
    outcome = run_graph(
        UpSettings(
            bag=arguments.bag,
            cameras=cameras_of(arguments.bag, arguments.config, as_evaluated=arguments.evaluate),
            cabin_cameras=cabin_cameras,
            cabin_joints=cabin_joints,
            checkpoint=arguments.checkpoint,
            config=arguments.config,
            scene=arguments.scene or "",
            realtime=arguments.realtime,
            rate=arguments.rate,
            processes=arguments.processes,
            respawn=arguments.respawn,
            namespace=f"/{namespace}" if namespace else "",
            frame_prefix=arguments.frame_prefix,
            out=arguments.out,
            evaluate=arguments.evaluate,
            log_level=arguments.log_level,
        )
    )
    return outcome.exit_code


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `summary` is what summary.json holds, empty when the graph never came up."""

    exit_code: int
    summary: dict[str, Any]


def run_graph(settings: UpSettings) -> Outcome:
    """Run perception, mapping and (with a bag) the player; report; leave nothing running.

    Raises:
        ValueError, OSError: the configuration or a parameter cannot be used.
    """
    from mtl_perception.running.report import report

    began = time.monotonic()
    for line in unknown_parameters(settings.config) if settings.config is not None else ():
        print(f"mtl_perception up: warning: {line}", file=sys.stderr, flush=True)
    set_up_middleware()
    with _signals() as stop, tempfile.TemporaryDirectory(prefix="mtl_perception_") as folder:
        arguments = ros_arguments(settings, write_parameters(settings, Path(folder) / "parameters.yaml"))
        with _middleware(settings, arguments) as (graph, monitor):
            recorder = _recorder(monitor, settings)
            with graph:
                failure = _run_until_done(graph, monitor, settings, stop)
                seconds = time.monotonic() - began
                saved = None
                if not failure:
                    saved, failure = _save_map(monitor, settings)
                if not failure and settings.evaluate:
                    failure = _save_evaluation(monitor, settings)
                failure = "\n".join(filter(None, dict.fromkeys([failure, graph.close()])))
            time.sleep(_POLL_S)  # what the nodes published last is still on its way
            if recorder is not None:
                recorder.close()
            came_up = not failure or monitor.frames.frames()["in"] > 0
            summary = report(monitor, settings, saved, recorder, seconds) if came_up else {}
    if failure:
        print(f"mtl_perception up: {failure}", file=sys.stderr, flush=True)
    return Outcome(1 if failure else 0, summary)


def cameras_of(bag: Path | None, config: Path | None, *, as_evaluated: bool = False) -> tuple[str, ...]:
    """Return the cameras that the configuration names, else those of the bag; () when neither does.

    `as_evaluated` gives those of the bag in the order, and with the reference camera, that the command `evaluate` has:
    sums over cameras are then the same to the last bit.

    Raises:
        ValueError: the bag is none, or has no camera, or `evaluate` could not read it.
        OSError: a file cannot be read.
    """
    configured = configured_cameras(config) if config is not None else ()
    if configured or bag is None:
        return configured
    if as_evaluated:
        from mtl_perception.data.recordings.bag import BagRecording

        return BagRecording(bag).rig.names
    from mtl_perception.data.bags import bag_cameras

    cameras = tuple(bag_cameras(bag))
    if not cameras:
        raise ValueError(f"bag {bag} has no camera: no topic '<name>/image' with a '<name>/camera_info'")
    return cameras


def cabin_of(bag: Path | None) -> tuple[tuple[str, ...], bool]:
    """Return the cameras in the cabin that a bag has images of, and whether it has the driver's joints.

    Raises:
        ValueError: the bag is none.
        OSError: it cannot be read.
    """
    if bag is None:
        return (), False
    from mtl_perception.data.bags import bag_cabin

    return bag_cabin(bag)


def _run_until_done(graph: Graph, monitor: MonitorNode, settings: UpSettings, stop: list[int]) -> str:
    """Return why it failed, or "" after the end of the bag or a signal."""
    nodes = [settings.full_name(name) for name in settings.managed]
    manager = f"{settings.full_name('lifecycle_manager').lstrip('/')}: manager"

    def trouble() -> str:
        status = monitor.status(manager)
        wrong = status is not None and status.level[0] > 1
        return graph.failure() or (status.message if wrong and status is not None else "")

    def wait(condition: Callable[[], bool], timeout_s: float = float("inf")) -> bool:
        """Whether it came true; not when there is trouble, a signal, or no more time."""
        until = time.monotonic() + timeout_s
        while not condition():
            if stop or trouble() or time.monotonic() > until:
                return False
            graph.look_after()
            time.sleep(_POLL_S)
        return True

    if not wait(lambda: monitor.are_active(nodes) and monitor.hears_all(nodes), _START_TIMEOUT_S):
        return trouble() or (
            "" if stop else f"{', '.join(settings.managed)} are not active after {_START_TIMEOUT_S:g} s"
        )
    if settings.bag is None:
        wait(lambda: False)
        return trouble()
    graph.play()
    if wait(lambda: graph.played):
        wait(lambda: _is_settled(monitor, settings), _SETTLE_TIMEOUT_S)
        since = time.monotonic()
        map_status = f"{nodes[1].lstrip('/')}: map"
        wait(lambda: monitor.status(map_status, since) is not None, _DIAGNOSTICS_TIMEOUT_S)
    return trouble()


def _is_settled(monitor: MonitorNode, settings: UpSettings) -> bool:
    first, *others = settings.managed
    behind = [name for name in others if monitor.frames.reported(name) < monitor.frames.reported(first)]
    return (
        not behind and monitor.seconds_without_progress() > _SETTLED_S
    ) or monitor.seconds_without_progress() > 10 * _SETTLED_S


def _recorder(monitor: MonitorNode, settings: UpSettings) -> PredictionRecorder | None:
    """Have predictions kept when there is something to compare them with."""
    if settings.bag is None:
        return None
    from mtl_perception.running.ground_truth import has_ground_truth
    from mtl_perception.running.recorder import PredictionRecorder

    if not has_ground_truth(settings.bag):
        return None
    recorder = PredictionRecorder()
    monitor.listen("mtl_perception_msgs/msg/RigPrediction", recorder.take_frame)
    monitor.listen("mtl_perception_msgs/msg/SemanticOccupancy", recorder.take_occupancy)
    return recorder


def _save_map(monitor: MonitorNode, settings: UpSettings) -> tuple[Path | None, str]:
    """Have the mapping node save its map below `out`, if there is one to save; return its folder, or why it could not.
    """
    if settings.out is None or not monitor.frames.reported("mapping", used_only=True):
        return None, ""
    from mtl_perception_msgs.srv import SaveMap

    answer = monitor.call(SaveMap, settings.full_name("mapping/save"), SaveMap.Request(path="map"), _SAVE_TIMEOUT_S)
    if answer is None or not answer.success:
        reason = "the mapping node does not answer" if answer is None else answer.message
        return None, f"the map could not be saved: {reason}"
    return Path(answer.path), ""


def _save_evaluation(monitor: MonitorNode, settings: UpSettings) -> str:
    """Have the evaluation node write its report; return why it could not, or ""."""
    from std_srvs.srv import Trigger

    answer = monitor.call(Trigger, settings.full_name("evaluation/save"), Trigger.Request(), _SAVE_TIMEOUT_S)
    if answer is None:
        return "evaluation: the node does not answer"
    if not answer.success:
        return f"evaluation: {answer.message}"
    print(f"report: {answer.message}", flush=True)
    return ""


@contextmanager
def _middleware(settings: UpSettings, arguments: list[str]) -> Iterator[tuple[Graph, MonitorNode]]:
    """Give the graph, not started, and a monitor that listens already."""
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    from mtl_perception.ros.process import Spinning
    from mtl_perception.running.graph import OneProcess, SeparateProcesses
    from mtl_perception.running.monitor import MonitorNode

    context = Context()
    rclpy.init(args=arguments, context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        monitor = MonitorNode(context=context, namespace=settings.namespace)
        listening = Spinning(context, [monitor], name="monitor")
        try:
            if settings.processes:
                yield SeparateProcesses(arguments, evaluate=settings.evaluate, respawn=settings.respawn), monitor
            else:
                yield OneProcess(context, evaluate=settings.evaluate), monitor
        finally:
            listening.stop()
            monitor.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of being interrupted."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value
