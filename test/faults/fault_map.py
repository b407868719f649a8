# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A mapping node with a small map, callers of its services, and ways to spoil what it reads and writes."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from fault_system import HEALTHY_WITHIN_S, PERIOD_S, STEADY, Case, Watcher, overrides, until
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from mtl_perception.core import Camera, CameraPrediction, Prediction
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.ros.process import Spinning, close
from mtl_perception_msgs.srv import FindObjects, LoadMap, SaveMap

USUAL_PERIOD_S = 1.0  # of the diagnostics that users have
CAMERA = Camera(
    "front",
    64,
    48,
    np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]]),
    np.array([[0, 0, 1, 0.3], [-1, 0, 0, 0], [0, -1, 0, 1.2], [0, 0, 0, 1.0]]),
)
LABEL_WALL = 12


def prediction(number: int) -> Prediction:
    """Return what a camera says that looks at a wall 3 m away, ever a bit further to the left."""
    base = np.eye(4)
    base[1, 3] = 0.1 * number
    stamp_ns = 10**9 + number * 10**8
    shape = (CAMERA.height, CAMERA.width)
    view = CameraPrediction(
        camera=CAMERA,
        stamp_ns=stamp_ns,
        world_from_camera=base @ CAMERA.base_from_camera,
        colour=np.full((*shape, 3), 100, np.uint8),
        depth=np.full(shape, 3.0, np.float32),
        semantic=np.full(shape, LABEL_WALL, np.uint8),
    )
    return Prediction(stamp_ns, {"front": view}, "base_link", "odom", base, tasks=("depth", "semantic"))


class MapSystem:
    """The node and its watcher, each in an executor of its own."""

    def __init__(self, folder: Path, **values) -> None:
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.folder = folder
        self.watcher = Watcher(self.context)
        self.others = Spinning(self.context, [self.watcher], name="watcher's executor")
        values = {"map_folder": str(folder), "voxel_size": 0.2, "frame_policy": "every", **values}
        self.node = MappingNode(context=self.context, in_process=True, parameter_overrides=overrides(values))
        self.node.create_steady_timer(PERIOD_S, self.node.diagnostics.publish)
        self.spinning = Spinning(self.context, [self.node])
        self.frames = 0

    def start(self) -> None:
        assert self.node.trigger_configure().name == "SUCCESS"
        assert self.node.trigger_activate().name == "SUCCESS"
        until(lambda: self.watcher.newest("mapping"), "diagnostics")
        self.more()

    def more(self) -> None:
        """Have one more frame in the map."""
        self.node.submit(prediction(self.frames))
        self.frames += 1
        wanted = self.node._mapper.stats.frames + 1
        until(lambda: self.node._mapper.stats.frames >= wanted, "a frame in the map")

    def call(self, kind, service: str, **fields):
        return self.ask(kind, service, **fields)()

    def ask(self, kind, service: str, **fields):
        """Send a request; what is returned waits for the answer."""
        client = self.watcher.create_client(kind, service)
        assert client.wait_for_service(20.0)
        future = client.call_async(kind.Request(**fields))

        def answer():
            until(future.done, f"the answer of {service}")
            self.check_alive()
            return future.result()

        return answer

    def check_alive(self) -> None:
        assert not self.spinning.failure, f"the node's executor has ended: {self.spinning.failure}"
        assert self.spinning.is_alive(), "the node's executor has ended"

    def content(self):
        """Return what must not change by a fault."""
        mapper = self.node._mapper
        return mapper.stats, np.sort(mapper.mesh().vertices, axis=0).tobytes()

    @contextmanager
    def during(self, case: Case, *, map_stays: bool = True) -> Iterator[None]:
        """Look at the map before and after a fault, and at the node after it."""
        self._wait_until_well(0.0)
        before = self.content()
        yield
        ended_s = time.monotonic()
        self.check_alive()
        assert case.happened, "the fault was not visible"
        if map_stays:
            assert self.content() == before, "the map has changed"
        answer = self.call(FindObjects, "mapping/find_objects", radius=1.0)
        assert answer.success, answer.message
        case.healthy_again_s = self._wait_until_well(ended_s) + USUAL_PERIOD_S
        assert case.healthy_again_s <= HEALTHY_WITHIN_S

    def refused(self, case: Case, answer, *texts: str) -> None:
        """Check that a service has refused a request by these texts, and note it."""
        assert not answer.success and "\n" not in answer.message and len(answer.message) < 1500, answer.message
        for text in texts:
            assert text in answer.message, answer.message
        assert "internal error" not in answer.message, answer.message
        case.saw(f"answer: {answer.message}"[:300].replace(str(self.folder), "/tmp/maps/"))

    def seen(self, case: Case, status: str, text: str) -> None:
        """Wait for a status that complains with a text, and note it."""

        def find() -> str:
            each = self.watcher.newest("mapping")
            message = each.messages.get(status, "") if each and each.levels.get(status, 0) > 0 else ""
            return message if text in message else ""

        case.saw(f"mapping: {status}: {until(find, f'/{text}/ in {status}')}")

    def _wait_until_well(self, since_s: float) -> float:
        def recent():
            return [each for each in list(self.watcher.snapshots["mapping"]) if each.at_s > since_s]

        def is_well() -> bool:
            self.check_alive()
            return len(recent()) >= STEADY and not any(each.complaints for each in recent()[-STEADY:])

        until(is_well, lambda: f"health ({self.watcher.newest('mapping').complaints})")
        bad = [number for number, each in enumerate(recent()) if each.complaints]
        first_well = recent()[bad[-1] + 1 if bad else 0]
        return min(first_well.at_s - since_s, (len(bad) + 1) * PERIOD_S)

    def close(self) -> None:
        self.spinning.stop()
        self.others.stop()
        close([self.node, self.watcher])
        rclpy.try_shutdown(context=self.context)


def save(system: MapSystem, name: str) -> Path:
    answer = system.call(SaveMap, "mapping/save", path=name)
    assert answer.success, answer.message
    return Path(answer.path)


def loaded(system: MapSystem, name: str):
    return system.call(LoadMap, "mapping/load", path=name)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a map anew and let the manifest agree with it, as one who means harm would."""
    (folder / name).write_bytes(content)
    change_manifest(folder, files={name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}})


def change_manifest(folder: Path, files=(), **fields) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] |= dict(files)
    path.write_text(json.dumps(manifest | fields))


@contextmanager
def small_disk(at: Path, kibibytes: int) -> Iterator[bool]:
    """Mount a small file system; gives whether this machine lets us."""
    at.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kibibytes}k", "none", str(at)]
    mounted = subprocess.run(["mount", *options], capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def memory_within(mebibytes: int) -> Iterator[None]:
    """Fail if this process uses so much more memory at any moment within the block."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = _memory("VmRSS")
    yield
    more = _memory("VmHWM") - before
    assert more < mebibytes * 1024, f"{more / 1024:.0f} MiB more"


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])
