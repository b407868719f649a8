# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import errno
import os
from pathlib import Path

import pytest

from mtl_perception.files import write_whole


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.md"
    write_whole(path, "µ before\n")
    assert path.read_text(encoding="utf-8") == "µ before\n" and list(tmp_path.iterdir()) == [path]

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "after\n")
    assert path.read_text(encoding="utf-8") == "µ before\n" and list(tmp_path.iterdir()) == [path]
