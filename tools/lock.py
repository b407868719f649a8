# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Write requirements.lock: the exact version of every package, for each supported Python.

    python tools/lock.py python3.10 python3.11 python3.12 python3.13

Every interpreter named must be able to run pip. Versions that differ between them get an environment marker.
With PIP_CONSTRAINT=requirements.lock what is locked keeps its version, and only what is new is resolved.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("requirements.in", "requirements-ros.in")
# The libraries of torch's CUDA build. They are not locked: pip adds those that the installed build of torch wants.
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")

Versions = dict[str, str]


def main(interpreters: list[str]) -> None:
    """Resolve with each interpreter and write the merged lock."""
    if not interpreters:
        sys.exit("usage: lock.py PYTHON...   e.g. lock.py python3.10 python3.11 python3.12 python3.13")
    resolved: dict[str, Versions] = {}
    for interpreter in interpreters:
        python_version, versions = resolve(interpreter)
        print(f"Python {python_version}: {len(versions)} packages")
        resolved[python_version] = versions
    write_atomically(ROOT / "requirements.lock", render(resolved))


def resolve(interpreter: str) -> tuple[str, Versions]:
    """Return the interpreter's `major.minor` and the version of every package that pip would install."""
    command = [interpreter, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    for source in SOURCES:
        command += ["-r", str(ROOT / source)]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    versions: Versions = {}
    for item in report["install"]:
        name = item["metadata"]["name"].lower().replace("_", "-")
        if not name.startswith(CUDA_PREFIXES):
            # A local label (+cpu) says where a build came from; the lock holds for every build of that version.
            versions[name] = item["metadata"]["version"].split("+")[0]
    return ".".join(report["environment"]["python_full_version"].split(".")[:2]), versions


def render(resolved: dict[str, Versions]) -> str:
    """Return the text of the lock; a marker names the Pythons of every version that is not common to all."""
    lines = [f"# Written by tools/lock.py from {' and '.join(SOURCES)} for Python {', '.join(resolved)}."]
    for name in sorted({name for versions in resolved.values() for name in versions}):
        pythons_of_version: dict[str, list[str]] = defaultdict(list)
        for python_version, versions in resolved.items():
            if name in versions:
                pythons_of_version[versions[name]].append(python_version)
        for version, pythons in pythons_of_version.items():
            marker = " or ".join(f'python_version == "{python}"' for python in pythons)
            lines.append(f"{name}=={version}" + ("" if len(pythons) == len(resolved) else f" ; {marker}"))
    return "\n".join(lines) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` in one step."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


if __name__ == "__main__":
    main(sys.argv[1:])
