# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label files, checkpoints, rigs and parameter files that are damaged, or made by somebody who means harm."""

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
import torch
import yaml
from fault_map import memory_within
from fault_system import HEALTHY_WITHIN_S, overrides
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtl_perception.data.world.cameras.rigs import load_rig
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.resources import config_file
from mtl_perception.running.settings import configured_cameras

LABELS = Path(config_file("labels", "default")).read_text()
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
PYTHON = "labels: !!python/object/apply:os.system [touch ran]\n"


def table(entries, kind, expected):
    return [
        pytest.param(
            spoiled,
            text,
            id=name.replace(" ", "_"),
            marks=pytest.mark.fault(name, done=f"{kind}: {done}", expected=expected),
        )
        for spoiled, name, done, text in entries
    ]


@pytest.fixture(scope="module")
def context():
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture(scope="module")
def mapping(context):
    node = MappingNode(context=context, parameter_overrides=overrides({"voxel_size": 0.2}))
    yield node
    node.shut_down()
    node.destroy_node()


@pytest.fixture(scope="module")
def perception(context, checkpoint):
    values = {"cameras": ["front"], "checkpoint": str(checkpoint), "tasks": ["all"], "threads": 1}
    node = PerceptionNode(context=context, parameter_overrides=overrides(values))
    yield node
    node.shut_down()
    node.destroy_node()


def check_configure(node, case, parameter, bad, good, *texts):
    """Check that a node that cannot be configured says why, is not configured, and can be once the file is good."""
    assert node.set_parameters([Parameter(parameter, value=str(bad))])[0].successful
    with memory_within(150):
        assert node.trigger_configure().name == "FAILURE"
    status = next(each for each in node._statuses() if each.name == "lifecycle")
    assert status.values["state"] == "unconfigured" and "Traceback" not in status.message
    assert len(status.message) < 1500 and all(text in status.message for text in texts), status.message
    case.saw(" ".join(f"lifecycle: {status.message.replace(str(bad), bad.name)}"[:300].split()))
    began_s = time.monotonic()
    assert node.set_parameters([Parameter(parameter, value=str(good))])[0].successful
    assert node.trigger_configure().name == "SUCCESS"
    case.healthy_again_s = time.monotonic() - began_s
    assert node.trigger_cleanup().name == "SUCCESS"
    assert case.healthy_again_s <= 5 * HEALTHY_WITHIN_S  # all of it is work, which a busy machine does not do at once


def labels_with(change):
    content = yaml.safe_load(LABELS)
    change(content["labels"])
    return yaml.safe_dump(content)


LABEL_FILES = [
    ("labels: [1, 2", "label file is no YAML", "a bracket is missing", "is not usable YAML"),
    (BOMB, "label file is a bomb", "aliases of aliases, 10^12 items", "unfolds to more than 100000 items"),
    (PYTHON, "label file has a python tag", "!!python/object/apply:os.system", "could not determine a constructor"),
    ("[" * 100_000, "label file is nested too deeply", "100,000 brackets", "nested too deeply"),
    ("", "label file is empty", "no byte", "the file is None, expected names with values"),
    (
        labels_with(lambda labels: labels[3].update(id=2)),
        "label id given twice",
        "two labels have the id 2",
        "label 'building' has id 2, expected 3",
    ),
    (
        labels_with(lambda labels: labels[3].update(colour=[0, 0, 256])),
        "label colour out of range",
        "blue is 256",
        "label 'building': colour [0, 0, 256] must be three values of 0..255",
    ),
    (
        labels_with(lambda labels: labels[3].update(colour=[float("inf"), 0, 0])),
        "label colour infinite",
        "red is .inf",
        "label 'building': colour [inf, 0, 0]",
    ),
    (
        labels_with(lambda labels: labels[3].update(thing="no")),
        "label thing is text",
        "thing is 'no', quoted",
        "label 'building': thing is 'no', expected true or false",
    ),
    (
        LABELS.replace("  camvid:  # 11 (void) is not listed\n    0: sky", "  camvid:\n    300: sky"),
        "label id of a data set out of range",
        "camvid has 300",
        "datasets.camvid: id '300' is not one of 0 to 255",
    ),
]


@pytest.mark.parametrize(
    ("content", "text"), table(LABEL_FILES, "labels", "configure fails by file, label and value; well with a good file")
)
def test_label_file(mapping, case, tmp_path, monkeypatch, content, text):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "labels.yaml"
    bad.write_text(content)
    check_configure(mapping, case, "labels", bad, "default", str(bad), text)
    assert not Path("ran").exists()


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1000])


def huge_header(path):
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])


def header_bomb(path):
    header = b'{"a":' + b"[" * 1_000_000
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def pickled(path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch ran",)

    path.write_bytes(pickle.dumps(Evil()))


def rewritten(change):
    def rewrite(path):
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata())
        tensors = load_file(path)
        change(tensors, metadata)
        save_file(tensors, path, metadata)

    return rewrite


def edit(key, change):
    """Change a part of the metadata."""

    def edited(_tensors, metadata):
        content = json.loads(metadata[key])
        metadata[key] = json.dumps(change(content) or content)

    return rewritten(edited)


def first_of(tensors):
    return next(name for name in sorted(tensors) if tensors[name].dim() == 4)


def set_first(make):
    def change(tensors, _metadata):
        name = first_of(tensors)
        tensors[name] = make(tensors[name])

    return rewritten(change)


def set_metadata(key, value):
    return rewritten(lambda _tensors, metadata: metadata.update({key: value}))


CHECKPOINTS = [
    (truncated, "checkpoint truncated", "the last 1000 bytes are missing", "is not a safetensors file"),
    (lambda path: path.write_bytes(b""), "checkpoint empty", "no byte", "is not a safetensors file"),
    (huge_header, "checkpoint with a huge header", "2^62 bytes by its length", "its header has 4611686018427387904"),
    (header_bomb, "checkpoint with a header that is a bomb", "a million brackets", "is not a safetensors file"),
    (pickled, "pickle in place of a checkpoint", "that would run a command", "is not a safetensors file"),
    (set_first(lambda t: torch.zeros(3, dtype=t.dtype)), "checkpoint with a wrong shape", "(3,)", "is (3,), expected"),
    (
        set_first(lambda t: torch.full_like(t, torch.nan)),
        "checkpoint with NaN",
        "a tensor is NaN",
        "holds values that are not finite",
    ),
    (set_first(lambda t: t.to(torch.float8_e4m3fn)), "checkpoint of another type", "float8", "F8_E4M3, expected F16"),
    (
        edit("network", lambda network: network["neck"].update(width=10**9)),
        "checkpoint of a network of absurd size",
        "neck.width 10^9",
        "its network configuration cannot be built",
    ),
    (
        edit("network", lambda network: network["grid"].update(shape=[10**6] * 3)),
        "checkpoint with an absurd grid",
        "10^18 voxels",
        "there must be 1 to 33554432 voxels",
    ),
    (
        edit("network", lambda network: network["backbone"]["options"].update(attn_implementation="who/knows")),
        "checkpoint that chooses code",
        "attn_implementation of somebody",
        "it decides which code is run",
    ),
    (
        edit("labels", lambda labels: labels["labels"].pop() and None),
        "checkpoint of fewer labels",
        "the last label is missing",
        "its labels are wrong: ",
    ),
    (set_metadata("labels", "[" * 100_000), "checkpoint with nested labels", "100,000 brackets", "labels is not JSON"),
    (set_metadata("trained_tasks", '["sing"]'), "checkpoint of unknown tasks", "sing", "trained_tasks names 'sing'"),
]


@pytest.mark.parametrize(
    ("spoil", "text"), table(CHECKPOINTS, "checkpoint", "configure fails by file and tensor; well with a good file")
)
def test_checkpoint(perception, checkpoint, case, tmp_path, monkeypatch, spoil, text):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(checkpoint.read_bytes())
    spoil(bad)
    check_configure(perception, case, "checkpoint", bad, checkpoint, str(bad), text)
    assert not Path("ran").exists()


CAMERA = "{name: front, width: %s, height: 48, horizontal_fov_deg: 80, position: [%s, 0, 1]}"
RIGS = [
    (BOMB, "rig is a bomb", "aliases of aliases", "unfolds to more than 100000 items"),
    (PYTHON, "rig has a python tag", "!!python/object/apply", "could not determine a constructor"),
    (f"cameras: [{CAMERA % (10**9, 0)}]", "rig of absurd size", "width 10^9", "camera 'front': width: "),
    (f"cameras: [{CAMERA % (64, '.nan')}]", "rig nowhere", "position is NaN", "camera 'front': position.0: "),
    ("cameras: []", "rig without cameras", "an empty list", "cameras: List should have at least 1"),
    (f"cameras: [{CAMERA % (64, 0)}, {CAMERA % (64, 0)}]", "rig with a camera twice", "front, front", "front"),
]


@pytest.mark.parametrize(("content", "text"), table(RIGS, "rig", "refused by file, camera, field and value"))
def test_rig(case, tmp_path, monkeypatch, content, text):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "rig.yaml"
    bad.write_text(content)
    with pytest.raises(ValueError) as caught, memory_within(100):
        load_rig(str(bad))
    assert str(bad) in str(caught.value) and text in str(caught.value) and not Path("ran").exists()
    case.saw(str(caught.value).replace(str(bad), bad.name)[:300])
    assert load_rig("mono").rig.names


PARAMETERS = [
    (BOMB, "parameter file is a bomb", "aliases of aliases", "unfolds to more than 100000 items"),
    (PYTHON, "parameter file has a python tag", "!!python/object/apply", "could not determine a constructor"),
    ("/**: [1, 2]", "parameter file of another form", "a list", "is not a parameter file"),
    ("/**: {ros__parameters: {cameras: 5}}", "parameter cameras is a number", "5", "cameras is 5, expected a list"),
    ("/**: {ros__parameters: 5}", "parameters are a number", "5", "ros__parameters is 5, expected names with values"),
    ("/**: {a: 1}\n/**: {b: 2}", "parameter section given twice", "/** and /**", "'/**' is given twice, again in line"),
]


@pytest.mark.parametrize(("content", "text"), table(PARAMETERS, "parameter file of `up`", "refused by file and value"))
def test_parameter_file(case, tmp_path, monkeypatch, content, text):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "parameters.yaml"
    bad.write_text(content)
    with pytest.raises(ValueError) as caught, memory_within(100):
        configured_cameras(bad)
    assert str(bad) in str(caught.value) and text in str(caught.value) and not Path("ran").exists()
    case.saw(str(caught.value).replace(str(bad), bad.name)[:300])
    bad.write_text("/**: {ros__parameters: {cameras: [front]}}")
    assert configured_cameras(bad) == ("front",)


@pytest.mark.fault(
    "parameter file of a node is a bomb", done="--params-file with aliases of aliases", expected="an exit with a reason"
)
def test_parameter_file_of_a_node(case, tmp_path):
    bad = tmp_path / "parameters.yaml"
    bad.write_text("/**:\n  ros__parameters:\n" + "".join(f"    {line}\n" for line in BOMB.splitlines()))
    command = [sys.executable, "-m", "mtl_perception.nodes.lifecycle_manager", "--ros-args", "--params-file", str(bad)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = (result.stderr + result.stdout).strip().splitlines()
    assert result.returncode not in (0, -9, -11) and said
    case.saw(f"exit code {result.returncode}: {said[-1]}"[:300])
