# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The fault suite: what every fault is called, a record of what happened, and a watchdog.

A test is one fault, or one of a table of them by `pytest.param(..., marks=pytest.mark.fault(...))`:

    @pytest.mark.fault("camera unplugged", done="what is done", expected="what the nodes should do")
    def test_camera_unplugged(system, case): ...

`case` is the record; every test of this folder has one. MTL_PERCEPTION_FAULTS=full makes long what takes long
(`full_scale`); MTL_PERCEPTION_FAULTS_OUT is a folder for `faults.json` and `faults.md` (`make faults` sets both).
"""

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fault_report import write_report
from fault_system import Case, Feed, System, overrides

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.network.checkpoint import save_checkpoint
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.resources import config_file

HANG_S = 150  # no fault of the small scale takes a tenth of it
CASES: dict[str, Case] = {}  # of every collected fault


def pytest_itemcollected(item: pytest.Item) -> None:
    """Register the item's fault."""
    mark = item.get_closest_marker("fault")
    if mark is None:
        return
    case = Case(*mark.args, **mark.kwargs, family=item.path.stem.removeprefix("test_"))
    known = CASES.setdefault(case.name, case)
    if known is not case and (known.done, known.family) != (case.done, case.family):
        raise pytest.UsageError(f"two faults are called '{case.name}'")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report of the faults that ran."""
    folder = os.environ.get("MTL_PERCEPTION_FAULTS_OUT")
    ran = [case for case in CASES.values() if case.happened or case.passed]
    if folder and ran:
        write_report(Path(folder), ran)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """The record of the test's fault."""
    mark = request.node.get_closest_marker("fault")
    assert mark is not None, "give the test a mark: pytest.mark.fault(name, done=..., expected=...)"
    return CASES[mark.args[0]]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note in the record whether the test passed."""
    outcome = yield
    mark = item.get_closest_marker("fault")
    if mark is not None and call.when == "call":
        CASES[mark.args[0]].passed = outcome.get_result().passed


@pytest.fixture(scope="session")
def full_scale() -> bool:
    """Whether what takes long is done at full length."""
    return os.environ.get("MTL_PERCEPTION_FAULTS") == "full"


@pytest.fixture(autouse=True)
def watchdog(full_scale: bool) -> Iterator[None]:
    """Fail a test that hangs, with the stacks of all threads; end the process where even that is not possible."""
    limit_s = HANG_S * (3 if full_scale else 1)

    def bark(_number, _frame) -> None:
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        raise AssertionError(f"hang: the test has not ended within {limit_s} s")

    in_main = threading.current_thread() is threading.main_thread()
    if in_main:
        before = signal.signal(signal.SIGALRM, bark)
        signal.alarm(limit_s)
    faulthandler.dump_traceback_later(limit_s + 60, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
    if in_main:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights that takes next to no time, and passes for trained."""
    labels = LabelSpace.load(config_file("labels", "default"))
    tasks = ("depth", "semantic", "motion_mask")
    config = NetworkConfig.model_validate(
        {
            "preset": "tiny",
            "tasks": tasks,
            "num_labels": len(labels),
            "input_pixels": 4096,
            "backbone": {"options": {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}},
            "neck": {"width": 8},
            "depth_bins": {"nearest": 0.5, "farthest": 10.0, "count": 8, "canonical_focal": 100.0},
            "dense": {"width": 8},
            "grid": {"origin": (-4.0, -4.0, -1.0), "voxel_size": 1.0, "shape": (8, 8, 4)},
        }
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    save_checkpoint(path, MultiTaskNetwork(config), labels, tasks, {})
    return path


@pytest.fixture(scope="module")
def make_system(checkpoint: Path) -> Iterator[Callable[..., System]]:
    """Start perception, and mapping if `mapping` has its parameters, on a robot with the cameras of these names."""
    made: list[System] = []

    def make(names=("front", "left", "right"), *, compressed=(), mapping=None, **perception) -> System:
        values = {"cameras": list(names), "checkpoint": str(checkpoint), "tasks": ["all"], "threads": 1, **perception}
        values |= {f"{name}.compressed": True for name in compressed}
        nodes = [lambda context: PerceptionNode(context=context, parameter_overrides=overrides(values))]
        if mapping is not None:
            nodes.append(lambda context: MappingNode(context=context, parameter_overrides=overrides(mapping)))
        made.append(System(lambda context: Feed(context, names, compressed), nodes))
        made[-1].start()
        return made[-1]

    yield make
    for system in made:
        system.close()
