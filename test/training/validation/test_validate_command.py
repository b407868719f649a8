# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is worth, task by task, on a small world and on recordings."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from mtl_perception.core import TASKS
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.network import load_checkpoint
from mtl_perception.resources import default_checkpoint
from mtl_perception.training.validation import clips, command
from mtl_perception.training.validation.command import validate, write_report
from mtl_perception.training.validation.pictures import Shot
from mtl_perception.training.validation.tables import HEADLINES, headlines

SMALL: dict[str, Any] = {
    "worlds": 1,
    "kinds": ("street",),
    "rigs": ("mono",),
    "recordings": "none",
    "image_size": (48, 36),
}


def test_every_task_has_figures(tiny_validation: tuple[dict[str, Any], list[Shot]]) -> None:
    report, shots = tiny_validation
    figures = report["figures"]["street"]
    # The few pixels of this world show no moving thing, or no thing at all, so that not every figure is defined.
    told = set(figures) - {"occupancy_above_ground"}
    assert told == (set(TASKS) - set(SCENE_CLASSES)) | {"driving_context"}
    assert all(figures[task]["frames"] == 3 for task in told)
    assert {row.task for row in headlines(report["figures"])} <= set(HEADLINES)
    assert {shot.data for shot in shots} == {"street"}
    assert figures["ego_motion"]["metrics"]["translation_error_percent"]["value"] > 5.0  # the weights are random
    assert {"baseline", "beats_baseline"} <= set(figures["depth"]["metrics"]["abs_rel"])
    balanced = [f"{task}_balanced_accuracy" for task in SCENE_CLASSES]
    assert set(balanced) <= set(figures["driving_context"]["metrics"])


def test_another_run_on_the_same_frames_renders_nothing_and_says_the_same(
    tiny_checkpoint: Path,
    tiny_validation: tuple[dict[str, Any], list[Shot]],
    clips_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clips, "render_clip", lambda *_: pytest.fail("it is rendered already"))
    report, _ = validate(tiny_checkpoint, cache=clips_folder, **SMALL)
    assert report["figures"] == tiny_validation[0]["figures"]
    assert report["checkpoint"] == tiny_validation[0]["checkpoint"]


def test_some_tasks_have_the_figures_that_they_have_among_all(
    tiny_checkpoint: Path, tiny_validation: tuple[dict[str, Any], list[Shot]], tmp_path: Path
) -> None:
    everything, _ = tiny_validation
    assert "steering" in everything["figures"]["street"]  # which looks farther back
    report, _ = validate(tiny_checkpoint, tasks=("depth",), **SMALL)
    assert list(report["figures"]["street"]) == ["depth"]
    assert report["figures"]["street"]["depth"]["frames"] == 3
    assert report["figures"]["street"]["depth"] == everything["figures"]["street"]["depth"]


def test_a_report_is_json_with_its_pictures_beside_it(
    tiny_validation: tuple[dict[str, Any], list[Shot]], tmp_path: Path
) -> None:
    report, shots = tiny_validation
    write_report(tmp_path / "report.json", report, shots)
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["figures"] == report["figures"]
    assert len(read["pictures"]) == len(shots) > 5
    assert all((tmp_path / "report" / entry["file"]).read_bytes()[:2] == b"\xff\xd8" for entry in read["pictures"])


def test_a_task_that_was_not_trained_is_named() -> None:
    absent = sorted(set(TASKS) - set(load_checkpoint(default_checkpoint()).trained_tasks))
    for task in absent[:1]:
        with pytest.raises(ValueError, match=f"'{task}': .*not trained"):
            validate(default_checkpoint(), worlds=0, tasks=(task,))
    with pytest.raises(ValueError, match="'colour'"):
        validate(default_checkpoint(), worlds=0, tasks=("colour",))


@pytest.mark.recordings
def test_recordings_have_figures_and_lidar_is_a_truth_of_depth(recordings: Path) -> None:
    report, shots = validate(default_checkpoint(), worlds=0, tasks=("depth", "semantic"), data=recordings, every=75)
    figures = report["figures"]
    assert figures["rgbd_room"]["depth"]["frames"] == 2
    assert figures["camvid"]["semantic"]["frames"] == 2
    assert figures["rgbd_room"]["depth"]["metrics"]["abs_rel"]["value"] < 0.3
    assert figures["camvid"]["semantic"]["metrics"]["miou"]["value"] > 0.35
    assert figures["camvid"]["semantic"]["metrics"]["miou"]["beats_baseline"] == "yes"
    assert figures["rgbd_room"]["depth"]["metrics"]["abs_rel"]["baseline"] < 0.6
    for name in ("nuscenes_0061", "ddad", "kitti_tracking", "rgbd_open3d", "rgbd_3dmatch"):
        assert 0.0 < figures[name]["depth"]["metrics"]["abs_rel"]["value"] < 2.0, name
    assert {(shot.data, shot.task) for shot in shots} >= {("nuscenes_0061", "depth"), ("camvid", "semantic")}


@pytest.mark.recordings
def test_recorded_motion_is_judged_without_poses(recordings: Path, tiny_checkpoint: Path) -> None:
    report, _ = validate(tiny_checkpoint, worlds=0, tasks=("ego_motion",), data=recordings, every=10)
    motion = report["figures"]["kitti_odometry"]["ego_motion"]
    assert motion["frames"] == 5  # of 6, the first has no frame before it
    assert motion["metrics"]["translation_error_percent"]["value"] > 5.0  # the weights are random
    assert motion["metrics"]["translation_error_percent"]["baseline"] < 20.0  # a car at a nearly constant speed


def test_figures_need_a_file_beside_whose_pictures_they_lie(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(ValueError, match=r"--out .*report must have an ending"):
        command.run(parser.parse_args(["--out", str(tmp_path / "report")]))


def test_recordings_that_are_not_there_are_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    report, _ = validate(tiny_checkpoint, worlds=0, recordings="validation", data=tmp_path)
    assert report["settings"]["recordings_missing"] == ["rgbd_room", "camvid"]
    assert report["figures"] == {}
