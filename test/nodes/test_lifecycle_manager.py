# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle manager: order, failures, requests, and other managers."""

import time

import pytest
from lifecycle_msgs.msg import Transition
from rclpy.task import Future
from std_srvs.srv import Trigger

from mtl_perception.nodes.lifecycle_manager import LifecycleManager
from mtl_perception.ros.lifecycle import ConfigurationError, ManagedNode
from mtl_perception.ros.process import Spinning

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE


class Worker(ManagedNode):
    """Notes its transitions in a list that all share."""

    def __init__(self, name, context, history):
        super().__init__(name, context=context)
        self.history = history
        self.fails = False

    def configure(self):
        if self.fails:
            raise ConfigurationError("the file /a/b is missing")
        self.history.append(f"configure {self.get_name()}")

    def activate(self):
        self.history.append(f"activate {self.get_name()}")

    def deactivate(self):
        self.history.append(f"deactivate {self.get_name()}")

    def cleanup(self):
        self.history.append(f"cleanup {self.get_name()}")


@pytest.fixture
def workers(graph):
    history = []
    return graph.add(Worker("one", graph.context, history), Worker("two", graph.context, history))


def manage(graph, **values):
    values = {"node_names": ["one", "two"], **values}
    return graph.add(LifecycleManager(context=graph.context, parameter_overrides=graph.overrides(**values)))


def test_up_in_order_and_down_in_reverse(graph, workers):
    one, two = workers
    manage(graph)
    graph.until(lambda: two.is_active, "activation")
    assert one.history == ["configure one", "configure two", "activate one", "activate two"]
    one.history.clear()
    assert graph.call(Trigger, "lifecycle_manager/reset").success
    graph.until(lambda: not one.is_configured, "cleanup")
    assert one.history == ["deactivate two", "deactivate one", "cleanup two", "cleanup one"]
    graph.until(lambda: graph.call(Trigger, "lifecycle_manager/startup").success, "a free manager")
    graph.until(lambda: two.is_active, "activation")


def test_without_autostart_it_waits_to_be_asked(graph, workers):
    manage(graph, autostart=False)
    graph.until(lambda: "lifecycle_manager: manager" in graph.statuses, "diagnostics")
    assert workers[0].history == []


def test_failure_is_told_and_stops_the_start(graph, workers):
    one, two = workers
    two.fails = True
    manage(graph)
    graph.until(lambda: "'two' could not configure" in message(graph, "lifecycle_manager: manager"), "the failure")
    assert not one.is_active
    assert "/a/b is missing" in message(graph, "two: lifecycle")


def test_missing_node_is_named(graph, workers):
    manage(graph, node_names=["one", "three"])
    graph.until(lambda: "waiting for the nodes three" in message(graph, "lifecycle_manager: manager"), "the name")


@pytest.mark.parametrize(("client", "is_sent"), [("_get", False), ("_change", False), ("_change", True)])
def test_a_request_or_an_answer_that_is_lost_is_asked_for_again(graph, workers, client, is_sent):
    manager = manage(graph, autostart=False)
    graph.until(lambda: all(managed.is_there for managed in manager._managed), "the nodes")
    lossy = getattr(manager._managed[0], client)
    call, lost = lossy.call_async, []

    def call_async(request):
        if lost:
            return call(request)
        lost.append(request)
        if is_sent:
            call(request)
        return Future()

    lossy.call_async = call_async
    manager._begin(manager.startup)
    graph.until(lambda: workers[1].is_active, "activation")
    assert lost
    assert workers[0].history == ["configure one", "configure two", "activate one", "activate two"]
    assert manager._managed[0].is_left_alone == ""


def test_the_manager_ends_at_once_though_a_node_does_not_answer(graph, workers):
    manager = manage(graph, autostart=False)
    graph.until(lambda: all(managed.is_there for managed in manager._managed), "the nodes")
    manager._managed[0]._get.call_async = lambda _request: Future()
    manager._begin(manager.startup)
    started = time.monotonic()
    manager.destroy_node()
    assert time.monotonic() - started < 3.0
    assert not manager._task.is_alive()


def test_gives_way_to_another_manager(graph, workers):
    one, two = workers
    manager = manage(graph, autostart=False)
    graph.until(lambda: manager.count_publishers("one/transition_event") > 0, "the events")
    assert graph.make_transition(one, CONFIGURE)
    graph.until(lambda: manager._managed[0].is_left_alone, "notice of the other manager")
    assert graph.call(Trigger, "lifecycle_manager/startup").success
    graph.until(lambda: two.is_active, "activation of the other node")
    assert one.is_configured
    assert not one.is_active


def is_active(graph):
    return graph.call(Trigger, "lifecycle_manager/is_active")


def restarted(graph, worker):
    """Let a node vanish without a transition, as with its process, and one of its name come."""
    graph.spinning.stop()
    graph.nodes.remove(worker)
    name = worker.get_name()
    worker.destroy_node()
    again = Worker(name, graph.context, worker.history)
    graph.nodes.append(again)
    graph.spinning = Spinning(graph.context, graph.nodes)
    return again


def test_a_node_that_was_started_again_is_brought_up_again(graph, workers):
    one, two = workers
    manage(graph)
    graph.until(lambda: is_active(graph).success, "activation")
    one.history.clear()
    two = restarted(graph, two)
    graph.until(lambda: two.is_active, "the node again")
    assert one.history == ["configure two", "activate two"]
    assert one.is_active
    graph.until(lambda: is_active(graph).success, "the manager's content")


def test_a_node_that_cannot_be_brought_up_again_is_told_of_once_and_another_try_is_a_new_start(graph, workers):
    one, two = workers
    manage(graph)
    graph.until(lambda: is_active(graph).success, "activation")
    one.history.clear()
    again = restarted(graph, two)
    again.fails = True
    graph.until(lambda: "'two' could not configure" in message(graph, "lifecycle_manager: manager"), "the failure")
    assert not is_active(graph).success
    again.fails = False
    assert graph.call(Trigger, "lifecycle_manager/startup").success
    graph.until(lambda: again.is_active and is_active(graph).success, "activation when asked for")
    assert message(graph, "two: lifecycle") != ""


def test_a_node_that_somebody_else_cleans_up_is_not_brought_up_again(graph, workers):
    one, two = workers
    manager = manage(graph)
    graph.until(lambda: is_active(graph).success, "activation")
    assert graph.make_transition(two, Transition.TRANSITION_DEACTIVATE)
    assert graph.make_transition(two, Transition.TRANSITION_CLEANUP)
    graph.until(lambda: manager._managed[1].is_left_alone, "notice of the other manager")
    one.history.clear()
    one = restarted(graph, one)
    graph.until(lambda: one.is_active, "the other node, which was started again")
    assert not two.is_configured
    assert one.history == ["configure one", "activate one"]


def test_a_new_manager_takes_over_what_is_up(graph, workers):
    one, _ = workers
    manage(graph)
    graph.until(lambda: is_active(graph).success, "activation")
    one.history.clear()
    graph.spinning.stop()
    graph.nodes.pop().destroy_node()
    graph.spinning = Spinning(graph.context, graph.nodes)
    manage(graph)
    graph.until(lambda: is_active(graph).success, "the new manager's content")
    assert one.history == []


def test_illegal_transition_is_refused(graph, workers):
    assert not graph.make_transition(workers[0], ACTIVATE)
    assert not workers[0].is_configured


def message(graph, name):
    return graph.statuses[name].message if name in graph.statuses else ""
