# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files that people write: labels, rigs, parameters, configurations, mappings; and metrics that are compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fuzzing import make
from fuzzing.file_case import file_case, folder_case
from fuzzing.harness import Case, Target
from fuzzing.hostile import TEXTS, arrays, as_npz, contents, json_files, trees, yaml_files
from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.world.cameras.rigs import load_rig
from mtl_perception.data.world.mesh_path import path_from_file
from mtl_perception.evaluation import command as evaluation_command
from mtl_perception.evaluation.gate import read_baseline
from mtl_perception.evaluation.result import BagResult
from mtl_perception.evaluation.run import read_metrics
from mtl_perception.evaluation.truth.mapping import read_mappings
from mtl_perception.network.config import NetworkConfig
from mtl_perception.resources import config_file
from mtl_perception.ros.label_colours import checked_colours, label_colours
from mtl_perception.running import settings as running_settings
from mtl_perception.training.ablation.study import Study
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.distillation import class_names
from mtl_perception.training.driving.config import DrivingStageConfig, is_driving_stage
from mtl_perception.training.validation.single_task import SingleTaskConfig

LABELS: dict[str, Any] = {
    "name": "few",
    "labels": [
        {"id": 0, "name": "road", "colour": [128, 64, 128], "thing": False, "movable": False},
        {"id": 1, "name": "car", "colour": [0, 0, 142], "thing": True, "movable": True},
    ],
    "subsets": {"detection": ["car"]},
    "datasets": {"camvid": {1: "road", 2: ["car"]}},
    "boxes": {"truck": "car"},
}
RIG: dict[str, Any] = {
    "base_frame": "base_link",
    "cameras": [{"name": "front", "width": 64, "height": 48, "position": [1.0, 0.0, 1.5], "yaw_deg": 0.0}],
}
_PARAMETERS: dict[str, Any] = {
    "/**": {"ros__parameters": {"cameras": ["front", "left"], "front": {"image_topic": "a/b"}, "rate": 2.0}},
    "mapping": {"ros__parameters": {"voxel_size": 0.1}},
}


def _document(kind: str, name: str) -> Any:
    return yaml.safe_load(config_file(kind, name).read_text())


def _yaml(document: Any, read: Callable[[Path], object]) -> Callable[[Path], Case]:
    def prepare(folder: Path) -> Case:
        return file_case(folder / "given.yaml", yaml_files(document), read, [_dumped(document)])

    return prepare


def _dumped(document: Any) -> bytes:
    return yaml.safe_dump(document, sort_keys=False).encode()


def _labels(path: Path) -> None:
    found = LabelSpace.load(path)
    assert [label.id for label in found.labels] == list(range(len(found)))
    assert found.palette.shape == (256, 3) and found.movable.shape == (256,)
    for dataset in found.datasets:
        assert found.candidates(dataset).shape == (256, len(found))
    assert LabelSpace.from_dict(json.loads(json.dumps(found.to_dict()))).names == found.names


def _rig(path: Path) -> None:
    found = load_rig(str(path))
    assert len(found.rig) and set(found.exposure_offsets_ns) == set(found.rig.names)




def _mappings(folder: Path) -> Case:
    document = [
        {"topic": "/a", "task": "semantic", "camera": "front", "dataset": "camvid"},
        {"topic": "/b", "task": "occupancy"},
    ]

    def read(path: Path) -> None:
        assert all(mapping.topic for mapping in read_mappings([str(path)]))

    return file_case(folder / "map.yaml", yaml_files(document), read, [_dumped(document)], names="")


def _arguments(_: Path) -> Case:
    known = ("/a=semantic:front", "/a=depth", "=depth", "/a=", "/a=semantic:", "road=#00ff00")
    words = make.sampled_from((*TEXTS, *known))

    def read(entries: list[str]) -> None:
        for reader in (read_mappings, checked_colours, label_colours):
            try:
                reader(entries)
            except (ValueError, OSError):
                continue

    texts = make.one_of(words, make.text(16))
    return Case(make.lists(texts, max_size=4), read, valid=[["/a=semantic:front"], ["road=#00ff00"]])


def _parameter_files(folder: Path) -> Case:
    def read(path: Path) -> None:
        found = running_settings.configured_cameras(path)
        assert isinstance(found, tuple)
        evaluation_command._cameras(path)

    return file_case(folder / "robot.yaml", yaml_files(_PARAMETERS), read, [_dumped(_PARAMETERS)])


def _metrics(folder: Path) -> Case:
    document = {
        "bags": ["a"],
        "metrics": {"depth": {"abs_rel": 0.1, "rmse": 2}},
        "failed": {},
        "settings": {"x": 1},
        "frames": 3,
        "per_class": {},
        "checkpoint": "nano",
    }

    def read(path: Path) -> None:
        assert read_metrics(path) == read_baseline(path)

    return file_case(folder / "metrics.json", json_files(document), read, [json.dumps(document).encode()])


def _bag_result(folder: Path) -> Case:
    left_out, network = {"map": "no map"}, {"preset": "nano"}
    result = BagResult("one", np.arange(3), {"late": 1}, {}, left_out, {}, network, {"seconds": 1.0})
    path = result.save(folder / "one")
    texts = {file.name: json.loads(file.read_text()) for file in path.glob("*.json")}
    files = {name: json_files(content) for name, content in texts.items()}
    for file in path.glob("*.npz"):
        with np.load(file) as stored:
            files[file.name] = arrays(dict(stored)).map(as_npz)
    return folder_case(path, files, lambda where: BagResult.load(where))


def _trajectory_file(folder: Path) -> Case:
    text = b"# t x y z qx qy qz qw\n0 0 0 0 0 0 0 1\n1.5 1 0 0 0 0 0 1\n2,2,0,0,0,0,0,1\n"

    def read(path: Path) -> None:
        found = path_from_file(path)
        assert found.duration_s > 0 and np.isfinite(found.duration_s)
        for seconds in (0.0, found.duration_s / 2, found.duration_s):
            assert np.isfinite(found.world_from_base(seconds)).all()

    return file_case(folder / "path.txt", contents(text, others=[b"1 2 3", b"nan " * 8, b"\xff\n"]), read, [text])


def _from_dict(_: Path) -> Case:
    document = json.loads(json.dumps(LABELS))

    def read(content: Any) -> None:
        assert len(LabelSpace.from_dict(content))

    return Case(trees(document), read, valid=[document])


def _driving(path: Path) -> None:
    is_driving_stage(path)
    DrivingStageConfig.load(path)


TARGETS = (
    Target(
        "label_space",
        ("core.labels.LabelSpace.load", "core.outside_files.read_yaml"),
        4000,
        _yaml(LABELS, _labels),
    ),
    Target("label_dict", ("core.labels.LabelSpace.from_dict",), 2000, _from_dict),
    Target("rig", ("data.world.cameras.rigs.load_rig",), 3000, _yaml(_document("rigs", "stereo"), _rig)),
    Target(
        "parameter_files",
        ("running.settings.configured_cameras", "evaluation.command._cameras"),
        3000,
        _parameter_files,
    ),
    Target("arguments", ("ros.label_colours.label_colours", "ros.label_colours.checked_colours"), 2000, _arguments),
    Target("topic_mappings", ("evaluation.truth.mapping.read_mappings",), 2000, _mappings),
    Target(
        "network_configuration",
        ("network.config.NetworkConfig.load",),
        1500,
        _yaml(_document("networks", "nano"), NetworkConfig.load),
    ),
    Target(
        "training_configuration",
        ("training.config.TrainingConfig.load",),
        1500,
        _yaml(_document("training", "nano_world"), TrainingConfig.load),
    ),
    Target(
        "driving_configuration",
        ("training.driving.config.DrivingStageConfig.load", "training.driving.config.is_driving_stage"),
        1500,
        _yaml(_document("training", "nano_driving"), _driving),
    ),
    Target(
        "single_task_configuration",
        ("training.validation.single_task.SingleTaskConfig.load",),
        1000,
        _yaml(_document("training", "single_task"), SingleTaskConfig.load),
    ),
    Target(
        "study",
        ("training.ablation.study.Study.load",),
        1000,
        _yaml(_document("studies", "afd"), lambda path: Study.load(str(path))),
    ),
    Target(
        "teacher_classes",
        ("training.distillation.class_names._read",),
        1000,
        _yaml({"ade20k": {"road, route": "road", "car": ["car", "truck"]}}, class_names._read),
    ),
    Target(
        "metrics",
        ("evaluation.run.read_metrics", "evaluation.gate.read_baseline", "core.outside_files.read_json"),
        2000,
        _metrics,
    ),
    Target("bag_result", ("evaluation.result.BagResult.load",), 1500, _bag_result),
    Target("trajectory_file", ("data.world.mesh_path.path_from_file",), 2000, _trajectory_file),
)

