# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run trains for: the part of its configuration that the objective reads."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mtl_perception.core.prediction import Task
from mtl_perception.network.config import VOLUME_TASKS

SUPERVISED: tuple[Task, ...] = (
    "depth",
    "semantic",
    "normals",
    "edges",
    "panoptic",
    "motion_mask",
    "scene_flow",
    "ego_motion",
    *VOLUME_TASKS,
)
"""The tasks that there are losses for."""

IMAGE_TASKS: tuple[Task, ...] = ("depth", "semantic", "normals", "edges", "panoptic")
"""Those of them that are told from one image alone."""


class ObjectiveSettings(BaseModel):
    """What is trained, and what for beside the truth."""

    model_config = ConfigDict(extra="forbid")

    withhold_poses_every: int = Field(
        default=7,
        ge=0,
        description="the network does not see the cameras' motion in one of so many steps, so that it works without; "
        "0: it always sees it",
    )
    others_every: int = Field(
        default=1,
        ge=1,
        description="only one of so many steps is of all tasks; those between are of depth, semantics, normals, edges "
        "and panoptic labels alone, which costs a fifth",
    )
    pixel_stride: int = Field(
        default=1,
        ge=1,
        description="depth and classes are compared with their truth at one of so many pixels along each axis, others "
        "in each step: 2 saves a tenth of a step on a CPU",
    )
    depth_normal: float = Field(0.0, ge=0, description="weight: normals agree with those of the depth (M2H: 0.5)")
    semantic_overlap: float = Field(
        0.0, ge=0, description="weight: classes overlap with their truth, small ones like large ones (Lovasz-softmax)"
    )
    edge_semantic: float = Field(0.0, ge=0, description="weight: edges are where classes change (M2H: 0.2)")
    photometric: float = Field(0.0, ge=0, description="weight: the previous image, warped, looks like the current one")
    smoothness: float = Field(0.0, ge=0, description="weight: disparity, flow and mask change where the image does")
    motion_consistency: float = Field(
        0.0, ge=0, description="weight: where nothing moves the flow is the camera's (unified encoder: 5)"
    )
    motion_sparsity: float = Field(
        0.0, ge=0, description="weight: nothing moves where the flow is nearly the camera's (unified encoder: 0.1)"
    )
    above_ground: float = Field(0.0, ge=0, description="weight: nothing lies below the ground (unified encoder: 0.1)")
    decoupling: float = Field(
        0.0, ge=0, description="weight: a task's features repeat neither the shared nor each other's (AFD: 0.1)"
    )
    distillation: float = Field(
        default=0.0, ge=0, description="weight of what `teacher` says of flow and masks (unified encoder: 1)"
    )
    teacher: str = Field(
        default="",
        description="distillation: a multi-backbone teacher, or a checkpoint with scene flow; file or hub id",
    )

    @property
    def weighted_terms(self) -> list[str]:
        """The terms that have a weight."""
        fields = type(self).model_fields
        return [name for name, field in fields.items() if field.annotation is float and getattr(self, name) > 0]

    @model_validator(mode="after")
    def _taught(self) -> ObjectiveSettings:
        if self.distillation > 0 and not self.teacher:
            raise ValueError("objective.distillation needs objective.teacher")
        return self
