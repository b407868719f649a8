# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The multi-backbone teacher's staged run, and a student that learns flow and mask from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.teacher import MultiBackboneTeacher
from mtl_perception.resources import config_folder
from mtl_perception.training.batches import StepDataset
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.distillation.flow_teacher import FlowTeacher
from mtl_perception.training.distillation.schedule import TeacherConfig, TeacherStage
from mtl_perception.training.distillation.teacher_objective import TeacherObjective
from mtl_perception.training.distillation.teacher_trainer import TeacherTrainer
from mtl_perception.training.objective.batch_losses import Losses
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.objective.settings import ObjectiveSettings
from mtl_perception.training.samples import TrainingSample
from mtl_perception.training.trainer import CHECKPOINT

BACKBONE = {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}, "stem_width": 8}
UNIFIED = {"tasks": ["depth", "semantic", "ego_motion", "scene_flow", "motion_mask"], "reprojection_motion": None}


@pytest.fixture
def config(make_config) -> TrainingConfig:  # type: ignore[no-untyped-def]
    """A run of the paper's stages, two steps each."""
    branches = {"scene": BACKBONE, "pose": BACKBONE, "motion": BACKBONE}
    ends = zip(TeacherConfig.model_validate(branches).stages, (0.25, 0.5, 0.75, 1.0), strict=True)
    teacher = branches | {"stages": [stage.model_dump() | {"until": until} for stage, until in ends]}
    return make_config(UNIFIED, teacher=teacher, stages=[{"until": 1.0, "width": 64, "height": 64}], steps=8)


def moving(walls) -> object:  # type: ignore[no-untyped-def]
    """Let what passes the wall have a speed."""

    class Moving(type(walls)):
        def sample(self, index: int, size: tuple[int, int], rng: np.random.Generator) -> TrainingSample:
            sample = super().sample(index, size, rng)
            flow = np.zeros((*sample.depth.shape, 3), np.float32)
            flow[sample.motion_mask > 0, 1] = 3.0
            object.__setattr__(sample, "scene_flow", flow)
            return sample

    return Moving()


def test_the_default_stages_are_the_papers() -> None:
    teacher = TeacherConfig.model_validate({"scene": BACKBONE, "pose": BACKBONE, "motion": BACKBONE})
    learning = {step: set(teacher.learning(step, 390_000)) for step in (0, 59_999, 60_000, 99_999, 100_000, 140_000)}
    assert learning[0] == learning[59_999] >= {"depth", "semantic", "panoptic", "ego_motion"}
    assert "scene_flow" not in learning[0]
    assert learning[60_000] == learning[99_999] == {"scene_flow"}
    assert learning[100_000] == {"ego_motion", "scene_flow", "motion_mask"}
    assert learning[140_000] == learning[0] | learning[100_000]
    with pytest.raises(ValidationError, match="they must rise, and the last must be 1"):
        stage = TeacherStage(until=0.5, tasks=("depth",))
        TeacherConfig.model_validate(teacher.model_dump() | {"stages": [stage.model_dump()]})


def test_each_stage_changes_its_own_branches_and_the_student_learns(  # type: ignore[no-untyped-def]
    config: TrainingConfig, walls, tmp_path: Path
) -> None:
    source = moving(walls)
    trainer = TeacherTrainer(config, tmp_path, tmp_path / "teacher", sources=[source], quiet=True)
    for until, changed in (
        (2, {"scene", "pose"}),
        (4, {"motion"}),
        (6, {"pose", "motion"}),
        (8, {"scene", "pose", "motion"}),
    ):
        if until == 8:  # killed here, and taken up again
            trainer = TeacherTrainer(config, tmp_path, tmp_path / "teacher", sources=[source], quiet=True)
            assert trainer.record.step == 6
        before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
        trainer.train(until=until)
        after = trainer.network.state_dict()
        assert {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])} == changed, until
        masks = [n for n in after if n.startswith("motion.motion.motion_mask.")]
        assert any(not torch.equal(after[n], before[n]) for n in masks) == (until > 4)

    whole = TeacherTrainer(config, tmp_path, tmp_path / "whole", sources=[source], quiet=True)
    whole.train()
    for part in ("network", "average"):
        expected, found = getattr(whole, part).state_dict(), getattr(trainer, part).state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    teacher = MultiBackboneTeacher.load(tmp_path / "teacher" / CHECKPOINT)
    assert teacher.tasks == ("depth", "semantic", "ego_motion", "scene_flow", "motion_mask")

    network_config = config.network_config()
    torch.manual_seed(1)
    student = MultiTaskNetwork(network_config)
    batch = StepDataset(config, [source], trainer.labels, network_config.grid.shape)[0]
    settings = {"distillation": 1.0, "teacher": str(tmp_path / "teacher" / CHECKPOINT)}
    objective = Objective(ObjectiveSettings.model_validate(settings), trainer.labels, torch.ones(16))
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    terms = []
    for _ in range(12):
        losses = objective(student, batch)
        optimizer.zero_grad()
        losses.terms["distillation"].backward()
        optimizer.step()
        terms.append(losses.terms["distillation"].item())
    assert terms[-1] < 0.5 * terms[0]
    assert objective.teacher is not None
    assert all(p.grad is None and not p.requires_grad for p in objective.teacher.teacher.parameters())

    # A network of this suite teaches as well; itself it agrees with.
    objective.teacher = FlowTeacher(student)
    assert objective(student, batch).terms["distillation"].item() == pytest.approx(0.0, abs=1e-5)


def test_a_mask_that_does_not_learn_does_not_shape_the_flow(  # type: ignore[no-untyped-def]
    config: TrainingConfig, walls, tmp_path: Path
) -> None:
    trainer = TeacherTrainer(config, tmp_path, tmp_path / "teacher", sources=[moving(walls)], quiet=True)
    teacher, batch = trainer.network, trainer.dataset[0]
    settings = ObjectiveSettings.model_validate({"smoothness": 1.0})
    assert config.teacher is not None
    objective = TeacherObjective(settings, trainer.labels, torch.ones(16), config.teacher, config.steps)

    def losses_at(step: int) -> tuple[Losses, Losses]:
        """Return those with an altered decoder of masks, and with the one that there is."""
        found = []
        for shift in (5.0, -5.0):
            with torch.no_grad():
                teacher.motion.motion.motion_mask.apply(lambda module: shifted(module, shift))  # noqa: B023
            found.append(objective(teacher, batch, step))
        return found[0], found[1]

    altered, flow_only = losses_at(2)
    assert set(flow_only.tasks) == {"scene_flow"} and flow_only.terms == {}
    assert flow_only.tasks["scene_flow"].item() == pytest.approx(altered.tasks["scene_flow"].item(), rel=1e-5)
    altered, everything = losses_at(7)
    assert everything.tasks["scene_flow"].item() != pytest.approx(altered.tasks["scene_flow"].item(), rel=1e-2)
    assert set(everything.terms) == {"smoothness"}  # what is configured beside the truth


def shifted(module: torch.nn.Module, shift: float) -> None:
    if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
        module.bias += shift


def test_a_teacher_is_asked_for_by_name(config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"objective.distillation needs objective.teacher"):
        ObjectiveSettings.model_validate({"distillation": 1.0})
    with pytest.raises(FileNotFoundError):
        FlowTeacher.load(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="a teacher is trained without 'conflicts_every'"):
        TeacherTrainer(config.model_copy(update={"conflicts_every": 5}), tmp_path, tmp_path / "run")


@pytest.mark.parametrize("name", ["distillation_teacher", "distillation_student"])
def test_the_configurations_are_right(name: str) -> None:
    config = TrainingConfig.load(config_folder() / "training" / f"{name}.yaml")
    network = config.network_config()
    assert network.reprojection_motion is None and "scene_flow" in network.tasks
    assert (config.teacher is None) == (name == "distillation_student")
    assert (config.objective.distillation > 0) == (name == "distillation_student")
