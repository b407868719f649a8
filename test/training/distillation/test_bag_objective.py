# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a student learns from a batch of a labelled bag, and what holds it where it was."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.resources import config_file
from mtl_perception.training.distillation.bag_objective import DRIFT, BagObjective
from mtl_perception.training.distillation.labelled_source import DATASET
from mtl_perception.training.distillation.labelling import Rows
from mtl_perception.training.losses.distillation import drift_losses
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingBatch, TrainingSample, collate

WIDTH, HEIGHT = 96, 64
ROWS = Rows((("road",), ("building", "wall")), levels=4)
NETWORK = {
    "preset": "tiny",
    "tasks": ["depth", "semantic", "edges", "motion_mask", "ego_motion"],
    "num_labels": 16,
    "input_pixels": WIDTH * HEIGHT,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
}
ALIGNED = NETWORK | {
    "tasks": ["depth", "semantic", "scene_flow", "ego_motion"],
    "alignment": {"width": 8, "fine_width": 8},
    "scene_flow": "matches",
}


@pytest.fixture(scope="module")
def labels() -> LabelSpace:
    space = LabelSpace.load(config_file("labels", "default"))
    return replace(space, datasets={**space.datasets, DATASET: ROWS.dataset})


def network_of(values: dict) -> MultiTaskNetwork:
    torch.manual_seed(0)
    return MultiTaskNetwork(NetworkConfig.model_validate(values)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def start() -> MultiTaskNetwork:
    return network_of(NETWORK)


def learner(start: MultiTaskNetwork) -> MultiTaskNetwork:
    return copy.deepcopy(start).requires_grad_(True).train()


def sample(seed: int, posed: bool = True) -> TrainingSample:
    """A camera that goes towards a textured wall."""
    drawn = np.random.default_rng(seed)
    image = drawn.integers(0, 255, (1, HEIGHT // 4, WIDTH // 4, 3)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    motion = np.eye(4)
    motion[2, 3] = 0.3
    return TrainingSample(
        images=image,
        K=np.array([[[60.0, 0.0, WIDTH / 2 - 0.5], [0.0, 60.0, HEIGHT / 2 - 0.5], [0.0, 0.0, 1.0]]]),
        base_from_camera=BODY_FROM_OPTICAL[None],
        ground_known=False,
        depth=np.full((1, HEIGHT, WIDTH), 4.0, np.float32),
        semantic=ROWS.encode(drawn.integers(-1, 2, (1, HEIGHT, WIDTH)), drawn.random((1, HEIGHT, WIDTH))),
        dataset=DATASET,
        motion_mask=np.full((1, HEIGHT, WIDTH), UNKNOWN_MOTION, np.uint8),
        previous_images=np.roll(image, 2, axis=2),
        previous_from_current=motion[None] if posed else np.full((1, 4, 4), np.nan),
        seconds=0.2,
    )


def batch_of(labels: LabelSpace, *samples: TrainingSample) -> TrainingBatch:
    return collate(samples, labels, (32, 32, 8), ())


def objective_of(labels: LabelSpace, start: MultiTaskNetwork | None, known: tuple[str, ...]) -> BagObjective:
    return BagObjective(labels, torch.ones(len(labels)), ROWS, start, known)


def test_a_student_that_was_trained(labels: LabelSpace, start: MultiTaskNetwork) -> None:
    batch, network = batch_of(labels, sample(0), sample(1)), learner(start)
    objective = objective_of(labels, start, start.config.tasks)
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    losses = objective(network, batch)
    assert set(losses.tasks) == {"depth", "semantic"}
    drift = {"drift_edges", "drift_motion_mask", "drift_ego_motion"}
    assert set(losses.terms) == {"photometric", "smoothness", *drift}
    assert all(losses.terms[name].item() == pytest.approx(0.0, abs=1e-6) for name in drift)
    assert losses.terms["photometric"].item() > 0.0 and losses.terms["smoothness"].item() > 0.0
    torch.stack([*losses.tasks.values(), *losses.terms.values()]).sum().backward()
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in network.named_buffers())

    torch.optim.SGD(network.parameters(), 1e-2).step()
    after = objective(network, batch).terms
    assert all(after[name].item() > 0.0 for name in drift)
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in network.named_buffers())
    every = drift_of(network, start, batch)
    mean = DRIFT * sum(every.values()) / len(every)
    assert sum(after[name].item() for name in drift) == pytest.approx(mean, rel=1e-4)


@torch.no_grad()
def drift_of(network: MultiTaskNetwork, start: MultiTaskNetwork, batch: TrainingBatch, **how: bool) -> dict[str, float]:
    seen = [
        each(batch.cameras, each.config.tasks, batch.previous_frame(each.memory_of(batch.previous)))
        for each in (network, start)
    ]
    losses = drift_losses(*seen, torch.ones(len(batch.cameras.images), dtype=torch.bool), **how)
    return {name: loss.item() for name, loss in losses.items()}


def test_what_was_not_known_is_not_held(labels: LabelSpace, start: MultiTaskNetwork) -> None:
    batch = batch_of(labels, sample(0))
    held = objective_of(labels, start, ("depth", "semantic", "edges"))(learner(start), batch)
    assert set(held.terms) == {"photometric", "smoothness", "drift_edges"}
    network = learner(start)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    fresh = objective_of(labels, None, ())(network, batch)  # random weights: there is nothing to hold
    assert set(fresh.terms) == {"photometric", "smoothness"}
    assert any(not torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_without_poses_frames_are_compared_by_the_motion_that_the_student_told(
    labels: LabelSpace, start: MultiTaskNetwork
) -> None:
    unposed, objective = batch_of(labels, sample(0, posed=False)), objective_of(labels, start, start.config.tasks)
    network = learner(start)
    losses = objective(network, unposed)
    assert {"photometric", "drift_motion_mask", "drift_ego_motion"} <= losses.terms.keys()
    assert losses.terms["drift_motion_mask"].item() == pytest.approx(0.0, abs=1e-6)
    assert losses.terms["drift_ego_motion"].item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        told = start(
            unposed.cameras,
            ("ego_motion",),
            replace(unposed.previous_frame(start.memory_of(unposed.previous)), previous_from_current=None),
        ).ego_motion
    posed = replace(unposed, previous_from_current=told.previous_from_current)
    again = objective(learner(start), posed).terms["photometric"]
    assert losses.terms["photometric"].item() == pytest.approx(again.item(), rel=1e-5)
    losses.terms["photometric"].backward()
    assert all(p.grad is None for p in network.motion.parameters())
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_without_any_motion_an_image_is_not_compared(labels: LabelSpace, start: MultiTaskNetwork) -> None:
    known = ("depth", "semantic", "edges", "motion_mask")
    objective = objective_of(labels, start, known)
    unposed = objective(learner(start), batch_of(labels, sample(0, posed=False)))
    assert set(unposed.terms) == {"smoothness", "drift_edges"}
    mixed = objective(learner(start), batch_of(labels, sample(0, posed=False), sample(1)))
    alone = objective(learner(start), batch_of(labels, sample(1)))
    assert mixed.terms["photometric"].item() == pytest.approx(alone.terms["photometric"].item(), rel=1e-4)
    assert mixed.terms["drift_motion_mask"].item() == pytest.approx(0.0, abs=1e-6)


def test_a_student_whose_motion_comes_from_alignment(labels: LabelSpace) -> None:
    start = network_of(ALIGNED)
    objective, network = objective_of(labels, start, start.config.tasks), learner(start)
    for posed in (False, True):
        batch = batch_of(labels, sample(0, posed))
        terms = objective(network, batch).terms
        assert set(terms) == {"photometric", "smoothness", "drift_ego_motion", "drift_scene_flow"}
        assert terms["drift_ego_motion"].item() == pytest.approx(0.0, abs=1e-6)
        assert terms["drift_scene_flow"].item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for parameter in network.dense.depth.parameters():
            parameter.mul_(1.5)
    later, every = (
        objective(network, batch).terms["drift_scene_flow"],
        drift_of(network, start, batch, matched_flow=True),
    )
    expected = DRIFT * (every["independent_flow"] + every["flow_mask_logits"]) / len(every)
    assert later.item() == pytest.approx(expected, rel=1e-4)
