# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run shows and writes down while it goes: a progress bar, TensorBoard files, the tasks' conflicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CONFLICTS = "conflicts.jsonl"
TENSORBOARD = "tensorboard"


class RunLog:
    """The log of one run from `first_step` on. What an interrupted run wrote of later steps is taken back."""

    def __init__(
        self, folder: Path, first_step: int, steps: int, *, tensorboard: bool, quiet: bool = False, is_main: bool = True
    ) -> None:
        """Prepare the log; nothing is shown before it is entered, and nothing at all but by the main process."""
        self.folder, self.first_step, self.steps = folder, first_step, steps
        console = Console(quiet=quiet or not is_main)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("training", total=steps, completed=first_step)
        self._text = Text()
        self._live = Live(Group(self._progress, self._text), console=console, refresh_per_second=2)
        self._writer: SummaryWriter | None = None
        if tensorboard and is_main:
            # Only here: it takes a second to import.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=first_step + 1)
        if is_main:
            self._cut_conflicts()

    def __enter__(self) -> RunLog:
        """Show the bar and the losses."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show no more and finish the files."""
        self._live.stop()
        if self._writer is not None:
            self._writer.close()

    def losses(
        self,
        step: int,
        losses: Mapping[str, float],
        terms: Mapping[str, float],
        means: Mapping[str, float],
        weights: Mapping[str, float],
        learning_rates: Mapping[str, float],
    ) -> None:
        """Take in a step that was made: its losses, the terms beside them, running means and weights, the rates."""
        self._progress.update(self._bar, completed=step)
        self._text.plain = _in_words(means)
        self._write(step, {"loss": losses, "term": terms, "weight": weights, "learning_rate": learning_rates})

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in a validation."""
        self._say(f"step {step}, validation: {_in_words(metrics)}")
        self._write(step, {"validation": {name.replace(" ", "/"): value for name, value in metrics.items()}})

    def conflicts(self, step: int, cosines: Mapping[tuple[str, str], float]) -> None:
        """Take in the cosines between the tasks' gradients."""
        line = {"step": step, "cosines": {f"{one} {other}": round(value, 4) for (one, other), value in cosines.items()}}
        with (self.folder / CONFLICTS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._write(step, {"gradient_cosine": {f"{one}_{other}": value for (one, other), value in cosines.items()}})

    def flush(self) -> None:
        """Write out what was taken in: a run that is killed after its state was saved must not lack it."""
        if self._writer is not None:
            self._writer.flush()

    def warn(self, lines: Sequence[str]) -> None:
        """Say what went otherwise than was asked for."""
        for line in lines:
            self._live.console.print(line, style="bold yellow", highlight=False, soft_wrap=True)

    def saved(self, step: int, means: Mapping[str, float]) -> None:
        """Say that the state was saved."""
        self._say(f"step {step}: {_in_words(means)}")

    def _say(self, text: str) -> None:
        self._live.console.print(text, highlight=False, soft_wrap=True)

    def _write(self, step: int, groups: Mapping[str, Mapping[str, float]]) -> None:
        if self._writer is not None:
            for group, values in groups.items():
                for name, value in values.items():
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def _cut_conflicts(self) -> None:
        path = self.folder / CONFLICTS
        if path.is_file():
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text("".join(line for line in whole if json.loads(line)["step"] <= self.first_step))
            temporary.replace(path)


def _in_words(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in sorted(values.items()))
