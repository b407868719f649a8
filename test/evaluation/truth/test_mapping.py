# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a user gives after `--map`."""

from pathlib import Path

import pytest

from mtl_perception.evaluation.truth import TopicMapping, read_mappings


def test_arguments_and_files_give_entries_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "truth.yaml"
    file.write_text(
        "- {topic: /seg, task: semantic, camera: front, dataset: camvid}\n- {topic: /points, task: lidar}\n"
    )
    assert read_mappings(["/depth/image=depth:front", str(file), "odom_true=ego_motion"]) == (
        TopicMapping("/depth/image", "depth", "front"),
        TopicMapping("/seg", "semantic", "front", "camvid"),
        TopicMapping("/points", "lidar"),
        TopicMapping("/odom_true", "ego_motion"),
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("/a", "'/a' is neither TOPIC=TASK"),
        ("/a=depht", "mapping of '/a': 'depht' is not one of depth, semantic"),
        ("/a=lidar:front", "mapping of '/a': lidar is about the whole rig, not about the camera 'front'"),
        ("/a=", "mapping of '/a': '' is not one of"),
    ],
)
def test_what_is_neither_is_refused_by_name(argument: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_mappings([argument])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("topic: /a", "expected a list of entries"),
        ("- {topic: /a}", r"entry 1: topic and task are needed, it is \{'topic': '/a'\}"),
        ("- {topic: /a, task: depth, camara: x}", "entry 1: 'camara' is not one of camera, dataset, task, topic"),
        ("- {topic: /a, task: depth, dataset: x}", "entry 1: mapping of '/a': depth has no dataset 'x'"),
        ("- [", "is not usable YAML"),
    ],
)
def test_files_are_checked_entry_by_entry(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "truth.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_mappings([str(file)])


def test_nothing_is_mapped_twice() -> None:
    with pytest.raises(ValueError, match="mapping of '/a': depth is given twice"):
        read_mappings(["/a=depth", "/a=depth"])
