# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""bench.json: its keys, its ratio, whole or not at all."""

import json
import math
from pathlib import Path

import pytest

from mtl_perception.bench.results import Result, write_results

RESULT = Result("network", "tiny/encoder_share", 0.25, "s", "whole pass", 0.5)


def test_the_file_has_the_agreed_keys(tmp_path):
    path = tmp_path / "new" / "bench.json"
    write_results(path, [RESULT], threads=3)
    content = json.loads(path.read_text())
    assert list(content) == ["machine", "versions", "results"]
    assert content["machine"]["threads"] == 3 and content["machine"]["processor"]
    assert {"mtl_perception", "python", "torch"} <= set(content["versions"])
    assert content["results"] == [
        {
            "suite": "network",
            "name": "tiny/encoder_share",
            "value": 0.25,
            "unit": "s",
            "reference": "whole pass",
            "reference_value": 0.5,
            "ratio": 0.5,
        }
    ]


def test_a_second_run_replaces_the_first(tmp_path):
    path = tmp_path / "bench.json"
    write_results(path, [RESULT, RESULT], threads=1)
    write_results(path, [RESULT], threads=1)
    assert len(json.loads(path.read_text())["results"]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bench.json"]


@pytest.mark.parametrize(
    "wrong", [Result("s", "n", math.nan, "s", "r", 1.0), Result("s", "n", 1.0, "s", "r", 0.0)], ids=["nan", "zero"]
)
def test_what_cannot_be_written_leaves_the_old_file(wrong, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text("old")
    with pytest.raises(ValueError):
        write_results(path, [wrong], threads=1)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["bench.json"]


def test_a_broken_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "bench.json"
    path.write_text("old")

    def half(self, text):
        with self.open("w") as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space left"):
        write_results(path, [RESULT], threads=1)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["bench.json"]
