# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What comes out of a pass of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mtl_perception.network.motion.alignment import Alignment
from mtl_perception.network.motion.ego_motion import EgoMotion
from mtl_perception.network.panoptic.query_segmentation import QueryOutput
from mtl_perception.network.volume.center_head import BoxMaps


@dataclass(frozen=True)
class NetworkOutput:
    """What a pass gave; what was not asked for, or lacked its input, is None.

    N images of B frames; (h, w) is the size that a task's decoder gives.

    Attributes:
        depth_logits: (N, D + 1, h, w); the last bin is "no surface".
        depth, depth_std: (N, h, w) metres.
        surface: (N, h, w), probability that there is a surface at all.
        semantic_logits: (N, labels, h, w).
        normals: (N, 3, h, w), unit length, optical axes, towards the camera.
        edge_logits: (N, h, w).
        centre_logits, centre_offsets: (N, h, w) and (N, 2, h, w) pixels of that map: the light panoptic head.
        queries: the query decoder's classes and masks.
        motion_logits: (N, h, w).
        alignment: what the ego motion follows from, where it comes from alignment.
        ego_motion: each camera's motion between its two images as estimated from them (previous_from_current).
        complete_flow, independent_flow: (N, 3, h, w), metres from the current to the previous image, in
            optical axes: all of it, and what is left of it without the camera's own motion where the mask says moving
            (see `flow_composition`).
        flow_mask_logits: (N, h, w), of the mask that the independent flow was made with; where masks come from
            reprojection, `motion_logits` are others.
        occupancy_logits: (B, 1 + labels, X, Y, Z): occupied or not, then the labels.
        reached: (B, X, Y, Z), mean probability that the surface lies in the voxel or beyond it; 0 where no ray passes.
        boxes: maps of the box head.
        map_logits: (B, layers, X, Y).
        prototype_mask_logits: (B, classes + 1, X, Y, Z), what the prototypes were averaged over; the last is "free".
        suppression_logits: per volume task, (B, X, Y) or (B, X, Y, Z).
        steering: (B,) radians, left positive; steering_log_variance: (B,).
        scene_logits: per scene-level task, (B, classes).
        memory: what `PreviousFrame.features` of the next pass is made of, (N, ...) each.
        frame_memory: what `History.features` of later passes is made of, (B, ...) each.
    """

    depth_logits: Tensor | None = None
    depth: Tensor | None = None
    depth_std: Tensor | None = None
    surface: Tensor | None = None
    semantic_logits: Tensor | None = None
    normals: Tensor | None = None
    edge_logits: Tensor | None = None
    centre_logits: Tensor | None = None
    centre_offsets: Tensor | None = None
    queries: QueryOutput | None = None
    motion_logits: Tensor | None = None
    ego_motion: EgoMotion | None = None
    alignment: Alignment | None = None
    complete_flow: Tensor | None = None
    independent_flow: Tensor | None = None
    flow_mask_logits: Tensor | None = None
    occupancy_logits: Tensor | None = None
    reached: Tensor | None = None
    boxes: BoxMaps | None = None
    map_logits: Tensor | None = None
    prototype_mask_logits: Tensor | None = None
    suppression_logits: Mapping[str, Tensor] = field(default_factory=dict)
    steering: Tensor | None = None
    steering_log_variance: Tensor | None = None
    scene_logits: Mapping[str, Tensor] = field(default_factory=dict)
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    frame_memory: Mapping[str, Tensor] = field(default_factory=dict)
