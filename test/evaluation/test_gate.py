# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The gate: worse in the metric's own direction, by more than is tolerated, or missing."""

import copy
import io

import pytest
from rich.console import Console

from mtl_perception.evaluation.gate import Tolerance, print_regressions, read_baseline, regressions
from mtl_perception.evaluation.run import RunResult, write_run

BASELINE = {
    "bags": ["a", "b"],
    "failed": {},
    "metrics": {"depth": {"error": 0.1, "within": 0.8, "count": 100.0}, "detections": {"map": 0.5}},
}


def found(change, scores, *tolerances):
    metrics = copy.deepcopy(BASELINE)
    change(metrics)
    return {entry.what: entry for entry in regressions(metrics, BASELINE, scores, Tolerance.parse(tolerances))}


def setting(task, metric, value):
    return lambda metrics: metrics["metrics"][task].__setitem__(metric, value)


def test_the_same_is_no_regression(small_scores):
    assert found(lambda metrics: None, small_scores) == {}
    assert found(lambda metrics: None, small_scores, "0%") == {}


@pytest.mark.parametrize(
    ("task", "metric", "value", "worse"),
    [
        ("depth", "error", 0.1009, False),
        ("depth", "error", 0.1011, True),
        ("depth", "error", 0.05, False),
        ("depth", "within", 0.793, False),
        ("depth", "within", 0.791, True),
        ("depth", "within", 0.9, False),
        ("depth", "count", 1.0, False),
        ("detections", "map", 0.49, True),
    ],
)
def test_one_percent_in_the_metrics_own_direction(small_scores, task, metric, value, worse):
    assert (f"{task}.{metric}" in found(setting(task, metric, value), small_scores)) is worse


def test_what_is_said_of_a_metric_counts_before_its_task_and_that_before_all(small_scores):
    worse = setting("depth", "error", 0.104)
    assert found(worse, small_scores, "5%") == {}
    assert "depth.error" in found(worse, small_scores, "5%", "depth=3%")
    assert found(worse, small_scores, "5%", "depth=3%", "depth.error=0.005") == {}
    assert "depth.error" in found(worse, small_scores, "depth=50%", "depth.error=0.003")
    assert found(worse, small_scores, "depth.error=4.1%") == {}
    assert "depth.error" in found(worse, small_scores, "depth.error=3.9%")


def test_what_is_missing_is_a_regression_with_its_reason(small_scores):
    def change(metrics):
        metrics["bags"].remove("b")
        metrics["failed"] = {"b": "damaged"}
        metrics["left_out"] = {"detections": {"a": "no boxes", "b": "no boxes"}}
        del metrics["metrics"]["detections"], metrics["metrics"]["depth"]["within"]

    missing = found(change, small_scores)
    assert list(missing) == ["bag b", "depth.within", "detections"]
    assert missing["bag b"].why == "damaged" and missing["detections"].why == "no boxes"


def test_what_is_new_is_no_regression(small_scores):
    assert found(lambda metrics: metrics["metrics"].update(map={"f1": 0.1}), small_scores) == {}


@pytest.mark.parametrize("text", ["2", "depth=2", "x%", "-1%", "depth.error", "depth.error=nan", "=2%", "a.b.c=1", ""])
def test_a_tolerance_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="tolerance"):
        Tolerance.parse([text])


@pytest.mark.parametrize("text", ["dept=2%", "depth.eror=0.1"])
def test_a_tolerance_for_nothing_is_refused(small_scores, text):
    with pytest.raises(ValueError, match="the baseline has no such"):
        found(lambda metrics: None, small_scores, text)


def test_the_table_names_what_got_worse_and_by_how_much(small_scores):
    def change(metrics):
        metrics["metrics"]["depth"]["error"] = 0.125
        del metrics["metrics"]["detections"]

    text = io.StringIO()
    print_regressions(Console(file=text, width=160), list(found(change, small_scores).values()))
    assert "depth.error ↓" in text.getvalue() and "+25.0 %" in text.getvalue()
    assert "was not scored" in text.getvalue()
    text = io.StringIO()
    print_regressions(Console(file=text), [])
    assert "not worse" in text.getvalue()


def test_a_written_run_is_a_baseline_for_itself_and_a_worse_one_is_found(tmp_path, small_scores, small_bag):
    run = RunResult((small_bag("a", 1.0),), {}, {}, small_scores)
    write_run(run, tmp_path)
    baseline = read_baseline(tmp_path / "metrics.json")
    assert regressions(run.metrics(), baseline, small_scores, Tolerance.parse(["0%"])) == []
    worse = RunResult((small_bag("a", 1.1),), {}, {}, small_scores).metrics()
    assert "depth.error" in [entry.what for entry in regressions(worse, baseline, small_scores, Tolerance())]
