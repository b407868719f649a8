# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the truth: what is known is shown, what is not is left out."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.core import CameraTruth, GroundTruth, LabelSpace, Sample
from mtl_perception.data.world import World
from mtl_perception.drawing.colours import bev_from_above
from mtl_perception.resources import config_file
from mtl_perception.running.truth_pictures import image_with_boxes, truth_picture

LABELS = LabelSpace.load(config_file("labels", "default"))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return World.generate("street", 4, LABELS, image_size=(96, 72), duration_s=7.0).render(6.0, previous_s=5.9)


def test_less_is_shown_where_less_is_known(sample: Sample) -> None:
    whole = truth_picture(sample, LABELS, 96)
    depth = {name: CameraTruth(depth=truth.depth) for name, truth in sample.truth.cameras.items()}
    part = truth_picture(replace(sample, truth=GroundTruth(cameras=depth)), LABELS, 96)
    nothing = truth_picture(replace(sample, truth=GroundTruth()), LABELS, 96)
    assert whole.shape[0] > part.shape[0] > nothing.shape[0] > 72
    assert whole.shape[1] == part.shape[1] == 4 * 96 + 3 * 6


def test_boxes_are_drawn_around_what_the_image_shows(sample: Sample) -> None:
    sweep = sample.truth.sweep
    assert sweep is not None and sweep.boxes
    without = replace(sample, truth=replace(sample.truth, sweep=replace(sweep, boxes=())))
    drawn = {
        name: np.any(image_with_boxes(sample, name, 96) != image_with_boxes(without, name, 96), axis=2)
        for name in sample.frame.present
    }
    assert any(mask.any() for mask in drawn.values())
    hidden = {
        name: replace(truth, instance=np.zeros_like(truth.instance)) for name, truth in sample.truth.cameras.items()
    }
    unseen = replace(sample, truth=replace(sample.truth, cameras=hidden))
    for name in sample.frame.present:
        np.testing.assert_array_equal(image_with_boxes(unseen, name, 96), image_with_boxes(without, name, 96))


def test_the_map_has_ahead_at_the_top(sample: Sample) -> None:
    bev = sample.truth.bev_map
    assert bev is not None
    ahead = {name: np.zeros_like(layer) for name, layer in bev.layers.items()}
    ahead["road"][-8:] = 1.0  # the farthest cells along x
    picture = bev_from_above(replace(bev, layers=ahead), 64).astype(int)
    assert np.abs(picture[:6] - picture[-6:]).sum() > 0
    assert np.ptp(picture[20:], axis=(0, 1)).max() == 0, "nothing is known there"


def test_the_command_writes_a_sheet_and_the_truth_of_the_first_seed(tmp_path: Path) -> None:
    assert cli.main(["world-pictures", str(tmp_path / "out"), "--kind", "indoor", "--seeds", "2"]) == 0
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["indoor.jpg", "indoor_truth.jpg"]
    for name in files:
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 20
