# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets give the same samples in any order and process; earlier frames and the ego motion belong together."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mtl_perception.core import Camera, GroundTruth, LabelSpace, Rig, Sample, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.data.datasets import RecordingDataset, WorldDataset, mixed_conditions
from mtl_perception.data.recordings import Recording, open_recording
from mtl_perception.data.recordings.recording import EPOCH_NS, Shot, rig_frame
from mtl_perception.data.recordings.writing import write_recording
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))
SIZE = (48, 32)


class Walk(Recording):
    """Six frames along x, a metre more from each to the next; the fourth begins another clip, later."""

    def __init__(self) -> None:
        K = np.array([[4.0, 0, 3.5], [0, 4, 2.5], [0, 0, 1]])
        self.name, self.rig = (
            "walk",
            Rig((Camera("camera", 8, 6, K, BODY_FROM_OPTICAL, frame_id="camera_optical_frame"),)),
        )

    def __len__(self) -> int:
        return 6

    def stamp_ns(self, index: int) -> int:
        return EPOCH_NS + index * 100_000_000 + (index >= 3) * 10_000_000_000

    def odom_from_base(self, index: int) -> np.ndarray:
        return transform_from([index * (index + 1) / 2, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])

    def follows(self, index: int) -> bool:
        return index not in (0, 3)

    def _read(self, index: int) -> Sample:
        shot = Shot(self.stamp_ns(index), np.full((6, 8, 3), index, np.uint8), self.odom_from_base(index))
        return Sample(rig_frame(self.rig, {"camera": shot}), GroundTruth(ego_motion=self.ego_motion(index)))


def test_an_earlier_frame_comes_with_the_motion_since_then() -> None:
    dataset = RecordingDataset(Walk(), previous=2)
    assert len(dataset) == 6
    # Frames 3 and 4 have no frame two before them in their own clip.
    assert [index for index in range(6) if dataset[index].previous is not None] == [2, 5]
    sample = dataset[5]
    assert sample.previous is not None and sample.truth.ego_motion is not None
    assert sample.previous.stamp_ns == sample.truth.ego_motion.previous_stamp_ns == Walk().stamp_ns(3)
    np.testing.assert_allclose(sample.truth.ego_motion.previous_base_from_base[:3, 3], [4 + 5, 0, 0])
    assert dataset[4].truth.ego_motion is None
    alone = RecordingDataset(Walk(), previous=0)[5]
    assert alone.previous is None and alone.truth.ego_motion is not None
    np.testing.assert_allclose(alone.truth.ego_motion.previous_base_from_base[:3, 3], [5, 0, 0])
    with pytest.raises(ValueError, match="previous is -1"):
        RecordingDataset(Walk(), previous=-1)
    with pytest.raises(IndexError, match="walk has no frame 6"):
        dataset[6]


def test_recordings_are_read_by_worker_processes() -> None:
    loader = DataLoader(RecordingDataset(Walk()), batch_size=None, num_workers=2)
    assert [int(sample.frame.images["camera"][0, 0, 0]) for sample in loader] == list(range(6))


def test_a_bag_gives_the_samples_that_were_written(tmp_path: Path) -> None:
    walk = Walk()
    written = [walk.sample(index) for index in range(len(walk))]
    write_recording(walk, tmp_path / "bag", "mcap")
    dataset = RecordingDataset(open_recording("bag", tmp_path / "bag"), previous=0)
    for expected, sample in zip(written, DataLoader(dataset, batch_size=None, num_workers=2), strict=True):
        assert sample.frame.stamp_ns == expected.frame.stamp_ns
        np.testing.assert_array_equal(sample.frame.images["camera"], expected.frame.images["camera"])
        np.testing.assert_allclose(sample.frame.world_from_base, expected.frame.world_from_base)
        assert (sample.truth.ego_motion is None) == (expected.truth.ego_motion is None)


def small(**changes: object) -> WorldDataset:
    options: dict[str, object] = {
        "first_seed": 4_000_000,
        "worlds": 3,
        "samples_per_world": 2,
        "worlds_at_once": 2,
        "cameras": "mono",
        "image_size": SIZE,
        "duration_s": 3.0,
        "grid": GRID,
    }
    return WorldDataset(LABELS, **{**options, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def worlds() -> WorldDataset:
    """Return two streets and an interior, two frames of each."""
    return small()


@pytest.fixture(scope="module")
def samples(worlds: WorldDataset) -> list[Sample]:
    """Return all of them."""
    return [worlds[index] for index in range(len(worlds))]


def test_a_rendered_sample_has_its_truth_and_an_earlier_frame(worlds: WorldDataset, samples: list[Sample]) -> None:
    for sample in samples:
        truth = sample.truth.cameras["front"]
        assert sample.frame.images["front"].shape == (SIZE[1], SIZE[0], 3)
        assert all(value is not None for value in vars(truth).values())
        assert sample.truth.occupancy is not None and sample.truth.occupancy.grid == GRID
        assert sample.truth.bev_map is not None and sample.previous is not None and sample.truth.ego_motion is not None
        assert 0.1 <= (sample.frame.stamp_ns - sample.previous.stamp_ns) * 1e-9 <= 0.3
        assert sample.truth.ego_motion.previous_stamp_ns == sample.previous.stamp_ns
        assert sample.previous.world_from_base is not None and sample.frame.world_from_base is not None
        moved = sample.previous.world_from_base @ sample.truth.ego_motion.previous_base_from_base
        np.testing.assert_allclose(moved, sample.frame.world_from_base, atol=1e-9)
    assert len({sample.frame.images["front"].tobytes() for sample in samples}) == len(worlds)
    # Items 0 and 2 are of the first world, a street; items 1 and 3 of the second, an interior; then comes a third.
    floors = ["floor" in sample.truth.bev_map.layers for sample in samples if sample.truth.bev_map]
    assert floors == [False, True, False, True, False, False]


def test_samples_are_the_same_from_any_number_of_workers(worlds: WorldDataset, samples: list[Sample]) -> None:
    again = pickle.loads(pickle.dumps(worlds))  # another process gets the arguments, not the worlds
    loader = DataLoader(again, batch_size=None, num_workers=2)
    for expected, sample in zip(samples, loader, strict=True):
        assert all(_equal(expected, sample))
    assert all(_equal(worlds[3], samples[3]))  # in another order, too


def _equal(expected: Sample, sample: Sample) -> Iterator[bool]:
    yield expected.frame.stamp_ns == sample.frame.stamp_ns
    yield np.array_equal(expected.frame.images["front"], sample.frame.images["front"])
    assert expected.previous is not None and sample.previous is not None
    yield np.array_equal(expected.previous.images["front"], sample.previous.images["front"])
    for name, value in vars(expected.truth.cameras["front"]).items():
        yield np.array_equal(value, getattr(sample.truth.cameras["front"], name), equal_nan=value.dtype.kind == "f")


def test_only_its_own_worlds_are_kept(worlds: WorldDataset, samples: list[Sample]) -> None:
    assert len(worlds._built) <= worlds.worlds_at_once


def test_arguments_that_make_no_sense_are_refused() -> None:
    for changes, message in (
        ({"worlds": 0}, "worlds is 0"),
        ({"samples_per_world": 0}, "samples_per_world is 0"),
        ({"gap_s": (0.0, 0.1)}, "gap_s is"),
        ({"gap_s": (0.1, 3.0)}, "gap_s is"),
        ({"kinds": ()}, "kinds is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            small(**changes)
    with pytest.raises(IndexError, match="there is no item 6, there are 6"):
        small()[6]


def test_conditions_are_drawn_fair_and_hard() -> None:
    generator = np.random.default_rng(0)
    drawn = [mixed_conditions(generator) for _ in range(200)]
    assert 70 < sum(conditions == Conditions() for conditions in drawn) < 130
    assert 10 < sum(conditions.night for conditions in drawn) < 60
    assert 10 < sum(conditions.fog_visibility_m is not None for conditions in drawn) < 60
