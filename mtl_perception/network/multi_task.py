# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared multi-task network: one encoder pass over all cameras, and only the modules that are asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, History, PreviousFrame
from mtl_perception.network.config import (
    DENSE_TASKS,
    SCENE_TASKS,
    TEMPORAL_TASKS,
    VOLUME_TASKS,
    NetworkConfig,
)
from mtl_perception.network.cross_view.cross_view_module import CrossViewFusion, CrossViewModule
from mtl_perception.network.cross_view.neighbours import select_neighbours
from mtl_perception.network.dense.dense_tasks import EMBEDDED_LEVEL, DenseTasks
from mtl_perception.network.driving.driving_tasks import DrivingTasks
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.network.encoding.feature_pyramid import FeaturePyramid
from mtl_perception.network.encoding.shared_encoder import SharedEncoder
from mtl_perception.network.encoding.token_reassembly import TokenReassembly
from mtl_perception.network.geometry import GEOMETRY_CHANNELS, depth_scale, geometry_channels
from mtl_perception.network.motion.motion_tasks import MotionTasks
from mtl_perception.network.output import NetworkOutput
from mtl_perception.network.panoptic.light import LightPanopticHead
from mtl_perception.network.panoptic.query_segmentation import QuerySegmentation
from mtl_perception.network.volume.volume_tasks import VolumeTasks


@dataclass(frozen=True)
class Features:
    """What the decoders share, one row an image.

    Attributes:
        stem: (N, C', H/2, W/2).
        last: the encoder's last map (N, C", h, w).
        own: four levels (N, C, h, w), finest first, of each image by itself: what is kept for the next frame.
        levels: the same with what other views say; the same tensors where there is no cross-view module.
        cross_view: (N, C, H/8, W/8), the cross-view features, to be kept for the next frame.
    """

    stem: Tensor
    last: Tensor
    own: list[Tensor]
    levels: list[Tensor]
    cross_view: Tensor | None = None

    def select(self, rows: Tensor) -> Features:
        """Return the features of some of the images (M,) int64."""
        return Features(
            self.stem[rows],
            self.last[rows],
            [level[rows] for level in self.own],
            [level[rows] for level in self.levels],
            None if self.cross_view is None else self.cross_view[rows],
        )


class MultiTaskNetwork(nn.Module):
    """One shared encoder for every camera and task.

    Children: `encoder`, `neck`, `cross_view` and `cross_view_fusion` (CvM), `dense` (M2H, UV-M3TL's dual branch),
    `panoptic` (OneFormer's decoders or a light head), `motion` (unified encoder), `volume` (MAESTRO), `driving`
    (UV-M3TL, steering). Those that `config.tasks` do not need are not there.

    Raises:
        ValueError: (in forward) a task was asked for that the configuration does not have.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Build the parts that `config.tasks` need."""
        super().__init__()
        self.config = config
        backbone, width = config.backbone, config.neck.width
        self.encoder = SharedEncoder(
            backbone.kind,
            options=backbone.options,
            pretrained=backbone.pretrained,
            geometry=GEOMETRY_CHANNELS,
            stem_width=backbone.stem_width,
        )
        self.neck: nn.Module
        if config.neck.kind == "reassembly":
            self.neck = TokenReassembly(self.encoder.widths[0] - GEOMETRY_CHANNELS, width, geometry=GEOMETRY_CHANNELS)
        else:
            self.neck = FeaturePyramid(self.encoder.widths, width)
        needed = self._needed(config.tasks)
        if config.cross_view is not None and needed.cross_view:
            view = config.cross_view
            bins = config.depth_bins
            self.cross_view = CrossViewModule(
                nearest=bins.nearest,
                farthest=bins.farthest,
                width=view.width,
                planes=view.planes,
                layers=view.layers,
            )
            self.cross_view_fusion = CrossViewFusion(width, view.width, view.planes)
        if needed.dense:
            self.dense = DenseTasks(config, needed.dense, self.encoder.stem_width, self.encoder.widths[-1])
        if needed.panoptic and config.panoptic is not None:
            self.panoptic: nn.Module
            if config.panoptic.kind == "light":
                self.panoptic = LightPanopticHead(width, self.encoder.stem_width, config.panoptic.width)
            else:
                self.panoptic = QuerySegmentation(
                    (width,) * 4,
                    config.num_labels,
                    queries=config.panoptic.queries,
                    hidden=config.panoptic.width,
                    encoder_layers=config.panoptic.encoder_layers,
                    decoder_layers=config.panoptic.decoder_layers,
                )
        if needed.temporal:
            self.motion = MotionTasks(config, needed.temporal)
        if needed.volume:
            self.volume = VolumeTasks(config, needed.volume)
        if needed.driving:
            self.driving = DrivingTasks(config, needed.driving)

    def forward(
        self,
        batch: CameraBatch,
        tasks: Collection[str],
        previous: PreviousFrame | None = None,
        *,
        history: History | None = None,
        cabin: CabinBatch | None = None,
    ) -> NetworkOutput:
        """Run what `tasks` need, nothing else.

        Without `previous` temporal tasks give nothing but what is to be remembered; without `cabin` the tasks of the
        driver give nothing.
        """
        absent = sorted(set(tasks) - set(self.config.tasks))
        if absent:
            raise ValueError(f"network '{self.config.preset}' has no decoder for {', '.join(absent)}")
        needed = self._needed(tasks)
        if not needed.driving.intersection(SCENE_TASKS):
            cabin = None  # nobody looks at it
        features, cabin_maps = self.encode(batch, previous, cross_view=needed.cross_view, cabin=cabin)
        result: dict[str, Any] = {}
        memory: dict[str, Tensor] = {} if features.cross_view is None else {"cross_view": features.cross_view}
        if needed.dense:
            result |= self.decode_dense(features, batch, needed.dense, previous)
            if self.config.dense_dual_branch:
                memory["embedded"] = features.own[EMBEDDED_LEVEL]
        if needed.panoptic:
            result |= self.decode_panoptic(features)
        if needed.temporal:
            moved, kept = self.motion(features.own, batch, needed.temporal, result.get("depth"), previous)
            result |= moved
            memory |= kept
        if needed.volume:
            result |= self.decode_volume(features, result["depth_logits"], batch, needed.volume)
        if needed.driving:
            result |= self.driving(features.own[-1], batch, needed.driving, history, cabin_maps, cabin)
        return NetworkOutput(**result, memory=memory)

    def encode(
        self,
        batch: CameraBatch,
        previous: PreviousFrame | None = None,
        *,
        cross_view: bool = True,
        cabin: CabinBatch | None = None,
    ) -> tuple[Features, Tensor | None]:
        """Run the shared part on every image, those of the cabin included, in one batch.

        Returns:
            The features of the outside cameras, and the coarsest level of the cabin's (B, S, C, h, w), if there is one.
        """
        images, geometry = batch.images, geometry_channels(batch, self.config.depth_bins.canonical_focal)
        if cabin is not None:
            inside = functional.interpolate(cabin.images.flatten(0, 1), images.shape[-2:], mode="bilinear")
            images = torch.cat([images, inside.to(images.dtype)])
            # A cabin camera's calibration is not known; zeros are what a camera without a known ground has, too.
            geometry = torch.cat([geometry, geometry.new_zeros(len(inside), *geometry.shape[1:])])
        encoded = self.encoder(images, geometry.to(images.dtype))  # calibration is exact up to here
        if isinstance(self.neck, TokenReassembly):
            levels = self.neck(encoded.maps, encoded.summaries)
        else:
            levels = self.neck(encoded.maps)
        count = len(batch.images)
        own = [level[:count] for level in levels]
        features = Features(encoded.stem[:count], encoded.maps[-1][:count], own, own)
        if cross_view and hasattr(self, "cross_view"):
            features = self._seen_from_elsewhere(features, batch, previous)
        cabin_maps = None if cabin is None else levels[-1][count:].unflatten(0, cabin.images.shape[:2])
        return features, cabin_maps

    def decode_dense(
        self, features: Features, batch: CameraBatch, tasks: Collection[str], previous: PreviousFrame | None = None
    ) -> dict[str, Tensor]:
        """Return what `NetworkOutput` says of the dense tasks."""
        streams, valid = self._embedding_streams(features, previous)
        decoded = self.dense(features.levels, features.stem, features.last, tasks, streams, valid)
        result: dict[str, Tensor] = {}
        if "depth" in decoded:
            result["depth_logits"] = decoded["depth"]
            statistics = self.dense.depth.statistics(decoded["depth"], self._scale(batch))
            result |= zip(("depth", "depth_std", "surface"), statistics, strict=True)
        for task, name in (("semantic", "semantic_logits"), ("normals", "normals"), ("edges", "edge_logits")):
            if task in decoded:
                result[name] = decoded[task]
        return result

    def decode_panoptic(self, features: Features) -> dict[str, Any]:
        """Return what `NetworkOutput` says of panoptic segmentation (and of semantics, where they come from it)."""
        if isinstance(self.panoptic, QuerySegmentation):
            return {"queries": self.panoptic(features.levels)}
        centres, offsets = self.panoptic(features.levels[0], features.stem)
        return {"centre_logits": centres, "centre_offsets": offsets}

    def decode_volume(
        self, features: Features, depth_logits: Tensor, batch: CameraBatch, tasks: Collection[str]
    ) -> dict[str, Any]:
        """Return what `NetworkOutput` says of the 3D tasks."""
        bins = self.dense.depth.bins[None] * self._scale(batch)[:, None]
        return self.volume(features.levels, depth_logits, bins, batch, tasks)

    def _needed(self, tasks: Collection[str]) -> _Needed:
        wanted = set(tasks)
        dense = {task for task in DENSE_TASKS if task in wanted}
        queries = self.config.dense.semantic_from == "queries"
        panoptic = "panoptic" in wanted or ("semantic" in wanted and queries)
        if queries:
            dense.discard("semantic")
        temporal = {task for task in TEMPORAL_TASKS if task in wanted}
        volume = {task for task in VOLUME_TASKS if task in wanted}
        if volume or "scene_flow" in temporal or ("motion_mask" in temporal and self.config.reprojection_motion):
            dense.add("depth")  # lifting needs its distribution; flow and reprojection need the distance
        return _Needed(
            dense=frozenset(dense),
            panoptic=panoptic,
            temporal=frozenset(temporal),
            volume=frozenset(volume),
            driving=frozenset(wanted & {"steering", *SCENE_TASKS}),
        )

    def _seen_from_elsewhere(self, features: Features, batch: CameraBatch, previous: PreviousFrame | None) -> Features:
        kept = None if previous is None else previous.features.get("cross_view")
        bins = self.config.depth_bins
        neighbours = select_neighbours(batch, None if kept is None else previous, bins.nearest, bins.farthest)
        views, cost = self.cross_view(batch.images, batch.K, neighbours, kept)
        seen = self.cross_view_fusion(features.own, views, cost)
        return replace(features, levels=seen, cross_view=views)

    def _embedding_streams(
        self, features: Features, previous: PreviousFrame | None
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return what the dense dual branch sees beside its level: other views' features and the previous frame's."""
        if not self.config.dense_dual_branch:
            return [], []
        seen = before = valid = None
        if features.levels is not features.own:
            size = features.own[EMBEDDED_LEVEL].shape[-2:]
            seen = functional.interpolate(features.levels[EMBEDDED_LEVEL - 1], size, mode="bilinear")
        if previous is not None and "embedded" in previous.features:
            before, valid = previous.features["embedded"], previous.valid
        return [seen, before], [None, valid]

    def _scale(self, batch: CameraBatch) -> Tensor:
        return depth_scale(batch.K, self.config.depth_bins.canonical_focal)


@dataclass(frozen=True)
class _Needed:
    """The tasks of each part that a request comes down to."""

    dense: frozenset[str]
    panoptic: bool
    temporal: frozenset[str]
    volume: frozenset[str]
    driving: frozenset[str]

    @property
    def cross_view(self) -> bool:
        """Whether anything reads levels that other views have a say in."""
        return bool(self.dense or self.panoptic or self.volume)
