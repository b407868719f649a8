# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as the file `bench.json` that programs read."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import mtl_perception

LIBRARIES = ("numpy", "torch", "transformers", "open3d")


@dataclass(frozen=True)
class Result:
    """One comparison.

    Attributes:
        suite, name: what was measured.
        value: ours.
        unit: of both values.
        reference: what it is compared with.
        reference_value: of the same run.
    """

    suite: str
    name: str
    value: float
    unit: str
    reference: str
    reference_value: float

    @property
    def ratio(self) -> float:
        """Ours over the reference's."""
        return self.value / self.reference_value


def write_results(path: Path, results: Iterable[Result], threads: int) -> None:
    """Write `bench.json`; it appears whole or not at all.

    Raises:
        OSError: it cannot be written.
        ValueError: a value is not finite, or a reference is 0.
    """
    try:
        rows = [{**asdict(result), "ratio": result.ratio} for result in results]
    except ZeroDivisionError as error:
        raise ValueError("a reference value is 0: there is nothing to compare with") from error
    content = {"machine": machine(threads), "versions": versions(), "results": rows}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def machine(threads: int) -> dict[str, Any]:
    """Return what this machine is, and how many threads the benchmark was given."""
    return {
        "processor": _processor(),
        "logical_cores": os.cpu_count(),
        "threads": threads,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the suite, of Python, and of the libraries that do the work, where they are installed."""
    found = {"mtl_perception": mtl_perception.__version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
