# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The replay of real bags and the `evaluate` command, with the network of the package."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mtl_perception import cli
from mtl_perception.core.ply import read_mesh
from mtl_perception.data.bags import BagReader, BagWriter
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.recordings.bag_rig import CameraTopics
from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import WorldSettings
from mtl_perception.evaluation.command import REGRESSION, _cameras, evaluate
from mtl_perception.evaluation.fleet import InProcess, LocalWorkers, bags_in
from mtl_perception.evaluation.judged import judged
from mtl_perception.evaluation.replay import Replay, ReplaySettings
from mtl_perception.evaluation.run import write_run
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.mapping import MapperConfig

SETTINGS = ReplaySettings(mapper=MapperConfig(voxel_size=0.2, max_depth=25.0))
FRAMES = 4
UNCERTAIN = "/**: {ros__parameters: {max_relative_std: 2.0}}"  # in small images the network is sure of nothing


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "street"
    settings = WorldSettings("street", seed=5, seconds=FRAMES / 10, cameras="stereo", image_size=(128, 80))
    write_world(settings, path, processes=1)
    return path


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay(SETTINGS)


@pytest.fixture(scope="module")
def command(bag, tmp_path_factory) -> list[str]:
    config = tmp_path_factory.mktemp("config") / "map.yaml"
    config.write_text(UNCERTAIN)
    return ["evaluate", str(bag), "--scene", "street", "--config", str(config)]


@pytest.fixture(scope="module")
def run_folder(command, tmp_path_factory) -> Path:
    """What the command writes for the bag."""
    out = tmp_path_factory.mktemp("run") / "out"
    assert cli.main([*command, "--out", str(out)]) == 0
    return out


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_the_pipeline_gives_what_frame_by_frame_gives(bag, replay):
    result = replay.run(bag, "street")
    recording = open_recording("bag", bag)
    rows = {score.task: [] for score in replay.scores}
    replay.perceiver.reset()
    for index in range(len(recording)):
        sample = recording.sample(index)
        both = judged(replay.perceiver(sample.frame), sample.frame, sample.truth)
        for score in replay.scores:
            row = score.frame(both)
            if row is not None:
                rows[score.task].append((index, row))
    scored = {score.task: score for score in replay.scores if rows[score.task]}
    assert set(scored) | {"map", "scene_graph"} == set(result.statistics) and len(scored) >= 4
    for task, score in scored.items():
        plain = TaskStatistics.of(score.bag(rows[task]))
        np.testing.assert_equal(score.metrics(plain.total()), score.metrics(result.statistics[task].total()))
        assert np.array_equal(plain.frames, result.statistics[task].frames)


def test_the_command_writes_the_report(run_folder, bag):
    found = metrics(run_folder)
    assert found["bags"] == ["street"] and found["frames"] == FRAMES and found["failed"] == {}
    assert {"depth", "semantic", "motion_mask", "occupancy", "ego_motion", "map"} <= set(found["metrics"])
    assert {"steering", "driving_context"} <= set(found["metrics"]) and found["left_out"] == {}
    report = (run_folder / "report.html").read_text()
    assert "data:image/webp;base64" in report and not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", report)
    assert "abs_rel" in (run_folder / "report.md").read_text()
    assert json.loads((run_folder / "runtime.json").read_text())["bags"]["street"]["frames_per_second"] > 0
    assert str(bag.parent) not in (run_folder / "metrics.json").read_text()


def test_what_the_network_was_not_trained_for_is_left_out_and_said(bag, knows_no_driving):
    result = Replay(replace(SETTINGS, checkpoint=knows_no_driving)).run(bag, "street")
    assert result.left_out["steering"] == "no_driving.safetensors was not trained for it"
    assert "steering" not in result.statistics and "depth" in result.statistics


def test_a_parameter_file_names_the_cameras_and_their_topics(bag, tmp_path):
    renamed, config = tmp_path / "renamed", tmp_path / "cameras.yaml"
    names = {"/right/image": "/cam0/color", "/right/camera_info": "/cam0/info"}
    with BagReader(bag) as source, BagWriter(renamed) as target:
        for topic, kind, stamp_ns, data in source.raw_messages():
            target.write_raw(names.get(topic, topic), kind, data, stamp_ns)
    own = {"image_topic": "cam0/color", "info_topic": "/cam0/info"}
    config.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"cameras": ["right"], "right": own}}}))
    nested = _cameras(config)
    flat = {f"right.{key}": topic for key, topic in own.items()}
    config.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"cameras": ["right"], **flat}}}))
    assert nested == _cameras(config) == {"right": CameraTopics("/cam0/color", "/cam0/info")}
    values = {"/**": {"ros__parameters": {"cameras": ["right"], "right": {"rectified": True}}}}
    (tmp_path / "rectified.yaml").write_text(yaml.safe_dump(values))
    expected = {"right": CameraTopics("/right/image", "/right/camera_info", rectified=True)}
    assert _cameras(tmp_path / "rectified.yaml") == expected
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(renamed), "--config", str(config), "--out", str(out)]) == 0
    found = metrics(out)
    assert found["settings"]["cameras"] == [["right", "/cam0/color", "/cam0/info"]] and found["frames"] == FRAMES
    assert found["truth"]["depth"] == ["/ground_truth/right/depth"]


def test_the_same_bag_gives_the_same_bytes(run_folder, command, tmp_path):
    assert cli.main([*command, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "metrics.json").read_bytes() == (run_folder / "metrics.json").read_bytes()
    maps = [read_mesh(folder / "bags" / "street" / "map.ply").vertices for folder in (tmp_path / "again", run_folder)]
    assert len(maps[0]) > 100 and np.array_equal(np.sort(maps[0]), np.sort(maps[1]))


def test_an_interrupted_run_goes_on_from_the_bags_that_are_done(run_folder, command, capfd):
    content = (run_folder / "metrics.json").read_bytes()
    assert cli.main([*command, "--out", str(run_folder)]) == 0
    assert "1 of 1 bags were evaluated before" in " ".join(capfd.readouterr().err.split())
    assert (run_folder / "metrics.json").read_bytes() == content


def test_other_settings_begin_anew(run_folder, command, tmp_path, capfd):
    out = tmp_path / "out"
    shutil.copytree(run_folder, out)
    assert cli.main([*command, "--out", str(out), "--median-scaling"]) == 0
    assert "evaluated before" not in capfd.readouterr().err
    assert metrics(out)["metrics"]["depth"]["abs_rel"] != metrics(run_folder)["metrics"]["depth"]["abs_rel"]
    assert metrics(out)["metrics"]["semantic"] == metrics(run_folder)["metrics"]["semantic"]


def test_the_gate_tells_what_got_worse(run_folder, command, tmp_path, capsys):
    command = [*command, "--out", str(run_folder), "--baseline"]
    assert cli.main([*command, str(run_folder / "metrics.json")]) == 0
    better = metrics(run_folder)
    better["metrics"]["depth"]["abs_rel"] *= 0.9
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps(better))
    capsys.readouterr()
    assert cli.main([*command, str(baseline)]) == REGRESSION
    table = capsys.readouterr().out
    assert "abs_rel" in table
    assert cli.main([*command, str(baseline), "--tolerance", "depth=20%"]) == 0
    baseline.write_text("{}")
    assert cli.main([*command, str(baseline)]) == 1 and "baseline.json" in capsys.readouterr().err


@pytest.fixture
def threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_copies_in_several_processes_give_exactly_what_one_gives(bag, tmp_path, threads_restored):
    """With as many threads each: the sums inside the network depend on how they are shared out."""
    settings = replace(SETTINGS, threads=1)
    copies = [shutil.copytree(bag, tmp_path / f"copy_{number:02}") for number in range(3)]
    labels = Replay(settings).perceiver.labels
    outcome = evaluate(bags_in(copies), settings, labels, tmp_path / "out", engine=LocalWorkers(2), retries=1)
    assert [result.name for result in outcome.bags] == [copy.name for copy in copies] and not outcome.failed
    one = evaluate(bags_in([bag]), settings, labels, tmp_path / "one", engine=InProcess(), retries=1).metrics()
    many = outcome.metrics()
    assert many["frames"] == 3 * one["frames"]
    for each in ("metrics", "per_class"):
        boxes = [found[each].pop("detections") for found in (many, one)]
        np.testing.assert_equal(many[each], one[each])
        # Boxes of copies have equal scores, and of those the worse comes first: that is worth a little.
        np.testing.assert_allclose(*([*_numbers(found)] for found in boxes), rtol=0.02, atol=0.001)
    write_run(outcome, tmp_path / "out")
    assert len(metrics(tmp_path / "out")["per_bag"]) == 3


def test_a_frame_that_cannot_be_read_is_counted_and_the_others_are_used(bag, tmp_path, replay):
    damaged = tmp_path / "damaged"
    with BagReader(bag) as source, BagWriter(damaged) as target:
        images = 0
        for topic, kind, stamp_ns, data in source.raw_messages():
            if topic == "/left/image":
                images += 1
                data = data[: len(data) // 2] if images == 3 else data
            target.write_raw(topic, kind, data, stamp_ns)
    result = replay.run(damaged, "damaged")
    assert len(result.stamps_ns) == FRAMES - 1 and sum(result.dropped.values()) == 1
    assert "/left/image" in next(iter(result.dropped))


def test_a_failed_bag_is_reported_and_the_others_are_there(bag, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(bag, broken)
    for file in broken.glob("*.mcap"):
        file.write_bytes(file.read_bytes()[:2000])
    out = tmp_path / "out"
    command = ["evaluate", str(bag), str(broken), "--scene", "street", "--retries", "0"]
    assert cli.main([*command, "--out", str(out)]) == 1
    found = metrics(out)
    assert found["bags"] == ["street"] and list(found["failed"]) == ["broken"]
    assert "broken failed" in capsys.readouterr().err and "broken" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere"),
        (["{bag}", "--map", "nonsense"], "nonsense"),
        (["{bag}", "--tolerance", "much"], "much"),
        (["{bag}", "--checkpoint", "none.safetensors"], "none.safetensors"),
    ],
)
def test_wrong_arguments_are_named(bag, tmp_path, capsys, arguments, says):
    given = [argument.replace("{bag}", str(bag)) for argument in arguments]
    assert cli.main(["evaluate", *given, "--out", str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err and not (tmp_path / "out" / "metrics.json").exists()


def _numbers(found: Mapping) -> Iterator[float]:
    for _, value in sorted(found.items()):
        yield from _numbers(value) if isinstance(value, Mapping) else (value,)
