# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters that cannot be, and transitions at the wrong moment, by mistake or by somebody else."""

import time

import pytest
from fault_feed import until
from fault_system import overrides
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from mtl_perception.nodes.lifecycle_manager import LifecycleManager
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.pipeline import Perceiver

CONFIGURE, CLEAN_UP, ACTIVATE, DEACTIVATE = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
)


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(["front", "left"])


def ask(system, kind, service, **fields):
    client = system.watcher.create_client(kind, service)
    until(client.service_is_ready, service)
    future = client.call_async(kind.Request(**fields))
    until(future.done, f"the answer of {service}")
    system.watcher.destroy_client(client)
    return future.result()


def set_parameter(system, name, value, node="perception"):
    changed = Parameter(name, value=value).to_parameter_msg()
    return ask(system, SetParameters, f"{node}/set_parameters", parameters=[changed]).results[0]


def transit(system, transition, node="perception"):
    return ask(system, ChangeState, f"{node}/change_state", transition=Transition(id=transition)).success


LIKE_OTHERS = {
    "parameter of a wrong type",
    "parameter that no task has",
    "parameter unknown",
}  # so that small scale can do without


def refused(name, value, reason, fault, done):
    expected = "refused, with node, parameter, value and what is allowed; nothing changes"
    return pytest.param(
        name,
        value,
        reason,
        id=fault.replace(" ", "_"),
        marks=pytest.mark.fault(fault, done=done, expected=expected, scale="full" if fault in LIKE_OTHERS else "small"),
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        refused("edge_min_probability", 1.5, r"= 1\.5 .* 0\.0 to 1\.0", "parameter out of range", "1.5 of at most 1"),
        refused("edge_min_probability", "high", "= 'high' .*double", "parameter of a wrong type", "text for a number"),
        refused("edge_min_probability", float("nan"), "= nan ", "parameter NaN", "NaN for a probability"),
        refused("tasks", ["smell"], "'smell' is none of", "parameter that no task has", "a task that does not exist"),
        refused("edge_min_probabilty", 0.5, "'edge_min_probability' is meant", "parameter unknown", "a typing error"),
        refused("sync_slop", 0.02, "clean the node up first", "parameter at the wrong time", "sync_slop while active"),
    ],
)
def test_parameter_refused(system, case, name, value, reason):
    with system.during(case) as seen:
        answer = set_parameter(system, name, value)
        assert not answer.successful
        seen.status("parameters", reason)


@pytest.mark.fault(
    "transition that is none now", done="activate an active node", expected="refused; the node stays as it is"
)
def test_transition_that_is_none_now(system, case):
    with system.during(case) as seen:
        assert not transit(system, ACTIVATE)
        case.saw("refused")
        seen.count("frames", "used", more=2)


@pytest.mark.fault(
    "deactivated and activated in the middle of frames",
    done="ten times in a row (three at small scale), while images come",
    expected="each works; what waits is dropped with the reason; no frame ends in an internal error",
)
def test_restarted_in_the_middle_of_frames(system, case, full_scale):
    with system.during(case):
        for _ in range(10 if full_scale else 3):
            assert transit(system, DEACTIVATE)
            assert transit(system, ACTIVATE)
        case.saw("inactive and active again each time")
        system.restart(system.nodes[0])


@pytest.mark.fault(
    "cleaned up while a frame is worked on",
    done="a frame takes 0.3 s; deactivate and clean up at once; then configure and activate",
    expected="the frame is finished first; the node comes back",
)
def test_cleaned_up_while_a_frame_is_worked_on(system, case, monkeypatch):
    begun, ended = [], []
    infer = Perceiver.__call__

    def slowly(*arguments, **options):
        begun.append(True)
        time.sleep(0.3)
        prediction = infer(*arguments, **options)
        ended.append(True)
        return prediction

    with system.during(case):
        with monkeypatch.context() as patch:
            patch.setattr(Perceiver, "__call__", slowly)
            until(lambda: len(begun) > len(ended), "a frame that is worked on")
            assert transit(system, DEACTIVATE)
            assert len(begun) == len(ended)
            assert transit(system, CLEAN_UP)
        case.saw("the frame was finished, then the node was cleaned up")
        assert transit(system, CONFIGURE)
        assert transit(system, ACTIVATE)
        settle(system)


@pytest.mark.fault(
    "checkpoint missing, then repaired",
    done="configure with a file that does not exist; activate; then with one that does",
    expected="configure fails with the file's name, the node is unconfigured and can be repaired",
)
def test_checkpoint_missing(system, case):
    with system.during(case) as seen:
        good = system.nodes[0].get_parameter("checkpoint").value
        assert transit(system, DEACTIVATE)
        assert transit(system, CLEAN_UP)
        assert set_parameter(system, "checkpoint", "/nowhere/net.safetensors").successful
        assert not transit(system, CONFIGURE)
        seen.status("lifecycle", "/nowhere/net.safetensors", at_least=2)
        assert not transit(system, ACTIVATE)
        assert set_parameter(system, "checkpoint", good).successful
        assert transit(system, CONFIGURE)
        assert transit(system, ACTIVATE)
        settle(system)


@pytest.mark.fault(
    "label file missing",
    done="mapping is configured with labels that do not exist",
    expected="configure fails with the file's name, the node stays unconfigured",
)
def test_label_file_missing(system, case):
    node = MappingNode(context=system.context, parameter_overrides=overrides({"labels": "/nowhere/labels.yaml"}))
    node.create_steady_timer(0.1, node.diagnostics.publish)
    system.spinning.add(node)
    with system.during(case) as seen:
        assert not transit(system, CONFIGURE, node="mapping")
        seen.status("lifecycle", "/nowhere/labels.yaml", node="mapping", at_least=2)
        assert not node.is_configured
        assert not transit(system, ACTIVATE, node="mapping")
    node.shut_down()


@pytest.mark.fault(
    "another manager interferes",
    done="while our manager runs, somebody else deactivates the node and activates it",
    expected="our manager tells what was done and leaves the node alone from then on",
)
def test_another_manager(system, case):
    values = overrides({"node_names": ["perception"], "autostart": False})
    manager = LifecycleManager(context=system.context, parameter_overrides=values)
    system.spinning.add(manager)
    until(lambda: manager.count_publishers("perception/transition_event") > 0, "the node's events")
    with system.during(case) as seen:
        assert transit(system, DEACTIVATE)
        left = seen.status(
            "manager", "'perception' is left alone: another manager took it", node="lifecycle_manager", at_least=0
        )
        assert "'active' to 'deactivating'" in left
        assert transit(system, ACTIVATE)
        system.restart(system.nodes[0])


def settle(system):
    """Wait for frames, and let the accounts of an input that is new begin."""
    used = system.newest().count("frames", "used")
    until(lambda: system.newest().count("frames", "used") > used + 2, "frames")
    system.open_accounts()
