# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Columns that grow, and leave memory when they are not used."""

import os
import tempfile

import numpy as np
import pytest

from mtl_perception.mapping.graph import paged_columns
from mtl_perception.mapping.graph.paged_columns import PagedColumns

RECORD = np.dtype([("id", np.int64), ("flag", np.bool_)])
NOBODY = np.array((-1, True), RECORD)
FIELDS = {"height": ("float32", (), np.nan), "pair": ("int16", (2,), 7), "flag": ("bool", (), 0)}
FIELDS["record"] = (RECORD, (), NOBODY)


def check(columns, expected):
    for name, column in expected.items():
        assert columns[name].dtype == column.dtype and columns[name].flags["C_CONTIGUOUS"]
        assert columns[name].tobytes() == column.tobytes()


@pytest.mark.parametrize("small", [0, 1 << 30], ids=["on disk", "in memory"])
def test_columns_keep_what_was_written_while_they_grow(small, monkeypatch, tmp_path):
    monkeypatch.setattr(paged_columns, "_SMALL", small)
    monkeypatch.setattr(paged_columns, "_RELEASED", 50)
    rng, columns = np.random.default_rng(0), PagedColumns(FIELDS, tmp_path)
    expected = {name: np.zeros((0, *shape), dtype) for name, (dtype, shape, _) in FIELDS.items()}
    check(columns, expected)
    for rows in np.cumsum(rng.integers(1, 90, 40)).tolist():
        columns.grow(rows)
        columns.grow(rows - 1)
        assert len(columns) == rows
        for name, (dtype, shape, fill) in FIELDS.items():
            new = np.full((rows - len(expected[name]), *shape), fill, dtype)
            expected[name] = np.concatenate([expected[name], new])
        for at in rng.integers(0, rows, 5).tolist():
            for side in (columns, expected):
                side["height"][at], side["pair"][at], side["flag"][at], side["record"]["id"][at] = at, -at, True, at
        check(columns, expected)
    assert not any(tmp_path.iterdir())  # the file has no name


def test_memory_is_what_was_used_lately(tmp_path, monkeypatch):
    columns = PagedColumns({"numbers": ("int64", (), -1)}, tmp_path)
    start = resident_mb()
    for rows in range(10_000, 20_000_001, 10_000):  # 160 MB
        columns.grow(rows)
        columns["numbers"][rows - 10_000 :] = rows
    assert resident_mb() - start < 30
    assert columns["numbers"][::10_000].tolist() == [*range(10_000, 20_000_001, 10_000)]
    assert resident_mb() - start < 200


def test_without_disk_space_all_stays_in_memory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(paged_columns, "_SMALL", 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    columns = PagedColumns(FIELDS, tmp_path)
    columns.grow(10)
    columns["pair"][3] = 5
    monkeypatch.setattr(os, "posix_fallocate", full)
    columns.grow(1000)
    assert columns["pair"][3].tolist() == [5, 5] and columns["pair"][999].tolist() == [7, 7]
    assert "stays in memory: [Errno 28]" in caplog.text
    monkeypatch.undo()
    columns.grow(5_000_000)
    assert columns["pair"][3].tolist() == [5, 5] and np.isnan(columns["height"][4_999_999])


def test_files_are_where_folders_of_the_map_are(tmp_path, monkeypatch):
    monkeypatch.setattr(paged_columns, "_SMALL", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = []
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda dir, make=tempfile.TemporaryFile: made.append(dir) or make(dir=dir)
    )
    PagedColumns(FIELDS).grow(1)
    PagedColumns(FIELDS, tmp_path / "..").grow(1)
    assert [os.path.realpath(folder) for folder in made] == [tempfile.gettempdir(), str(tmp_path.parent)]


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
