# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the files of objects must have to be read."""

import json

import numpy as np
import pytest

from mtl_perception.mapping import MapFormatError
from mtl_perception.mapping.graph.object_files import from_files, to_files
from mtl_perception.mapping.graph.objects import ObjectRegistry


@pytest.fixture
def files(bricks):
    """Two poles, one of them made of two, and a sign that has just gone."""
    bricks.put("pole", [(0, 0, 0), (1, 0, 0)], 12).put("pole", [(3, 0, 0), (4, 0, 0)], 12)
    bricks.put("pole", [(9, 0, 0)], 12).put("sign", [(0, 9, 0)], 12)
    assert bricks.ids() == [0, 1, 2, 3]
    assert bricks.put("pole", [(2, 0, 0)]).take("sign", [(0, 9, 0)]).ids() == [0, 2]
    listed, arrays = to_files(bricks.registry.state(bricks.measured, bricks.stamp_ns))
    return json.loads(json.dumps(listed)), arrays


def restored(files, bricks):
    registry = ObjectRegistry(bricks.config, bricks.labels)
    registry.restore(from_files(*files))
    return registry


def test_what_is_written_is_read(files, bricks):
    again, arrays = to_files(restored(files, bricks).state(bricks.measured, bricks.stamp_ns))
    assert again == files[0]
    assert arrays.keys() == files[1].keys()
    assert all(np.array_equal(array, files[1][name]) for name, array in arrays.items())


def test_a_map_without_objects_is_written_and_read(bricks):
    files = to_files(bricks.registry.state(bricks.measured, 0))
    assert restored(files, bricks).current(bricks.measured, 0) == ()


def listed_otherwise(name, at, **fields):
    return lambda listed, arrays: listed[name][at].update(fields)


def array_otherwise(name, change):
    return lambda listed, arrays: arrays.update({name: change(arrays[name].copy())})


def at_0(value):
    def change(array):
        array[0] = value
        return array

    return change


@pytest.mark.parametrize(
    ("damage", "error", "text"),
    [
        (
            array_otherwise("cells", lambda cells: cells.astype(np.int32)),
            ValueError,
            r"cells is int32 \(6,\), expected",
        ),
        (array_otherwise("entries", lambda entries: entries["cell"]), ValueError, "entries is int64"),
        (array_otherwise("entries", lambda entries: entries[1:]), ValueError, "blocks and entries differ in length"),
        (array_otherwise("blocks", lambda blocks: blocks[::-1]), ValueError, "blocks are not in order"),
        (array_otherwise("cells", lambda cells: cells[1:]), ValueError, "cells and cell_counts do not fit 2 entries"),
        (array_otherwise("cells", lambda cells: cells[::-1]), ValueError, "cells are not in order"),
        (array_otherwise("origins", at_0(7)), ValueError, "the origins of object 0 are not its ids"),
        (array_otherwise("vanished_cell_counts", at_0(0)), ValueError, "vanished_cells and vanished_cell_counts do"),
        (lambda listed, arrays: listed.update(next_id=3), ValueError, "an id is there twice or too large"),
        (lambda listed, arrays: listed.pop("vanished"), KeyError, "vanished"),
        (lambda listed, arrays: listed["objects"].reverse(), ValueError, "the origins of object 2 are not its ids"),
        (listed_otherwise("objects", 0, centroid=[0, 0]), ValueError, r"\[0, 0\] is no position"),
        (listed_otherwise("objects", 0, vertices=9), MapFormatError, "object 0 is not the surface that the map has"),
        (
            listed_otherwise("objects", 0, label=6),
            MapFormatError,
            "object 0 is at a place where the map has no surface",
        ),
        (array_otherwise("object_blocks", at_0(7)), MapFormatError, "object 0 is not the surface that the map has"),
        (array_otherwise("cells", at_0(7)), MapFormatError, "object 0 is at a place where the map has no surface"),
    ],
)
def test_what_contradicts_itself_is_refused(files, bricks, damage, error, text):
    damage(*files)
    with pytest.raises(error, match=text):
        restored(files, bricks)
