# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A student learns from two small pretrained models on bags without labels, and then works."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mtl_perception.cli import main
from mtl_perception.core import Camera, LabelSpace, Rig, Sample
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import GroundTruth
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.recordings.bag import BagRecording
from mtl_perception.data.recordings.recording import Recording
from mtl_perception.data.recordings.writing import write_recording
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, load_checkpoint, save_checkpoint
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file, default_checkpoint
from mtl_perception.training.distillation.bag_frames import BagFrame, BagFrames
from mtl_perception.training.distillation.student import (
    RESULT,
    Request,
    _split,
    _trained,
    _without_poses,
    distil,
    load_start,
)
from mtl_perception.training.trainer import Trainer

NETWORK = {
    "preset": "tiny",
    "tasks": ["depth", "semantic", "edges", "motion_mask"],
    "num_labels": 16,
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
}


class Still(Recording):
    """Two cameras of a robot that does not know where it is; the second one misses a frame."""

    name = "still"

    def __init__(self, height: float = 1.2) -> None:
        K = np.array([[80.0, 0, 47.5], [0, 80.0, 31.5], [0, 0, 1]])
        mount = BODY_FROM_OPTICAL.copy()
        mount[2, 3] = height
        distortion = np.array([-0.1, 0.02, 0.0, 0.0])
        self.rig = Rig(
            (
                Camera("front", 96, 64, K, mount, frame_id="front_optical_frame"),
                Camera("left", 96, 64, K, mount, "plumb_bob", distortion, "left_optical_frame"),
            )
        )

    def __len__(self) -> int:
        return 3

    def stamp_ns(self, index: int) -> int:
        return 1_700_000_000_000_000_000 + index * 200_000_000

    def odom_from_base(self, index: int) -> Transform | None:
        return None

    def _read(self, index: int) -> Sample:
        random = np.random.default_rng(index)
        names = self.rig.names if index != 1 else self.rig.names[:1]
        images = {name: random.integers(0, 255, (64, 96, 3)).astype(np.uint8) for name in names}
        stamps = dict.fromkeys(names, self.stamp_ns(index))
        return Sample(RigFrame(self.rig, self.stamp_ns(index), images, stamps, {}, None), GroundTruth())


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny network that is said to be trained for all that it has."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig.model_validate(NETWORK))
    labels = LabelSpace.load(config_file("labels", "default"))
    path = tmp_path_factory.mktemp("start") / "tiny.safetensors"
    save_checkpoint(path, network, labels, network.config.tasks, {"licence": "start's own"})
    return path


@pytest.mark.recordings
def test_a_six_camera_bag(
    recordings: Path, student: Path, depth_folder: Path, segmentation_folder: Path, tmp_path: Path
) -> None:
    recording = open_recording("nuscenes", recordings / "nuscenes" / "scene_0103_keyframes")
    write_recording(recording, tmp_path / "bag", "mcap")
    request = Request(
        bag=tmp_path / "bag",
        depth_teacher=str(depth_folder),
        segmentation_teacher=str(segmentation_folder),
        out=tmp_path / "out",
        student=str(student),
        steps=80,
        frames_per_step=1,
        quiet=True,
    )
    card = distil(request)
    assert card["last"]["loss"] < 0.85 * card["first"]["loss"]
    assert card["last"]["depth_log"] < card["first"]["depth_log"]
    assert card["last"]["semantic_agreement"] > card["first"]["semantic_agreement"]
    ways = card["depth_in_metres_by"]  # the small teacher sees the same ground everywhere, which not every image has
    assert sum(ways.values()) == 12 and ways["ground"] + ways["poses and ground"] >= 8
    assert card["teachers"]["semantic"]["void"] == ["spaceship"] and card["bag"] == "bag" and card["frames"] == 2
    assert card["licence"] == "start: start's own; depth teacher: unknown: check; segmentation teacher: mit; bag: yours"

    result = tmp_path / "out" / RESULT
    checkpoint = load_checkpoint(result)
    assert checkpoint.trained_tasks == ("depth", "semantic", "edges", "motion_mask") and card["not_held"] == []
    assert checkpoint.card == card and "teacher" not in checkpoint.labels.datasets
    perceiver, bag = Perceiver.from_checkpoint(result), BagRecording(tmp_path / "bag")
    perceiver(bag.sample(0).frame)
    prediction = perceiver(bag.sample(1).frame)
    assert set(prediction.tasks) == {"depth", "semantic", "edges", "motion_mask"} and len(prediction.cameras) == 6
    front = prediction.cameras["front"]
    assert front.depth is not None and front.semantic is not None and front.motion_mask is not None

    command = [sys.executable, "-m", "mtl_perception", "up", "--bag", str(request.bag), "--checkpoint", str(result)]
    up = subprocess.run([*command, "--out", str(tmp_path / "up")], capture_output=True, text=True, timeout=120)
    assert up.returncode == 0, up.stdout + up.stderr
    summary = json.loads((tmp_path / "up" / "summary.json").read_text())
    assert summary["frames"] == {"in": 2, "used": 2, "dropped": {}} and summary["network"]["preset"] == "tiny"
    assert set(summary["network"]["tasks_published"]) == set(checkpoint.trained_tasks)
    assert summary["topics"]["/perception/front/depth"]["count"] == 2

    # Done is done: the same request again trains nothing and gives the same; another one must not mix with it.
    assert distil(request)["last"] == card["last"]
    again = load_checkpoint(result).network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in checkpoint.network.state_dict().items())
    with pytest.raises(ValueError, match="holds labels of another bag"):
        distil(replace(request, bag=next((tmp_path / "bag").glob("*.mcap"))))


def test_the_command_with_a_preset_on_a_bag_without_poses(
    depth_folder: Path,
    segmentation_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_recording(Still(), tmp_path / "bag", "mcap")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(NETWORK))
    command = ["distill", "--bag", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), "--steps", "20"]
    command += ["--depth-teacher", str(depth_folder), "--segmentation-teacher", str(segmentation_folder)]
    command += ["--student", str(tmp_path / "tiny.yaml")]
    assert main(command) == 0
    assert "up --checkpoint" in capsys.readouterr().out
    card = json.loads((tmp_path / "out" / "distillation.json").read_text())
    assert card["last"]["loss"] < card["first"]["loss"]
    ways = card["depth_in_metres_by"]
    assert sum(ways.values()) == 5 and ways["ground"] >= 2 and set(ways) <= {"ground", "unknown"}
    assert card["student"].endswith("random weights")
    assert "has no poses: nothing that compares two frames is learnt or held" in caplog.text and card["not_held"] == []
    assert "no label here: spaceship" in caplog.text
    checkpoint = load_checkpoint(tmp_path / "out" / RESULT)
    assert checkpoint.trained_tasks == ("depth", "semantic") == checkpoint.network.config.tasks
    assert checkpoint.card == card
    with np.load(tmp_path / "out" / "labels" / "frame_000001.npz") as stored:
        assert list(stored["names"]) == ["front"] and "previous_images" in stored
        assert "previous_from_current" not in stored
    assert main([*command, "--frames", "2"]) == 1  # the student that is there has learnt from all frames
    assert "holds labels of another bag, other frames" in capsys.readouterr().err
    assert main([*command, "--depth-is", "inverse", "--frames", "3"]) == 0  # as it had told itself
    assert main([*command, "--depth-is", "metres"]) == 1
    assert "holds labels of another bag, other frames, teachers" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--steps", "0"])
    assert "--steps: 0 is less than one" in capsys.readouterr().err


def test_an_interrupted_run_gives_the_same_student(
    student: Path,
    depth_folder: Path,
    segmentation_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_recording(Still(), tmp_path / "bag", "mcap")
    request = Request(tmp_path / "bag", str(depth_folder), str(segmentation_folder), tmp_path / "out", quiet=True)
    request = replace(request, student=str(student), steps=4, frames_per_step=1)
    whole = distil(replace(request, out=tmp_path / "whole"))
    # Without poses, and without ego motion of its own, the network had nothing to compare.
    assert whole["not_held"] == ["motion_mask"]
    assert "does not claim them: motion_mask" in caplog.text
    assert load_checkpoint(tmp_path / "whole" / RESULT).trained_tasks == ("depth", "semantic", "edges")

    read, step = BagFrames.__call__, Trainer._step

    def stopped_reading(frames: BagFrames, index: int) -> BagFrame:
        if index == 2:
            raise KeyboardInterrupt
        return read(frames, index)

    def stopped_training(trainer: Trainer, *arguments: Any) -> bool:
        if trainer.record.step == 2:
            raise KeyboardInterrupt
        return step(trainer, *arguments)

    for owner, name, stopped in ((BagFrames, "__call__", stopped_reading), (Trainer, "_step", stopped_training)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, stopped)
            distil(request)
        assert len(list((request.out / "labels").glob("frame_*.npz"))) == (2 if owner is BagFrames else 3)
        assert not (request.out / RESULT).exists()
    assert (request.out / "training" / "state.safetensors").is_file()
    assert distil(request) == whole
    expected, found = (load_checkpoint(out / RESULT).network.state_dict() for out in (tmp_path / "whole", request.out))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_what_is_held_out_comes_last() -> None:
    files = [Path(f"{index}.npz") for index in range(400)]
    training, measured, held_out = _split(files[:20])
    assert held_out and training == files[:18] and measured == files[18:20]
    training, measured, held_out = _split(files)
    assert held_out and training == files[:360] and len(measured) == 20
    assert set(measured) < set(files[360:]) and measured == sorted(measured, key=files.index)
    assert _split(files[:19]) == (files[:19], files[:19], False)  # too few to hold any out


def test_what_looks_at_the_motion_is_not_claimed_without_it() -> None:
    start = load_start(str(default_checkpoint()), "default")
    everything = {f"drift_{task}" for task in start.trained}
    assert _trained(start, everything) == (start.network.config.tasks, [])
    claimed, missed = _trained(start, everything - {"drift_ego_motion"})
    assert missed == ["ego_motion", "steering", *SCENE_TASKS] and "motion_mask" in claimed


def test_the_result_claims_what_was_taught_or_held(student: Path) -> None:
    start = load_start(str(student), "default")
    assert _trained(start, {"smoothness", "drift_edges"}) == (("depth", "semantic", "edges"), ["motion_mask"])
    assert _trained(start, {"drift_motion_mask", "drift_edges"}) == (start.network.config.tasks, [])
    # A task that the network has but never knew is neither claimed nor missed.
    novice = replace(start, trained=("depth", "edges"))
    assert _trained(novice, {"drift_edges"}) == (("depth", "semantic", "edges"), [])
    assert "does not tell its ego motion" in _without_poses(start)
    assert "compared by the ego motion" in _without_poses(replace(start, trained=(*start.trained, "ego_motion")))


def test_depth_that_cannot_be_brought_to_metres_teaches_nothing(
    depth_folder: Path, segmentation_folder: Path, tmp_path: Path
) -> None:
    write_recording(Still(height=0.0), tmp_path / "bag", "mcap")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(NETWORK))
    request = Request(tmp_path / "bag", str(depth_folder), str(segmentation_folder), tmp_path / "out", quiet=True)
    with pytest.raises(ValueError, match="could not be brought to metres: the bag has neither depth nor LiDAR"):
        distil(replace(request, student=str(tmp_path / "tiny.yaml")))


def test_a_student_without_depth_cannot_learn(student: Path, tmp_path: Path) -> None:
    config = NetworkConfig.model_validate(NETWORK | {"tasks": ["edges"]})
    labels = LabelSpace.load(config_file("labels", "default"))
    save_checkpoint(tmp_path / "edges.safetensors", MultiTaskNetwork(config), labels, ("edges",), {})
    request = Request(tmp_path / "no_bag", "x", "y", tmp_path / "out", student=str(tmp_path / "edges.safetensors"))
    with pytest.raises(ValueError, match="cannot learn: it has no task depth, semantic"):
        distil(request)
    with pytest.raises(ValueError, match="its semantics have no head"):
        load_start("unified_encoder", "default")
    with pytest.raises(FileNotFoundError, match="no 'unheard_of' in config/networks"):
        distil(replace(request, student="unheard_of"))
