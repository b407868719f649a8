# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a teacher's classes are in the label space."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.resources import config_file
from mtl_perception.training.distillation.class_names import map_classes

CITYSCAPES = (
    "road sidewalk building wall fence pole|traffic light|traffic sign|vegetation terrain sky person rider car truck "
    "bus train motorcycle bicycle"
)


@pytest.fixture(scope="module")
def labels() -> LabelSpace:
    return LabelSpace.load(config_file("labels", "default"))


def names_of(mapping, index: int) -> tuple[str, ...]:  # type: ignore[no-untyped-def]
    chosen = mapping.set_of_class[index]
    return () if chosen is None else mapping.sets[chosen]


def test_all_classes_of_cityscapes_are_known(labels: LabelSpace) -> None:
    names = [
        name for part in CITYSCAPES.split("|") for name in ([part] if part.startswith("traffic") else part.split())
    ]
    assert len(names) == 19
    mapping = map_classes(dict(enumerate(names)), labels)
    assert mapping.void == ()
    assert names_of(mapping, names.index("rider")) == ("cyclist",)
    assert names_of(mapping, names.index("wall")) == ("wall", "building", "fence")


def test_an_indoor_wall_is_not_an_outdoor_one_and_synonyms_are_known(labels: LabelSpace) -> None:
    mapping = map_classes({0: "wall", 1: "floor, flooring", 2: "windowpane, window", 3: "sea", 4: "Bed "}, labels)
    assert [names_of(mapping, index) for index in range(5)] == [
        ("wall", "building"),
        ("floor",),
        ("wall", "building"),
        (),
        ("furniture",),
    ]
    assert mapping.void == ("sea",)


def test_ids_may_be_those_of_a_data_set_of_the_label_space(labels: LabelSpace) -> None:
    mapping = map_classes({8: "anything", 11: "void"}, labels, "camvid")
    assert names_of(mapping, 8) == ("car", "truck") and names_of(mapping, 11) == ()


def test_other_labels_and_other_tables(labels: LabelSpace, tmp_path: Path) -> None:
    content = labels.to_dict() | {"datasets": {}, "subsets": {}, "boxes": {}}
    content["labels"] = [{"id": 0, "name": "lane", "colour": [1, 2, 3], "thing": False, "movable": False}]
    lanes = LabelSpace.from_dict(content)
    with pytest.raises(ValueError, match="'default' knows none of the segmentation teacher's classes"):
        map_classes({0: "road", 1: "sky"}, lanes)
    (tmp_path / "mine.yaml").write_text("mine: {road: lane}\n")
    assert map_classes({0: "road", 1: "sky"}, lanes, str(tmp_path / "mine.yaml")).sets == (("lane",),)
    assert map_classes({0: "Lane"}, lanes).sets == (("lane",),)  # a class that is called as a label
    (tmp_path / "wrong.yaml").write_text("[1, 2]\n")
    with pytest.raises(ValueError, match=r"wrong.yaml: sections of 'class name"):
        map_classes({0: "road"}, lanes, str(tmp_path / "wrong.yaml"))
