# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs: better, worse or undecided, paired where the frames are the same; and the bootstrap beneath."""

import argparse
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from mtl_perception.evaluation import compare_command
from mtl_perception.evaluation.bootstrap import intervals, resampled, rows_of_bags, sampled_metrics
from mtl_perception.evaluation.comparison import compare_runs
from mtl_perception.evaluation.run import RunResult, write_run
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics


def run_of(scores, *bags):
    return RunResult(bags, {}, {}, scores)


def compared(first, second):
    comparison = compare_runs(first, second, ("a", "b"))
    return {(entry.task, entry.metric): entry for entry in comparison.metrics}


def test_a_run_does_not_differ_from_itself(small_scores, small_bag):
    run = run_of(small_scores, small_bag("a"), small_bag("b", seed=1))
    for entry in compared(run, run).values():
        assert entry.paired and entry.difference == 0 and entry.interval == (0.0, 0.0)
        assert entry.verdict == ("same" if entry.better else "")


def test_a_clear_difference_is_decided_in_the_metrics_own_direction(small_scores, small_bag):
    good, bad = run_of(small_scores, small_bag("a", 1.0)), run_of(small_scores, small_bag("a", 1.5))
    forth, back = compared(good, bad), compared(bad, good)
    for metric in (("depth", "error"), ("depth", "within")):
        assert forth[metric].verdict == "worse" and back[metric].verdict == "better"
    error = forth["depth", "error"]
    assert error.difference == pytest.approx(0.5, abs=0.01)
    assert error.interval[0] < error.difference < error.interval[1]
    assert forth["depth", "count"].verdict == "", "what only informs is not judged"


def test_the_same_frames_make_small_differences_visible(small_scores, small_bag):
    first = small_bag("a", 1.0)
    column = first.statistics["depth"].sums["sum"]
    better = TaskStatistics(
        first.statistics["depth"].frames, {**first.statistics["depth"].sums, "sum": 0.99 * column}, {}, np.zeros(0, int)
    )
    second = replace(first, statistics={**first.statistics, "depth": better})
    paired = compared(run_of(small_scores, first), run_of(small_scores, second))["depth", "error"]
    assert paired.paired and paired.verdict == "better"
    later = replace(second, stamps_ns=second.stamps_ns + 5)
    apart = compared(run_of(small_scores, first), run_of(small_scores, later))["depth", "error"]
    assert not apart.paired and apart.verdict == "undecided"
    assert np.ptp(apart.interval) > 5 * np.ptp(paired.interval)


def test_too_few_frames_decide_nothing(small_scores, small_bag):
    first = run_of(small_scores, small_bag("a", 1.0, frames=4))
    second = run_of(small_scores, small_bag("a", 3.0, frames=4))
    error = compared(first, second)["depth", "error"]
    assert error.interval is None and error.verdict == "undecided"


def test_what_only_one_run_has_is_told(small_scores, small_bag):
    both = run_of(small_scores, small_bag("a"))
    one = run_of(small_scores, small_bag("a", detections=False))
    comparison = compare_runs(both, one, ("a", "b"))
    assert comparison.only == (("detections",), ())
    assert {entry.task for entry in comparison.metrics} == {"depth"}
    assert "Scored in a only: detections" in comparison.to_markdown()


def test_runs_with_other_options_cannot_be_compared(small_scores, small_bag):
    other = tuple(type(score)(score.labels, ScoreOptions(max_depth=10.0)) for score in small_scores)
    with pytest.raises(ValueError, match=r"max_depth=80.0.*max_depth=10.0"):
        compare_runs(run_of(small_scores, small_bag("a")), run_of(other, small_bag("a")), ("a", "b"))


def test_the_same_seed_gives_the_same_intervals(small_scores, small_bag):
    runs = [run_of(small_scores, small_bag("a", seed=seed)) for seed in (1, 2)]
    first, second, other = (compare_runs(*runs, ("a", "b"), seed) for seed in (0, 0, 1))
    assert first == second and first != other


def test_intervals_cover_the_truth_about_as_often_as_they_say(small_scores):
    """Independent frames with errors of mean 1: some 95 % of the intervals contain it."""
    score, rng, hits = small_scores[0], np.random.default_rng(3), 0
    for _ in range(60):
        errors = rng.exponential(1.0, (60, 5))
        statistics = TaskStatistics.of([(i, score.row(row)) for i, row in enumerate(errors)])
        low, high = intervals(statistics, rows_of_bags([statistics]), score)["error"]
        hits += low <= 1.0 <= high
    assert 50 <= hits <= 60


def test_neighbours_that_are_alike_count_less_than_frames_that_are_not(small_scores):
    score = small_scores[0]
    values = np.repeat(np.random.default_rng(0).exponential(1.0, 27), 8)

    def width(order):
        statistics = TaskStatistics.of([(i, score.row([value])) for i, value in enumerate(values[order])])
        return np.ptp(intervals(statistics, rows_of_bags([statistics]), score)["error"])

    assert width(np.arange(216)) > 1.5 * width(np.random.default_rng(1).permutation(216))


def test_each_bag_keeps_its_share_and_blocks_are_neighbours():
    groups = [np.arange(27), 27 + np.arange(64)]
    for rows in resampled(groups, 20, np.random.default_rng(0)):
        assert (rows < 27).sum() == 27 and (rows >= 27).sum() == 64
        first = rows[:27].reshape(9, 3)
        assert ((np.diff(first, axis=1) % 27) == 1).all()


def test_many_samples_at_once_are_what_each_is_alone(small_scores, small_bag):
    bag = small_bag("a")
    for score in small_scores:
        statistics = bag.statistics[score.task]
        draws = resampled(rows_of_bags([statistics]), 70, np.random.default_rng(0))
        together = sampled_metrics(statistics, score, draws)
        for index in (0, 49, 50, 69):
            alone = score.metrics(statistics.sample(draws[index]))
            for name, value in alone.items():
                assert together[name][index] == pytest.approx(value, nan_ok=True)


def test_sums_that_are_arrays_are_sampled_too(small_scores):
    rows = [(i, FrameStatistics({"pair": np.array([[i, 2 * i]])})) for i in range(10)]
    statistics = TaskStatistics.of(rows)

    class Pair(type(small_scores[0])):
        def metrics(self, totals):
            return {"ratio": float(totals["pair"][0, 1] / totals["pair"][0, 0])}

    draws = resampled(rows_of_bags([statistics]), 60, np.random.default_rng(0))
    assert np.allclose(sampled_metrics(statistics, Pair(None, ScoreOptions()), draws)["ratio"], 2.0)


def test_the_command_prints_and_writes_a_comparison_of_two_folders(
    tmp_path, monkeypatch, capsys, small_scores, small_bag
):
    monkeypatch.setattr(compare_command, "all_scores", lambda labels, options: small_scores)
    write_run(run_of(small_scores, small_bag("a", 1.0)), tmp_path / "one")
    write_run(run_of(small_scores, small_bag("a", 1.5)), tmp_path / "two")
    parser = argparse.ArgumentParser()
    compare_command.add_arguments(parser)
    arguments = [str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "out")]
    assert compare_command.run(parser.parse_args(arguments)) == 0
    assert "worse" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert content["metrics"]["depth"]["error"]["verdict"] == "worse"
    assert "| depth | error ↓ |" in (tmp_path / "out" / "compare.md").read_text()


def test_the_table_has_a_line_a_metric(small_scores, small_bag):
    text = io.StringIO()
    runs = run_of(small_scores, small_bag("a", 1.0)), run_of(small_scores, small_bag("a", 1.5))
    compare_runs(*runs, ("one", "two")).show(Console(file=text, width=140))
    assert "A: one   B: two" in text.getvalue()
    assert "error ↓" in text.getvalue() and "map ↑" in text.getvalue()
