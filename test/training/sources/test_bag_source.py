# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as a source of training samples: with all truth, without any, and from distorted cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import Camera, GroundTruth, LabelSpace, Sample, VoxelGrid
from mtl_perception.data.bags import BagWriter
from mtl_perception.data.sample_messages import sample_messages, static_messages
from mtl_perception.data.world import World
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file
from mtl_perception.training.config import SourceConfig
from mtl_perception.training.samples import collate, training_sample
from mtl_perception.training.sources import BagSource, make_source

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = VoxelGrid((-16.0, -16.0, -1.0), 0.5, (64, 64, 8))
SIZE = (96, 64)
FRAMES = 4


@pytest.fixture(scope="module")
def rendered() -> list[Sample]:
    """Return the frames of a street, a fifth of a second apart."""
    world = World.generate("street", 3_000_000, LABELS, cameras="mono", image_size=SIZE, duration_s=2.0)
    return [world.render(0.2 * number, grid=GRID) for number in range(FRAMES)]


@pytest.fixture(scope="module")
def bag(rendered: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of those frames with all their truth."""
    return write(tmp_path_factory.mktemp("bags") / "street", rendered)


def write(path: Path, samples: list[Sample]) -> Path:
    with BagWriter(path, "mcap") as writer:
        for topic, message, stamp_ns in static_messages(samples[0].frame.rig, samples[0].frame.stamp_ns, ""):
            writer.write(topic, message, stamp_ns)
        for sample in samples:
            for topic, message, stamp_ns in sample_messages(sample):
                writer.write(topic, message, stamp_ns)
    return path


def test_a_bag_with_truth_gives_what_its_frames_give(bag: Path, rendered: list[Sample]) -> None:
    source = BagSource(bag, LABELS, GRID, ("road", "crossing"))
    assert source.available(0.0) == FRAMES
    found = source.sample(3, SIZE, np.random.default_rng(0))
    expected = training_sample(rendered[3], True, LABELS, ("road", "crossing"))
    for name in ("images", "depth", "semantic", "motion_mask", "instance", "edges", "normals", "scene_flow",
                 "occupancy", "bev_map"):  # fmt: skip
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.boxes is not None and expected.boxes is not None
    np.testing.assert_allclose(found.boxes.centre, expected.boxes.centre, atol=1e-5)
    np.testing.assert_array_equal(found.boxes.seen, expected.boxes.seen)


def test_a_held_camera_does_not_know_the_ground(bag: Path) -> None:
    for known in (True, False):
        config = SourceConfig(kind="bag", frames_per_step=1, folder=bag.name, ground_known=known)
        source = make_source(config, bag.parent, bag.parent, LABELS, GRID, ())
        assert source.sample(0, SIZE, np.random.default_rng(0)).ground_known is known


def test_the_frame_before_is_one_to_three_frames_back(bag: Path, rendered: list[Sample]) -> None:
    source = BagSource(bag, LABELS, GRID)
    seen = set()
    for seed in range(12):
        sample = source.sample(3, SIZE, np.random.default_rng(seed))
        back = round(sample.seconds / 0.2)
        seen.add(back)
        before = rendered[3 - back].frame
        assert sample.previous_images is not None and sample.previous_from_current is not None
        np.testing.assert_array_equal(sample.previous_images[0], before.images["front"])
        poses = [frame.world_from_camera["front"] for frame in (before, rendered[3].frame)]
        np.testing.assert_allclose(sample.previous_from_current[0], np.linalg.inv(poses[0]) @ poses[1], atol=1e-6)
    assert seen == {1, 2, 3}
    assert source.sample(0, SIZE, np.random.default_rng(0)).previous_images is None


def test_another_size_comes_with_its_intrinsics(bag: Path, rendered: list[Sample]) -> None:
    small = BagSource(bag, LABELS, GRID).sample(1, (64, 48), np.random.default_rng(0))
    assert small.images.shape == (1, 48, 64, 3) and small.normals is not None
    (camera,) = rendered[1].frame.rig
    np.testing.assert_allclose(small.K[0], camera.resized(64, 48).K)
    batch = collate([small], LABELS, GRID.shape, ())
    assert batch.normals.shape == (1, 3, 48, 64)


def test_a_bag_without_truth_has_none(rendered: list[Sample], tmp_path: Path) -> None:
    bare = [Sample(sample.frame, GroundTruth()) for sample in rendered]
    source = BagSource(write(tmp_path / "bare", bare), LABELS, GRID, ("road",))
    sample = source.sample(1, SIZE, np.random.default_rng(0))
    assert np.isnan(sample.depth).all() and sample.previous_images is not None
    for name in ("occupancy", "normals", "edges", "instance", "scene_flow", "bev_map", "boxes"):
        assert getattr(sample, name) is None, name
    batch = collate([sample], LABELS, GRID.shape, ("road",))
    assert not batch.label_table[batch.semantic].any()


def test_grids_of_another_shape_are_not_known(bag: Path) -> None:
    finer = replace(GRID, voxel_size=0.25, shape=(128, 128, 16))
    sample = BagSource(bag, LABELS, finer, ("road",)).sample(1, SIZE, np.random.default_rng(0))
    assert sample.occupancy is None and sample.bev_map is None and sample.boxes is not None


@pytest.mark.parametrize("model, distortion", [("plumb_bob", [-0.2, 0.05, 0, 0, 0]), ("equidistant", [0.1, 0, 0, 0])])
def test_truth_of_a_distorted_camera_is_where_its_image_is(model: str, distortion: list[float]) -> None:
    K = np.array([[60.0, 0, 47.5], [0, 60, 31.5], [0, 0, 1]])
    view = Rectification.prepare(Camera("c", 96, 64, K, np.eye(4), model, np.array(distortion)), 72, 48)
    column, row = np.meshgrid(np.arange(96), np.arange(64))
    image = np.stack([2 * column, 3 * row, 0 * row], axis=-1).astype(np.uint8)
    smooth, nearest = view.apply(image).astype(float), view.nearest(image.astype(np.float32), np.nan)
    known = ~np.isnan(nearest[..., 0]) if view.valid is None else view.valid & ~np.isnan(nearest[..., 0])
    assert known.mean() > 0.7
    assert np.abs(smooth - nearest)[known].max() <= 3  # half a pixel each of nearest and of rounding
    assert np.abs(smooth - nearest)[known].mean() < 1
