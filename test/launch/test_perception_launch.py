# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file as `ros2 launch` runs it, in one process and in several: arguments, respawn, a clean end."""

import os
import signal
import time
import unittest
from pathlib import Path

import launch_testing
import launch_testing.actions
import launch_testing.asserts
import pytest
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import (
    PythonLaunchDescriptionSource,
    get_launch_description_from_python_launch_file,
)
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from launch import LaunchDescription
from mtl_perception.ros.process import Spinning, close

FILE = Path(get_package_share_directory("mtl_perception")) / "launch" / "perception.launch.py"
WAIT_S = 120.0
ARGUMENTS = {
    "namespace": "a",
    "frame_prefix": "a/",
    "use_respawn": "true",
    "log_level": "info",
    "autostart": "true",
}
NAMES = {*ARGUMENTS, "params_file", "use_composition", "use_sim_time"}


@pytest.mark.launch_test
@launch_testing.parametrize("use_composition", ["true", "false"])
def generate_test_description(use_composition):
    arguments = {**ARGUMENTS, "use_composition": use_composition}
    included = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FILE)), launch_arguments=arguments.items())
    return LaunchDescription([included, launch_testing.actions.ReadyToTest()]), {}


class WhileItRuns(unittest.TestCase):
    def setUp(self):
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node("watcher", context=self.context, namespace="a")
        self.spinning = Spinning(self.context, [self.node])

    def tearDown(self):
        self.spinning.stop()
        close([self.node])
        rclpy.shutdown(context=self.context)

    def test_nodes_come_up_and_come_back(self, proc_info, proc_output, use_composition):
        self.until_active()
        self.assertEqual(self.parameter("mapping", "frame_prefix").string_value, "a/")
        run_id = self.parameter("mapping", "run_id").string_value
        self.assertTrue(run_id)
        name = "perception_and_mapping" if use_composition == "true" else "mapping_node"
        (victim,) = [pid for pid, command in children().items() if f"/{name}" in command]
        os.kill(victim, signal.SIGKILL)
        proc_output.assertWaitFor("active again: ", timeout=WAIT_S, stream="stderr")
        self.until_active()
        self.assertEqual(self.parameter("mapping", "run_id").string_value, run_id)
        topics = {name for name, _ in self.node.get_topic_names_and_types()}
        allowed = {"/tf", "/tf_static", "/diagnostics", "/rosout", "/parameter_events"}
        self.assertEqual({topic for topic in topics if not topic.startswith("/a/")} - allowed, set())

    def test_every_argument_is_described(self):
        description = get_launch_description_from_python_launch_file(str(FILE))
        arguments = [entity for entity in description.entities if isinstance(entity, DeclareLaunchArgument)]
        declared = {argument.name: argument.description for argument in arguments}
        self.assertLessEqual(NAMES, set(declared))
        self.assertNotIn("no description given", declared.values())

    def until_active(self):
        until = time.monotonic() + WAIT_S
        while True:
            answer = self.call(Trigger, "lifecycle_manager/is_active", Trigger.Request())
            if answer.success:
                return
            self.assertLess(time.monotonic(), until, answer.message)
            time.sleep(0.2)

    def parameter(self, node, name):
        return self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name])).values[0]

    def call(self, kind, service, request):
        client = self.node.create_client(kind, service)
        until = time.monotonic() + WAIT_S
        try:
            while time.monotonic() < until:
                if client.wait_for_service(1.0):
                    future = client.call_async(request)
                    asked = time.monotonic()
                    while time.monotonic() < asked + 2.0:  # a process that has died does not answer
                        if future.done():
                            return future.result()
                        time.sleep(0.02)
            self.fail(f"{service} does not answer")
        finally:
            self.node.destroy_client(client)


@launch_testing.post_shutdown_test()
class AfterwardsNothingIsWrong(unittest.TestCase):
    def test_exit_codes(self, proc_info):
        # The killed process has ended twice; a busy machine may need more than the 5 s until SIGTERM.
        allowed = [launch_testing.asserts.EXIT_OK, -signal.SIGKILL, -signal.SIGTERM]
        launch_testing.asserts.assertExitCodes(proc_info, allowed)


def children():
    """The command lines of the processes that the launch has started, by their ids."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"\nPPid:\t{os.getpid()}\n" in (folder / "status").read_text():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended
    return found
