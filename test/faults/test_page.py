# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""docs/faults.md has the faults that there are."""

from pathlib import Path

import pytest
from fault_report import names_in, page
from fault_system import Case

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parents[1] / "docs" / "faults.md"


def test_page_names_every_fault(request: pytest.FixtureRequest) -> None:
    plugin = next(each for each in request.config.pluginmanager.get_plugins() if hasattr(each, "CASES"))
    faults = {path.stem.removeprefix("test_") for path in FOLDER.glob("test_*_faults.py")}
    if faults - {case.family for case in plugin.CASES.values()}:
        pytest.skip("only where the whole folder is collected")
    assert sorted(names_in(PAGE.read_text())) == sorted(plugin.CASES), "make faults && cp faults_out/faults.md docs/"
    assert len(plugin.CASES) >= 60


def test_page_has_no_numbers_that_change() -> None:
    case = Case("a|b", "done", "expected", "some_faults", passed=True)
    case.saw("frame at 1763883171123456789 is 0.123 s late; 31 frames used, size 640x480")
    case.saw("frame at 1763883179999999999 is 0.999 s late; 77 frames used, size 640x480")
    text = page([case])
    assert "| a&#124;b | done | expected | frame at # is # s late; # frames used, size 640x480 |\n" in text
    assert list(names_in(text)) == ["a&#124;b"]
