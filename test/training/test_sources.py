# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sources, samples, batches: truth stays true when mirrored and cropped; batches depend on seed and step alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_perception.core import (
    FREE,
    UNKNOWN,
    Camera,
    CameraTruth,
    GroundTruth,
    LabelSpace,
    Rig,
    RigFrame,
    Sample,
    VoxelGrid,
    backproject,
)
from mtl_perception.core.transforms import transform_points
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.resources import config_file
from mtl_perception.training.augmentation import augment
from mtl_perception.training.batches import StepDataset
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingSample, collate, training_sample
from mtl_perception.training.sources import CamVidSource, RgbdSource, WorldSource

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = VoxelGrid((-16.0, -16.0, -1.0), 0.5, (64, 64, 8))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> WorldSource:
    """Return one rendered interior on disk."""
    folder = tmp_path_factory.mktemp("worlds")
    return WorldSource("indoor", 1, folder, LABELS, GRID, cameras="mono", first_seed=3_000_000)


@pytest.fixture
def sample(source: WorldSource) -> TrainingSample:
    """Return a frame of it."""
    return source.sample(0, (160, 112), np.random.default_rng(0))


def points_in_base(sample: TrainingSample) -> np.ndarray:
    camera = Camera("c", sample.depth.shape[2], sample.depth.shape[1], sample.K[0], sample.base_from_camera[0])
    depth = np.where(np.isfinite(sample.depth[0]), sample.depth[0], np.nan)
    return transform_points(camera.base_from_camera, backproject(camera, depth)).reshape(-1, 3)


def test_a_rendered_pair_is_kept_on_disk_and_read_back_the_same(source: WorldSource, sample: TrainingSample) -> None:
    again = source.sample(0, (160, 112), np.random.default_rng(5))
    np.testing.assert_array_equal(again.images, sample.images)
    assert not list(source.folder.glob(".*"))  # nothing half-written


def test_resizing_keeps_the_points_where_they_are(source: WorldSource, sample: TrainingSample) -> None:
    large = source.sample(0, WorldSource.SIZE, np.random.default_rng(0))
    lower, upper = np.nanpercentile(points_in_base(sample), [2, 98], axis=0)
    lower_large, upper_large = np.nanpercentile(points_in_base(large), [2, 98], axis=0)
    np.testing.assert_allclose([lower, upper], [lower_large, upper_large], atol=0.1)


def test_the_mirror_flips_the_world_and_nothing_else(sample: TrainingSample) -> None:
    mirrored = sample.mirrored()
    rotation = mirrored.base_from_camera[0, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    expected = points_in_base(sample).reshape(112, 160, 3)[:, ::-1] * [1, -1, 1]
    np.testing.assert_allclose(points_in_base(mirrored).reshape(112, 160, 3), expected, atol=1e-6)
    assert sample.occupancy is not None and mirrored.occupancy is not None
    np.testing.assert_array_equal(mirrored.occupancy, sample.occupancy[:, ::-1])
    expected, seen = occupancy_of(sample)[:, ::-1] < FREE, occupancy_of(mirrored) < FREE
    assert (seen == expected)[seen | expected].mean() > 0.98  # points on the border of two voxels may change sides


def occupancy_of(sample: TrainingSample) -> np.ndarray:
    camera = Camera("c", sample.depth.shape[2], sample.depth.shape[1], sample.K[0], sample.base_from_camera[0])
    return occupancy_from_depth(GRID, [(camera, sample.depth[0], sample.semantic[0])]).labels


def test_colours_change_alike_in_both_frames_and_truth_does_not(sample: TrainingSample) -> None:
    still = replace(sample, previous_images=sample.images)
    changed = augment(still, np.random.default_rng(2))
    assert changed.previous_images is not None
    difference = np.abs(changed.images.astype(float) - changed.previous_images.astype(float)).mean()
    assert difference < 10  # only the noise differs
    assert np.array_equal(np.sort(changed.depth, axis=None), np.sort(sample.depth, axis=None), equal_nan=True)


def test_samples_of_two_label_spaces_share_a_batch(sample: TrainingSample) -> None:
    street = replace(
        sample,
        semantic=np.full_like(sample.semantic, 8),
        dataset="camvid",
        occupancy=None,
        previous_images=None,
        previous_from_current=None,
    )
    batch = collate([street, sample], LABELS, GRID.shape)
    candidates = batch.label_table[batch.semantic[0, 0, 0]]
    assert {LABELS.names[i] for i in torch.nonzero(candidates)[:, 0]} == {"car", "truck"}
    own = int(sample.semantic[0, 50, 50])
    assert torch.nonzero(batch.label_table[batch.semantic[1, 50, 50]])[:, 0].tolist() == [own]
    assert batch.previous_rows.tolist() == [1] and batch.cameras.num_frames == 2


def test_a_batch_depends_on_seed_and_step_alone(source: WorldSource) -> None:
    text = config_file("training", "nano")
    config = TrainingConfig.load(text)
    rooms = next(s for s in config.sources if s.kind == "indoor").model_copy(update={"worlds": 1})
    config = config.model_copy(update={"sources": (rooms,)})
    first, second = (StepDataset(config, [source], LABELS, GRID.shape)[900] for _ in range(2))
    assert torch.equal(first.cameras.images, second.cameras.images)
    assert first.cameras.images.shape[2:] == (128, 176)
    other = StepDataset(config, [source], LABELS, GRID.shape)[901]
    assert not torch.equal(first.cameras.images, other.cameras.images)


def test_what_a_sample_does_not_know_is_unknown_to_training() -> None:
    K = np.array([[4.0, 0, 3.5], [0, 4, 2.5], [0, 0, 1]])
    rig = Rig(tuple(Camera(name, 8, 6, K, np.eye(4)) for name in ("left", "right")))
    images = {name: np.full((6, 8, 3), value, np.uint8) for name, value in (("right", 2), ("left", 1))}
    moved = np.eye(4)
    moved[0, 3] = 1.0
    poses = {"left": moved, "right": moved}
    frame = RigFrame(rig, 1, images, {"left": 1, "right": 1}, poses, moved)
    truth = GroundTruth({"right": CameraTruth(depth=np.full((6, 8), 3.0, np.float32))}, dataset="camvid")
    before = replace(frame, stamp_ns=0, world_from_camera={name: np.eye(4) for name in rig.names})
    made = training_sample(Sample(frame, truth, before), ground_known=False)
    assert made.images[:, 0, 0, 0].tolist() == [1, 2]  # in the rig's order
    assert np.isnan(made.depth[0]).all() and (made.depth[1] == 3).all()
    assert (made.semantic == UNKNOWN).all() and (made.motion_mask == UNKNOWN_MOTION).all()
    assert made.occupancy is None and made.dataset == "camvid"
    assert made.previous_from_current is not None
    np.testing.assert_array_equal(made.previous_from_current, [moved, moved])
    unposed = replace(before, world_from_camera={}, world_from_base=None)
    assert training_sample(Sample(frame, truth, unposed), ground_known=False).previous_images is None
    alone = replace(frame, images={"left": images["left"]})
    with pytest.raises(ValueError, match="camera 'right': a rectified image of 8x6"):
        training_sample(Sample(alone, truth), ground_known=False)


@pytest.mark.recordings
def test_recorded_sources_give_what_they_have(recordings: Path) -> None:
    rng = np.random.default_rng(0)
    street = CamVidSource(recordings / "street_labels").sample(3, (240, 176), rng)
    assert street.dataset == "camvid" and np.isin(street.semantic, [*range(11), UNKNOWN]).all()
    assert np.array_equal(np.isposinf(street.depth), street.semantic == 0)
    room = RgbdSource(recordings / "rgbd_room", 20, GRID)
    assert room.available(0.0) == 10  # ids 0, 2, ... 18
    frame = room.sample(5, (240, 176), rng)
    assert 0.3 < np.nanmedian(frame.depth) < 5 and np.isnan(frame.depth).mean() < 0.4
    with pytest.raises(ValueError, match="no frame with an id from None to -1"):
        RgbdSource(recordings / "rgbd_room", 0, GRID)
