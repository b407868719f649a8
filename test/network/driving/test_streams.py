# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene streams: any number of cameras, missing modalities without influence, the past, and the way to the classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.network.batch import History
from mtl_perception.network.driving.dual_branch import DualBranchEmbedding
from mtl_perception.network.driving.scene_heads import SceneHeads
from mtl_perception.network.driving.streams import (
    GESTURE_JOINTS,
    POSTURE_JOINTS,
    CabinBatch,
    MotionStream,
    SceneStreams,
)

WIDTH = 12


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def cabin_batch(frames: int = 2, views: int = 3) -> CabinBatch:
    return CabinBatch(
        images=torch.rand(frames, views, 3, 32, 48),
        valid=torch.ones(frames, views, dtype=torch.bool),
        posture=torch.randn(frames, POSTURE_JOINTS, 3),
        gestures=torch.randn(frames, GESTURE_JOINTS, 3),
        joints_valid=torch.ones(frames, dtype=torch.bool),
    )


def cabin_maps(frames: int = 2, views: int = 3) -> Tensor:
    return torch.randn(frames, views, WIDTH, 5, 9)


@pytest.mark.parametrize("size", [(15, 23), (7, 7), (4, 11), (1, 1)])
@pytest.mark.parametrize("frames", [1, 3])
def test_streams_have_one_size(size: tuple[int, int], frames: int) -> None:
    module = SceneStreams(WIDTH, history=4)
    streams, valid = module(
        torch.randn(2 * frames, WIDTH, *size),
        torch.arange(frames).repeat(2),
        frames,
        cabin_batch(frames),
        cabin_maps(frames),
        torch.randn(frames, 4, WIDTH, 7, 7),
        torch.ones(frames, 4, dtype=torch.bool),
    )
    assert len(streams) == len(valid) == 4
    for stream, mask in zip(streams, valid, strict=True):
        assert stream is not None and mask is not None
        assert stream.shape == (frames, WIDTH, 7, 7) and torch.isfinite(stream).all()
        assert mask.shape == (frames,) and mask.dtype == torch.bool and mask.all()


def test_the_scene_does_not_depend_on_the_number_or_order_of_cameras() -> None:
    module = SceneStreams(WIDTH)
    maps = torch.randn(2, WIDTH, 6, 10)
    one_each = module(maps, torch.tensor([0, 1]), 2)[0][1]
    several = module(maps[[1, 0, 0, 1, 0]], torch.tensor([1, 0, 0, 1, 0]), 2)[0][1]
    assert torch.allclose(one_each, several, atol=1e-6)
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, 7)
    assert torch.allclose(one_each[0], module.scene_grid * pooled[0], atol=1e-6)


def test_a_frame_without_cameras_is_marked_and_zero() -> None:
    streams, valid = SceneStreams(WIDTH)(torch.randn(2, WIDTH, 6, 10), torch.tensor([0, 2]), 3)
    assert valid[1].tolist() == [True, False, True]
    assert streams[1][1].abs().sum() == 0


def test_frames_are_independent() -> None:
    module = SceneStreams(WIDTH, history=3)
    maps, index = torch.randn(5, WIDTH, 6, 10), torch.tensor([0, 1, 0, 1, 1])
    cabin, inside, past = cabin_batch(), cabin_maps(), torch.randn(2, 3, WIDTH, 7, 7)
    past_valid = torch.tensor([[True, True, True], [False, True, True]])
    together, _ = module(maps, index, 2, cabin, inside, past, past_valid)
    alone_cabin = CabinBatch(*(getattr(cabin, name)[1:] for name in cabin.__dataclass_fields__))
    alone, _ = module(
        maps[index == 1], torch.zeros(3, dtype=torch.long), 1, alone_cabin, inside[1:], past[1:], past_valid[1:]
    )
    for many, one in zip(together, alone, strict=True):
        assert torch.allclose(many[1:], one, atol=1e-5)


def test_without_a_cabin_only_the_scene_is_there() -> None:
    streams, valid = SceneStreams(WIDTH)(torch.randn(2, WIDTH, 6, 10), torch.tensor([0, 0]), 1)
    assert [stream is None for stream in streams] == [True, False, True]
    assert [mask is None for mask in valid] == [True, False, True]
    streams, _ = SceneStreams(WIDTH)(torch.randn(2, WIDTH, 6, 10), torch.tensor([0, 0]), 1, cabin_batch(1))
    assert [stream is None for stream in streams] == [True, False, False]  # joints, but no maps of the cabin


def test_missing_cabin_views_have_no_influence() -> None:
    module = SceneStreams(WIDTH)
    outside, index = torch.randn(2, WIDTH, 6, 10), torch.tensor([0, 1])
    maps = cabin_maps()
    cabin = replace(cabin_batch(), valid=torch.tensor([[True, False, True], [False, False, False]]))
    poisoned = torch.where(cabin.valid[:, :, None, None, None], maps, torch.nan)
    streams, valid = module(outside, index, 2, cabin, poisoned)
    two_views = replace(cabin, valid=torch.ones(2, 2, dtype=torch.bool))
    expected, _ = module(outside, index, 2, two_views, maps[:, [0, 2]])
    assert valid[0].tolist() == [True, False]
    assert torch.allclose(streams[0][0], expected[0][0], atol=1e-6)
    assert streams[0][1].abs().sum() == 0


def test_missing_joints_have_no_influence() -> None:
    module = SceneStreams(WIDTH)
    outside, index = torch.randn(2, WIDTH, 6, 10), torch.tensor([0, 1])
    cabin = replace(cabin_batch(), joints_valid=torch.tensor([True, False]))
    cabin.posture[1] = torch.nan
    cabin.gestures[1] = torch.inf
    streams, valid = module(outside, index, 2, cabin)
    assert valid[2].tolist() == [True, False]
    assert streams[2][1].abs().sum() == 0 and streams[2][0].abs().sum() > 0
    streams[2].square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.joints.parameters())


def test_a_joint_that_is_not_seen_is_told_from_one_at_the_origin() -> None:
    module = SceneStreams(WIDTH)
    outside, index = torch.randn(1, WIDTH, 6, 10), torch.tensor([0])
    cabin = cabin_batch(1)
    results = []
    for value in (0.0, torch.nan):
        cabin.posture[0, 5] = value
        results.append(module(outside, index, 1, cabin)[0][2])
    assert torch.isfinite(results[1]).all() and not torch.allclose(results[0], results[1])


def test_every_joint_is_read() -> None:
    module = SceneStreams(WIDTH)
    cabin = cabin_batch(1)
    cabin.posture.requires_grad_()
    cabin.gestures.requires_grad_()
    module(torch.randn(1, WIDTH, 6, 10), torch.tensor([0]), 1, cabin)[0][2].square().sum().backward()
    assert cabin.posture.grad.abs().amin() > 0 and cabin.gestures.grad.abs().amin() > 0


def history(past: Tensor, valid: Tensor, module: SceneStreams) -> tuple[Tensor, Tensor]:
    frames = len(past)
    outside = torch.zeros(frames, WIDTH, 2, 2)
    streams, masks = module(outside, torch.arange(frames), frames, past=past, past_valid=valid)
    assert streams[2] is not None and masks[2] is not None
    return streams[2], masks[2]


def test_missing_frames_of_the_past_have_no_influence() -> None:
    module = SceneStreams(WIDTH, history=16)
    with torch.no_grad():
        module.history.by_age.normal_()
    past = torch.randn(2, 5, WIDTH, 7, 7)
    valid = torch.tensor([[False, False, True, True, True], [False] * 5])
    poisoned = torch.where(valid[:, :, None, None, None], past, torch.nan)
    stream, known = history(poisoned, valid, module)
    assert known.tolist() == [True, False]
    shorter, _ = history(past[:, 2:], torch.ones(2, 3, dtype=torch.bool), module)
    assert torch.allclose(stream[0], shorter[0], atol=1e-5)
    assert stream[1].abs().sum() == 0


def test_the_order_of_the_past_matters_and_all_of_it_is_read() -> None:
    module = SceneStreams(WIDTH, history=16)
    past = torch.randn(1, 16, WIDTH, 7, 7, requires_grad=True)
    valid = torch.ones(1, 16, dtype=torch.bool)
    stream, _ = history(past, valid, module)
    (gradient,) = torch.autograd.grad(stream.square().sum(), past)
    assert gradient.abs().amax(dim=(0, 2, 3, 4)).min() > 0
    backwards, _ = history(past.flip(1), valid, module)
    assert not torch.allclose(stream, backwards, atol=1e-3)
    with pytest.raises(ValueError, match="17 frames of the past, but the history has 16"):
        history(torch.randn(1, 17, WIDTH, 7, 7), torch.ones(1, 17, dtype=torch.bool), module)


def test_gradients_reach_every_source_from_the_classes() -> None:
    module = SceneStreams(WIDTH, history=2)
    tasks = tuple(SCENE_CLASSES)
    embedding, heads = DualBranchEmbedding(WIDTH, (1, 2, 1), tasks, False), SceneHeads(WIDTH)
    outside = torch.randn(4, WIDTH, 6, 10, requires_grad=True)
    inside = cabin_maps().requires_grad_()
    past = torch.randn(2, 2, WIDTH, 7, 7, requires_grad=True)
    streams, valid = module(
        outside,
        torch.tensor([0, 0, 1, 1]),
        2,
        cabin_batch(),
        inside,
        past,
        torch.ones(2, 2, dtype=torch.bool),
    )
    logits = heads(embedding(streams, tasks, valid).fused)
    sum(values.square().sum() for values in logits.values()).backward()
    for source in (outside, inside, past):
        assert source.grad.abs().flatten(1).amax(dim=1).min() > 0
    parameters = [*module.parameters(), *embedding.parameters(), *heads.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)


def test_bfloat16_is_near_float32() -> None:
    module = SceneStreams(WIDTH, history=4)
    cabin, maps, past = cabin_batch(), cabin_maps(), torch.randn(2, 4, WIDTH, 7, 7)
    past_valid = torch.ones(2, 4, dtype=torch.bool)
    outside, index = torch.randn(6, WIDTH, 5, 9), torch.tensor([0, 0, 0, 1, 1, 1])
    exact, _ = module(outside, index, 2, cabin, maps, past, past_valid)
    half, _ = module.to(torch.bfloat16)(
        outside.bfloat16(), index, 2, cabin, maps.bfloat16(), past.bfloat16(), past_valid
    )
    for rough, fine in zip(half, exact, strict=True):
        assert rough.dtype == torch.bfloat16 and torch.isfinite(rough).all()
        assert (rough.float() - fine).abs().mean() < 0.03 * fine.abs().mean() + 0.01


def past_motion(twist: Tensor, valid: Tensor) -> History:
    """Frames a tenth of a second apart, the newest last."""
    count = twist.shape[1]
    return History({"twist": twist}, (0.1 * torch.arange(count, 0, -1)).expand(len(twist), -1), valid)


def test_the_motion_of_the_last_frames_is_a_stream() -> None:
    module = MotionStream(WIDTH, 4)
    now, past = torch.rand(2, 6), torch.rand(2, 9, 6)
    stream, rows = module(now, past_motion(past, torch.ones(2, 9, dtype=torch.bool)))
    assert stream.shape == (2, WIDTH, 7, 7) and rows.all()
    recent, _ = module(now, past_motion(past[:, -3:], torch.ones(2, 3, dtype=torch.bool)))
    torch.testing.assert_close(stream, recent)  # more than it looks back at
    faster, _ = module(now, past_motion(2.0 * past, torch.ones(2, 9, dtype=torch.bool)))
    assert not torch.allclose(stream, faster)


def test_a_motion_that_is_not_known_at_any_frame_is_no_stream() -> None:
    module = MotionStream(WIDTH, 4)
    unknown, valid = torch.full((3, 6), torch.nan), torch.ones(3, 3, dtype=torch.bool)
    past = torch.rand(3, 3, 6)
    past[0] = torch.nan
    valid[1] = False
    stream, rows = module(unknown, past_motion(past, valid))
    assert rows.tolist() == [False, False, True]
    assert torch.isfinite(stream).all() and not stream[:2].any() and stream[2].any()
    assert module(unknown, None)[1].tolist() == [False] * 3
