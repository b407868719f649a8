# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of the tasks of a rig's 3D half."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.config import VOLUME_TASKS
from mtl_perception.network.geometry import in_full_precision
from mtl_perception.network.multi_task import Features
from mtl_perception.training.losses.volume import (
    boxes_loss,
    map_loss,
    occupancy_loss,
    prototype_loss,
    region_of_boxes,
    region_of_map,
    region_of_occupancy,
    suppression_loss,
)
from mtl_perception.training.samples import TrainingBatch


def volume_losses(
    network: MultiTaskNetwork,
    batch: TrainingBatch,
    features: Features,
    rows: Mapping[str, Tensor],
    depth_logits_of: Callable[[Tensor], Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tasks' losses, each with that of its suppression scores, and the term of the prototypes' masks.

    Args:
        network: that the features are of.
        batch: whose images they are of.
        features: of all images.
        rows: per task, the images (M,) of the frames with truth for it.
        depth_logits_of: returns the depth logits of some images, from which they are lifted.
    """
    wanted = [task for task in VOLUME_TASKS if task in rows]
    if not wanted:
        return {}, {}
    config = network.config
    assert config.volume is not None  # the configuration was checked
    chosen = torch.cat([rows[task] for task in wanted]).unique()
    cameras = batch.cameras.select(chosen)
    decoded = network.decode_volume(features.select(chosen), depth_logits_of(chosen), cameras, wanted)
    frames = batch.cameras.frame_index[chosen].unique()
    occupancy, bev_map = batch.occupancy[frames], batch.bev_map[frames]
    boxes = [batch.boxes[frame] for frame in frames.tolist()]
    grid, classes = config.box_grid.to_grid(), config.volume.detection_labels

    losses: dict[str, Tensor] = {}
    regions: dict[str, Tensor] = {}
    if "occupancy" in wanted:
        losses["occupancy"] = in_full_precision(occupancy_loss)(decoded["occupancy_logits"], occupancy)
        regions["occupancy"] = region_of_occupancy(occupancy)
    if "bev_map" in wanted:
        losses["bev_map"] = in_full_precision(map_loss)(decoded["map_logits"], bev_map)
        regions["bev_map"] = region_of_map(bev_map)
    if "detections" in wanted:
        losses["detections"] = in_full_precision(boxes_loss)(decoded["boxes"], boxes, grid, classes)
        regions["detections"] = region_of_boxes(boxes, grid, classes).to(chosen.device)
    for task, scores in decoded.get("suppression_logits", {}).items():
        if task in losses:
            losses[task] = losses[task] + in_full_precision(suppression_loss)(scores, regions[task])
    if decoded.get("prototype_mask_logits") is None:
        return losses, {}
    return losses, {"prototypes": in_full_precision(prototype_loss)(decoded["prototype_mask_logits"], occupancy)}
