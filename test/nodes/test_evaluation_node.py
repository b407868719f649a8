# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions scored as they arrive over DDS: the same figures as without middleware, and what is missing is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from std_srvs.srv import Trigger

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.sample_messages import sample_messages
from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import WorldSettings
from mtl_perception.evaluation.judged import judged
from mtl_perception.evaluation.running_scores import RunningScores
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.truth.bag import EvaluationBag
from mtl_perception.messages.evaluation import from_evaluation_metrics
from mtl_perception.nodes.evaluation_node import EvaluationNode
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.pipeline import Perceiver
from mtl_perception.running.settings import UpSettings
from mtl_perception.running.up import cabin_of, cameras_of, run_graph
from mtl_perception_msgs.msg import EvaluationMetrics

FRAMES = 4
SENT = ("/ground_truth/front/depth", "/ground_truth/left/depth", "/ground_truth/steering")
# A motion travels as a twist, a heading as a quaternion: they differ in their last digits.
ROUNDED = ("ego_motion", "detections")


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "street"
    settings = WorldSettings(
        "street", seed=5, seconds=FRAMES / 5, rate_hz=5.0, cameras="surround4", image_size=(96, 64), cabin=True
    )
    write_world(settings, path, processes=1)
    return path


def offline(bag: Path, checkpoint: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of a bag without any middleware."""
    perceiver, frames = Perceiver.from_checkpoint(checkpoint), EvaluationBag(bag)
    scores = all_scores(perceiver.labels, ScoreOptions())
    running = RunningScores(scores)
    for index in range(len(frames)):
        sample = frames.sample(index)
        prediction = perceiver(sample.sample.frame, cabin=sample.sample.cabin)
        running.add(index, judged(prediction, sample.sample.frame, sample.sample.truth, sample.sparse_depth))
    statistics = running.statistics()
    metrics = {s.task: s.metrics(statistics[s.task].total()) for s in scores if s.task in statistics}
    return {t: {n: float(v) for n, v in of_task.items() if np.isfinite(v)} for t, of_task in metrics.items()}


def test_live_and_offline_agree_on_every_metric(bag, all_knowing, tmp_path):
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(f"/**:\n  ros__parameters:\n    checkpoint: {all_knowing}\n")
    cameras, (cabin_cameras, cabin_joints) = cameras_of(bag, None, as_evaluated=True), cabin_of(bag)
    assert (cabin_cameras, cabin_joints) == (("driver", "face"), True)
    outcome = run_graph(
        UpSettings(
            bag=bag,
            cameras=cameras,
            cabin_cameras=cabin_cameras,
            cabin_joints=cabin_joints,
            config=config,
            out=out,
            evaluate=True,
        )
    )
    assert outcome.exit_code == 0
    live = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert (live["frames"], live["dropped"], live["bags"]) == (FRAMES, {}, ["street"])
    assert set(live["left_out"]) == {"map", "scene_graph"} and "evaluate" in live["left_out"]["map"]
    assert live["checkpoint"]["preset"] == "everything" and len(live["checkpoint"]["tasks"]) == 16
    expected = offline(bag, all_knowing)
    assert len(expected) == 13 and live["metrics"].keys() == expected.keys()
    assert set(live["per_class"]["driving_context"]) == set(SCENE_CLASSES)  # those of the driver, too
    for task, metrics in expected.items():
        wanted = pytest.approx(metrics, rel=1e-6, abs=1e-9) if task in ROUNDED else metrics
        assert live["metrics"][task] == wanted, task
    assert outcome.summary["topics"]["/evaluation/metrics"]["count"] >= 1
    assert outcome.summary["topics"]["/evaluation/progress"]["count"] == FRAMES


@pytest.fixture
def truth(graph, robot):
    """Returns what sends a frame with some of its truth, changed as told."""
    publishers = {}

    def send(seconds, change=lambda topic, message: None):
        for topic, message, _ in sample_messages(robot.world.render(seconds)):
            if topic in SENT:
                if topic not in publishers:
                    publishers[topic] = robot.create_publisher(type(message), topic, 10)
                    graph.until(publishers[topic].get_subscription_count, f"a subscription to {topic}")
                change(topic, message)
                publishers[topic].publish(message)
        before = len(graph.progress["evaluation"])
        robot.send(seconds)
        graph.until(lambda: len(graph.progress["evaluation"]) > before, "progress of the evaluation")

    return send


@pytest.fixture
def evaluation(graph, robot, all_knowing):
    def start(**values):
        shared = {"cameras": robot.names, "frame_policy": "every"}
        perception = {"checkpoint": str(all_knowing), "tasks": ["depth", "steering"]}
        own = {"truth_timeout": 0.5, "metrics_rate": 20.0, **values}
        nodes = [
            PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**shared, **perception)),
            EvaluationNode(context=graph.context, parameter_overrides=graph.overrides(**shared, **own)),
        ]
        for node in nodes:
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            graph.add(node)
        graph.until(lambda: nodes[1].count_subscribers("evaluation/progress") > 0, "a subscription to the progress")
        robot.broadcast()
        robot.wait_for_listeners()
        return nodes[1]

    return start


def test_metrics_come_while_frames_come_and_can_begin_anew(graph, truth, evaluation, tmp_path):
    evaluation(report_folder=str(tmp_path / "report"), report_name="walk")
    heard = graph.hear(EvaluationMetrics, "evaluation/metrics")
    for seconds in (1.0, 1.2):
        truth(seconds)
    graph.until(lambda: heard and heard[-1].frames == 2, "metrics of both frames")
    metrics = from_evaluation_metrics(heard[-1])
    assert metrics.keys() == {"depth", "steering"} and metrics["depth"]["abs_rel"] > 0
    answer = graph.call(Trigger, "evaluation/save")
    assert answer.success and Path(answer.message).is_file()
    saved = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (saved["bags"], saved["frames"]) == (["walk"], 2)
    assert saved["metrics"]["depth"] == pytest.approx(metrics["depth"], rel=1e-9)

    assert graph.call(Trigger, "evaluation/reset").success
    truth(1.4)
    graph.until(lambda: heard[-1].frames == 1, "metrics of the third frame alone")
    assert from_evaluation_metrics(heard[-1])["depth"] != metrics["depth"]


def test_truth_that_does_not_come_is_named_and_the_rest_is_scored(graph, robot, truth, evaluation):
    evaluation()
    heard = graph.hear(EvaluationMetrics, "evaluation/metrics")

    def lose(topic, message):
        if "front" in topic:
            message.header.stamp.sec -= 1  # the truth of another frame

    truth(1.0, lose)
    graph.until(lambda: heard and heard[-1].frames == 1, "metrics")
    assert from_evaluation_metrics(heard[-1]).keys() == {"depth", "steering"}
    key = "given up waiting for ground_truth/front/depth"
    graph.until(lambda: key in values(graph), "the topic in diagnostics")
    assert values(graph)[key] == "1"


def test_truth_that_makes_no_sense_drops_the_frame_by_name(graph, truth, evaluation):
    node = evaluation()

    def spoil(topic, message):
        if "front" in topic:
            message.encoding = "mono8"

    truth(1.0, spoil)
    graph.until(lambda: any("ground_truth/front/depth" in key for key in values(graph)), "the topic in diagnostics")
    answer = graph.call(Trigger, "evaluation/save")
    assert not answer.success and "report_folder" in answer.message
    assert node.set_parameters(graph.overrides(report_folder="/nowhere"))[0].successful is False  # it is configured


def test_a_report_that_cannot_be_written_keeps_no_node_active(graph, truth, evaluation, tmp_path):
    (tmp_path / "file").touch()
    node = evaluation(report_folder=str(tmp_path / "file" / "report"))
    heard = graph.hear(EvaluationMetrics, "evaluation/metrics")
    truth(1.0)
    graph.until(lambda: heard and heard[-1].frames == 1, "metrics")
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    answer = graph.call(Trigger, "evaluation/save")
    assert not answer.success and str(tmp_path / "file") in answer.message
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    truth(1.2)
    graph.until(lambda: heard[-1].frames == 2, "the next frame beside the first")


def values(graph) -> dict[str, str]:
    status = graph.statuses.get("evaluation: scores")
    return {} if status is None else {entry.key: entry.value for entry in status.values}
