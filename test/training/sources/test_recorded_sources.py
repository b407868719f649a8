# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings as sources: what they know, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import UNKNOWN, LabelSpace, VoxelGrid
from mtl_perception.resources import config_file
from mtl_perception.training.config import SourceConfig
from mtl_perception.training.samples import UNKNOWN_MOTION
from mtl_perception.training.sources import CamVidSource, RgbdSource, make_source

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = VoxelGrid((-16.0, -16.0, -1.0), 0.5, (64, 64, 8))


@pytest.mark.recordings
def test_street_photographs_know_classes_and_their_borders(recordings: Path) -> None:
    street = CamVidSource(recordings / "street_labels").sample(3, (240, 176), np.random.default_rng(0))
    assert street.dataset == "camvid" and np.isin(street.semantic, [*range(11), UNKNOWN]).all()
    assert np.array_equal(np.isposinf(street.depth), street.semantic == 0)
    assert street.edges is not None and street.instance is None and street.boxes is None
    np.testing.assert_array_equal(street.edges == UNKNOWN_MOTION, street.semantic == UNKNOWN)
    right, down = street.semantic[:, :-1, 1:], street.semantic[:, 1:, :-1]
    here, edge = street.semantic[:, :-1, :-1], street.edges[:, :-1, :-1]
    differs = ((here != right) & (right != UNKNOWN)) | ((here != down) & (down != UNKNOWN))
    assert (edge[differs & (here != UNKNOWN)] == 255).all()
    assert 0.01 < (street.edges == 255).mean() < 0.3


@pytest.mark.recordings
def test_a_hand_held_room_knows_depth_and_that_nothing_moves(recordings: Path) -> None:
    room = RgbdSource(recordings / "rgbd_room", 20, GRID)
    assert room.available(0.0) == 10  # ids 0, 2, ... 18
    frame = room.sample(5, (240, 176), np.random.default_rng(0))
    assert 0.3 < np.nanmedian(frame.depth) < 5 and np.isnan(frame.depth).mean() < 0.4
    assert frame.edges is None and frame.instance is None and not frame.ground_known
    assert frame.scene_flow is not None and not frame.scene_flow.any() and not frame.motion_mask.any()
    samples = [room.sample(5, (96, 64), np.random.default_rng(seed)) for seed in range(8)]
    seconds = [sample.seconds for sample in samples if sample.previous_images is not None]
    assert seconds and all(0 < each < 0.5 for each in seconds)
    with pytest.raises(ValueError, match="no frame with an id from None to -1"):
        RgbdSource(recordings / "rgbd_room", 0, GRID)


def test_a_grid_that_cannot_be_mirrored_is_refused(tmp_path: Path) -> None:
    lopsided = VoxelGrid((-16.0, 0.0, -1.0), 0.5, (64, 64, 8))
    street = SourceConfig(kind="street", frames_per_step=1, worlds=1)
    with pytest.raises(ValueError, match=r"the grid starts at y = 0\.0"):
        make_source(street, tmp_path, tmp_path, LABELS, lopsided, ())
    make_source(street, tmp_path, tmp_path, LABELS, GRID, ())


def test_no_training_sees_the_worlds_of_validation(tmp_path: Path) -> None:
    street = SourceConfig(kind="street", frames_per_step=1, worlds=2, first_seed=999_998)
    make_source(street, tmp_path, tmp_path, LABELS, GRID, ())
    with pytest.raises(ValueError, match="street: seeds from 1000000 on"):
        make_source(street.model_copy(update={"worlds": 3}), tmp_path, tmp_path, LABELS, GRID, ())
