# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which saved map is continued, and which is not."""

import pytest

from mtl_perception.mapping import MapFormatError
from mtl_perception.ros.resuming import Resuming, autosave_name


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "maps" / "autosave"


def save(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")
    return str(folder)


def continued(folder, run_id="this", policy="run", failure=None):
    """What a new life of the node loads, and what it tells."""
    loaded, told = [], []

    def load(path):
        loaded.append(path)
        if failure is not None:
            raise failure

    Resuming(folder, run_id, policy).resume(load, told.append)
    return loaded, told


def test_after_a_crash_the_map_of_the_same_run_is_continued_and_no_other(folder):
    assert continued(folder) == ([], [])  # there is none
    assert Resuming(folder, "this", "run").save(lambda: save(folder)) == str(folder)
    assert continued(folder, "another") == ([], [])
    assert continued(folder, "") == ([], [])
    assert continued(folder, policy="never") == ([], [])
    assert continued(folder) == ([folder], [])
    assert continued(folder) == ([folder], [])  # a second crash, before it was saved again


def test_a_map_that_has_come_to_its_end_is_not_continued(folder):
    first = Resuming(folder, "this", "run")
    first.save(lambda: save(folder))
    first.end()
    assert continued(folder) == ([], [])
    assert sorted(path.name for path in folder.parent.iterdir()) == ["autosave"]


def test_a_map_that_was_emptied_while_it_was_saved_is_not_continued(folder):
    resuming = Resuming(folder, "this", "run")

    def save_while_somebody_empties_it():
        resuming.end()
        return save(folder)

    resuming.save(save_while_somebody_empties_it)
    assert continued(folder) == ([], [])


def test_another_runs_mark_stays(folder):
    Resuming(folder, "another", "run").save(lambda: save(folder))
    Resuming(folder, "this", "run").end()
    assert continued(folder, "another") == ([folder], [])


def test_a_map_that_cannot_be_read_after_a_crash_makes_room_for_a_new_one(folder):
    Resuming(folder, "this", "run").save(lambda: save(folder))
    loaded, told = continued(folder, failure=MapFormatError("its checksum is wrong"))
    assert loaded == [folder] and "its checksum is wrong" in told[0]
    assert continued(folder) == ([], [])


def test_a_map_that_the_node_dies_of_is_tried_once(folder):
    Resuming(folder, "this", "run").save(lambda: save(folder))
    with pytest.raises(KeyboardInterrupt):
        continued(folder, failure=KeyboardInterrupt())
    assert continued(folder) == ([], [])


def test_whoever_asks_for_it_continues_any_map_and_is_told_when_that_is_not_possible(folder):
    save(folder)
    assert continued(folder, "", "always") == ([folder], [])
    with pytest.raises(MapFormatError):
        continued(folder, "", "always", MapFormatError("no"))


def test_each_namespace_has_a_place_of_its_own():
    assert autosave_name("", "/") == "autosave"
    assert autosave_name("", "/fleet/a") == "autosave-fleet-a"
    assert autosave_name("home", "/fleet/a") == "home"
