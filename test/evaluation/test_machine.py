# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Memory and energy, the latter from folders of files as the kernel has them."""

import subprocess
import sys
import time

import pytest
import torch

from mtl_perception.evaluation.machine import Machine


class Powercap:
    """Counters in files."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def zone(self, name, kind, microjoules, most=10_000_000):
        zone = self.folder / name
        zone.mkdir()
        (zone / "name").write_text(f"{kind}\n")
        (zone / "max_energy_range_uj").write_text(f"{most}\n")
        self.set(name, microjoules)

    def set(self, name, microjoules):
        new = self.folder / name / "new"
        new.write_text(f"{microjoules}\n")
        new.rename(self.folder / name / "energy_uj")  # at once: the kernel's files are never empty


@pytest.fixture
def powercap(tmp_path):
    return Powercap(tmp_path / "powercap")


def test_energy_is_that_of_packages_and_dram_counted_once(powercap):
    powercap.zone("intel-rapl:0", "package-0", 1_000_000)
    powercap.zone("intel-rapl:0:0", "core", 100_000)  # within the package
    powercap.zone("intel-rapl:0:1", "dram", 5_000_000)
    powercap.zone("intel-rapl:1", "package-1", 2_000_000)
    powercap.zone("intel-rapl:2", "psys", 9_000_000)  # all of it, once more
    powercap.zone("intel-rapl-mmio:0", "package-0", 1_000_000)  # the first package by another way
    with Machine(powercap.folder) as machine:
        for zone, value in {"0": 1_500_000, "0:0": 9e6, "0:1": 5_250_000, "1": 2_125_000, "2": 9.9e6}.items():
            powercap.set(f"intel-rapl:{zone}", int(value))
        powercap.set("intel-rapl-mmio:0", 1_500_000)
    assert machine.figures["cpu_energy_j"] == pytest.approx(0.5 + 0.25 + 0.125)
    assert "cpu_energy_j" not in machine.unknown


def test_a_counter_that_starts_anew_goes_on(powercap):
    powercap.zone("intel-rapl:0", "package-0", 9_000_000, most=10_000_000)
    with Machine(powercap.folder) as machine:
        powercap.set("intel-rapl:0", 500_000)
    assert machine.figures["cpu_energy_j"] == pytest.approx(1.5)


def test_counters_are_read_often_enough_to_see_each_of_their_rounds(powercap):
    powercap.zone("intel-rapl:0", "package-0", 0, most=1_000_000)
    with Machine(powercap.folder, read_every_s=0.01) as machine:
        for value in (600_000, 200_000, 800_000, 400_000):
            powercap.set("intel-rapl:0", value)
            time.sleep(0.2)
    assert machine.figures["cpu_energy_j"] == pytest.approx(2.4)


def test_a_machine_without_counters_says_so(tmp_path):
    with Machine(tmp_path / "none") as machine:
        pass
    assert "cpu_energy_j" not in machine.figures
    assert str(tmp_path / "none") in machine.unknown["cpu_energy_j"]


def test_counters_that_cannot_be_read_say_so(powercap):
    powercap.zone("intel-rapl:0", "package-0", 1)
    (powercap.folder / "intel-rapl:0" / "energy_uj").unlink()
    (powercap.folder / "intel-rapl:0" / "energy_uj").mkdir()  # which even root cannot read
    with Machine(powercap.folder) as machine:
        pass
    assert "energy_uj" in machine.unknown["cpu_energy_j"]
    assert "cpu_energy_j" not in machine.figures


PEAK = """
import numpy as np
from mtl_perception.evaluation.machine import Machine

with Machine() as before:
    pass
with Machine() as machine:
    block = np.ones(int(before.figures["peak_memory_bytes"]) + (128 << 20), np.uint8)
    del block
print(before.figures["peak_memory_bytes"], machine.figures["peak_memory_bytes"])
"""


def test_the_peak_is_that_of_this_process_and_stays_when_memory_is_freed():
    # In a process that has done nothing else: this one may have had far more before, and be giving it back.
    result = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, peak = map(float, result.stdout.split())
    assert before + (128 << 20) < peak < 3 * before + (256 << 20)


def test_a_system_without_status_says_so(tmp_path):
    with Machine(status=tmp_path / "status") as machine:
        pass
    assert "peak_memory_bytes" in machine.unknown


def test_figures_are_there_when_the_work_fails():
    with pytest.raises(RuntimeError, match="work"), Machine() as machine:
        raise RuntimeError("work")
    assert machine.figures["peak_memory_bytes"] > 0


def test_each_figure_is_known_or_explained():
    with Machine() as machine:
        pass
    names = {"peak_memory_bytes", "gpu_peak_memory_bytes", "cpu_energy_j", "gpu_energy_j"}
    assert machine.figures.keys() | machine.unknown.keys() == names
    assert not machine.figures.keys() & machine.unknown.keys()
    assert all(machine.unknown.values())
    assert ("gpu_peak_memory_bytes" in machine.figures) == torch.cuda.is_available()
