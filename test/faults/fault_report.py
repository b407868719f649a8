# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the fault suite writes: `faults.json` with all there is, `faults.md` without what changes from run to run."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from fault_system import HEALTHY_WITHIN_S, Case

HEAD = """# Faults

What happens to the nodes when something else fails. Written by the fault suite itself ([test/faults](../test/faults)),
which runs with the tests at small scale and in full by

    make faults && cp faults_out/faults.md docs/faults.md

`faults_out/faults.json` has the times, too. In every case: no node has ended or hung; each message that was sent went
into a frame or is counted with its reason in diagnostics; and all is well again, frames and diagnostics, at most
{within:g} s after the fault has ended. Numbers that differ from run to run are written as `#`.

"""


def write_report(folder: Path, cases: Sequence[Case]) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(cases, key=lambda case: (case.family, case.name))
    entries = [asdict(case) for case in ordered]
    (folder / "faults.json").write_text(json.dumps(entries, indent=2) + "\n")
    (folder / "faults.md").write_text(page(ordered))


def page(cases: Sequence[Case]) -> str:
    parts = [HEAD.format(within=HEALTHY_WITHIN_S), f"{len(cases)} faults.\n"]
    for family in dict.fromkeys(case.family for case in cases):
        parts.append(f"\n## {family.replace('_', ' ').capitalize()}\n")
        parts.append("\n| fault | what was done | what was expected | what happened |\n|---|---|---|---|\n")
        parts += [row(case) for case in cases if case.family == family]
    return "".join(parts)


def row(case: Case) -> str:
    happened = list(dict.fromkeys(steady(line) for line in case.happened))
    if not case.passed:
        happened.append("**not as expected**")
    cells = [case.name, case.done, case.expected, "<br>".join(happened)]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def steady(line: str) -> str:
    """Return a line of diagnostics without what is different each time: stamps, times, counts of frames."""
    line = re.sub(r"\d+\.\d+ s\b|\b\d+ (?=frames?\b|messages?\b|complete\b|partial\b|dropped\b)", number, line)
    line = re.sub(r"/tmp/\S*/", "/.../", re.sub(r"\d{7,}(?:\.\d+)?", "#", line))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


_LONGEST = 240


def number(match: re.Match) -> str:
    return re.sub(r"[\d.]+", "#", match[0])


def names_in(text: str) -> Iterable[str]:
    """Return the names of the faults that a page has."""
    rows = (line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| "))
    return [name for name in rows if name != "fault"]
