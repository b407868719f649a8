# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A folder that lasts as long as the object that owns it, whatever ends the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path

PREFIX = "mtl_perception_map_"
"""Folders are called so; those that no living process has locked are removed by the next one."""


class PrivateFolder:
    """A new folder, removed by `close`, with this object, or at exit; after a killed process, by the next one.

    Attributes:
        path: of the folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Make a folder in `parent`, or else in $TMPDIR, or else in /var/tmp (which, unlike /tmp, is never in memory).

        Raises:
            OSError: it cannot be made.
        """
        parent = (parent or default_parent()).absolute()
        parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(parent)
        new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
        lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # without locks nobody takes it for left over either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = new.rename(parent / new.name.removeprefix("."))  # only now others may look at it
        self._end = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        self._end()


def default_parent() -> Path:
    """Return where temporary files belong: $TMPDIR, or else /var/tmp, or else where Python makes them."""
    var_tmp = Path("/var/tmp")
    chosen = "TMPDIR" in os.environ or not os.access(var_tmp, os.W_OK | os.X_OK)
    return Path(tempfile.gettempdir()) if chosen else var_tmp


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a fork of the owner ends without harm to it
        shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _remove_leftovers(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or in use
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
