# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which bags are to be evaluated, and what each is called in the results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_perception.data.errors import BagError

_METADATA = "metadata.yaml"
_METADATA_KEY = b"rosbag2_bagfile_information"
_FILES = (".mcap", ".db3")
_BEGINNING = 4096  # bytes that tell a text file, or the metadata of a bag


@dataclass(frozen=True)
class BagJob:
    """A bag that is to be evaluated.

    Attributes:
        name: which no other bag of the run has, and which can be the name of a folder.
        path: of the bag's folder or file, absolute.
    """

    name: str
    path: Path


def bags_in(paths: Sequence[Path]) -> tuple[BagJob, ...]:
    """Find the bags that are meant, each once, in the order of `paths`.

    A path is a bag (a folder with a bag's metadata.yaml, or an .mcap or .db3 file); a folder, which is searched for
    bags, in alphabetical order, without entering bags or hidden folders; or a text file with a bag or such a folder a
    line, relative to the file, where empty lines and those that begin with # do not count.

    A bag's name is the shortest end of its path that no other bag has, with `_` for the separators.

    Raises:
        BagError: a path does not exist, is no bag, or holds none; or there is no path. Names path and line.
        OSError: a folder or list cannot be read.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_bags_of(_absolute(path))))
    if not found:
        raise BagError("no bag is given")
    return tuple(BagJob(name, path) for name, path in zip(_names(list(found)), found, strict=True))


def _bags_of(path: Path) -> list[Path]:
    if path.is_file() and not _is_bag(path):
        return [bag for line in _lines(path) for bag in line]
    return _bags_at(path)


def _bags_at(path: Path) -> list[Path]:
    """Return the bag at a path, or those below it."""
    if _is_bag(path):
        return [path]
    if not path.exists():
        raise BagError(f"{path} does not exist")
    if not path.is_dir():
        raise BagError(f"{path} is not a bag")
    below = list(_bags_below(path, ()))
    if not below:
        raise BagError(f"{path} is not a bag, and there is none below it")
    return below


def _bags_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link back to a folder that is being searched
        return
    for entry in sorted(folder.iterdir()):
        if _is_bag(entry):
            yield entry
        elif entry.is_dir() and not entry.name.startswith("."):
            yield from _bags_below(entry, (*above, real))


def _lines(file: Path) -> Iterator[list[Path]]:
    """Yield the bags of each line of a list."""
    with file.open("rb") as content:
        if b"\0" in content.read(_BEGINNING):
            raise BagError(f"{file} is neither a bag nor a list of bags")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BagError(f"{file} is neither a bag nor a list of bags") from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            yield _bags_at(_absolute(file.parent / text))
        except BagError as error:
            raise BagError(f"{file}, line {number}: {error}") from error


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        metadata = path / _METADATA
        if not metadata.is_file():
            return False
        with metadata.open("rb") as content:
            return _METADATA_KEY in content.read(_BEGINNING)
    return path.suffix in _FILES and path.is_file()


def _absolute(path: Path) -> Path:
    """Return the path from the root, without following links: links to one bag are bags of their own."""
    return Path(os.path.abspath(path))


def _names(paths: Sequence[Path]) -> list[str]:
    lengths = [1] * len(paths)
    while True:
        names = [_end(path, length) for path, length in zip(paths, lengths, strict=True)]
        counts = Counter(names)
        longer = [
            length + 1 if counts[name] > 1 and length < len(path.parts) else length
            for path, name, length in zip(paths, names, lengths, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def _end(path: Path, length: int) -> str:
    """Return the last parts of a path as a name; a file's suffix belongs to its second part."""
    if path.suffix in _FILES and not path.is_dir():
        return path.stem if length == 1 else "_".join(path.parts[1:][1 - length :])
    return "_".join(path.parts[1:][-length:])
