# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all tests share: an isolated ROS graph, the recordings, and the deselection of tests that need them."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data"
DOMAINS = range(1, 101)  # above 101 the ports of DDS reach into those that Linux hands out by itself


def free_domain() -> int:
    """Return a ROS domain on which no participant of this machine listens, a different one for each process."""
    first = os.getpid() % len(DOMAINS)
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(first + offset) % len(DOMAINS)]
        if is_free_domain(domain):
            return domain
    raise RuntimeError("every ROS domain from 1 to 100 is in use on this machine")


def is_free_domain(domain: int) -> bool:
    return all(is_free_udp_port(7400 + 250 * domain + port) for port in (0, 10, 11))


def is_free_udp_port(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


# Before anything imports rclpy or torch. Every worker of pytest-xdist is a process of its own and gets its own domain.
os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
# Where Python is asked not to keep what it has compiled, each of the many processes that tests start would compile
# torch, Open3D and all else anew, which takes longer than to run it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell starts its background jobs with SIGINT ignored, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder with the real recordings beside the checkout. Tests that use it carry the marker `recordings`."""
    return RECORDINGS


@pytest.fixture(scope="session")
def knows_no_driving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`no_driving.safetensors`: the package's network as if nobody had trained its tasks of driving."""
    from mtl_perception.network import load_checkpoint, save_checkpoint
    from mtl_perception.network.config import SCENE_TASKS
    from mtl_perception.resources import checkpoint_file

    nano = load_checkpoint(checkpoint_file(Path("nano")))
    trained = tuple(task for task in nano.trained_tasks if task not in (*SCENE_TASKS, "steering"))
    path = tmp_path_factory.mktemp("checkpoint") / "no_driving.safetensors"
    save_checkpoint(path, nano.network, nano.labels, trained, nano.card)
    return path


@pytest.fixture(scope="module")
def own_domain() -> Iterator[int]:
    """A ROS domain in which nothing is left of other modules' processes, for this process and those that it starts."""
    before = os.environ["ROS_DOMAIN_ID"]
    domain = next(each for each in DOMAINS if str(each) != before and is_free_domain(each))
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    yield domain
    os.environ["ROS_DOMAIN_ID"] = before


@pytest.fixture
def ros_context() -> Iterator[Any]:
    """An initialised rclpy.Context, rclpy's default one, new for each test. What the test leaves in it is shut down."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    yield rclpy.get_default_context()
    rclpy.try_shutdown()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that need recordings where there are none."""
    for item in items:
        marked = item.get_closest_marker("recordings") is not None
        if "recordings" in getattr(item, "fixturenames", ()) and not marked:
            raise pytest.UsageError(f"{item.nodeid} uses the recordings: mark it with @pytest.mark.recordings")
    if not RECORDINGS.is_dir():
        deselected = [item for item in items if item.get_closest_marker("recordings") is not None]
        config.stash[DESELECTED] = len(deselected)
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item.get_closest_marker("recordings") is None]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of the launch file out where there is no launch_testing: only distributions have it."""
    if collection_path.parent != LAUNCH_TESTS or collection_path.suffix != ".py" or HAS_LAUNCH_TESTING:
        return None
    count = sum(line.strip().startswith("def test_") for line in collection_path.read_text().splitlines())
    config.stash[WITHOUT_LAUNCH] = config.stash.get(WITHOUT_LAUNCH, 0) + count
    return True


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests were deselected for want of recordings, or of a distribution."""
    count = config.stash.get(DESELECTED, 0)
    if count:
        terminalreporter.write_line(f"{count} tests were deselected: they need the recordings in {RECORDINGS}")
    count = config.stash.get(WITHOUT_LAUNCH, 0)
    if count:
        terminalreporter.write_line(f"{count} tests were deselected: they need launch_testing, of a ROS distribution")


DESELECTED = pytest.StashKey[int]()
WITHOUT_LAUNCH = pytest.StashKey[int]()
LAUNCH_TESTS = Path(__file__).resolve().parent / "launch"
HAS_LAUNCH_TESTING = all(find_spec(name) is not None for name in ("launch_ros", "launch_testing"))
