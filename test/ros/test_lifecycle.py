# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What managed nodes share, beyond what the tests of each node and of their manager show."""

import gc
import os
import subprocess
import sys
import time

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from mtl_perception.ros.diagnostics import Level
from mtl_perception.ros.lifecycle import ConfigurationError, ManagedNode
from mtl_perception.ros.process import Spinning, close

WAIT_S = 30.0


@pytest.fixture
def no_garbage_collection():
    gc.disable()
    yield
    gc.enable()


def test_a_destroyed_node_is_gone_from_the_graph_at_once(ros_context, no_garbage_collection):
    watcher = Node("watcher")
    managed = ManagedNode("managed")
    spinning = Spinning(ros_context, [managed])
    until(lambda: ("managed", "/") in watcher.get_node_names_and_namespaces())
    managed.trigger_configure()
    managed.trigger_activate()
    spinning.stop()
    close([managed])
    until(lambda: ("managed", "/") not in watcher.get_node_names_and_namespaces())
    until(lambda: "/managed/change_state" not in dict(watcher.get_service_names_and_types()))
    watcher.destroy_node()


class HalfWay(ManagedNode):
    """Subscribes, and then cannot be activated."""

    def activate(self):
        self.create_subscription(String, "half", lambda _: None, 1)
        self.create_steady_timer(1.0, lambda: None)
        raise ConfigurationError("the other half is missing")


def test_what_a_failed_activation_has_made_is_given_back(ros_context):
    node = HalfWay("half_way")
    node.trigger_configure()
    before = len(list(node.subscriptions)), len(list(node.timers))
    node.trigger_activate()
    assert not node.is_active
    assert (len(list(node.subscriptions)), len(list(node.timers))) == before
    lifecycle = next(status for status in node._statuses() if status.name == "lifecycle")
    assert "the other half is missing" in lifecycle.message
    close([node])


def test_a_refused_parameter_is_told_once(ros_context):
    node = ManagedNode("stubborn")

    def told():
        return next(status for status in node._statuses() if status.name == "parameters")

    assert told().level == Level.OK
    node.set_parameters([Parameter("unheard_of", value=1)])
    assert told().level == Level.WARN
    assert (told().level, told().values) == (Level.OK, {"refused": 1})
    close([node])


def test_a_node_whose_security_cannot_be_had_does_not_start(tmp_path):
    secure = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    command = [sys.executable, "-c", "from mtl_perception.nodes.lifecycle_manager import main; main()"]
    ended = subprocess.run(command, env={**os.environ, **secure}, capture_output=True, text=True, timeout=WAIT_S)
    assert ended.returncode != 0
    assert "security" in ended.stderr.lower()


def until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
