# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a multi-backbone teacher is made of, and which of its tasks learn when."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mtl_perception.core.prediction import Task
from mtl_perception.network.config import BackboneConfig

_SEEN: tuple[Task, ...] = ("depth", "semantic", "normals", "edges", "panoptic")
_MOVED: tuple[Task, ...] = ("ego_motion", "scene_flow", "motion_mask")
# 60k, 40k, 40k and 250k steps (unified encoder, section III-C).
_UNTIL = (60 / 390, 100 / 390, 140 / 390, 1.0)


class TeacherStage(BaseModel):
    """A part of a teacher's run: the tasks that learn in it; everything else stands still."""

    model_config = ConfigDict(extra="forbid")

    until: float = Field(gt=0, le=1, description="fraction of the run at which the stage ends")
    tasks: tuple[Task, ...] = Field(min_length=1)


class TeacherConfig(BaseModel):
    """The teacher of a network: its decoders, each group of tasks behind a backbone of its own.

    Raises:
        pydantic.ValidationError: the stages are not in order, or the last one does not end with the run.
    """

    model_config = ConfigDict(extra="forbid")

    scene: BackboneConfig = Field(description="of depth and segmentation (the paper: Swin)")
    pose: BackboneConfig = Field(description="of ego motion (the paper: ResNet-18)")
    motion: BackboneConfig = Field(description="of scene flow and motion masks (the paper: ResNet-18)")
    stages: tuple[TeacherStage, ...] = Field(
        default=(
            TeacherStage(until=_UNTIL[0], tasks=(*_SEEN, "ego_motion")),
            TeacherStage(until=_UNTIL[1], tasks=("scene_flow",)),
            TeacherStage(until=_UNTIL[2], tasks=_MOVED),
            TeacherStage(until=_UNTIL[3], tasks=(*_SEEN, *_MOVED)),
        ),
        min_length=1,
        description="left out: the unified encoder's schedule",
    )

    @model_validator(mode="after")
    def _in_order(self) -> TeacherConfig:
        ends = [stage.until for stage in self.stages]
        if sorted(set(ends)) != ends or ends[-1] != 1.0:
            raise ValueError(f"the stages end at {ends}: they must rise, and the last must be 1")
        return self

    def learning(self, step: int, steps: int) -> tuple[Task, ...]:
        """Return the tasks that learn at a step of a run of `steps`."""
        stage = next((each for each in self.stages if step < each.until * steps), self.stages[-1])
        return stage.tasks
