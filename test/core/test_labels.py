# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label spaces: the shipped one, its mappings, and files that are wrong."""

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from mtl_perception.core import LabelSpace
from mtl_perception.resources import config_file

DEFAULT = config_file("labels", "default")
CONTENT = yaml.safe_load(DEFAULT.read_text())


def test_the_shipped_label_space_reads_and_survives_a_round_trip() -> None:
    labels = LabelSpace.load(DEFAULT)
    again = LabelSpace.from_dict(labels.to_dict())
    assert again.labels == labels.labels and again.subsets == labels.subsets
    np.testing.assert_array_equal(again.candidates("camvid"), labels.candidates("camvid"))
    assert again.boxes == labels.boxes and labels.boxes


def test_a_dataset_label_may_stand_for_several_classes_and_void_for_none() -> None:
    labels = LabelSpace.load(DEFAULT)
    table = labels.candidates("camvid")
    assert {labels.names[i] for i in np.flatnonzero(table[8])} == {"car", "truck"}
    assert not table[11].any() and not table[255].any()


@pytest.mark.parametrize(
    ("box", "name"),
    [
        ("vehicle.bus.bendy", "truck"),  # nuScenes
        ("Person_sitting", "pedestrian"),  # KITTI
        ("bus/rv/caravan", "truck"),  # DDAD
        ("cyclist", "cyclist"),  # the suite's own
    ],
)
def test_names_of_boxes_are_brought_to_the_classes(box: str, name: str) -> None:
    labels = LabelSpace.load(DEFAULT)
    assert labels.id_of_box(box) == labels.id_of(name)
    assert labels.id_of_box("traffic_cone") is None


def test_movable_classes_and_palette_are_lookups_by_id() -> None:
    labels = LabelSpace.load(DEFAULT)
    assert labels.movable[labels.id_of("car")] and not labels.movable[labels.id_of("road")] and not labels.movable[255]
    np.testing.assert_array_equal(labels.palette[labels.id_of("sky")], [70, 130, 180])
    np.testing.assert_array_equal(labels.palette[255], [0, 0, 0])


def broken(**changes: object) -> dict:
    content = copy.deepcopy(CONTENT)
    for path, value in changes.items():
        target = content
        *parents, last = path.split("__")
        for parent in parents:
            target = target[int(parent) if parent.isdigit() else parent]
        target[int(last) if last.isdigit() else last] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (broken(labels__3__id=7), "'building' has id 7, expected 3"),
        (broken(labels__3__colour=[0, 0, 300]), "must be three values"),
        (broken(labels__3__name="road"), "name 'road' is given to more than one"),
        (broken(labels__3__colour=[128, 64, 128]), "is given to more than one"),
        (broken(subsets__bev=["motorway"]), "'bev' names the label 'motorway'"),
        (broken(datasets__camvid={0: "heaven"}), "'camvid' names the label 'heaven'"),
        (broken(boxes__van="moon"), "boxes: 'van' names the label 'moon'"),
        ({"name": "x"}, "labels"),
        (None, "x.yaml"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_entry(tmp_path: Path, content: dict, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as caught:
        LabelSpace.load(path)
    assert str(path) in str(caught.value)


def test_unknown_names_are_refused() -> None:
    labels = LabelSpace.load(DEFAULT)
    with pytest.raises(KeyError, match="no label 'moon'"):
        labels.id_of("moon")
    with pytest.raises(KeyError, match="no mapping from dataset 'moon'"):
        labels.candidates("moon")


def test_other_colours_change_nothing_else() -> None:
    labels = LabelSpace.load(DEFAULT)
    other = labels.with_colours({"road": (1, 2, 3), "car": (1, 2, 3)})
    assert other.labels[labels.id_of("road")].colour == other.labels[labels.id_of("car")].colour == (1, 2, 3)
    assert (other.names, other.subsets, other.boxes) == (labels.names, labels.subsets, labels.boxes)
    same = np.delete(np.arange(256), [labels.id_of("road"), labels.id_of("car")])
    np.testing.assert_array_equal(other.palette[same], labels.palette[same])
    assert labels.labels[labels.id_of("road")].colour == (128, 64, 128)
    with pytest.raises(ValueError, match=r"there is no class 'raod' \(there are: sky, road, pavement"):
        labels.with_colours({"raod": (1, 2, 3)})
