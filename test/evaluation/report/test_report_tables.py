# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tables in Markdown and on the console."""

import io

import pytest
from rich.console import Console

from mtl_perception.evaluation.report.console import print_metrics
from mtl_perception.evaluation.report.markdown import markdown_table, report_markdown
from mtl_perception.evaluation.report.tables import facts, metric_rows, number, reasons
from mtl_perception.evaluation.run import RunResult


@pytest.fixture(scope="module")
def run(small_scores, small_bag):
    bags = (small_bag("a"), small_bag("b", seed=1, left_out={"normals": "not | trained"}))
    return RunResult(bags, {"c": "damaged"}, {}, small_scores, {"map": {"voxel_size": 0.05}})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.12344, "0.1234"),
        (0.01234, "0.0123"),
        (12.3456, "12.35"),
        (1234.5, "1234"),
        (-0.5, "-0.5000"),
        (1.0, "1.000"),
        (0.00012345, "1.23e-04"),
        (1.5e6, "1.50e+06"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_numbers_have_four_digits_that_count(value, text):
    assert number(value) == text


def test_the_key_metric_comes_first_with_its_direction_and_interval(run):
    rows = metric_rows(run)["depth"]
    assert (rows[0].metric, rows[0].arrow, rows[0].is_key) == ("error", "↓", True)
    assert rows[0].interval[0] < rows[0].value < rows[0].interval[1]
    assert {row.metric: row.arrow for row in rows}["count"] == ""


def test_the_markdown_has_all_tables_with_equal_columns(run):
    text = report_markdown(run)
    for words in ("## Failed bags", "| c | damaged |", "## Per bag", "## Left out", "not \\| trained", "voxel size"):
        assert words in text
    width = 0
    for line in text.splitlines():
        if line.startswith("|"):
            columns = line.replace("\\|", "").count("|")
            assert width in (0, columns)
            width = columns
        else:
            width = 0


def test_cells_stay_on_their_line():
    assert markdown_table(("a", "b:"), [("x\ny", "1")]).splitlines() == ["| a | b |", "| --- | ---: |", "| x y | 1 |"]


def test_the_console_has_a_line_a_metric_and_what_was_left_out(run):
    text = io.StringIO()
    print_metrics(Console(file=text, width=120), run)
    assert "error ↓" in text.getvalue() and "map ↑" in text.getvalue()
    assert "normals (b) left out: not | trained" in text.getvalue()


def test_facts_are_flat_and_readable():
    content = {"stage_ms": {"read": 3.25, "net": None}, "frames": 12000, "on": True, "tasks": ["a", "b"]}
    assert facts(content) == [
        ("stage ms, read", "3.250"),
        ("stage ms, net", "–"),
        ("frames", "12 000"),
        ("on", "yes"),
        ("tasks", "a, b"),
    ]


def test_bags_with_the_same_reason_share_a_line():
    left_out = {
        "map": "no depth",
        "normals": {"a": "x", "b": "y", "c": "x"},
        "edges": {f"bag{i}": "z" for i in range(9)},
    }
    assert reasons(left_out) == [
        ("map", "", "no depth"),
        ("normals", "a, c", "x"),
        ("normals", "b", "y"),
        ("edges", "9 bags", "z"),
    ]
