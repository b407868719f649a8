# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of others: what hangs, runs something or unfolds without bounds is refused by name."""

import os
import time
from pathlib import Path

import pytest

from mtl_perception.core.outside_files import read_bytes, read_json, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)


def test_plain_data_is_read_with_anchors_and_merges(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("base: &base {width: 4, height: 0x10}\nown: {<<: *base, width: 5}\ntwo: [*base, *base]\n")
    base = {"width": 4, "height": 16}
    assert read_yaml(path) == {"base": base, "own": {**base, "width": 5}, "two": [base, base]}
    path.write_text("")
    assert read_yaml(path) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "unfolds to more than 100000 items"),
        (MERGES, "unfolds to more than 100000 items"),
        ("a: &a [*a]", "the item that begins in line 1 contains itself"),
        ("[" * 200_000, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "nested too deeply in line 1"),
        ("a: " + "1:" * 200_000 + "1", "the number in line 1 has 400001 characters"),
        ("a: 1\nb: 2\na: 3", "'a' is given twice, again in line 3"),
        ("a: !!python/object/apply:os.system [touch ran]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: !!int ''", "string index out of range"),
        ("a: !!timestamp noon", "is not usable YAML"),
        ("a: 2001-99-99", "month must be in"),
        ("a: [1, 2", "expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "but found another document"),
        ("x" * 600_000, "has 600000 bytes, at most 524288 are read"),
    ],
)
def test_hostile_yaml_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    assert time.process_time() - began < 2.0
    assert str(path) in str(caught.value) and reason in str(caught.value)
    assert len(str(caught.value)) < 1000 and not Path("ran").exists()


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff\xfe\xfd")
    with pytest.raises(ValueError, match=r"x\.yaml is not usable YAML"):
        read_yaml(path)


def test_pipes_devices_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(ValueError, match=f"{name} is not a regular file"):
            read_bytes(tmp_path / name, 100)
    with pytest.raises((ValueError, OSError)):
        read_bytes(tmp_path, 100)


def test_json_has_bounds(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 2]}')
    assert read_json(path, 100) == {"a": [1, 2]}
    with pytest.raises(ValueError, match=r"x\.json has 13 bytes, at most 12 are read"):
        read_json(path, 12)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"x\.json is not JSON: it is nested too deeply"):
        read_json(path, 1_000_000)
