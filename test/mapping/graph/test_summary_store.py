# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Summaries of blocks, of which few are in memory."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph.object_cells import SUMMARY
from mtl_perception.mapping.graph.summary_store import NOTHING, SummaryStore


def entries(rng, most=4):
    return rng.bytes(SUMMARY.itemsize * int(rng.integers(0, most)))


@pytest.mark.parametrize("most_blocks", [1, 30, 10_000])
def test_a_store_is_like_a_dictionary(tmp_path, most_blocks):
    rng, store, expected = np.random.default_rng(1), SummaryStore(tmp_path, most_blocks), {}
    blocks = pack(rng.integers(-9, 9, (300, 3))).tolist()
    for step in range(2000):
        block = blocks[rng.integers(len(blocks))]
        if rng.random() < 0.5:
            new = entries(rng)
            store.put(block, new)
            expected[block] = new
        assert store.get(block) == expected.get(block, NOTHING)
        assert (block in store) == bool(expected.get(block))
        if step % 500 == 499:
            assert [*store.items()] == sorted(item for item in expected.items() if item[1])
    assert any(tmp_path.iterdir()) == (most_blocks < 300)
    store.close()
    assert not any(tmp_path.iterdir())


def road(rng, store, length):
    for x in range(length):
        store.put(int(pack(np.array([x, 0, 0]))), rng.bytes(SUMMARY.itemsize))


def test_only_the_latest_are_in_memory(tmp_path):
    store = SummaryStore(tmp_path, 40)
    road(np.random.default_rng(2), store, 400)
    assert sum(len(region) for region in store._near.values()) <= 40
    assert len([*tmp_path.glob("*/*.summaries")]) >= 90 and not [*tmp_path.glob("*/*.new")]


def test_what_cannot_be_written_stays(tmp_path, monkeypatch, caplog):
    store, other = (SummaryStore(tmp_path, most) for most in (20, 10_000))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        road(np.random.default_rng(2), store, 100)
    road(np.random.default_rng(2), other, 100)
    assert [*store.items()] == [*other.items()] and "cannot be written: [Errno 28]" in caplog.text
    store.put(int(pack(np.array([0, 0, 0]))), NOTHING)  # there is room again
    assert sum(len(region) for region in store._near.values()) <= 20
    assert [*store.items()] == [*other.items()][1:]


@pytest.mark.parametrize("content", [b"", b"\0" * 7, None, b"\xff" * 800])
def test_what_is_damaged_on_disk_is_lost_alone(tmp_path, caplog, content):
    store = SummaryStore(tmp_path, 20)
    road(np.random.default_rng(3), store, 100)
    (file,) = tmp_path.glob(f"*/{int(pack(np.array([0, 0, 0])))}.summaries")
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert [block for block, _ in store.items()] == pack(np.array([[x, 0, 0] for x in range(4, 100)])).tolist()
    assert store.get(int(pack(np.array([1, 0, 0])))) == NOTHING and "are lost until" in caplog.text
