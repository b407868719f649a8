# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's process takes of the machine."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Mapping
from pathlib import Path

from mtl_perception.ros.diagnostics import Level, Status

_MIB = 2**20


def resident_mib() -> float:
    """Return the memory of this process that is in use, MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def process_status(device: str, device_values: Mapping[str, object]) -> Status:
    """Return what diagnostics say about the process.

    Args:
        device: where the node computes, e.g. cpu or cuda:0.
        device_values: what there is to know about it.
    """
    memory = resident_mib()
    values: dict[str, object] = {
        "memory MiB": memory,
        "memory MiB, most so far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": threading.active_count(),
        "device": device,
        **device_values,
    }
    return Status("process", Level.OK, f"{memory:.0f} MiB of memory, computes on {device}", values)
