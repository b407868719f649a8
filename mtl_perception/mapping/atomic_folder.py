# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that are replaced as one: whatever ends the process, or the power, the old one or the new one is there whole.

The new folder is written beside the old one, as `.NAME.XXXXXXXX.tmp`, and then changes places with it. Where the file
system cannot exchange two folders at once (NFS, or a folder of an image below a container's own layer), the old one
stays as `.NAME.previous` until the new one is in its place: `current` finds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux, see renameat2(2)


@contextmanager
def replacing(folder: Path, mark: str) -> Iterator[Path]:
    """Give a new, empty folder to write files to; once the block has ended, it is in the place of `folder`.

    When the block raises, `folder` is as it was. What earlier processes have left behind, as they were killed, is
    removed; what others are writing at the moment is not. Of two that write the same folder, the last one wins.

    Args:
        folder: need not exist; where it is a link, what it leads to is replaced.
        mark: the file that every whole folder has.

    Raises:
        OSError: something cannot be written; `folder` is as it was.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent):
        _remove_leftovers(folder, mark)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # without locks nobody takes it for left over either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield new
        new.chmod(0o755)
        for path in (*new.iterdir(), new):
            _to_disk(path)
        with _locked(folder.parent):
            _put_in_place(new, folder, mark)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        os.close(lock)


def current(folder: Path, mark: str) -> Path:
    """Return where `folder` is: at its place, or where an interrupted `replacing` has left it."""
    previous = _previous(folder.resolve())
    return previous if not (folder / mark).is_file() and (previous / mark).is_file() else folder


def _put_in_place(new: Path, folder: Path, mark: str) -> None:
    """Let a finished folder take the place of another; at any moment what `current` finds is whole."""
    previous = _previous(folder)
    if not _exchanged(new, folder):
        if (folder / mark).is_file():
            _put_aside(folder, previous, mark)
        if folder.exists():  # empty, or the rest of one that was put aside
            shutil.rmtree(folder)
        new.rename(folder)
    _to_disk(folder.parent)  # before the old one is removed
    shutil.rmtree(previous, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places at once; return False, with nothing done, where that is not possible."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _put_aside(folder: Path, previous: Path, mark: str) -> None:
    """Move a whole folder to `previous`; where a folder cannot be renamed, a copy goes there."""
    shutil.rmtree(previous, ignore_errors=True)
    try:
        folder.rename(previous)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            for path in (*copy.iterdir(), copy):
                _to_disk(path)
            copy.rename(previous)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        _to_disk(folder.parent)
        (folder / mark).unlink()  # from here on `current` finds the copy


def _remove_leftovers(folder: Path, mark: str) -> None:
    """Remove what killed processes have left. The parent is locked: nobody is between making and locking a folder."""
    if (folder / mark).is_file():
        shutil.rmtree(_previous(folder), ignore_errors=True)
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        with contextlib.suppress(OSError):  # somebody else's, or in use
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes that do the same out of the block, where the file system has locks."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
