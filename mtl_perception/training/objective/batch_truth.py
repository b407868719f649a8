# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which rows of a batch have truth for what, and the truth of scene flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtl_perception.core import UNOBSERVED
from mtl_perception.network.config import VOLUME_TASKS
from mtl_perception.training.losses.scene_flow import FlowTruth
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingBatch


def rows_with_truth(task: str, batch: TrainingBatch) -> Tensor:
    """Return the cameras (M,) that have truth for a task; of the 3D half: those of frames that have it."""
    if task in VOLUME_TASKS:
        frames = {
            "occupancy": lambda: (batch.occupancy != UNOBSERVED).flatten(1).any(dim=1),
            "bev_map": lambda: torch.isfinite(batch.bev_map).flatten(1).any(dim=1),
            "detections": lambda: torch.tensor([boxes is not None for boxes in batch.boxes], device=batch.depth.device),
        }
        return frames[task]()[batch.cameras.frame_index].nonzero()[:, 0]
    if task == "ego_motion":
        return batch.previous_rows
    pixels: Mapping[str, Callable[[], Tensor]] = {
        "depth": lambda: ~torch.isnan(batch.depth),
        "semantic": lambda: batch.label_table.any(dim=1)[batch.semantic],
        "normals": lambda: torch.isfinite(batch.normals),
        "edges": lambda: batch.edges != UNKNOWN_MOTION,
        "panoptic": lambda: batch.instance >= 0,
        "motion_mask": lambda: batch.motion_mask != UNKNOWN_MOTION,
        "scene_flow": lambda: torch.isfinite(batch.scene_flow),
    }
    known = pixels[task]().flatten(1).any(dim=1)
    if task in ("motion_mask", "scene_flow"):
        known &= torch.isin(torch.arange(len(known), device=known.device), batch.previous_rows)
    return known.nonzero()[:, 0]


def flow_truth(batch: TrainingBatch, rows: Tensor) -> FlowTruth:
    """Return what is known of some cameras (M,) that have an image before; ascending."""
    at = positions(rows, batch.previous_rows)
    return FlowTruth(
        velocity=batch.scene_flow[rows],
        depth=batch.depth[rows],
        motion_mask=batch.motion_mask[rows],
        K=batch.cameras.K[rows],
        base_from_camera=batch.cameras.base_from_camera[rows],
        previous_from_current=batch.previous_from_current[at],
        seconds=batch.seconds[at],
    )


def positions(rows: Tensor, among: Tensor) -> Tensor:
    """Return where each of some rows stands among ascending rows."""
    return torch.searchsorted(among, rows)
