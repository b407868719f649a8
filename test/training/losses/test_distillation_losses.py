# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses whose truth is what another network says, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from mtl_perception.core.prediction import Task
from mtl_perception.network import NetworkOutput
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.network.motion.alignment import Alignment
from mtl_perception.network.motion.ego_motion import EgoMotion
from mtl_perception.network.motion.matching import Matches
from mtl_perception.network.panoptic.query_segmentation import QueryOutput
from mtl_perception.network.volume.center_head import BoxMaps
from mtl_perception.training.losses.distillation import (
    DRIFT_TASKS,
    FlowTarget,
    drift_losses,
    flow_distillation_loss,
    semantic_imitation_loss,
)


def test_flow_and_mask_weigh_as_in_the_paper() -> None:
    flow = torch.zeros(1, 3, 2, 2, requires_grad=True)
    mask = torch.zeros(1, 2, 2, requires_grad=True)  # a half
    target = FlowTarget(torch.full((1, 3, 2, 2), 2.0), torch.full((1, 2, 2), 100.0))  # 2 m, certainly moving
    loss = flow_distillation_loss(flow, mask, target)
    assert loss.item() == pytest.approx(0.1 * 2.0 + 1e-3 * 0.5)
    loss.backward()
    assert flow.grad is not None and flow.grad.sum().item() == pytest.approx(-0.1)
    assert mask.grad is not None and mask.grad.sum().item() == pytest.approx(-1e-3 * 0.25)
    assert flow_distillation_loss(flow, None, target).item() == pytest.approx(0.2)


def test_no_gradient_reaches_the_teacher_and_its_maps_may_be_larger() -> None:
    taught = torch.ones(1, 3, 4, 4, requires_grad=True)
    mask = torch.zeros(1, 4, 4, requires_grad=True)
    student = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = flow_distillation_loss(student, torch.zeros(1, 2, 2), FlowTarget(taught, mask))
    loss.backward()
    assert loss.item() == pytest.approx(0.1) and taught.grad is None and mask.grad is None
    some = FlowTarget(torch.arange(2.0)[:, None, None, None].expand(2, 3, 1, 1), None).select(torch.tensor([1]))
    assert some.complete_flow.shape == (1, 3, 1, 1) and some.complete_flow.max() == 1.0 and some.motion_logits is None


def test_semantics_are_weighted_by_the_teachers_confidence() -> None:
    logits = torch.zeros(1, 4, 1, 3)
    logits[0, 0, 0, 0] = 3.0
    table = torch.tensor([[True, False, False, False], [False, True, True, False], [False] * 4])
    rows = torch.tensor([[[0, 1, 2]]])  # a label, one of two labels, void
    first = math.log(3 + math.exp(3.0)) - 3.0
    second = math.log(4) - math.log(2)
    loss = semantic_imitation_loss(logits, rows, table, torch.tensor([0.9, 0.3, 1.0]))
    assert loss.item() == pytest.approx((0.9 * first + 0.3 * second) / 1.2)
    nothing = semantic_imitation_loss(logits.requires_grad_(), torch.full((1, 1, 3), 2), table, torch.ones(3))
    nothing.backward()
    assert nothing.item() == 0.0


def test_what_has_not_changed_has_not_drifted() -> None:
    random = torch.Generator().manual_seed(0)
    output = NetworkOutput(
        normals=torch.nn.functional.normalize(torch.randn(2, 3, 4, 4, generator=random), dim=1),
        edge_logits=torch.randn(2, 4, 4, generator=random),
        occupancy_logits=torch.randn(1, 5, 2, 2, 2, generator=random),
        motion_logits=torch.randn(2, 4, 4, generator=random),
        complete_flow=torch.randn(2, 3, 4, 4, generator=random),
        scene_logits={"traffic_context": torch.randn(1, 3, generator=random)},
        steering=torch.zeros(1),
    )
    losses = drift_losses(output, output, torch.tensor([True, True]))
    expected = {"normals", "edge_logits", "occupied", "occupancy_classes", "traffic_context", "steering"}
    assert set(losses) == {*expected, "motion_logits", "complete_flow"}
    assert all(abs(loss.item()) < 1e-6 for loss in losses.values())
    assert set(drift_losses(output, output, None)) == expected


def test_drift_by_hand() -> None:
    then, now = NetworkOutput(edge_logits=torch.zeros(1, 1, 2)), NetworkOutput(edge_logits=torch.full((1, 1, 2), 2.0))
    probability = 1 / (1 + math.exp(-2.0))
    divergence = 0.5 * math.log(0.5 / probability) + 0.5 * math.log(0.5 / (1 - probability))
    assert drift_losses(now, then, None)["edge_logits"].item() == pytest.approx(divergence, rel=1e-5)
    classes = [torch.zeros(1, 3, 2), torch.tensor([0.0, 2.0]).expand(1, 3, 2)]  # two classes of three queries
    queries = [NetworkOutput(queries=QueryOutput(each, torch.zeros(1, 3, 2, 2))) for each in classes]
    found = drift_losses(queries[1], queries[0], None)
    assert found["query_classes"].item() == pytest.approx(divergence, rel=1e-5) and found["query_masks"].item() == 0.0
    flows = [NetworkOutput(complete_flow=torch.full((2, 3, 1, 1), value)) for value in (1.0, 4.0)]
    flows[1].complete_flow[1] = 100.0  # type: ignore[index]
    assert drift_losses(*flows, torch.tensor([True, False]))["complete_flow"].item() == pytest.approx(3.0)


def everything(value: float = 0.0) -> NetworkOutput:
    """All that a network may say of an image, everywhere the same."""
    image, volume = torch.full((1, 2, 2), value), torch.full((1, 3, 2, 2, 2), value)
    flow, number = torch.full((1, 3, 2, 2), value), torch.full((1,), value)
    return NetworkOutput(
        depth_logits=torch.full((1, 4, 2, 2), value),
        semantic_logits=torch.full((1, 4, 2, 2), value),
        normals=torch.full((1, 3, 2, 2), 0.5 + value),
        edge_logits=image,
        centre_logits=image,
        centre_offsets=flow[:, :2],
        queries=QueryOutput(image, torch.full((1, 2, 2, 2), value)),
        motion_logits=image,
        ego_motion=EgoMotion(torch.full((1, 6), value), torch.full((1, 6), 3.0 * value)),
        complete_flow=flow,
        independent_flow=2.0 * flow,
        flow_mask_logits=image,
        occupancy_logits=volume,
        boxes=BoxMaps(flow, flow[:, :2], flow[:, :1], flow, flow[:, :2], flow[:, :2]),
        map_logits=flow,
        steering=number,
        steering_log_variance=2.0 * number,
        scene_logits={task: torch.full((1, 3), value) for task in SCENE_TASKS},
    )


def aligned(value: float = 0.0) -> NetworkOutput:
    image, points = torch.full((1, 2, 2), value), torch.full((1, 2, 2, 2), value)
    matches = Matches(torch.zeros(1, 4, 4), points, points, image, image)
    return replace(everything(value), alignment=Alignment(matches, torch.zeros(1, 4, 2, 2), image))


def test_every_drift_is_that_of_a_task() -> None:
    valid = torch.ones(1, dtype=torch.bool)
    found = drift_losses(everything(), everything(), valid).keys()
    found |= drift_losses(aligned(), aligned(), valid, matched_flow=True).keys()
    assert found == DRIFT_TASKS.keys()
    assert set(DRIFT_TASKS.values()) == set(get_args(Task)) - {"depth", "semantic"}


def test_flow_is_held_without_what_follows_from_depth() -> None:
    valid = torch.ones(1, dtype=torch.bool)
    by_pyramids = drift_losses(everything(1.5), everything(), valid)
    assert by_pyramids["complete_flow"].item() == pytest.approx(1.5) and "independent_flow" not in by_pyramids
    by_matches = drift_losses(aligned(1.5), aligned(), valid, matched_flow=True)
    assert by_matches["independent_flow"].item() == pytest.approx(3.0) and "complete_flow" not in by_matches


def test_what_is_said_of_uncertainty_is_held_too() -> None:
    losses = drift_losses(everything(1.5), everything(), torch.ones(1, dtype=torch.bool))
    assert losses["steering"].item() == pytest.approx(1.5)
    assert losses["steering_log_variance"].item() == pytest.approx(3.0)
    assert losses["ego_motion"].item() == pytest.approx(1.5)
    assert losses["ego_motion_log_variance"].item() == pytest.approx(4.5)
    assert "ego_motion" not in drift_losses(aligned(1.5), aligned(), torch.ones(1, dtype=torch.bool))
