# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Samples and batches: what is not known is unknown, and a batch has the shapes that the losses count on."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mtl_perception.core import (
    UNKNOWN,
    UNOBSERVED,
    BevMap,
    Box,
    Camera,
    CameraTruth,
    GroundTruth,
    LabelSpace,
    Rig,
    RigFrame,
    Sample,
    Sweep,
)
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.resources import config_file
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingBatch, collate, training_sample

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID_SHAPE = (6, 4, 2)
SIZE = (6, 8)
LAYERS = ("crossing", "road")
K = np.array([[4.0, 0, 3.5], [0, 4, 2.5], [0, 0, 1]])


def a_frame(stamp_ns: int, x: float = 0.0) -> RigFrame:
    """Return a frame of two cameras that look ahead, of one colour each."""
    rig = Rig(tuple(Camera(name, 8, 6, K, BODY_FROM_OPTICAL) for name in ("left", "right")))
    images = {name: np.full((*SIZE, 3), value, np.uint8) for name, value in (("right", 2), ("left", 1))}
    pose = np.eye(4)
    pose[0, 3] = x
    return RigFrame(rig, stamp_ns, images, dict.fromkeys(rig.names, stamp_ns), dict.fromkeys(rig.names, pose), pose)


def a_box(x: float, y: float, label: str, track: str = "", velocity: np.ndarray | None = None) -> Box:
    pose = np.eye(4)
    pose[:2, 3] = x, y
    return Box(pose, (4.0, 2.0, 1.5), label, track, velocity=velocity)


@pytest.fixture
def sample() -> Sample:
    """Return a frame with the one before it, of whose right image all is known."""
    semantic = np.zeros(SIZE, np.uint8)
    semantic[:, 5:] = 8
    semantic[0] = UNKNOWN
    instance = np.zeros(SIZE, np.int32)
    instance[1:, :5] = 7
    known = CameraTruth(
        depth=np.full(SIZE, 3.0, np.float32),
        semantic=semantic,
        instance=instance,
        normals=np.full((*SIZE, 3), [0, 0, -1], np.float32),
        motion_mask=np.full(SIZE, 255, np.uint8),
        scene_flow=np.full((*SIZE, 3), [1, 2, 3], np.float32),
    )
    boxes = (a_box(10, 0, "car", "7", np.array([1.0, 2.0, 0.0])), a_box(12, 0, "car", "8"), a_box(-9, 0, "car", "7"),
             a_box(10, 0, "spaceship", "7"))  # fmt: skip
    truth = GroundTruth(
        {"right": known},
        sweep=Sweep(200_000_000, None, boxes=boxes),
        bev_map=BevMap((-3, -2), 1.0, {"road": np.ones((6, 4), np.float32)}),
    )
    return Sample(a_frame(200_000_000, x=1.0), truth, a_frame(0))


def test_what_a_sample_does_not_know_is_unknown_to_training(sample: Sample) -> None:
    made = training_sample(sample, False, LABELS, LAYERS)
    assert made.images[:, 0, 0, 0].tolist() == [1, 2]  # in the rig's order
    assert np.isnan(made.depth[0]).all() and (made.depth[1] == 3).all()
    assert (made.semantic[0] == UNKNOWN).all() and (made.motion_mask[0] == UNKNOWN_MOTION).all()
    assert made.normals is not None and made.scene_flow is not None and made.instance is not None
    assert np.isnan(made.normals[0]).all() and np.isnan(made.scene_flow[0]).all() and (made.instance[0] == -1).all()
    assert made.edges is not None and (made.edges[0] == UNKNOWN_MOTION).all()
    assert made.edges[1, :2].tolist() == [[UNKNOWN_MOTION] * 8, [0, 0, 0, 0, 255, 255, 0, 0]]
    assert made.occupancy is None and made.dataset == ""
    assert made.bev_map is not None and np.isnan(made.bev_map[0]).all() and (made.bev_map[1] == 1).all()


def test_boxes_count_as_seen_where_evaluation_counts_them(sample: Sample) -> None:
    boxes = training_sample(sample, True, LABELS).boxes
    assert boxes is not None and len(boxes) == 3  # the label space knows no spaceships
    assert boxes.seen.tolist() == [True, False, False]  # too few pixels; behind
    np.testing.assert_array_equal(boxes.velocity[:2], [[1, 2], [np.nan, np.nan]])
    assert {LABELS.names[label] for label in boxes.label} == {"car"}


def test_the_frame_before_counts_with_poses_and_images_only(sample: Sample) -> None:
    made = training_sample(sample, False, LABELS)
    assert made.previous_from_current is not None and made.seconds == pytest.approx(0.2)
    np.testing.assert_array_equal(made.previous_from_current[:, 0, 3], [1, 1])
    assert sample.previous is not None
    unposed = replace(sample.previous, world_from_camera={}, world_from_base=None)
    assert training_sample(replace(sample, previous=unposed), False, LABELS).previous_images is None


def test_every_camera_must_have_an_image_of_one_size(sample: Sample) -> None:
    alone = replace(sample.frame, images={"left": sample.frame.images["left"]})
    with pytest.raises(ValueError, match="camera 'right': a rectified image of 8x6"):
        training_sample(replace(sample, frame=alone), False, LABELS)


@pytest.fixture
def batch(sample: Sample) -> TrainingBatch:
    """Return a batch of a frame of which nothing is known, without one before it, and of `sample`."""
    bare = training_sample(Sample(sample.frame, GroundTruth(dataset="camvid")), False, LABELS, LAYERS)
    bare = replace(bare, semantic=np.full_like(bare.semantic, 8))
    return collate([bare, training_sample(sample, True, LABELS, LAYERS)], LABELS, GRID_SHAPE, LAYERS)


def test_a_batch_has_the_shapes_that_losses_count_on(batch: TrainingBatch) -> None:
    image = (4, *SIZE)
    expected = {
        "depth": image, "semantic": image, "motion_mask": image, "edges": image, "instance": image,
        "normals": (4, 3, *SIZE), "scene_flow": (4, 3, *SIZE), "occupancy": (2, *GRID_SHAPE), "bev_map": (2, 2, 6, 4),
        "previous_from_current": (2, 4, 4), "previous_rows": (2,), "seconds": (2,), "label_table": (512, len(LABELS)),
    }  # fmt: skip
    for name, shape in expected.items():
        assert tuple(getattr(batch, name).shape) == shape, name
    assert batch.cameras.images.shape == (4, 3, *SIZE) and batch.cameras.num_frames == 2
    assert batch.previous is not None and batch.previous.images.shape == (2, 3, *SIZE)
    kinds = {"edges": torch.uint8, "instance": torch.int32, "normals": torch.float32, "scene_flow": torch.float32}
    assert {name: getattr(batch, name).dtype for name in kinds} == kinds


def test_what_is_unknown_is_unknown_in_a_batch(batch: TrainingBatch) -> None:
    assert batch.normals[:3].isnan().all() and batch.scene_flow[:3].isnan().all() and batch.depth[:3].isnan().all()
    assert (batch.instance[:3] == -1).all() and (batch.motion_mask[:3] == UNKNOWN_MOTION).all()
    assert (batch.occupancy == UNOBSERVED).all() and batch.bev_map[0].isnan().all()
    assert batch.boxes[0] is None and batch.boxes[1] is not None
    assert batch.scene_flow[3, :, 2, 2].tolist() == [1, 2, 3]  # channels, not pixels


def test_samples_of_two_label_spaces_share_a_batch(batch: TrainingBatch) -> None:
    candidates = batch.label_table[batch.semantic[0, 0, 0]]
    assert {LABELS.names[i] for i in torch.nonzero(candidates)[:, 0]} == {"car", "truck"}
    assert torch.nonzero(batch.label_table[batch.semantic[3, 2, 7]])[:, 0].tolist() == [8]
    assert not batch.label_table[batch.semantic[3, 0, 0]].any()


def test_memory_of_the_frame_before_comes_to_its_rows(batch: TrainingBatch) -> None:
    assert batch.previous_rows.tolist() == [2, 3]
    previous = batch.previous_frame({"shared": torch.arange(1.0, 3.0)[:, None].repeat(1, 5)})
    assert previous.valid.tolist() == [False, False, True, True]
    assert previous.features["shared"][:, 0].tolist() == [0, 0, 1, 2]
    assert previous.previous_from_current is not None
    assert previous.previous_from_current[:, 0, 3].tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(previous.K, batch.cameras.K)


def test_a_batch_moves_to_a_device_as_a_whole(batch: TrainingBatch) -> None:
    moved = batch.to("meta")
    for field in fields(TrainingBatch):
        if isinstance(getattr(moved, field.name), torch.Tensor):
            assert getattr(moved, field.name).is_meta, field.name
    assert moved.cameras.images.is_meta and moved.previous is not None and moved.previous.K.is_meta
    assert moved.boxes is batch.boxes


def test_the_mirror_changes_all_fields_of_boxes_and_grids(sample: Sample) -> None:
    known = training_sample(sample, True, LABELS, LAYERS)
    lane = np.zeros((2, 6, 4), np.float32)
    lane[:, :, 0] = 1
    mirrored = replace(known, bev_map=lane).mirrored()
    assert mirrored.bev_map is not None and (mirrored.bev_map[:, :, -1] == 1).all()
    assert known.boxes is not None and mirrored.boxes is not None
    turned = replace(known.boxes, yaw=np.full(3, 0.3, np.float32)).mirrored()
    np.testing.assert_array_equal(turned.yaw, np.full(3, -0.3, np.float32))
    np.testing.assert_array_equal(turned.velocity[0], [1, -2])
