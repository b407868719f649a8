# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""docs/complaints.md names tests that there are."""

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1]
ROWS = [line for line in (FOLDER / "docs" / "complaints.md").read_text().splitlines() if line.startswith("| ")][1:]


def test_no_complaint_is_left_out() -> None:
    assert len(ROWS) == 12


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_each_complaint_has_tests(row: str) -> None:
    named = re.findall(r"`(test/\S+\.py)::(\w+)`", row)
    assert len(named) >= 3
    for path, name in named:
        functions = {node.name for node in ast.parse((FOLDER / path).read_text()).body if hasattr(node, "name")}
        assert name in functions, f"{path} has no {name}"
