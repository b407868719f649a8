# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The objective: every task learns from one pair of images, gradients reach what they should, nothing is needed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl_perception.core import FREE, LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.resources import config_file
from mtl_perception.training.objective.batch_losses import BatchLosses
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.objective.settings import IMAGE_TASKS, SUPERVISED, ObjectiveSettings
from mtl_perception.training.samples import BoxTruth, TrainingBatch, TrainingSample, collate

LABELS = LabelSpace.load(config_file("labels", "default"))
LAYERS = ("road",)
CONFIG = NetworkConfig.model_validate(
    {
        "preset": "tiny",
        "tasks": SUPERVISED,
        "num_labels": len(LABELS),
        "input_pixels": 96 * 64,
        "backbone": {"options": {"widths": (12, 12, 12, 12), "blocks": (1, 1, 1, 1)}, "stem_width": 8},
        "neck": {"width": 12},
        "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 16, "canonical_focal": 60.0},
        "dense": {"width": 8},
        "reprojection_motion": {"embedding": 4, "radius": 1},
        "panoptic": {"kind": "light", "width": 8},
        "grid": {"origin": (-8.0, -8.0, -1.0), "voxel_size": 1.0, "shape": (16, 16, 4)},
        "volume": {"lift_width": 6, "plane_width": 8, "detection_labels": (8,), "map_layers": {"road": (1,)}},
    }
)
WEIGHTS = [name for name, field in ObjectiveSettings.model_fields.items() if field.annotation is float]
ALL_TERMS = {name: 0.1 for name in WEIGHTS if name != "distillation"}  # that needs a teacher


@pytest.fixture(scope="module")
def batch() -> TrainingBatch:
    """Return a camera above a road, a wall 6 m ahead, and a car before it that moves to the left."""
    K = np.array([[60.0, 0, 47.5], [0, 60, 31.5], [0, 0, 1]])
    mount = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    rows = np.arange(64)[:, None] * np.ones((1, 96))
    road = 1.5 * 60 / np.maximum(rows - 31.5, 0.5)
    depth = np.minimum(road, 6.0).astype(np.float32)
    car = np.zeros((64, 96), bool)
    car[24:44, 30:60] = True
    depth[car] = 5.0
    on_road = (road < 6.0) & ~car
    semantic = np.where(car, 8, np.where(on_road, 1, 12)).astype(np.uint8)
    normals = np.where(on_road[..., None], [0.0, -1, 0], [0.0, 0, -1]).astype(np.float32)
    edges = np.zeros((64, 96), np.uint8)
    edges[24:44, [30, 59]] = 255
    occupancy = np.full((16, 16, 4), FREE, np.uint8)
    occupancy[:, :, 0], occupancy[14, :, 1:], occupancy[13, 7:10, 1] = 1, 12, 8
    noise = np.random.default_rng(0).integers(-20, 20, (64, 96, 3))
    image = np.clip(np.stack([LABELS.palette[semantic].astype(int) + noise]), 0, 255).astype(np.uint8)
    motion = np.eye(4)
    motion[2, 3] = 0.3
    sample = TrainingSample(
        images=image,
        K=K[None],
        base_from_camera=mount[None],
        ground_known=True,
        depth=depth[None],
        semantic=semantic[None],
        dataset="",
        motion_mask=(car * 255).astype(np.uint8)[None],
        occupancy=occupancy,
        previous_images=np.roll(image, 2, axis=2),
        previous_from_current=motion[None],
        seconds=0.2,
        normals=normals[None],
        edges=edges[None],
        instance=(car * 4711).astype(np.int32)[None],
        scene_flow=np.where(car[..., None], [0.0, 2.0, 0.0], 0.0).astype(np.float32)[None],
        bev_map=np.ones((1, 16, 16), np.float32) * (np.arange(16) < 6),
        boxes=BoxTruth(
            np.array([[5.5, 0.3, 0.7]], np.float32), np.array([[4.0, 2, 1.5]], np.float32), np.array([1.5], np.float32),
            np.array([[0.0, 2.0]], np.float32), np.array([8]), np.array([True]),
        ),
    )  # fmt: skip
    return collate([sample], LABELS, (16, 16, 4), LAYERS)


def made(config: NetworkConfig = CONFIG) -> MultiTaskNetwork:
    torch.manual_seed(0)
    return MultiTaskNetwork(config).train()


def objective(**settings: object) -> Objective:
    return Objective(ObjectiveSettings.model_validate(settings), LABELS, torch.ones(len(LABELS)))


def reached(network: MultiTaskNetwork, loss: torch.Tensor) -> set[str]:
    """Return the children and decoders that a loss gives a gradient."""
    network.zero_grad()
    loss.backward(retain_graph=True)
    names = [name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())]
    return {".".join(name.split(".")[: 3 if name.startswith("dense") else 2]) for name in names}


def test_every_task_learns_from_one_pair(batch: TrainingBatch) -> None:
    network, of = made(), objective()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    history = []
    for _ in range(16):
        losses = of(network, batch).tasks
        history.append({task: float(loss.detach()) for task, loss in losses.items()})
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    assert set(history[0]) == set(SUPERVISED)
    for task in SUPERVISED:
        last = np.mean([losses[task] for losses in history[-3:]])
        assert last < 0.85 * history[0][task], f"{task}: {history[0][task]:.3f} -> {last:.3f}"


def test_gradients_reach_a_tasks_own_decoder_and_no_other(batch: TrainingBatch) -> None:
    network = made()
    losses = objective()(network, batch).tasks
    for task in ("depth", "semantic", "normals", "edges"):
        assert {name for name in reached(network, losses[task]) if name.startswith("dense")} == {f"dense.heads.{task}"}
    for task in ("occupancy", "bev_map", "detections", "motion_mask", "scene_flow"):
        names = reached(network, losses[task])
        assert not any(name.startswith("dense") for name in names) and any(n.startswith("encoder") for n in names), task


def test_depth_alone_behind_occupancy_is_trained_by_it(batch: TrainingBatch) -> None:
    network = made(CONFIG.restricted(["occupancy"]))
    assert any(name.startswith("dense") for name in reached(network, objective()(network, batch).tasks["occupancy"]))


def test_tasks_without_truth_or_without_a_decoder_are_left_out(batch: TrainingBatch) -> None:
    bare = replace(
        batch,
        depth=torch.full_like(batch.depth, torch.nan),
        edges=torch.full_like(batch.edges, 128),
        boxes=(None,),
        previous=None,
        previous_rows=batch.previous_rows[:0],
        previous_from_current=batch.previous_from_current[:0],
        seconds=batch.seconds[:0],
    )
    found = set(objective()(made(), bare).tasks)
    assert found == {"semantic", "normals", "panoptic", "occupancy", "bev_map"}
    assert set(objective()(made(CONFIG.restricted(["semantic"])), batch).tasks) == {"semantic"}


def test_poses_are_withheld_in_one_of_so_many_steps(batch: TrainingBatch) -> None:
    network = made(CONFIG.restricted(["scene_flow"]))
    with torch.no_grad():
        always = objective(withhold_poses_every=0)(network, batch).tasks["scene_flow"]
        for step, seen in ((0, True), (5, True), (6, False), (13, False)):
            shown = objective()(network, batch, step).tasks["scene_flow"]
            assert (float(shown) == pytest.approx(float(always), rel=1e-6)) == seen


@torch.no_grad()
def test_steps_of_image_tasks_alone_lie_between_those_of_all(batch: TrainingBatch) -> None:
    network = made()
    every = objective()(network, batch)
    for step in range(7):
        found = objective(others_every=3)(network, batch, step)
        assert set(found.tasks) == (set(every.tasks) if step % 3 == 0 else set(IMAGE_TASKS))
        for task in IMAGE_TASKS:  # the frame before, which is not looked at, makes no difference to them
            assert float(found.tasks[task]) == pytest.approx(float(every.tasks[task]), rel=1e-5), task


def test_poses_are_withheld_in_one_of_so_many_steps_of_all_tasks(batch: TrainingBatch) -> None:
    network = made(CONFIG.restricted(["scene_flow"]))
    with torch.no_grad():
        always = objective(withhold_poses_every=0)(network, batch).tasks["scene_flow"]
        for step, seen in ((0, True), (6, True), (9, False), (18, True), (21, False)):
            shown = objective(others_every=3, withhold_poses_every=4)(network, batch, step).tasks["scene_flow"]
            assert (float(shown) == pytest.approx(float(always), rel=1e-6)) == seen


def test_losses_of_one_pixel_in_four_learn_from_all_of_them_in_turn(batch: TrainingBatch) -> None:
    network, sparse = made(CONFIG.restricted(["depth", "semantic"])), objective(pixel_stride=2)
    learnt = torch.zeros(32, 48, dtype=torch.bool)
    for seed in range(20):
        if learnt.all():
            break
        torch.manual_seed(seed)
        losses = BatchLosses(sparse, network, batch, ("depth", "semantic"), False)
        logits = losses.dense["depth"][1]["depth_logits"]
        (gradient,) = torch.autograd.grad(losses.losses().tasks["depth"], logits)
        pixels = gradient.abs().sum(dim=(0, 1)) > 0
        assert pixels.sum() == pixels.numel() / 4
        learnt |= pixels
    assert learnt.all()
    with torch.no_grad():
        found, full = sparse(network, batch).tasks, objective()(network, batch).tasks
    for task in ("depth", "semantic"):
        assert float(found[task]) == pytest.approx(float(full[task]), rel=0.2), task


@torch.no_grad()
def test_half_precision_changes_little_and_losses_stay_float(batch: TrainingBatch) -> None:
    network = made()
    exact = objective(**ALL_TERMS)(network, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = objective(**ALL_TERMS)(network, batch)
    for name, loss in (exact.tasks | exact.terms).items():
        found = (half.tasks | half.terms)[name]
        assert found.dtype == torch.float32 and found.ndim == 0
        assert float(found) == pytest.approx(float(loss), rel=0.1, abs=0.02), name


def test_terms_come_with_their_weights_only(batch: TrainingBatch) -> None:
    network = made()
    with torch.no_grad():
        assert objective()(network, batch).terms == {}
    terms = objective(**ALL_TERMS)(network, batch).terms
    assert set(terms) == set(ALL_TERMS) - {"decoupling"}  # this network has no dual branch
    network.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    with torch.no_grad():
        twice = objective(photometric=0.2)(network, batch).terms["photometric"]
    assert float(twice) == pytest.approx(2 * float(terms["photometric"].detach()), rel=1e-3)
