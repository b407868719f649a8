# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a stretch of work needs of the machine: memory, and energy where the machine tells it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

_POWERCAP = Path("/sys/class/powercap")
_STATUS = Path("/proc/self/status")
_READ_EVERY_S = 60.0  # RAPL's counters overflow after some tens of minutes


class Machine:
    """Measures what the work inside its `with` needs.

    Attributes:
        figures: after the work, what is known of: `peak_memory_bytes` (largest resident memory of this process since it
            started), `gpu_peak_memory_bytes` (largest memory of tensors on the GPU), `cpu_energy_j` (RAPL's packages
            and DRAM), `gpu_energy_j` (the GPU that PyTorch uses). Energy is that of the whole machine, whoever used it.
        unknown: per figure that is not known, why.
    """

    def __init__(self, powercap: Path = _POWERCAP, status: Path = _STATUS, read_every_s: float = _READ_EVERY_S) -> None:
        """Read RAPL's counters below `powercap`, and the process's memory in `status`."""
        self._powercap, self._status, self._read_every_s = powercap, status, read_every_s
        self.figures: dict[str, float] = {}
        self.unknown: dict[str, str] = {}

    def __enter__(self) -> Machine:
        """Begin to measure."""
        self.figures, self.unknown = {}, {}
        self._counters = [_Counter(zone) for zone in _zones(self._powercap)]
        self._cpu_failure = "" if self._counters else f"no energy counters (RAPL) in {self._powercap}"
        self._gpu = _Gpu()
        self._over = threading.Event()
        self._read_cpu()
        self._reader = threading.Thread(target=self._keep_reading, name="machine", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End measuring, and fill in the figures."""
        self._over.set()
        self._reader.join()
        self._read_cpu()
        measures: Mapping[str, Callable[[], float]] = {
            "peak_memory_bytes": lambda: _peak_memory(self._status),
            "gpu_peak_memory_bytes": self._gpu.peak_memory,
            "cpu_energy_j": self._cpu_energy,
            "gpu_energy_j": self._gpu.energy,
        }
        for name, measure in measures.items():
            try:
                self.figures[name] = measure()
            except _UnknownError as reason:
                self.unknown[name] = str(reason)

    def _keep_reading(self) -> None:
        while not self._over.wait(self._read_every_s):
            self._read_cpu()

    def _read_cpu(self) -> None:
        try:
            for counter in self._counters:
                counter.read()
        except (OSError, ValueError) as error:
            self._cpu_failure = f"energy counters cannot be read: {error}"

    def _cpu_energy(self) -> float:
        if self._cpu_failure:
            raise _UnknownError(self._cpu_failure)
        return sum(counter.microjoules for counter in self._counters) / 1e6


class _UnknownError(Exception):
    """The machine does not tell; says why."""


class _Counter:
    """One of RAPL's counters; it starts anew at 0 after `max_energy_range_uj`."""

    def __init__(self, zone: Path) -> None:
        self._zone = zone
        self._last: int | None = None
        self.microjoules = 0

    def read(self) -> None:
        """Add what has been used since the last time. May be read by one thread at a time."""
        now = int((self._zone / "energy_uj").read_text())
        if self._last is not None:
            over = int((self._zone / "max_energy_range_uj").read_text()) if now < self._last else 0
            self.microjoules += now - self._last + over
        self._last = now


class _Gpu:
    """The GPU that PyTorch uses, as PyTorch and NVML know it."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._why = "" if torch.cuda.is_available() else "PyTorch has no GPU"
        if self._why:
            return
        torch.cuda.reset_peak_memory_stats()
        try:
            self._nvml = import_module("pynvml")
            self._nvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            self._start = self._millijoules()
        except ImportError:
            self._why = "the Python package nvidia-ml-py is not installed"
        except self._nvml.NVMLError as error:
            self._why = f"NVML: {error}"

    def peak_memory(self) -> float:
        if not torch.cuda.is_available():
            raise _UnknownError(self._why)
        return int(torch.cuda.max_memory_allocated())

    def energy(self) -> float:
        if self._why:
            raise _UnknownError(self._why)
        try:
            return (self._millijoules() - self._start) / 1e3
        except self._nvml.NVMLError as error:
            raise _UnknownError(f"NVML: {error}") from error

    def _millijoules(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


def _zones(powercap: Path) -> list[Path]:
    """Return the folders of the counters that do not contain each other: packages, and DRAM, which is in no package."""
    if not powercap.is_dir():
        return []
    zones = sorted(path for path in powercap.iterdir() if re.fullmatch(r"intel-rapl(:\d+){1,2}", path.name))
    return [zone for zone in zones if _name(zone).startswith("package") or _name(zone) == "dram"]


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _peak_memory(status: Path) -> int:
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError as error:
        raise _UnknownError(str(error)) from error
    raise _UnknownError(f"{status} does not tell the peak memory (VmHWM)")
