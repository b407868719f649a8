# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One score a task."""

from __future__ import annotations

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.scores.bev_map import BevMapScore
from mtl_perception.evaluation.scores.depth import DepthScore
from mtl_perception.evaluation.scores.detections import DetectionsScore
from mtl_perception.evaluation.scores.driving_context import DrivingContextScore
from mtl_perception.evaluation.scores.edges import EdgesScore
from mtl_perception.evaluation.scores.ego_motion import EgoMotionScore
from mtl_perception.evaluation.scores.map import MapScore
from mtl_perception.evaluation.scores.motion_mask import MotionMaskScore
from mtl_perception.evaluation.scores.normals import NormalsScore
from mtl_perception.evaluation.scores.occupancy import OccupancyScore
from mtl_perception.evaluation.scores.panoptic import PanopticScore
from mtl_perception.evaluation.scores.scene_flow import SceneFlowScore
from mtl_perception.evaluation.scores.scene_graph import SceneGraphScore
from mtl_perception.evaluation.scores.semantic import SemanticScore
from mtl_perception.evaluation.scores.steering import SteeringScore

SCORES: tuple[type[Score], ...] = (
    DepthScore,
    SemanticScore,
    PanopticScore,
    EdgesScore,
    NormalsScore,
    MotionMaskScore,
    SceneFlowScore,
    EgoMotionScore,
    OccupancyScore,
    BevMapScore,
    DetectionsScore,
    SteeringScore,
    DrivingContextScore,
    MapScore,
    SceneGraphScore,
)
"""The scores of all tasks, in the order of reports."""


def all_scores(labels: LabelSpace, options: ScoreOptions) -> tuple[Score, ...]:
    """Return the scores of all tasks for predictions with these labels."""
    return tuple(score(labels, options) for score in SCORES)
