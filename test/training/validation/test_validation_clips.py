# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clips are of worlds that no training sees, the same every time, and what is read is what was rendered."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import LabelSpace, VoxelGrid
from mtl_perception.resources import config_file
from mtl_perception.training.validation import clips
from mtl_perception.training.validation.clips import ClipPlan, ClipStore, held_out

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))
PLAN = ClipPlan("indoor", "mono", 1_000_003, image_size=(24, 18))


def test_what_is_read_is_what_was_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ClipStore(tmp_path, LABELS, GRID).clip(PLAN)
    again = clips.render_clip(PLAN, LABELS, GRID)
    monkeypatch.setattr(clips, "render_clip", lambda *_: pytest.fail("it is rendered already"))
    read = ClipStore(tmp_path, LABELS, GRID).clip(PLAN)
    for other in (again, read):
        assert [frame.stamp_ns for frame in other.frames] == [frame.stamp_ns for frame in first.frames]
        for one, two in zip(first.samples, other.samples, strict=True):
            np.testing.assert_array_equal(one.frame.images["front"], two.frame.images["front"])
            np.testing.assert_array_equal(one.frame.world_from_base, two.frame.world_from_base)
            np.testing.assert_array_equal(one.frame.rig["front"].K, two.frame.rig["front"].K)
            for name, image in vars(one.truth.cameras["front"]).items():
                np.testing.assert_array_equal(image, getattr(two.truth.cameras["front"], name), err_msg=name)
            assert one.truth.occupancy is not None and two.truth.occupancy is not None
            assert one.truth.occupancy.grid == two.truth.occupancy.grid
            np.testing.assert_array_equal(one.truth.occupancy.labels, two.truth.occupancy.labels)
            assert one.truth.sweep is not None and two.truth.sweep is not None
            assert [box.size for box in one.truth.sweep.boxes or ()] == [
                box.size for box in two.truth.sweep.boxes or ()
            ]


def test_scored_frames_follow_each_other_and_earlier_ones_are_farther_apart(tmp_path: Path) -> None:
    clip = clips.render_clip(PLAN, LABELS, GRID)
    last = clip.frames[-1].stamp_ns
    assert [round((last - frame.stamp_ns) / 1e6) for frame in clip.frames] == [500, 300, 200, 100, 0]
    motion = clip.samples[0].truth.ego_motion
    assert motion is not None and motion.previous_stamp_ns == clip.early[-1].stamp_ns


def test_a_damaged_file_is_rendered_anew(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, LABELS, GRID)
    path = store.path(PLAN)
    path.write_bytes(b"PK\x03\x04 and no more")
    assert len(store.clip(PLAN).samples) == 3
    assert path.stat().st_size > 1000


def test_other_labels_or_grids_are_other_files(tmp_path: Path) -> None:
    coarse = VoxelGrid(GRID.origin, 1.0, (16, 16, 4))
    assert ClipStore(tmp_path, LABELS, GRID).path(PLAN) != ClipStore(tmp_path, LABELS, coarse).path(PLAN)


def test_worlds_have_seeds_of_their_own() -> None:
    plans = held_out(("street", "indoor"), ("surround4", "mono"), 3, driving=True)
    assert len(plans) == 12
    assert len({(plan.kind, plan.seed) for plan in plans}) == 12
    assert min(plan.seed for plan in plans) >= 1_000_000
    assert {plan.kind for plan in plans if plan.cabin} == {"street"}


def test_there_are_no_other_kinds() -> None:
    with pytest.raises(ValueError, match="mesh"):
        ClipPlan("mesh", "mono", 1)
