# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The teacher of many backbones: what it says, what learns when, and that it can be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_perception.network import CameraBatch, NetworkConfig
from mtl_perception.network.config import BackboneConfig
from mtl_perception.network.example import example_batch
from mtl_perception.network.teacher import MultiBackboneTeacher
from mtl_perception.resources import config_file


@pytest.fixture(scope="module")
def config() -> NetworkConfig:
    preset = NetworkConfig.load(config_file("networks", "nano"))
    return preset.model_copy(update={"input_pixels": 64 * 64}).restricted(
        ("depth", "semantic", "ego_motion", "scene_flow", "motion_mask")
    )


@pytest.fixture
def teacher(config: NetworkConfig) -> MultiBackboneTeacher:
    torch.manual_seed(0)
    return MultiBackboneTeacher.of(config, backbone(16), backbone(8), backbone(8))


@pytest.fixture(scope="module")
def frames(config: NetworkConfig) -> tuple[CameraBatch, CameraBatch]:
    return example_batch(config, 2, (64, 64), seed=0), example_batch(config, 2, (64, 64), seed=1)


def backbone(width: int) -> BackboneConfig:
    options = {"widths": [width, width, width, width], "blocks": [1, 1, 1, 1]}
    return BackboneConfig(kind="residual", options=options, stem_width=8)


def test_it_says_what_a_network_says(teacher: MultiBackboneTeacher, frames: tuple[CameraBatch, CameraBatch]) -> None:
    with torch.no_grad():
        output = teacher.frozen()(*frames)
        told = teacher(*frames, torch.eye(4).repeat(2, 1, 1))
    assert output.depth is not None and output.ego_motion is not None
    assert output.complete_flow is not None and output.complete_flow.shape == (2, 3, 32, 32)
    assert output.independent_flow is not None and output.motion_logits is output.flow_mask_logits
    assert told.ego_motion is None  # it was told
    assert told.complete_flow is not None and not torch.equal(told.complete_flow, output.complete_flow)


def test_its_backbones_are_its_own(teacher: MultiBackboneTeacher) -> None:
    parameters = [{id(p) for p in branch.parameters()} for branch in teacher.branches.values()]
    assert not parameters[0] & parameters[1] and not parameters[1] & parameters[2] and not parameters[0] & parameters[2]
    assert not hasattr(teacher.motion, "dense") and not hasattr(teacher.motion.motion, "ego_motion")
    assert teacher.tasks == ("depth", "semantic", "ego_motion", "scene_flow", "motion_mask")


@pytest.mark.parametrize(
    ("tasks", "learning"),
    [
        (("depth", "semantic", "ego_motion"), {"scene", "pose"}),
        (("scene_flow",), {"motion.encoder", "motion.neck", "motion.motion.scene_flow"}),
        (("ego_motion", "scene_flow", "motion_mask"), {"pose", "motion"}),
        (("depth", "semantic", "ego_motion", "scene_flow", "motion_mask"), {"scene", "pose", "motion"}),
    ],
)
def test_a_stage_lets_learn_exactly_what_its_tasks_need(
    teacher: MultiBackboneTeacher, tasks: tuple[str, ...], learning: set[str]
) -> None:
    teacher.train_only(("depth", "motion_mask"))  # whatever was before
    teacher.train_only(tasks)
    for name, parameter in teacher.named_parameters():
        assert parameter.requires_grad == any(name.startswith(f"{part}.") for part in learning), name
    for name, module in teacher.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.training == any(name.startswith(f"{part}.") for part in learning), name


def test_a_frozen_teacher_has_no_gradient(
    teacher: MultiBackboneTeacher, frames: tuple[CameraBatch, CameraBatch]
) -> None:
    output = teacher.frozen()(*frames)
    assert output.complete_flow is not None and not output.complete_flow.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(ValueError, match="no decoder for occupancy"):
        teacher.train_only(("occupancy",))


def test_it_can_be_kept(teacher: MultiBackboneTeacher, frames: tuple[CameraBatch, CameraBatch], tmp_path: Path) -> None:
    teacher.frozen().save(tmp_path / "teacher.safetensors")
    again = MultiBackboneTeacher.load(tmp_path / "teacher.safetensors")
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())
    for name in ("complete_flow", "motion_logits", "depth"):
        torch.testing.assert_close(getattr(again(*frames), name), getattr(teacher(*frames), name))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        MultiBackboneTeacher.load(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match=r"teacher .*text"):
        MultiBackboneTeacher.load(tmp_path / "text")
