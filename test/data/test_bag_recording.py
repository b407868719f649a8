# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags read as recordings: what was written as samples comes back as it was, in any order and in any process."""

import dataclasses
import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import String

from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample
from mtl_perception.data.bags import STORAGES, BagReader, BagWriter
from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.bag import BagRecording, read
from mtl_perception.data.sample_messages import sample_messages, static_messages

FRAMES = 4


def write(
    path: Path, samples: list[Sample], storage: str = "mcap", leave_out: Callable[[str, int], bool] | None = None
) -> Path:
    with BagWriter(path, storage) as writer:
        messages = static_messages(samples[0].frame.rig, samples[0].frame.stamp_ns, samples[0].truth.dataset)
        messages += [entry for sample in samples for entry in sample_messages(sample)]
        for topic, message, stamp_ns in messages:
            if leave_out is None or not leave_out(topic, stamp_ns):
                writer.write(topic, message, stamp_ns)
    return path


@pytest.fixture(scope="module")
def samples(make_sample: Callable[[int], Sample]) -> list[Sample]:
    return [make_sample(index) for index in range(FRAMES)]


@pytest.fixture(scope="module")
def bag(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bags") / "bag", samples)


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Compare two values field by field."""
    if dataclasses.is_dataclass(expected):
        assert type(found) is type(expected), where
        for field in dataclasses.fields(expected):
            # Messages name a distortion model even where there is no distortion.
            if field.name not in ("distortion_model", "distortion"):
                assert_same(getattr(found, field.name), getattr(expected, field.name), f"{where}.{field.name}")
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}[{key}]")
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected), where
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, np.ndarray) and expected.dtype == np.float64:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9, err_msg=where)  # poses, through quaternions
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, err_msg=where)
        assert found.dtype == expected.dtype or where.endswith("points"), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("storage", STORAGES)
def test_a_round_trip_is_exact_in_any_order(samples: list[Sample], tmp_path: Path, storage: str) -> None:
    recording = read(write(tmp_path / "bag", samples, storage))
    assert len(recording) == FRAMES
    for index in (2, 0, 3, 1):
        assert_same(recording.sample(index), samples[index], f"sample {index}")
        assert recording.stamp_ns(index) == samples[index].frame.stamp_ns
        pose = recording.odom_from_base(index)
        assert pose is not None
        np.testing.assert_allclose(pose, samples[index].frame.world_from_base, atol=1e-12)


def test_what_is_not_in_the_bag_is_not_known(samples: list[Sample], tmp_path: Path) -> None:
    semantic = samples[1].truth.cameras["left"].semantic
    frame = dataclasses.replace(samples[1].frame, world_from_base=None, world_from_camera={})
    bare = Sample(frame, GroundTruth({"left": CameraTruth(semantic=semantic)}, dataset="camvid"))
    recording = read(write(tmp_path / "bag", [bare]))
    assert_same(recording.sample(0), bare, "sample")
    assert recording.odom_from_base(0) is None


def test_a_camera_without_an_image_is_missing(bag: Path, samples: list[Sample], tmp_path: Path) -> None:
    late = samples[2].frame.image_stamps_ns["left"]
    holed = write(tmp_path / "bag", samples, leave_out=lambda topic, stamp: stamp == late and "left" in topic)
    recording = read(holed)
    assert [recording.sample(index).frame.missing for index in range(FRAMES)] == [(), (), ("left",), ()]
    assert_same(recording.sample(1), samples[1], "sample 1")


def test_poses_between_two_told_ones_are_interpolated(samples: list[Sample], tmp_path: Path) -> None:
    """A robot's odometry does not come at the stamps of its images."""
    told = {sample.frame.stamp_ns for sample in samples}
    sparse = write(tmp_path / "bag", samples, leave_out=lambda topic, stamp: topic == "/odom" and stamp not in told)
    recording = read(sparse)
    frame = recording.sample(1).frame
    np.testing.assert_allclose(
        frame.world_from_camera["left"], samples[1].frame.world_from_camera["left"], atol=2e-3
    )  # of half a metre a period
    # After the last one there is nothing to interpolate to: no pose rather than a wrong one.
    assert recording.sample(FRAMES - 1).frame.world_from_base is None


def test_ego_motion_follows_from_the_poses_where_it_is_not_told(samples: list[Sample], tmp_path: Path) -> None:
    recording = read(write(tmp_path / "bag", samples, leave_out=lambda topic, _: topic.endswith("/ego_motion")))
    motion, expected = recording.sample(2).truth.ego_motion, samples[2].truth.ego_motion
    assert motion is not None
    assert expected is not None
    np.testing.assert_allclose(motion.previous_base_from_base, expected.previous_base_from_base, atol=1e-9)
    assert recording.sample(0).truth.ego_motion is None


def test_a_frame_that_cannot_be_read_costs_the_next_one_only_how_it_moved_since(
    bag: Path, samples: list[Sample], tmp_path: Path
) -> None:
    image = f"/{samples[0].frame.rig.names[0]}/image"
    with BagReader(bag) as source, BagWriter(tmp_path / "damaged") as target:
        for topic, kind, stamp_ns, data in source.raw_messages():
            damaged = topic == image and stamp_ns == source.stamps_ns(image)[1]
            target.write_raw(topic, kind, data[: len(data) // 2] if damaged else data, stamp_ns)
    recording = read(tmp_path / "damaged")
    with pytest.raises(BagError, match=image):
        recording.sample(1)
    after, expected = recording.sample(2), samples[2]
    assert_same(dataclasses.replace(after.truth, ego_motion=expected.truth.ego_motion), expected.truth, "truth")
    assert after.truth.ego_motion is None and recording.sample(3).truth.ego_motion is not None


def test_a_pause_is_no_motion(make_sample: Callable[[int], Sample], tmp_path: Path) -> None:
    recording = read(write(tmp_path / "bag", [make_sample(index) for index in (0, 1, 2, 40)]))
    assert [recording.follows(index) for index in range(4)] == [False, True, True, False]
    assert recording.sample(3).truth.ego_motion is None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_open_recording_goes_to_other_processes(bag: Path, samples: list[Sample], method: str) -> None:
    recording = BagRecording(bag)
    recording.sample(0)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for sample in pool.map_async(recording.sample, [3] * 4).get(timeout=150):
            assert_same(sample, samples[3], "sample 3")


def test_bags_without_a_calibrated_camera_are_refused_by_name(samples: list[Sample], tmp_path: Path) -> None:
    with BagWriter(tmp_path / "chatter") as writer:
        writer.write("/chatter", String(data="hello"), 5)
    with pytest.raises(BagError, match=r"chatter has no camera: no <camera>/image with a <camera>/camera_info"):
        read(tmp_path / "chatter")
    homeless = write(tmp_path / "homeless", samples, leave_out=lambda topic, _: topic == "/tf_static")
    with pytest.raises(BagError, match=r"homeless: /tf_static does not say where the camera 'front' is"):
        read(homeless)
    with pytest.raises(IndexError, match=f"has no frame {FRAMES}"):
        read(write(tmp_path / "bag", samples)).sample(FRAMES)
