# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far an evaluation is, on the terminal: one bar for all bags, one for each that is under way."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mtl_perception.evaluation.fleet import Progress


class FleetProgress(Progress):
    """Shows frames done and the time that remains. Use it as a context manager."""

    def __init__(self, bags: int, done: int) -> None:
        """Begin with so many bags, of which some are done already."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Bars(*columns, console=Console(stderr=True))
        self._whole = self._bars.add_task("bags", total=bags, completed=done)
        self._tasks: dict[str, TaskID] = {}
        if done:
            self._bars.console.print(f"{done} of {bags} bags were evaluated before", highlight=False)

    def __enter__(self) -> FleetProgress:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them as they are."""
        self._bars.stop()

    def advanced(self, name: str, done: int, known: int) -> None:
        """See Progress."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=known)
        self._bars.update(self._tasks[name], completed=done, total=known)

    def finished(self, name: str) -> None:
        """See Progress."""
        self._end(name)
        self._bars.advance(self._whole)

    def retried(self, name: str, reason: str) -> None:
        """See Progress."""
        self._end(name)
        self._bars.console.print(f"{name}: {reason}: it is tried again", markup=False, highlight=False)

    def failed(self, name: str, reason: str) -> None:
        """See Progress."""
        self._end(name)
        self._bars.advance(self._whole)
        self._bars.console.print(f"{name} failed: {reason}", markup=False, highlight=False)

    def lost(self, reason: str) -> None:
        """See Progress."""
        self._bars.console.print(f"a worker could not be set up: {reason}", markup=False, highlight=False)

    def _end(self, name: str) -> None:
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
