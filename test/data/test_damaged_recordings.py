# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of data sets, configurations and meshes that fuzzing has found to be told about by no name, or to hang."""

import json
from pathlib import Path

import pytest

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.ply import read_mesh
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.world.mesh_path import path_from_file
from mtl_perception.evaluation.result import BagResult
from mtl_perception.evaluation.truth.mapping import read_mappings
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.driving.config import is_driving_stage


@pytest.mark.parametrize("text", ["[" * 20_000, "a: " + "{a: " * 20_000])
def test_brackets_that_are_nested_too_deeply_take_no_time(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"deep\.yaml is not usable YAML: it is nested too deeply in line 1"):
        read_yaml(path)
    with pytest.raises(ValueError, match=r"deep\.yaml"):
        TrainingConfig.load(path)
    assert not is_driving_stage(path)


@pytest.mark.parametrize("content", ["[]", "{", '{"data": []}', "null", '{"data": [{"key": 1}], "samples": []}'])
def test_descriptions_of_data_sets_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "scene_a.json").write_text(content)
    with pytest.raises(ValueError, match=tmp_path.name):
        open_recording("ddad", tmp_path)
    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "img.zip").write_bytes(b"")
    (tmp_path / "front" / "det_3d.json").write_text(content)
    with pytest.raises(ValueError, match=tmp_path.name):
        open_recording("shift", tmp_path)


def test_a_mesh_without_a_format(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text("ply\nelement vertex 1\nproperty float x\nend_header\n0\n")
    with pytest.raises(ValueError, match=r"a\.ply is not a PLY file"):
        read_mesh(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_text("ply\nformat ascii 1.0\nelement vertex -1\nproperty float x\nend_header\n0\n")
    with pytest.raises(ValueError, match=r"a\.ply is not a PLY file"):
        read_mesh(tmp_path / "a.ply")


def test_a_trajectory_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "path.txt").write_bytes(b"0 0 0 0 0 0 0 1\n\xff\n")
    with pytest.raises(ValueError, match=r"path\.txt, line 2"):
        path_from_file(tmp_path / "path.txt")
    (tmp_path / "path.txt").write_text("0 0 0 0 0 0 0 1\ninf 0 0 0 0 0 0 1\n")
    with pytest.raises(ValueError, match=r"path\.txt, line 2"):
        path_from_file(tmp_path / "path.txt")


def test_a_mapping_without_a_topic(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("- {topic: null, task: semantic}\n")
    with pytest.raises(ValueError, match=r"map\.yaml, entry 1: topic and task are needed"):
        read_mappings([str(tmp_path / "map.yaml")])


def test_a_result_that_is_no_text(tmp_path: Path) -> None:
    for path in BagResult("one", [], {}, {}, {}, {}, {}, {}).save(tmp_path / "one").glob("*.json"):
        assert isinstance(json.loads(path.read_text()), dict)
        path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="one is not the result of an evaluation"):
        BagResult.load(tmp_path / "one")
