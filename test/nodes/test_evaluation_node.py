# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions scored as they arrive over DDS: the same figures as without middleware, and what is missing is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import WorldSettings
from mtl_perception.evaluation.judged import judged
from mtl_perception.evaluation.running_scores import RunningScores
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.truth.bag import EvaluationBag
from mtl_perception.pipeline import Perceiver
from mtl_perception.running.settings import UpSettings
from mtl_perception.running.up import run_graph

FRAMES = 5
# Poses go through quaternions on their way, once more through TF: what is made of them differs in its last digits.
POSED = ("ego_motion", "detections", "scene_flow", "motion_mask")


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "street"
    settings = WorldSettings("street", seed=5, seconds=FRAMES / 5, rate_hz=5.0, cameras="stereo", image_size=(96, 64))
    write_world(settings, path, processes=1)
    return path


def offline(bag: Path, checkpoint: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of a bag without any middleware."""
    perceiver, frames = Perceiver.from_checkpoint(checkpoint), EvaluationBag(bag)
    scores = all_scores(perceiver.labels, ScoreOptions())
    running = RunningScores(scores)
    for index in range(len(frames)):
        sample = frames.sample(index)
        prediction = perceiver(sample.sample.frame)
        running.add(index, judged(prediction, sample.sample.frame, sample.sample.truth, sample.sparse_depth))
    statistics = running.statistics()
    metrics = {s.task: s.metrics(statistics[s.task].total()) for s in scores if s.task in statistics}
    return {t: {n: float(v) for n, v in of_task.items() if np.isfinite(v)} for t, of_task in metrics.items()}


def test_live_and_offline_agree_on_every_metric(bag, all_knowing, tmp_path):
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(f"/**:\n  ros__parameters:\n    checkpoint: {all_knowing}\n")
    outcome = run_graph(
        UpSettings(bag=bag, cameras=EvaluationBag(bag).rig.names, config=config, out=out, evaluate=True)
    )
    assert outcome.exit_code == 0
    live = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert (live["frames"], live["dropped"], live["bags"]) == (FRAMES, {}, ["street"])
    assert set(live["left_out"]) == {"map"} and "evaluate" in live["left_out"]["map"]
    assert live["checkpoint"]["preset"] == "everything" and len(live["checkpoint"]["tasks"]) == 16
    expected = offline(bag, all_knowing)
    assert len(expected) == 13 and live["metrics"].keys() == expected.keys()
    for task, metrics in expected.items():
        wanted = pytest.approx(metrics, rel=1e-6, abs=1e-9) if task in POSED else metrics
        assert live["metrics"][task] == wanted, task
    assert outcome.summary["topics"]["/evaluation/metrics"]["count"] >= 1
    assert outcome.summary["topics"]["/evaluation/progress"]["count"] == FRAMES
