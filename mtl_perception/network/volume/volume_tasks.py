# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 3D tasks together: one lift into voxels, then boxes, BEV map and occupancy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.config import VOLUME_TASKS, NetworkConfig, VolumeConfig
from mtl_perception.network.volume.box_plane import BoxPlane
from mtl_perception.network.volume.center_head import Boxes, BoxMaps, CenterHead
from mtl_perception.network.volume.class_prototypes import ClassPrototypeGenerator
from mtl_perception.network.volume.lift_splat import LiftSplat
from mtl_perception.network.volume.map_segmentation import MapSegmentationHead
from mtl_perception.network.volume.occupancy_decoder import OccupancyDecoder
from mtl_perception.network.volume.plane_backbone import PlaneBackbone
from mtl_perception.network.volume.plane_occupancy import PlaneOccupancyDecoder
from mtl_perception.network.volume.scene_prototypes import ScenePrototypeAggregator
from mtl_perception.network.volume.task_features import TaskSpecificFeatureGenerator
from mtl_perception.network.volume.voxel_sampling import GroundSampling, VoxelSampling

LEVEL_STRIDE = 4
BOX_THRESHOLD = 0.1
"""A candidate at least this likely is a box whose features are added to its class's prototype."""
LAYER_THRESHOLD = 0.5


class VolumeTasks(nn.Module):
    """Levels and depth distributions of all cameras -> 3D tasks of each frame.

    Plain, each task has its head on the lifted voxels. With prototypes (MAESTRO, sections 3.2 to 3.4) the voxels are
    enhanced for each task by class prototypes, and what the box and map heads find is added to the queries that
    occupancy starts from: with these, occupancy needs both other tasks as far as the network has them.
    """

    def __init__(self, config: NetworkConfig, tasks: Collection[str]) -> None:
        """Build what `tasks` need."""
        super().__init__()
        volume = config.volume
        assert volume is not None  # the configuration was checked
        grid = config.grid.to_grid()
        self.level, self.pooling = volume.lift_level, volume.lift_pooling
        self.context = nn.Conv2d(config.neck.width, volume.lift_width, 1)
        self.lift = LiftSplat(grid, LEVEL_STRIDE * 2**volume.lift_level * volume.lift_pooling)
        built = tuple(task for task in VOLUME_TASKS if task in tasks)
        width = volume.lift_width + 2
        self.heads: PlainHeads | PrototypeHeads
        if volume.prototypes:
            self.heads = PrototypeHeads(config, volume, width, built)
        else:
            self.heads = heads = PlainHeads(config, volume, width, built)
            if volume.ground_width and heads.on_plane:
                self.ground_context = nn.Conv2d(config.neck.width, volume.ground_width, 1)
                self.ground = GroundSampling(grid, LEVEL_STRIDE)
            if volume.box_grid is not None and "detections" in tasks:
                self.beyond = VoxelSampling(volume.box_grid.to_grid(), LEVEL_STRIDE * 2**volume.lift_level)

    def forward(
        self,
        levels: Sequence[Tensor],
        depth_logits: Tensor,
        bins: Tensor,
        batch: CameraBatch,
        tasks: Collection[str],
    ) -> dict[str, Any]:
        """Return what `NetworkOutput` says of these tasks.

        Args:
            levels: four maps (N, C, h, w), finest first.
            depth_logits: (N, D + 1, h, w), the last bin is "no surface".
            bins: (N, D), metric depths of the bins.
            batch: cameras and frames.
            tasks: those that are wanted.
        """
        fine = context = self.context(levels[self.level])
        if self.pooling > 1:
            context = functional.avg_pool2d(context, self.pooling)
        distribution = depth_logits.softmax(dim=1)
        voxels = self.lift(context, _pooled(distribution, context.shape[-2:]), bins, batch)
        planes: dict[str, Tensor] = {}
        if hasattr(self, "ground") and isinstance(self.heads, PlainHeads) and self.heads.on_plane.intersection(tasks):
            planes["ground"] = self.ground(self.ground_context(levels[0]), batch)
        if "detections" in tasks and hasattr(self, "beyond"):
            planes["beyond"] = self.beyond(fine, _pooled(distribution, fine.shape[-2:]), bins, batch)
        result = self.heads(voxels, tasks, **planes)
        if "occupancy" in tasks:
            result["reached"] = voxels[:, -2:].sum(dim=1)
        return result


class PlainHeads(nn.Module):
    """One head a task on the lifted voxels (B, C, X, Y, Z).

    Boxes and map share the ground plane's backbone, unless the boxes have a grid of their own.
    """

    on_plane: set[str]
    """The tasks that share the ground plane's backbone."""

    def __init__(self, config: NetworkConfig, volume: VolumeConfig, width: int, tasks: Collection[str]) -> None:
        """Build those of `tasks`."""
        super().__init__()
        grid, plane, classes = config.grid.to_grid(), volume.plane_width, len(volume.detection_labels)
        on_plane = {"bev_map"} if volume.box_grid is not None else {"bev_map", "detections"}
        ground = volume.ground_width + 1 if volume.ground_width else 0
        self.on_plane = on_plane.intersection(tasks)
        if self.on_plane:
            self.plane = PlaneBackbone(width, grid.shape[2], plane, ground)
        if "detections" in tasks and volume.box_grid is not None:
            self.box_plane = BoxPlane(grid, volume.box_grid.to_grid(), width, volume.box_width or plane)
            self.detections = CenterHead(volume.box_width or plane, classes)
        elif "detections" in tasks:
            self.detections = CenterHead(plane, classes)
        if "bev_map" in tasks:
            self.bev_map = MapSegmentationHead(plane, len(volume.map_layers))
        if "occupancy" in tasks:
            self.occupancy = PlaneOccupancyDecoder(grid, width, plane, config.num_labels)

    def forward(
        self, voxels: Tensor, tasks: Collection[str], ground: Tensor | None = None, beyond: Tensor | None = None
    ) -> dict[str, Any]:
        """Decode.

        Args:
            voxels: (B, C, X, Y, Z).
            tasks: those that are wanted.
            ground: (B, ground_width + 1, X, Y), what is seen of the ground, if the network looks at it.
            beyond: (B, C, X', Y', Z'), voxels of the grid of the boxes, if they have one of their own.
        """
        result: dict[str, Any] = {}
        if self.on_plane.intersection(tasks):
            plane = self.plane(voxels, ground)
            if "detections" in tasks and "detections" in self.on_plane:
                result["boxes"] = self.detections(plane)
            if "bev_map" in tasks:
                result["map_logits"] = self.bev_map(plane)
        if beyond is not None:
            result["boxes"] = self.detections(self.box_plane(voxels, beyond))
        if "occupancy" in tasks:
            result["occupancy_logits"] = self.occupancy(voxels)
        return result


class PrototypeHeads(nn.Module):
    """MAESTRO's heads: class prototypes, task-specific features, and occupancy from what boxes and map have found.

    Foreground prototypes, those of the boxes' classes, guide the boxes, background ones the map, all of them occupancy.
    """

    foreground: Tensor
    background: Tensor

    def __init__(self, config: NetworkConfig, volume: VolumeConfig, width: int, tasks: Collection[str]) -> None:
        """Build those of `tasks`."""
        super().__init__()
        self.grid, self.most_boxes, self.tasks = config.grid.to_grid(), volume.boxes, frozenset(tasks)
        labels, height = config.num_labels, self.grid.shape[2]
        foreground = list(volume.detection_labels)
        background = [label for label in range(labels) if label not in foreground]
        self.register_buffer("foreground", torch.tensor(foreground, dtype=torch.int64), persistent=False)
        self.register_buffer("background", torch.tensor(background, dtype=torch.int64), persistent=False)
        parts = volume.prototype_parts
        self.aggregated = self.tasks.intersection(parts.aggregated)
        self.prototypes = ClassPrototypeGenerator(width, labels, learned_only=not parts.class_prototypes)
        self.features = nn.ModuleDict()

        def features(task: str, group: int, height: int | None = None) -> TaskSpecificFeatureGenerator:
            return TaskSpecificFeatureGenerator(
                width, group, width, height, stages=parts.stages if task in parts.enhanced else ()
            )

        if "detections" in tasks:
            self.features["detections"] = features("detections", len(foreground), height)
            self.detections = CenterHead(width, len(foreground))
        if "bev_map" in tasks:
            self.features["bev_map"] = features("bev_map", len(background), height)
            self.bev_map = MapSegmentationHead(width, len(volume.map_layers))
        if "occupancy" in tasks:
            self.features["occupancy"] = features("occupancy", labels)
            self.aggregator = ScenePrototypeAggregator(self.grid, labels, foreground, tuple(volume.map_layers.values()))
            self.occupancy = OccupancyDecoder(width, labels)

    def forward(self, voxels: Tensor, tasks: Collection[str]) -> dict[str, Any]:
        """Decode; with occupancy the results of the other tasks come along where its queries are made with them."""
        fed_by = self.tasks.intersection(tasks)
        if "occupancy" in tasks:
            fed_by |= self.aggregated
        prototypes, mask_logits = self.prototypes(voxels)
        result: dict[str, Any] = {"prototype_mask_logits": mask_logits, "suppression_logits": {}}
        groups = {
            "detections": prototypes[:, self.foreground],
            "bev_map": prototypes[:, self.background],
            "occupancy": prototypes,
        }
        features: dict[str, Tensor] = {}
        for task in VOLUME_TASKS[::-1]:
            if task in fed_by:
                features[task], suppression = self.features[task](voxels, groups[task])
                if suppression is not None:
                    result["suppression_logits"][task] = suppression
        if "detections" in fed_by:
            result["boxes"] = self.detections(features["detections"])
        if "bev_map" in fed_by:
            result["map_logits"] = self.bev_map(features["bev_map"])
        if "occupancy" in tasks:
            found = {task: features[task] for task in self.aggregated}
            boxes, layers = (
                result.get(name) if task in self.aggregated else None
                for task, name in (("detections", "boxes"), ("bev_map", "map_logits"))
            )
            queries = self._queries(prototypes, found, boxes, layers) if self.aggregated else prototypes
            result["occupancy_logits"] = self.occupancy(queries, features["occupancy"])
        return result

    def _queries(
        self, prototypes: Tensor, features: dict[str, Tensor], maps: BoxMaps | None, map_logits: Tensor | None
    ) -> Tensor:
        """Add what was found to the prototypes; a task that the network lacks adds nothing."""
        nothing = prototypes.new_zeros(len(prototypes), prototypes.shape[2], *self.grid.shape[:2])
        boxes = _no_boxes(prototypes) if maps is None else CenterHead.candidates(maps, self.grid, self.most_boxes)
        if map_logits is None:
            mask = nothing.new_zeros(len(nothing), len(self.aggregator.map_layers), *self.grid.shape[:2])
        else:
            mask = map_logits.sigmoid() > LAYER_THRESHOLD
        return self.aggregator(
            prototypes,
            features.get("detections", nothing),
            boxes,
            boxes.score > BOX_THRESHOLD,
            features.get("bev_map", nothing),
            mask,
        )


def _no_boxes(like: Tensor) -> Boxes:
    count = len(like)
    vector = torch.zeros(count, 1, 3, device=like.device)
    value = torch.zeros(count, 1, device=like.device)
    return Boxes(vector, vector, value, torch.zeros(count, 1, 2, device=like.device), value.long(), value)


def _pooled(distribution: Tensor, size: Sequence[int]) -> Tensor:
    """Average (N, D, H, W) down to a size; exactly where it is a whole fraction."""
    rows, columns = distribution.shape[-2] // size[0], distribution.shape[-1] // size[1]
    if distribution.shape[-2:] == (size[0] * rows, size[1] * columns):
        return distribution if rows == columns == 1 else functional.avg_pool2d(distribution, (rows, columns))
    return functional.adaptive_avg_pool2d(distribution, (size[0], size[1]))
