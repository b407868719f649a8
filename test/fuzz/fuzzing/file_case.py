# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cases of readers that are given a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fuzzing import make
from fuzzing.harness import Case
from fuzzing.make import Maker

REFUSED = (ValueError, OSError)


def file_case(
    path: Path,
    inputs: Maker,
    read: Callable[[Path], object],
    valid: Sequence[bytes],
    refusals: tuple[type[Exception], ...] = REFUSED,
    names: str | None = None,
) -> Case:
    """Write each content to a file and let it be read; errors must name the file, or what `names` says."""

    def read_content(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    return Case(inputs, read_content, str(path) if names is None else names, refusals, valid)


def folder_case(
    folder: Path,
    files: dict[str, Maker],
    read: Callable[[Path], object],
    refusals: tuple[type[Exception], ...] = REFUSED,
    names: str | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Case:
    """Let a folder be read in which one file has another content, or (None) is missing; then put it right again.

    The folder must be valid as it is. `finish` puts right what follows from the content, such as checksums.
    """
    valid = {name: (folder / name).read_bytes() for name in files}
    if finish is not None:
        everything = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def read_with(value: tuple[str, bytes | None] | None) -> None:
        if value is None:
            read(folder)
            return
        name, content = value
        try:
            (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
            if finish is not None:
                finish(folder)
            read(folder)
        finally:
            (folder / name).write_bytes(valid[name])
            if finish is not None:
                for path, before in everything.items():
                    path.write_bytes(before)

    made: list[Maker] = []
    for name, contents in files.items():
        made.append(make.tuples(make.just(name), make.one_of(contents, contents, contents, contents, make.just(None))))
    return Case(make.one_of(*made), read_with, str(folder) if names is None else names, refusals, [None])
