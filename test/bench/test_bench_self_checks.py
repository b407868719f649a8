# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The self-checks suite on a small recording of a picture on a wall: no alarm for what is right, and the command."""

import json

import cv2
import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.bench import self_checks
from mtl_perception.bench.self_checks import DEPTHS, OTHER_POSES, run_suite
from mtl_perception.core import Camera
from mtl_perception.core.camera import pixel_rays
from mtl_perception.data.recordings import open_recording

FRAMES, STEP = 36, 3  # ids count at 30 Hz
RIGHT = ("undisturbed", "noise_of_10_percent", "smooth_error_of_20_percent")
K = np.array([[110.0, 0, 63.5], [0, 110.0, 47.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A camera that goes to and fro before a wall with a picture; its right end is nearer."""
    folder = tmp_path_factory.mktemp("wall")
    np.savetxt(folder / "camera-intrinsics.txt", K)
    rays = pixel_rays(Camera("camera", 128, 96, K, np.eye(4)))
    noise = np.random.default_rng(0).random((120, 240), np.float32)
    picture = cv2.GaussianBlur(cv2.resize(noise, (960, 480), interpolation=cv2.INTER_CUBIC), (0, 0), 2.0)
    picture = np.clip(40 + 180 * (picture - picture.min()) / np.ptp(picture), 0, 255).astype(np.uint8)
    for index in range(FRAMES):
        pose = np.eye(4)
        pose[:3, 3] = 0.6 * np.sin(0.25 * index), 0.15 * np.cos(0.4 * index), 0.0
        depth = (2.5 - 0.4 * pose[0, 3]) / (1.0 + 0.4 * rays[..., 0])  # the wall is z = 2.5 - 0.4 x
        points = rays * depth[..., None] + pose[:3, 3]
        at = (points[..., :2] * 120 + (480, 240)).astype(np.float32)
        seen = cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        stem = f"frame-{STEP * index:06d}"
        cv2.imwrite(str(folder / f"{stem}.color.png"), seen)
        cv2.imwrite(str(folder / f"{stem}.depth.png"), np.rint(1000 * depth).astype(np.uint16))
        np.savetxt(folder / f"{stem}.pose.txt", pose)
    return folder


def test_what_is_right_raises_no_alarm_and_what_is_wrong_does(folder):
    frames = []
    results = {r.name: r for r in run_suite(open_recording("rgbd", folder), advanced=frames.append)}
    assert len(frames) == FRAMES
    shares = {name: results[f"{name}/alarms"].ratio for name in (*DEPTHS, OTHER_POSES)}
    assert {name for name, share in shares.items() if share == 0} == set(RIGHT)
    assert all(share > 0.25 for name, share in shares.items() if name not in RIGHT), shares
    for name, share in shares.items():
        assert (f"{name}/first_alarm" in results) == (share > 0)
    first = results["depth_times_1.5/first_alarm"]
    assert 1.5 < first.value < first.reference_value == pytest.approx((FRAMES - 1) * STEP / 30)
    assert results["cpu_of_a_frame"].reference_value == pytest.approx(100.0)


def test_the_command_takes_a_part_of_a_folder(folder, tmp_path, capsys):
    out = tmp_path / "bench.json"
    options = ["--recording", "rgbd", str(folder), "--last", str(STEP * 29), "--out", str(out)]
    assert cli.main(["bench", "--suite", "self-checks", *options]) == 0
    results = {result["name"]: result for result in json.loads(out.read_text())["results"]}
    assert results["undisturbed/alarms"]["value"] == 0 and results["random_depth/alarms"]["ratio"] == 1.0
    assert {result["suite"] for result in results.values()} == {self_checks.SUITE}
    assert "smooth_random_depth/first_alarm" in capsys.readouterr().out


def test_a_recording_that_is_too_short_is_refused(folder):
    with pytest.raises(ValueError, match=r"4 frames are too few, or show too little, for a verdict"):
        run_suite(open_recording("rgbd", folder, last=3 * STEP))


def test_a_bag_and_a_recording_are_not_taken_together(folder, capsys):
    options = ["--bag", str(folder), "--recording", "rgbd", str(folder)]
    assert cli.main(["bench", "--suite", "self-checks", *options]) != 0
    assert "only one of them" in capsys.readouterr().err
