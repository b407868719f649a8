# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Single-task networks are trained as the multi-task one is, once each, and compared task by task."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl_perception.network import load_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training.balancing import make_balancer
from mtl_perception.training.objective.settings import SUPERVISED
from mtl_perception.training.validation import single_task_command
from mtl_perception.training.validation.single_task import (
    MULTI,
    SingleTaskConfig,
    SingleTaskRun,
    compared,
    comparison_text,
    planned,
)

NETWORK = {
    "preset": "tiny",
    "tasks": ["depth", "semantic", "occupancy"],
    "num_labels": 16,
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "volume": {"lift_width": 4, "plane_width": 8},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
}


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """Return a comparison of two tasks with two seeds, each run of one step on one rendered interior."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(NETWORK))
    training = {
        "network": str(tmp_path / "tiny.yaml"),
        "labels": "default",
        "licence": "test",
        "sources": [{"kind": "indoor", "frames_per_step": 1, "worlds": 1, "cameras": "mono", "image_size": [48, 32]}],
        "stages": [{"until": 1.0, "width": 64, "height": 64}],
        "steps": 99,
        "kernel_learning_rate": 0.03,
        "learning_rate": 0.01,
        "warmup_steps": 1,
        "average_decay": 0.5,
        "tensorboard": False,
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    comparison = {
        "training": str(tmp_path / "training.yaml"),
        "changes": {"steps": 1},
        "seeds": [3, 4],
        "tasks": {"depth": ["depth"], "occupancy": ["depth", "occupancy"]},
    }
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump(comparison))
    return path


def test_all_networks_have_the_same_recipe_but_for_their_tasks(config_path: Path, tmp_path: Path) -> None:
    runs = planned(SingleTaskConfig.load(config_path), tmp_path / "out")
    assert [(run.name, run.seed) for run in runs] == [
        (name, seed) for name in (MULTI, "depth", "occupancy") for seed in (3, 4)
    ]
    assert [run.config.tasks for run in runs[::2]] == [("depth", "occupancy"), ("depth",), ("depth", "occupancy")]
    assert [run.compared for run in runs[::2]] == [("depth", "occupancy"), ("depth",), ("occupancy",)]
    recipes = {run.config.model_dump_json(exclude={"tasks", "seed"}) for run in runs}
    assert len(recipes) == 1
    assert all(run.config.steps == 1 for run in runs)
    assert len({run.folder for run in runs}) == 6


def test_a_run_is_made_once_and_its_checkpoint_is_of_its_tasks(config_path: Path, tmp_path: Path) -> None:
    config = SingleTaskConfig.load(config_path)
    asked: list[tuple[str, ...]] = []

    def measure(checkpoint: Path, tasks: tuple[str, ...]) -> dict[str, Any]:
        asked.append(tasks)
        assert load_checkpoint(checkpoint).trained_tasks == ("depth", "occupancy")
        return {"figures": {"indoor": {}}}

    run = planned(config, tmp_path / "out")[4]
    assert run.report() is None
    first = run.perform(tmp_path, tmp_path / "worlds", measure)
    assert run.perform(tmp_path, tmp_path / "worlds", measure) == first == run.report()
    assert asked == [("occupancy",)]
    other = planned(config.model_copy(update={"changes": {"steps": 2}}), tmp_path / "out")[4]
    with pytest.raises(ValueError, match="another configuration"):
        other.perform(tmp_path, tmp_path / "worlds", measure)


def finished(name: str, seed: int, **values: float) -> tuple[SingleTaskRun, dict[str, Any]]:
    better = {"abs_rel": ("depth", "lower"), "iou": ("occupancy", "higher")}
    figures: dict[str, Any] = {}
    for metric, value in values.items():
        task, direction = better[metric]
        figures[task] = {"metrics": {metric: {"value": value, "better": direction}}}
    run = SingleTaskRun(name, seed, None, (), Path())  # type: ignore[arg-type]
    return run, {"figures": {"street": figures}}


def test_gains_are_positive_where_the_multi_task_network_is_better() -> None:
    rows = compared(
        [
            finished(MULTI, 0, abs_rel=0.1, iou=0.5),
            finished(MULTI, 1, abs_rel=0.2, iou=0.5),
            finished("depth", 0, abs_rel=0.25),
            finished("occupancy", 0, iou=0.6),
        ]
    )
    found = {row.task: (row.multi, row.single, row.gain) for row in rows}
    assert found == {"depth": pytest.approx((0.15, 0.25, 0.1)), "occupancy": pytest.approx((0.5, 0.6, -0.1))}


def test_without_the_multi_task_network_nothing_is_compared() -> None:
    assert compared([finished("depth", 0, abs_rel=0.25)]) == []


def test_the_command_lists_runs_and_knows_their_names(
    config_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    single_task_command.add_arguments(parser)
    words = ["--config", str(config_path), "--out", str(tmp_path / "out")]
    assert single_task_command.run(parser.parse_args([*words, "--list"])) == 0
    assert capsys.readouterr().out.count("not begun") == 6
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="'steering'"):
        single_task_command.run(parser.parse_args([*words, "--only", "steering"]))


def test_the_shipped_comparison_covers_every_task_that_the_trainer_trains(tmp_path: Path) -> None:
    config = SingleTaskConfig.load(config_file("training", "single_task"))
    assert set(config.tasks) == set(SUPERVISED)
    assert all(task in tasks for task, tasks in config.tasks.items())
    for run in planned(config, tmp_path):
        balancer = make_balancer(run.config.balancing, run.config.network_config().tasks)
        assert set(balancer.tasks) == set(run.config.tasks or ())
        assert (run.config.objective.semantic_overlap > 0) == ("semantic" in balancer.tasks)
        shared = planned(config, tmp_path)[0].config.balancing.weights
        assert balancer.factors == {task: shared.get(task, 1.0) for task in balancer.factors}


def test_the_comparison_is_written_with_its_intervals(tmp_path: Path) -> None:
    config = SingleTaskConfig.load(config_file("training", "single_task"))
    multi, depth = finished(MULTI, 0, abs_rel=0.1), finished("depth", 0, abs_rel=0.25)
    multi[1]["figures"]["street"]["depth"]["metrics"]["abs_rel"]["interval"] = [0.09, 0.12]
    text = comparison_text(planned(config, tmp_path), compared([multi, depth]))
    assert "| street | depth | abs_rel | 0.100 [0.090, 0.120] | 0.250 | +0.150 |" in text
    assert "better in 1 of 1 rows" in text and "(600)" in text


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(json.dumps({"training": "nano", "tasks": {"depth": ["depth"]}, "speed": 1}))
    with pytest.raises(ValueError, match=r"wrong\.yaml.*speed"):
        SingleTaskConfig.load(path)
