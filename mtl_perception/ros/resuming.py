# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which saved map a node continues: by default only the one that it saved itself before it died, in the same run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mtl_perception.mapping import MapFormatError
from mtl_perception.mapping.storage import is_map

ResumePolicy = Literal["never", "run", "always"]

_LONGEST_ID = 200


class Resuming:
    """Decides whether the map in a folder is continued, and keeps the mark by which a later life of the node can tell.

    The mark is a file beside the folder, `autosave.run` beside `autosave`, with the id of the run that saved the map.
    It is there from a save to the regular end of the map, so that it is found only after a crash. Whoever starts a node
    again after a crash gives it the same run id; without one there is never a mark.
    """

    def __init__(self, folder: Path, run_id: str, policy: ResumePolicy) -> None:
        """Nothing is read or written yet."""
        self._folder, self._run_id, self._policy = folder, run_id[:_LONGEST_ID], policy
        self._mark = folder.with_name(f"{folder.name}.run")
        self._endings = 0

    def resume(self, load: Callable[[Path], None], tell: Callable[[str], None]) -> None:
        """Call `load` with the folder if its map is to be continued; `tell` is called if that cannot be after a crash.

        Raises:
            MapFormatError, OSError: a map that is to be continued whatever it is cannot be read.
        """
        if self._policy == "always" and is_map(self._folder):
            load(self._folder)
        elif self._policy == "run" and self._is_marked() and is_map(self._folder):
            self.end()  # a map that the node dies of is not tried again
            try:
                load(self._folder)
            except (MapFormatError, OSError) as error:  # better a new map than none
                tell(f"the map that was saved before the crash cannot be continued: {error}")
            else:
                self._set()

    def save(self, save: Callable[[], str]) -> str:
        """Save with `save` and return what it returns; from now on the map is continued after a crash.

        Raises:
            OSError: the mark cannot be written, and what `save` raises.
        """
        endings = self._endings
        where = save()
        if endings == self._endings:  # not emptied meanwhile
            self._set()
        return where

    def end(self) -> None:
        """Note that the map is no more: it is not continued after a crash. Safe from any thread."""
        self._endings += 1
        if self._is_marked():
            self._mark.unlink(missing_ok=True)

    def _is_marked(self) -> bool:
        if not self._run_id:
            return False
        try:
            with self._mark.open() as file:
                return file.read(_LONGEST_ID + 1) == self._run_id
        except (OSError, UnicodeDecodeError):
            return False

    def _set(self) -> None:
        if self._run_id:
            new = self._mark.with_name(f"{self._mark.name}.part")
            new.write_text(self._run_id)
            os.replace(new, self._mark)


def autosave_name(path: str, namespace: str) -> str:
    """Return where a node saves its map: `path`, or `autosave`, which each namespace has for itself (`autosave-a-b`).

    Names of namespaces have no hyphen, so that no two are mixed up.
    """
    return path or "-".join(["autosave", *filter(None, namespace.split("/"))])
