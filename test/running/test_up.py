# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The whole graph on a small rendered bag, in one process and in several; signals; failures."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from mtl_perception.data.bags import BagReader
from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import WorldSettings

FRAMES = 4
# So few frames make a surface only where a doubtful pixel counts, too.
EAGER = """
/**:
  ros__parameters: {max_relative_std: 10.0, max_depth_ramp: 1.0, min_weight: 0.001}
"""
MARK = "MTL_PERCEPTION_TEST_RUN"


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "indoor"
    settings = WorldSettings("indoor", seed=901, seconds=FRAMES / 5, rate_hz=5.0, cameras="mono", image_size=(240, 176))
    write_world(settings, path, processes=1)
    return path


@pytest.fixture
def mark() -> Iterator[str]:
    """A value in the environment of every process of a run; at the end none of them may be left."""
    value = uuid.uuid4().hex
    yield value
    assert not _processes(value), "a process was left behind"


@pytest.mark.parametrize("options", [[], ["--processes", "--namespace", "robot"]], ids=["one_process", "processes"])
def test_a_bag_is_processed_whole(bag, tmp_path, mark, options):
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(EAGER)
    done = _finish(_up(mark, "--bag", str(bag), "--out", str(out), "--config", str(config), *options))
    assert done.returncode == 0, done.stdout
    assert "playing all the same" not in done.stdout
    summary = json.loads((out / "summary.json").read_text())
    prefix = "/robot" if options else ""
    with BagReader(bag) as reader:
        recorded = {name: info.count for name, info in reader.topics.items()}

    assert summary["frames"] == {"in": FRAMES, "used": FRAMES, "dropped": {}}
    for name, count in recorded.items():
        assert summary["topics"][prefix + name]["count"] == count, name
    camera = next(name.split("/")[1] for name in recorded if name.endswith("/image"))
    for name in ("frame", "progress", "occupancy", f"{camera}/depth", f"{camera}/semantic", f"{camera}/camera_info"):
        assert summary["topics"][f"{prefix}/perception/{name}"]["count"] == FRAMES, name
    assert summary["topics"][f"{prefix}/mapping/progress"]["count"] == FRAMES
    assert summary["network"]["preset"] == "nano"
    assert set(summary["network"]["tasks_published"]) >= {"depth", "semantic", "occupancy"}
    assert summary["map"]["blocks"] > 0 and summary["map"]["vertices"] > 0
    assert summary["map"]["mesh_distance_m"] > 0 and summary["depth_abs_rel"] > 0
    assert {"perception/network", "mapping/fuse"} <= set(summary["stamp_age_ms"])
    for picture in summary["pictures"]:
        image = cv2.imread(str(out / picture))
        assert image is not None and image.std() > 3, picture
    assert "pictures/mesh.png" in summary["pictures"]
    assert (out / "map" / "manifest.json").is_file()
    assert not [path for path in out.rglob("*") if path.name.startswith(".") or path.suffix in (".tmp", ".part")]


@pytest.mark.parametrize("options", [[], ["--processes"]], ids=["one_process", "processes"])
def test_sigint_ends_it_cleanly(mark, options):
    process = _up(mark, *options)
    _read_until(process, "active: perception, mapping")
    os.kill(process.pid, signal.SIGINT)
    done = _finish(process)
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout


def test_a_node_that_dies_is_named_with_its_last_words(mark, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("/**:\n  ros__parameters:\n    voxel_size: -1.0\n")
    done = _finish(_up(mark, "--processes", "--config", str(config)))
    assert done.returncode == 1
    assert "'mapping' ended with exit code 1" in done.stdout
    assert "voxel_size" in done.stdout.split("mtl_perception up:")[-1]


def test_a_killed_node_is_noticed(mark):
    process = _up(mark, "--processes")
    _read_until(process, "active: perception, mapping")
    (mapping,) = [pid for pid, command in _processes(mark).items() if "mapping_node" in command]
    os.kill(mapping, signal.SIGKILL)
    done = _finish(process)
    assert done.returncode == 1
    assert "'mapping' ended with signal SIGKILL" in done.stdout


def test_a_configuration_that_cannot_be_used_is_said_in_one_process_too(mark, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("/**:\n  ros__parameters:\n    checkpoint: no_such_file.safetensors\n")
    done = _finish(_up(mark, "--config", str(config)))
    assert done.returncode == 1
    assert "no_such_file.safetensors" in done.stdout


def test_an_evaluation_needs_a_place_for_its_report(mark):
    done = _finish(_up(mark, "--evaluate"))
    assert done.returncode != 0
    assert "--evaluate needs --out" in done.stdout


def _up(mark: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mtl_perception", "up", *options],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        output, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"it did not end:\n{output}")
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def _read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            time.sleep(0.3)  # the monitor, too, is to have seen it
            return
    pytest.fail(f"it ended without saying '{words}'")


def _processes(mark: str) -> dict[int, str]:
    """The running processes with this mark in their environment, and their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is somebody else's
    return found
