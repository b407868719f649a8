# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The drive suite as a command. No memory is ever asserted."""

import json

import pytest

from mtl_perception import cli
from mtl_perception.bench import drive


def test_the_command_measures_memory_over_a_drive(tmp_path, capsys):
    out = tmp_path / "bench.json"
    drive_m = ["--minutes", "1", "--speed", "3", "--size", "48x36"]
    assert cli.main(["bench", "--suite", "drive", *drive_m, "--out", str(out)]) == 0
    (result,) = json.loads(out.read_text())["results"]
    assert result["name"] == "memory_after_0.2_km" and result["reference"] == "when the window was full"
    assert result["value"] > 100 and result["reference_value"] > 100
    assert "memory_after_0.2_km" in capsys.readouterr().out


def test_a_drive_that_is_too_short_says_so():
    with pytest.raises(ValueError, match=r"not full after 0\.1 minutes at 3 m/s"):
        drive.run_suite((48, 36), 0.1, 3.0)


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", "fast"])
def test_speeds_are_above_nothing(value, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--suite", "drive", "--speed", value, "--out", str(tmp_path / "bench.json")])
    assert "--speed" in capsys.readouterr().err
