# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that are killed, and what is left of them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
from fault_map import prediction
from fault_system import HEALTHY_WITHIN_S, Watcher, until
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from mtl_perception.messages.predictions import to_rig_prediction
from mtl_perception.ros import qos
from mtl_perception.ros.process import Spinning, close
from mtl_perception_msgs.msg import Progress, RigPrediction
from mtl_perception_msgs.srv import SaveMap

UP_TO_ACTIVE = (
    (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
    (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
)


class Robot:
    """What is around the mapping node: who starts it, who drives it, who sends it frames."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.watcher = Watcher(self.context)
        self.frames = self.watcher.create_publisher(RigPrediction, "perception/frame", qos.output())
        self.used: list[int] = []
        self.watcher.create_subscription(Progress, "mapping/progress", lambda m: self.used.append(m.used), 100)
        self.spinning = Spinning(self.context, [self.watcher])
        self.clients = {}
        self.sent = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the node, and make it active."""
        parameters = {
            "map_folder": self.folder,
            "voxel_size": 0.2,
            "frame_policy": "every",
            "autosave_period": 0.3,
            "autosave_resume": "always",
        }
        arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mtl_perception.nodes.mapping_node", "--ros-args", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: self.state() == State.PRIMARY_STATE_UNCONFIGURED, "a node that has just begun")

    def activate(self) -> None:
        """Configure the node and make it active."""
        for transition, goal in UP_TO_ACTIVE:
            deadline = time.monotonic() + 60.0
            while not self.change(transition) and self.state() != goal:
                assert time.monotonic() < deadline, f"transition {transition} has not been made"
        until(lambda: self.frames.get_subscription_count() > 0, "somebody who takes frames")

    def change(self, transition: int) -> bool | None:
        """Make a transition; None where no answer comes."""
        answer = self.answer(self.ask(ChangeState, "mapping/change_state", transition=Transition(id=transition)))
        return None if answer is None else answer.success

    def state(self) -> int | None:
        answer = self.answer(self.ask(GetState, "mapping/get_state"))
        return None if answer is None else answer.current_state.id

    @staticmethod
    def answer(future, seconds: float = 2.0):
        """Wait for an answer, which may be lost while processes find each other, or that of a node that was killed."""
        deadline = time.monotonic() + seconds
        while not future.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        return future.result() if future.done() else None

    def ask(self, kind, service, **fields):
        if service not in self.clients:
            self.clients[service] = self.watcher.create_client(kind, service)
        assert self.clients[service].wait_for_service(60.0)
        return self.clients[service].call_async(kind.Request(**fields))

    def more(self) -> None:
        """Send one more frame, and wait until it is in the map."""
        before = len(self.used)
        self.frames.publish(to_rig_prediction(prediction(self.sent)))
        self.sent += 1
        deadline = time.monotonic() + 3.0
        while len(self.used) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.used) > before and self.used[-1]

    def saved_frames(self, name: str = "autosave") -> int:
        manifest = self.folder / name / "manifest.json"
        return json.loads(manifest.read_text())["frames"] if manifest.is_file() else 0

    def half_saved(self) -> bool:
        return any(path.name.endswith(".tmp") for path in self.folder.iterdir())

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and what was said."""
        assert self.process is not None
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.spinning.stop()
        close([self.watcher])
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    robot = Robot(tmp_path_factory.mktemp("maps"))
    robot.start()
    robot.activate()
    yield robot
    robot.close()


def catch_half_saved(robot, name):
    """Ask for a save, and return when it is half done."""
    for _ in range(20):
        robot.ask(SaveMap, "mapping/save", path=name)
        until_s = time.monotonic() + 5.0
        while time.monotonic() < until_s:
            if robot.half_saved():
                return
    raise AssertionError("no save was caught half done")


@pytest.mark.fault(
    "node killed during a save and restarted", done="SIGKILL, start", expected="the map goes on from its last autosave"
)
def test_killed_during_a_save(robot, case):
    for _ in range(3):
        robot.more()
    until(lambda: robot.saved_frames() == 3, "an autosave")
    catch_half_saved(robot, "autosave")
    code, _ = robot.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    kept = robot.saved_frames()
    assert kept == 3
    case.saw(f"killed with {kept} frames saved, {'half a save left' if robot.half_saved() else 'nothing left'}")
    robot.start()
    robot.activate()
    began_s = time.monotonic()
    robot.more()
    case.healthy_again_s = time.monotonic() - began_s
    assert case.healthy_again_s <= HEALTHY_WITHIN_S
    until(lambda: robot.saved_frames() == kept + 1, "an autosave of the map that goes on")
    until(lambda: not robot.half_saved(), "what was left to be removed")
    case.saw(f"restarted, {robot.saved_frames()} frames saved, nothing left over")


@pytest.mark.fault(
    "node gets SIGTERM during a save", done="SIGTERM", expected="it saves what has changed and ends with 0"
)
def test_sigterm_during_a_save(robot, case):
    before = robot.saved_frames()
    robot.more()
    catch_half_saved(robot, "other")
    code, said = robot.end(signal.SIGTERM)
    assert code == 0 and "Traceback" not in said, said
    assert robot.saved_frames() == before + 1 and not robot.half_saved()
    case.saw(f"exit code {code}, {robot.saved_frames()} frames saved, nothing half done")


@pytest.mark.fault(
    "up with a bag that is damaged", done="python -m mtl_perception up", expected="exit code 1, and one line"
)
def test_up(case, tmp_path):
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"\x89MCAP0\r\n")
    command = [sys.executable, "-m", "mtl_perception", "up", "--bag", str(bad)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert result.returncode == 1 and str(bad) in result.stderr and "Traceback" not in result.stderr, result.stderr
    case.saw(result.stderr.strip().splitlines()[-1].replace(str(tmp_path), "/tmp/files")[:300])
