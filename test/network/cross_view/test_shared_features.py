# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import torch

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.cross_view.neighbours import select_neighbours
from mtl_perception.network.cross_view.shared_features import STRIDE, SharedFeatureCrossView
from mtl_perception.network.geometry import reproject

HEIGHT, WIDTH, FOCAL = 96, 128, 100.0


def _batch() -> CameraBatch:
    K = torch.tensor([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
    return CameraBatch(
        images=torch.zeros(1, 3, HEIGHT, WIDTH),
        K=K[None],
        base_from_camera=torch.eye(4)[None],
        ground_known=torch.zeros(1, dtype=torch.bool),
        frame_index=torch.zeros(1, dtype=torch.int64),
        num_frames=1,
    )


def test_a_wall_is_found_at_its_distance() -> None:
    torch.manual_seed(0)
    module = SharedFeatureCrossView(8, width=16, planes=24, nearest=1.0, farthest=20.0).eval()
    batch, distance = _batch(), 4.0
    motion = torch.eye(4)[None].clone()
    motion[0, 0, 3] = 2 * STRIDE * distance / FOCAL  # a wall at that distance lay two cells to the right
    now = torch.randn(1, 8, HEIGHT // STRIDE, WIDTH // STRIDE)
    before = torch.roll(now, 2, dims=3)
    where, _ = reproject(torch.full((1, *now.shape[2:]), distance), batch.K, motion, batch.K, STRIDE)
    torch.testing.assert_close(where[0, 3, 4], torch.tensor([6.0, 3.0]), atol=1e-4, rtol=0)
    with torch.no_grad():
        previous = PreviousFrame({"cross_view": module.embedding(before)}, batch.K, motion, torch.ones(1).bool())
        neighbours = select_neighbours(batch, previous, 1.0, 20.0)
        features, cost = module(now, batch.K, neighbours, previous.features["cross_view"])
    assert features.shape == (1, 16, 12, 16) and cost.shape == (1, 24, 12, 16)
    best = module.cost_volume.depths()[cost[:, :, 2:-2, 2:-4].argmax(dim=1)]
    assert ((best - distance).abs() < 0.5).float().mean() > 0.9


def test_without_another_view_every_depth_is_alike() -> None:
    module = SharedFeatureCrossView(8, width=16, planes=6, nearest=1.0, farthest=20.0).eval()
    batch = _batch()
    with torch.no_grad():
        _, cost = module(torch.randn(1, 8, 12, 16), batch.K, select_neighbours(batch, None, 1.0, 20.0))
    torch.testing.assert_close(cost, cost[:, :1].expand_as(cost), atol=1e-3, rtol=0)
