# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception world`: the same bag from any number of processes, and nothing of an unfinished one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_perception.cli import FAILURE, INTERRUPTED, main
from mtl_perception.core.camera import pixel_rays
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.bags import BagReader
from mtl_perception.data.recordings.bag import read
from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import FrameRenderer, FrameTask, WorldSettings
from mtl_perception.data.world.truth.world_truth import load_world_truth

SETTINGS = WorldSettings("indoor", seed=3, seconds=0.3, cameras="stereo", image_size=(64, 48), cabin=True)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worlds") / "indoor"
    write_world(SETTINGS, path, processes=1)
    return path


def content(path: Path) -> list[tuple[str, int, Any]]:
    """Return topics, stamps and what messages say (in their serialised form, gaps hold whatever was in memory)."""
    with BagReader(path) as reader:
        return [(topic, stamp, plain(asdict(message))) for topic, stamp, message in reader.messages()]


def plain(value: Any) -> Any:
    """Return a value in a form in which NaN equals NaN."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return value.tobytes() if isinstance(value, np.ndarray) else repr(value)


def test_a_bag_has_every_frame_with_all_of_its_truth(bag: Path) -> None:
    counts = Counter(topic for topic, _, _ in content(bag))
    fields = ("depth", "semantic", "instance", "panoptic", "normals", "edges", "motion_mask", "scene_flow")
    each_frame = [f"/ground_truth/{camera}/{field}" for camera in ("left", "right") for field in fields]
    each_frame += [f"/{camera}/{what}" for camera in ("left", "right") for what in ("image", "camera_info")]
    rig = ("occupancy", "bev_map", "detections", "detection_velocities", "driving_context")
    each_frame += [f"/ground_truth/{what}" for what in rig]
    each_frame += ["/cabin/driver/image", "/cabin/face/image", "/cabin/joints"]
    assert {topic: counts[topic] for topic in each_frame} == dict.fromkeys(each_frame, 3)
    assert counts["/ground_truth/ego_motion"] == 2  # before the first frame there is none
    assert counts["/tf_static"] == 1
    assert counts["/odom"] == counts["/tf"] >= 3


def test_a_street_is_driven() -> None:
    render = FrameRenderer(WorldSettings("street", seed=3, seconds=1.0, cameras="mono", image_size=(32, 24)))
    first, second = render(FrameTask(0, None)).messages, render(FrameTask(1, 0, 5_000_000_000)).messages
    driven = {"/ground_truth/steering", "/ground_truth/driving_context"}
    assert driven <= {message.topic for message in first}
    assert "/ground_truth/ego_motion" in {message.topic for message in second}
    # A frame may be given another stamp, and all of it has that.
    assert {message.stamp_ns for message in second} == {5_000_000_000}


def test_the_number_of_processes_makes_no_difference(bag: Path, tmp_path: Path) -> None:
    write_world(SETTINGS, tmp_path / "indoor", processes=2)
    assert content(tmp_path / "indoor") == content(bag)


def test_depth_warped_by_motion_and_flow_is_that_of_the_next_frame(bag: Path) -> None:
    recording = read(bag)
    first, second = recording.sample(1), recording.sample(2)
    camera, name = first.frame.rig.cameras[0], first.frame.rig.names[0]
    truth, after = first.truth.cameras[name], second.truth.cameras[name]
    assert truth.depth is not None and truth.scene_flow is not None and after.depth is not None
    seconds = (second.frame.image_stamps_ns[name] - first.frame.image_stamps_ns[name]) * 1e-9
    seen = np.isfinite(truth.depth)
    base_from_camera = camera.base_from_camera
    in_base = transform_points(base_from_camera, (pixel_rays(camera) * truth.depth[..., None])[seen])
    moved = in_base + truth.scene_flow[seen] * seconds
    world = transform_points(first.frame.world_from_camera[name] @ inverse(base_from_camera), moved)
    local = transform_points(inverse(second.frame.world_from_camera[name]), world)
    pixels = local[:, :2] / local[:, 2:] * [camera.K[0, 0], camera.K[1, 1]] + camera.K[:2, 2]
    u, v = np.rint(pixels).astype(int).T
    inside = (local[:, 2] > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    expected = after.depth[v[inside], u[inside]]
    assert inside.sum() > 0.5 * seen.sum()
    assert np.median(np.abs(expected - local[inside, 2])) < 0.05  # of the nearest pixel of a coarse image


def test_what_is_known_of_the_world_lies_beside_the_bag(bag: Path) -> None:
    info = json.loads((bag / "world.json").read_text())
    assert (info["kind"], info["seed"], info["cameras"]) == ("indoor", 3, ["left", "right"])
    assert (info["frames"], info["images"], info["rate_hz"]) == (3, 6, 10.0)
    assert info["image_size"] == {"left": [64, 48], "right": [64, 48]}
    assert info["images_per_second"] > 0
    truth = load_world_truth(bag)
    assert len(truth.mesh.vertices) > 1000
    assert len(truth.objects) > 10
    # The objects' numbers are those of the instance images.
    instances = read(bag).sample(0).truth.cameras["left"].instance
    assert instances is not None
    numbers = set(np.unique(instances).tolist()) - {0}
    assert numbers & {thing.instance for thing in truth.objects}


def test_wrong_arguments_are_explained_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    rig = tmp_path / "rig.yaml"
    rig.write_text("cameras: []\n")
    for arguments, text in (
        ([str(tmp_path / "there")], "there exists already"),
        (["--cameras", str(rig), str(tmp_path / "new")], "rig.yaml"),
        (["--kind", "mesh", str(tmp_path / "new")], "the kind mesh, and no other, needs the file of a mesh"),
        (["--kind", "mesh", "--mesh", str(tmp_path / "no.ply"), str(tmp_path / "new")], "no.ply"),
        (["--lens-dirt", "2", str(tmp_path / "new")], "lens_dirt is 2.0"),
        (["--seconds", "0", str(tmp_path / "new")], "seconds 0.0 and rate 10.0 Hz must be positive"),
    ):
        assert main(["world", "--workers", "1", *arguments]) == FAILURE
        assert text in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rig.yaml", "there"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_neither_files_nor_processes(tmp_path: Path, number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "mtl_perception",
        "world",
        str(tmp_path / "bag"),
        "--kind",
        "indoor",
        "--cameras",
        "mono",
    ]
    process = subprocess.Popen([*command, "--workers", "1"], start_new_session=True, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(path.stat().st_size > 0 for path in tmp_path.rglob("*.mcap")))
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as by Ctrl-C, which a terminal sends to all
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=150)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: not running_in_group(process.pid))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 150  # the machine may be busy
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def running_in_group(group: int) -> list[str]:
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    return [stat for stat in stats if (fields := stat.rpartition(")")[2].split())[2] == str(group) and fields[0] != "Z"]
