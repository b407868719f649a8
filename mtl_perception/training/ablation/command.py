# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `ablate` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from mtl_perception.files import write_whole
from mtl_perception.training.ablation.results import StudyResults
from mtl_perception.training.ablation.runs import Places, plan
from mtl_perception.training.ablation.schedule import perform_all
from mtl_perception.training.ablation.study import Study, study_names
from mtl_perception.training.ablation.tables import claims_page, study_report

CLAIMS = Path("docs/claims.md")
STORED = Path("docs/claims")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `ablate` command."""
    parser.add_argument("--study", nargs="+", default=[], metavar="NAME", help="of config/studies; `all` for every one")
    parser.add_argument("--out", type=Path, default=Path("ablation_out"), help="folder of runs and reports")
    parser.add_argument("--cache", type=Path, default=None, help="folder of rendered worlds (default: in --out)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recordings")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default: 1)")
    parser.add_argument("--steps", type=int, default=None, help="a trial: so many steps instead of the study's")
    parser.add_argument("--seeds", type=int, default=None, help="a trial: at most so many seeds a variant")
    parser.add_argument(
        "--write-claims",
        nargs="*",
        type=Path,
        default=None,
        metavar="FOLDER",
        help=f"take over results from these --out folders into {STORED}, and write {CLAIMS} from all that is there",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run studies, or what is left of them, and write their reports; write the page of claims; return 0.

    Raises:
        ValueError: a study, a number, or a run is wrong.
        FileNotFoundError: there is no such study.
        OSError: a file cannot be read or written.
    """
    for name in ("jobs", "steps", "seeds"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}, it must be at least 1")
    if not arguments.study and arguments.write_claims is None:
        raise ValueError(f"give --study (there are: {', '.join(study_names())}) or --write-claims")
    console = Console()
    places = Places(arguments.out.resolve(), arguments.cache or arguments.out / "cache", arguments.data)
    for name in study_names() if arguments.study == ["all"] else arguments.study:
        run_study(name, places, arguments.jobs, arguments.steps, arguments.seeds, console)
    if arguments.write_claims is not None:
        write_claims(arguments.write_claims)
        console.print(f"wrote {CLAIMS}")
    return 0


def run_study(
    name: str, places: Places, jobs: int, steps: int | None, seeds: int | None, console: Console
) -> StudyResults:
    """Make the runs of a study that are left, write `<out>/<study>.md` and `.json`, and show the former.

    Those of a trial (with `steps` or `seeds`) are `<study>.trial.md` and `.json`.

    Raises:
        ValueError, OSError: as `run`.
    """
    study = Study.load(name)
    runs = plan(study, places, steps=steps, seeds=seeds)
    console.print(f"study {name}: {len({each.digest for each in runs})} runs", highlight=False)
    found = perform_all(runs, places, jobs=jobs, console=console)
    results = StudyResults.of(study, found, steps, seeds)
    stem = Path(name).stem
    report = study_report(stem, study, results)
    file = stem if steps is None and seeds is None else f"{stem}.trial"
    results.write(places.out / f"{file}.json")
    write_whole(places.out / f"{file}.md", report)
    console.print(Markdown(report))
    return results


def write_claims(folders: list[Path], stored: Path = STORED, page: Path = CLAIMS) -> None:
    """Copy the results of studies from `folders`, and write the page of claims from all stored ones.

    Raises:
        ValueError: a folder holds no results, or they are of a trial or of a study as it was defined before.
        OSError: a file cannot be read or written.
    """
    studies = {name: Study.load(name) for name in study_names()}
    stored.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        there = [name for name in studies if (folder / f"{name}.json").is_file()]
        if not there:
            raise ValueError(f"{folder} holds no results of a study")
        for name in there:
            path = folder / f"{name}.json"
            results = StudyResults.read(path)
            if not results.fits(studies[name]):
                raise ValueError(f"{path} is of a trial, or of the study '{name}' as it was before")
            results.write(stored / path.name)
    write_whole(page, claims_page(studies, read_stored(studies, stored)))


def read_stored(studies: dict[str, Study], stored: Path = STORED) -> dict[str, StudyResults]:
    """Return the stored results of studies.

    Raises:
        ValueError: results are of a study as it was defined before.
    """
    results = {}
    for name, study in studies.items():
        path = stored / f"{name}.json"
        if path.is_file():
            results[name] = StudyResults.read(path)
            if not results[name].fits(study):
                raise ValueError(f"{path} is of the study '{name}' as it was before: run it again")
    return results
