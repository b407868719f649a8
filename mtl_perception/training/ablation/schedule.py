# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All runs of a study, one after the other or several at a time, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mtl_perception.training.ablation.runs import Places, Run, perform
from mtl_perception.training.ablation.worker import prepare_worker

Result = dict[str, Any]


class FailedRunsError(ValueError):
    """Some runs ended with an error; what the others gave is kept."""


def perform_all(
    runs: Sequence[Run], places: Places, *, jobs: int = 1, console: Console | None = None
) -> dict[tuple[str, int], Result]:
    """Return the results of all runs by variant and seed; finished ones are only read.

    Runs of equal digests are made once. An interrupt leaves unfinished runs to be gone on with by the next call.

    Args:
        runs: each after those that it needs.
        places: folders.
        jobs: how many processes; 1: this one.
        console: shows how far it is.

    Raises:
        FailedRunsError: runs ended with an error, or need one that did; the message names the first.
    """
    distinct = {run.digest: run for run in runs}
    results: dict[str, Result] = {}
    errors: dict[str, BaseException] = {}
    with _progress(console, len(distinct)) as progress:
        todo = {}
        for digest, run in distinct.items():
            found = run.result()
            if found is None:
                todo[digest] = run
            else:
                results[digest] = found
        bar = progress.task_ids[0]
        progress.update(bar, completed=len(results))
        for run, outcome in _outcomes(todo, places, jobs):
            if isinstance(outcome, BaseException):
                errors[run.digest] = outcome
                progress.console.print(f"{run.variant}, seed {run.seed}: {outcome}", style="bold red", highlight=False)
            else:
                results[run.digest] = outcome
                seconds = outcome["cpu_seconds"]
                progress.console.print(f"{run.variant}, seed {run.seed}: {seconds:.0f} CPU s", highlight=False)
            progress.advance(bar)
    if errors:
        first = distinct[next(iter(errors))]
        raise FailedRunsError(
            f"{len(errors)} of {len(distinct)} runs failed, first '{first.variant}' with seed {first.seed}: "
            f"{errors[first.digest]}"
        )
    return {(run.variant, run.seed): results[run.digest] for run in runs}


def _outcomes(todo: dict[str, Run], places: Places, jobs: int) -> Iterator[tuple[Run, Result | BaseException]]:
    """Yield each run with what it gave or how it failed, one whose source failed as failed."""
    failed: set[str] = set()
    if jobs == 1:
        for digest, run in todo.items():
            outcome = _lacking(run, failed) or _attempt(run, places)
            if isinstance(outcome, BaseException):
                failed.add(digest)
            yield run, outcome
        return
    # Spawned, as forked processes would share torch's and the ray caster's threads.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
        waiting, running = dict(todo), dict[Future[Result | BaseException], Run]()
        try:
            while waiting or running:
                for run in [run for run in waiting.values() if not any(s.digest in waiting for s in run.sources)]:
                    lacking = _lacking(run, failed)
                    if lacking is not None:
                        failed.add(run.digest)
                        del waiting[run.digest]
                        yield run, lacking
                    elif not any(run.digest == other.digest for other in running.values()) and len(running) < jobs:
                        running[pool.submit(_attempt, run, places)] = run
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    run = running.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool as error:
                        text = "a worker was killed, perhaps for want of memory; the same call goes on from there"
                        raise OSError(text) from error
                    del waiting[run.digest]
                    if isinstance(outcome, BaseException):
                        failed.add(run.digest)
                    yield run, outcome
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(run: Run, places: Places) -> Result | BaseException:
    """Make a run; errors of its own are returned, so that the other runs go on."""
    try:
        return perform(run, places)
    except (ValueError, ArithmeticError, OSError, RuntimeError) as error:
        return error


def _lacking(run: Run, failed: set[str]) -> ValueError | None:
    for source in run.sources:
        if source.digest in failed:
            return ValueError(f"it needs '{source.variant}', which failed")
    return None


@contextmanager
def _progress(console: Console | None, total: int) -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    quiet = console if console is not None else Console(quiet=True)
    with Progress(*columns, TimeRemainingColumn(), console=quiet) as progress:
        progress.add_task("runs", total=total)
        yield progress
