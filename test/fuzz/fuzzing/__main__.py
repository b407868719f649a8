# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m fuzzing`: all targets, or some; see --help."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fuzzing.harness import Report, replay, run
from fuzzing.targets import TARGETS


def main(arguments: list[str] | None = None) -> int:
    """Fuzz; return 1 if there was a finding."""
    options = _options(arguments)
    chosen = [target for target in TARGETS if not options.only or target.name in options.only]
    if options.replay is not None:
        [target] = chosen
        with tempfile.TemporaryDirectory() as folder:
            print(replay(target, options.replay, Path(folder)))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    reports, began = [], time.monotonic()
    _warm_up()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for number, target in enumerate(chosen, start=1):
            count = max(options.least, round(target.inputs * options.scale))
            prefix = f"[{number}/{len(chosen)}] {target.name}"
            report = run(target, count, Path(folder), _Progress(prefix, count))
            _keep_findings(report, options.out)
            reports.append(report)
            found = f", {len(report.findings)} FINDINGS" if report.findings else ""
            print(f"{prefix}: {report.inputs} inputs in {report.seconds:.1f} s{found}", flush=True)
    print(_table(reports, time.monotonic() - began))
    (options.out / "fuzz.json").write_text(json.dumps([asdict(report) for report in reports], indent=1) + "\n")
    return int(any(report.findings for report in reports))


def _warm_up() -> None:
    """Let hypothesis look for constants in the sources once, and not in every process."""

    @settings(database=None, max_examples=1)
    @given(st.integers())
    def nothing(_: int) -> None:
        pass

    nothing()


class _Progress:
    """Prints how far a target is, every ten seconds."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix, self._count, self._next = prefix, count, time.monotonic() + 10

    def __call__(self, inputs: int) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 10
            print(f"{self._prefix}: {inputs} of {self._count}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzzing", description="Feeds hostile inputs to everything that reads.")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of inputs (1: more than 100,000)")
    parser.add_argument("--least", type=int, default=20, help="inputs of a target, whatever the scale")
    parser.add_argument("--only", nargs="+", default=[], choices=[t.name for t in TARGETS], help="targets")
    parser.add_argument("--out", type=Path, default=Path("fuzz_out"), help="for fuzz.json and what failed")
    parser.add_argument("--replay", type=Path, help="read one saved input again (with --only NAME)")
    return parser.parse_args(arguments)


def _keep_findings(report: Report, out: Path) -> None:
    for finding in report.findings:
        if finding.file:
            kept = out / Path(finding.file).name
            kept.write_bytes(Path(finding.file).read_bytes())
            text = Path(finding.file).with_suffix(".txt")
            if text.is_file():
                kept.with_suffix(".txt").write_text(text.read_text())
            finding.file = str(kept)


def _table(reports: Sequence[Report], seconds: float) -> str:
    lines = [f"{'target':28}{'inputs':>8}{'read':>8}{'refused':>8}{'seconds':>9}{'slowest ms':>11}{'findings':>9}"]
    lines += [
        f"{r.name:28}{r.inputs:8}{r.read:8}{r.refused:8}{r.seconds:9.1f}{1000 * r.slowest_s:11.1f}{len(r.findings):9}"
        for r in reports
    ]
    totals = [sum(getattr(r, name) for r in reports) for name in ("inputs", "read", "refused")]
    found = sum(len(r.findings) for r in reports)
    lines.append(f"{'all':28}{totals[0]:8}{totals[1]:8}{totals[2]:8}{seconds:9.1f}{'':11}{found:9}")
    for report in reports:
        for finding in report.findings:
            lines.append(f"{report.name}: {finding.what}, {finding.times} times; {finding.file}")
            lines += [f"    {line}" for line in finding.trace.splitlines()[-6:]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
