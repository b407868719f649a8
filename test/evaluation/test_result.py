# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's result on disk."""

import numpy as np
import pytest

from mtl_perception.evaluation.result import BagResult, Picture
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics


def result(name: str = "drive") -> BagResult:
    rows = [
        (frame, FrameStatistics({"error": 0.1 * frame, "hits": np.arange(3)}, {"score": np.full(frame, 0.5)}))
        for frame in range(4)
    ]
    return BagResult(
        name=name,
        stamps_ns=np.arange(4) + 10**18,
        dropped={"no pose": 2},
        statistics={"depth": TaskStatistics.of(rows)},
        left_out={"edges": "the bag has no truth for it"},
        truth={"depth": "LiDAR"},
        network={"preset": "nano", "tasks": ["depth"]},
        runtime={"seconds": 1.5},
        pictures=(Picture("depth", "best", "left/eye", 5, 0.25, b"png"),),
        map_ply=b"ply",
    )


def test_saved_and_loaded_is_the_same(tmp_path):
    before = result()
    after = BagResult.load(before.save(tmp_path / "bags" / "drive"))
    for field in ("name", "dropped", "left_out", "truth", "network", "runtime", "pictures", "map_ply"):
        assert getattr(after, field) == getattr(before, field)
    assert np.array_equal(after.stamps_ns, before.stamps_ns)
    one, other = before.statistics["depth"], after.statistics["depth"]
    assert one.total()["error"] == other.total()["error"] and np.array_equal(one.ranked_row, other.ranked_row)
    assert all(np.array_equal(one.sums[name], other.sums[name]) for name in one.sums)


def test_saving_replaces_what_was_there_and_leaves_nothing_else(tmp_path):
    folder = result().save(tmp_path / "drive")
    (folder / "old.txt").write_text("old")
    result().save(folder)
    assert not (folder / "old.txt").exists() and [path.name for path in tmp_path.iterdir()] == ["drive"]


@pytest.mark.parametrize("damage", ["facts", "arrays", "half", "picture"])
def test_a_damaged_folder_is_refused(tmp_path, damage):
    folder = result().save(tmp_path / "drive")
    if damage == "facts":
        (folder / "result.json").write_text("{}")
    elif damage == "arrays":
        (folder / "statistics.npz").write_bytes(b"nothing")
    elif damage == "half":
        whole = (folder / "statistics.npz").read_bytes()
        (folder / "statistics.npz").write_bytes(whole[: len(whole) // 2])
    else:
        next((folder / "pictures").iterdir()).unlink()
    with pytest.raises((ValueError, OSError)):
        BagResult.load(folder)


def test_a_picture_cannot_lead_out_of_the_folder(tmp_path):
    folder = result().save(tmp_path / "drive")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    facts = (folder / "result.json").read_text()
    (folder / "result.json").write_text(facts.replace(result().pictures[0].file_name, "../../secret.png"))
    with pytest.raises(OSError):
        BagResult.load(folder)
