# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results of bags together: sums, what is missing is told, the same bytes each time, and a folder to read again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.evaluation.run import RunResult, load_run, read_metrics, write_run


def test_metrics_over_bags_come_from_sums_not_from_means_of_means(small_scores, small_bag):
    bags = (small_bag("long", 2.0, frames=30), small_bag("short", 1.0, frames=10))
    metrics = RunResult(bags, {}, {}, small_scores).metrics()
    assert metrics["bags"] == ["long", "short"] and metrics["frames"] == 40
    errors = [np.asarray(bag.statistics["depth"].sums["sum"]) for bag in bags]
    assert metrics["metrics"]["depth"]["error"] == pytest.approx((errors[0].sum() + errors[1].sum()) / 800)
    assert metrics["per_bag"]["short"]["depth"]["error"] == pytest.approx(errors[1].sum() / 200)
    assert "undefined" not in metrics["metrics"]["depth"], "what the data does not define is left out"
    assert metrics["per_class"]["depth"]["car"]["error"] > 0
    assert metrics["dropped"] == {"no image": 4}
    assert metrics["truth"]["depth"] == ["/ground_truth/depth"]
    assert metrics["checkpoint"] == {"name": "nano.safetensors", "preset": "nano", "tasks": ["depth", "detections"]}


def test_twelve_copies_of_a_bag_give_what_one_gives(small_scores, small_bag):
    one = RunResult((small_bag("a"),), {}, {}, small_scores).metrics()
    many = RunResult(tuple(small_bag(f"copy{i}") for i in range(12)), {}, {}, small_scores).metrics()
    assert "per_bag" not in one and len(many["per_bag"]) == 12
    for metric in ("error", "within"):
        assert many["metrics"]["depth"][metric] == one["metrics"]["depth"][metric]
    assert all(values["depth"] == one["metrics"]["depth"] for values in many["per_bag"].values())


def test_the_order_of_the_bags_changes_no_byte(tmp_path, small_scores, small_bag):
    bags = [small_bag("a", seed=1), small_bag("b", seed=2), small_bag("c", seed=3)]
    for name, order in (("one", bags), ("two", bags[::-1])):
        slower = tuple(replace(bag, runtime={"seconds": 9.0}) for bag in order)
        failed = dict(list({"y": "empty", "z": "damaged"}.items())[:: 1 if name == "one" else -1])
        write_run(RunResult(slower, failed, {"a": 1}, small_scores, {"max_depth": 80.0}), tmp_path / name)
    first, second = ((tmp_path / name / "metrics.json").read_bytes() for name in ("one", "two"))
    assert first == second
    assert first.endswith(b"}\n") and b"seconds" not in first
    content = json.loads(first)
    assert content["failed"] == {"y": "empty", "z": "damaged"} and content["settings"] == {"max_depth": 80.0}


def test_what_is_left_out_is_told_once_or_a_bag(small_scores, small_bag):
    def left_out(*reasons):
        bags = tuple(small_bag(f"bag{i}", left_out=r, detections=not r) for i, r in enumerate(reasons))
        return RunResult(bags, {}, {}, small_scores).metrics()["left_out"]

    no_boxes = {"detections": "no boxes"}
    assert left_out(no_boxes) == no_boxes
    assert left_out(no_boxes, no_boxes) == no_boxes
    assert left_out(no_boxes, {}) == {"detections": {"bag0": "no boxes"}}


def test_a_run_is_read_as_it_was_written(tmp_path, small_scores, small_bag, small_picture):
    bag = small_bag("a", pictures=(small_picture("depth", "worst", 2.0),))
    run = RunResult((bag, small_bag("b", 3.0)), {"c": "no such file"}, {"b": 2}, small_scores, {"max_depth": 5.0})
    write_run(run, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bags",
        "metrics.json",
        "report.html",
        "report.md",
        "runtime.json",
    ]
    again = load_run(tmp_path, small_scores)
    assert again.metrics() == run.metrics() and again.runtime() == run.runtime()
    assert again.bags[0].pictures == bag.pictures
    assert load_run(tmp_path, lambda settings: small_scores if settings["max_depth"] == 5.0 else ()).scores


def test_bags_of_an_earlier_run_do_not_stay(tmp_path, small_scores, small_bag):
    write_run(RunResult((small_bag("old"),), {}, {}, small_scores), tmp_path)
    write_run(RunResult((small_bag("new"),), {}, {}, small_scores), tmp_path)
    assert [p.name for p in (tmp_path / "bags").iterdir()] == ["new"]


def test_a_run_in_which_all_bags_failed_is_reported(tmp_path, small_scores):
    write_run(RunResult((), {"a": "damaged"}, {"a": 2}, small_scores), tmp_path)
    metrics = read_metrics(tmp_path / "metrics.json")
    assert metrics["failed"] == {"a": "damaged"} and metrics["metrics"] == {}
    assert "damaged" in (tmp_path / "report.html").read_text()


def test_bags_that_do_not_belong_together_are_refused(small_scores, small_bag):
    with pytest.raises(ValueError, match="'a' is given more than once"):
        RunResult((small_bag("a"), small_bag("a")), {}, {}, small_scores)
    with pytest.raises(ValueError, match="'a' is given more than once"):
        RunResult((small_bag("a"),), {"a": "failed"}, {}, small_scores)
    with pytest.raises(ValueError, match="different networks"):
        RunResult((small_bag("a"), replace(small_bag("b"), network={"preset": "tiny"})), {}, {}, small_scores)
    with pytest.raises(ValueError, match="'detections'"):
        RunResult((small_bag("a"),), {}, {}, small_scores[:1])


def test_a_bag_cannot_be_written_outside_the_folder(tmp_path, small_scores, small_bag):
    with pytest.raises(ValueError, match="cannot be the name"):
        write_run(RunResult((small_bag("../a"),), {}, {}, small_scores), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no object"),
        ('{"bags": [], "failed": {}, "settings": {}}', "'metrics' is missing"),
        ('{"bags": [], "failed": {}, "settings": {}, "metrics": {"depth": 1}}', "'metrics.depth'"),
        ('{"bags": [], "failed": {}, "settings": {}, "metrics": {"depth": {"rmse": "x"}}}', "'metrics.depth.rmse'"),
    ],
)
def test_a_damaged_metrics_file_is_named_with_the_key(tmp_path, text, message):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        read_metrics(path)
    assert str(path) in str(raised.value)
