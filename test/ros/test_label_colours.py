# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The texts of the parameter `label_colours`."""

import pytest

from mtl_perception.ros.label_colours import checked_colours, label_colours


def test_colours_are_read() -> None:
    entries = checked_colours(["", " road = #804080", "traffic light=#0000fF "])
    assert label_colours(entries) == {"road": (128, 64, 128), "traffic light": (0, 0, 255)}
    assert checked_colours([""]) == []


@pytest.mark.parametrize("entry", ["road", "road=804080", "=#804080", "road=#80408", "road=#80408g", "road=#8040801"])
def test_what_is_no_colour_is_refused_by_its_text(entry: str) -> None:
    with pytest.raises(ValueError, match=f"'{entry}' is not of the form class=#rrggbb"):
        checked_colours([entry])


def test_a_class_has_one_colour() -> None:
    with pytest.raises(ValueError, match="class 'road' has two colours"):
        checked_colours(["road=#804080", "road=#000000"])
