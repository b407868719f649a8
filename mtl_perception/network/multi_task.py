# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared multi-task network: one encoder pass over all cameras, and only the modules that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, History, PreviousFrame, Rows, RowsByName
from mtl_perception.network.config import (
    DENSE_TASKS,
    SCENE_TASKS,
    TEMPORAL_TASKS,
    VOLUME_TASKS,
    NetworkConfig,
)
from mtl_perception.network.cross_view.cross_view_module import CrossViewFusion, CrossViewModule
from mtl_perception.network.cross_view.neighbours import select_neighbours
from mtl_perception.network.cross_view.shared_features import SharedFeatureCrossView
from mtl_perception.network.cross_view.triangulation import Triangulation
from mtl_perception.network.dense.dense_tasks import EMBEDDED_LEVEL, DenseTasks
from mtl_perception.network.driving.driving_tasks import DrivingTasks
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.network.encoding.feature_pyramid import FeaturePyramid
from mtl_perception.network.encoding.shared_encoder import EncoderOutput, SharedEncoder
from mtl_perception.network.encoding.token_reassembly import TokenReassembly
from mtl_perception.network.geometry import GEOMETRY_CHANNELS, depth_scale, geometry_channels, no_geometry_channels
from mtl_perception.network.motion.alignment import Alignment
from mtl_perception.network.motion.ego_motion import EgoMotion, base_twist
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
        kept: what is to be kept for the next frame, (N, ...) each.
        ego_motion: each camera's motion as estimated from the images alone, where it was wanted.
        alignment: what that follows from, where it comes from alignment.
        previous: the frame before, with the estimated motion where the true one is not known.
    """

    stem: Tensor
    last: Tensor
    own: Sequence[Tensor]
    levels: Sequence[Tensor]
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    ego_motion: EgoMotion | None = None
    alignment: Alignment | None = None
    previous: PreviousFrame | None = None

    def select(self, rows: Tensor) -> Features:
        """Return the features of some of the images (M,) int64; the motion of their cameras is left out."""
        return Features(
            self.stem[rows],
            self.last[rows],
            Rows(self.own, rows),
            Rows(self.levels, rows),
            RowsByName(self.kept, rows),
            alignment=None if self.alignment is None else self.alignment.select(rows),
            previous=None if self.previous is None else self.previous.select(rows),
        )


class MultiTaskNetwork(nn.Module):
    """One shared encoder for every camera and task.

    Children: `encoder`, `neck`, `cross_view` and `cross_view_fusion` (CvM), `triangulation`, `dense` (M2H, UV-M3TL's
    dual branch), `panoptic` (OneFormer's decoders or a light head), `motion` (unified encoder), `volume` (MAESTRO),
    `driving` (UV-M3TL, steering). Those that `config.tasks` do not need are not there.

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
            nearest, farthest = view.nearest or config.depth_bins.nearest, config.depth_bins.farthest
            self.cross_view: nn.Module
            if view.features == "shared":
                self.cross_view = SharedFeatureCrossView(width, view.width, view.planes, nearest, farthest)
            else:
                self.cross_view = CrossViewModule(
                    nearest=nearest,
                    farthest=farthest,
                    width=view.width,
                    planes=view.planes,
                    layers=view.layers,
                    stage_widths=view.stage_widths,
                    sweep="cost" in view.parts,
                    reused=width if view.features == "reused" else 0,
                )
            self.cross_view_fusion = CrossViewFusion(
                width, view.width if "features" in view.parts else 0, view.planes if "cost" in view.parts else 0
            )
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
            self.motion = MotionTasks(config, needed.temporal, self.encoder.stem_width)
            triangulates = config.alignment is not None and config.alignment.triangulation
            if triangulates and hasattr(self.motion, "alignment") and "depth" in needed.dense:
                self.triangulation = Triangulation(width, config.depth_bins.count)
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
        next_tasks: Collection[str] = (),
    ) -> NetworkOutput:
        """Run what `tasks` need, and what has to be remembered for `next_tasks` at the next frame; nothing else.

        Without `previous` temporal tasks give nothing but what is to be remembered; without `cabin` the tasks of the
        driver give nothing.
        """
        shared = {*tasks, *next_tasks}
        absent = sorted(shared - set(self.config.tasks))
        if absent:
            raise ValueError(f"network '{self.config.preset}' has no decoder for {', '.join(absent)}")
        needed = self._needed(tasks)
        if not needed.driving.intersection(SCENE_TASKS):
            cabin = None  # nobody looks at it
        features, cabin_maps = self.encode(batch, previous, tasks=shared, cabin=cabin)
        result: dict[str, Any] = {}
        if needed.dense:
            result |= self.decode_dense(features, batch, needed.dense)
        if needed.panoptic:
            result |= self.decode_panoptic(features)
        if needed.temporal:
            result |= self.decode_motion(features, batch, needed.temporal, result.get("depth"))
        if needed.volume:
            result |= self.decode_volume(features, result["depth_logits"], batch, needed.volume)
        if needed.driving:
            twist = base_twist(features.ego_motion, features.previous, batch) if needed.twist else None
            result |= self.driving(features.own[-1], batch, needed.driving, history, cabin_maps, cabin, twist)
        return NetworkOutput(**result, memory=features.kept)

    def encode(
        self,
        batch: CameraBatch,
        previous: PreviousFrame | None = None,
        *,
        tasks: Collection[str] | None = None,
        cabin: CabinBatch | None = None,
    ) -> tuple[Features, Tensor | None]:
        """Run the shared part on every image, those of the cabin included, in one batch.

        Args:
            batch: the current images.
            previous: what is remembered of the frame before. Where its poses are not known and the network can tell
                the motion from the images, it does, and what needs a motion takes that.
            tasks: what will be decoded; None: everything.
            cabin: the cabin's images.

        Returns:
            The features of the outside cameras, and the coarsest level of the cabin's (B, S, C, h, w), if there is one.
        """
        images, geometry = batch.images, geometry_channels(batch, self.config.depth_bins.canonical_focal)
        if cabin is not None:
            inside = functional.interpolate(cabin.images.flatten(0, 1), images.shape[-2:], mode="bilinear")
            images = torch.cat([images, inside.to(images.dtype)])
            geometry = torch.cat([geometry, no_geometry_channels(inside)])
        encoded = self.encoder(images, geometry.to(images.dtype))  # calibration is exact up to here
        levels = self._levels(encoded)
        count = len(batch.images)
        own = [level[:count] for level in levels]
        needed = self._needed(self.config.tasks if tasks is None else tasks)
        features = Features(encoded.stem[:count], encoded.maps[-1][:count], own, own)
        features = self._moved(features, batch, previous, needed)
        if needed.cross_view and hasattr(self, "cross_view"):
            features = self._seen_from_elsewhere(features, batch)
        if needed.cross_view and hasattr(self, "triangulation"):
            features = self._triangulated(features, batch)
        cabin_maps = None if cabin is None else levels[-1][count:].unflatten(0, cabin.images.shape[:2])
        return features, cabin_maps

    def encode_cabin(self, images: Tensor) -> Tensor:
        """Return the coarsest level (N, C, h, w) of a cabin's images (N, 3, H, W) alone, as `encode` has it."""
        coarsest: Tensor = self._levels(self.encoder(images, no_geometry_channels(images)))[-1]
        return coarsest

    def looks_back(self, task: str) -> bool:
        """Return whether what it says of a task depends on the frames before, where there are any."""
        needed = self._needed({task})
        across = hasattr(self, "cross_view") or hasattr(self, "triangulation")
        kept = bool(needed.dense) and self.config.dense_dual_branch
        return bool(needed.temporal or needed.driving) or (needed.cross_view and across) or kept

    def memory_of(self, batch: CameraBatch) -> Mapping[str, Tensor]:
        """Return what is kept of images that nothing was known of before: `PreviousFrame.features` for the next."""
        return self.encode(batch)[0].kept

    def decode_dense(self, features: Features, batch: CameraBatch, tasks: Collection[str]) -> dict[str, Tensor]:
        """Return what `NetworkOutput` says of the dense tasks."""
        streams, valid = self._embedding_streams(features)
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

    def decode_motion(
        self, features: Features, batch: CameraBatch, tasks: Collection[str], depth: Tensor | None
    ) -> dict[str, Any]:
        """Return what `NetworkOutput` says of the temporal tasks; `depth` (N, h, w) is the dense task's."""
        seen = features.own, features.stem, features.kept
        result = self.motion(*seen, batch, tasks, depth, features.previous, features.alignment)
        if "ego_motion" in tasks:
            result |= {"ego_motion": features.ego_motion, "alignment": features.alignment}
        return result

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
            twist=bool(self.config.sections_with_motion(wanted)),
        )

    def _levels(self, encoded: EncoderOutput) -> Sequence[Tensor]:
        """Return the neck's four levels, finest first."""
        if isinstance(self.neck, TokenReassembly):
            return self.neck(encoded.maps, encoded.summaries)
        levels: Sequence[Tensor] = self.neck(encoded.maps)
        return levels

    def _moved(
        self, features: Features, batch: CameraBatch, previous: PreviousFrame | None, needed: _Needed
    ) -> Features:
        """Add what is kept for the next frame, and the motion since the last one, as far as anything needs them."""
        kept: dict[str, Tensor] = {}
        if self.config.dense_dual_branch and needed.dense:
            kept["embedded"] = features.own[EMBEDDED_LEVEL]
        estimated = alignment = None
        if hasattr(self, "motion"):
            kept |= self.motion.keep(features.own, batch, needed.temporal)
        if hasattr(self, "motion") and previous is not None:
            compared = needed.cross_view and hasattr(self, "cross_view")
            triangulated = needed.cross_view and hasattr(self, "triangulation")
            unknown = previous.previous_from_current is None and bool(needed.temporal or compared or triangulated)
            asked = self.motion.estimates and ("ego_motion" in needed.temporal or needed.twist or unknown)
            if asked or triangulated or (self.motion.uses_matches and needed.temporal):
                alignment = self.motion.match(features.own, kept, batch, previous)
            if asked:
                estimated = self.motion.estimate(features.own, batch, previous, alignment)
            if unknown and estimated is not None:
                previous = replace(previous, previous_from_current=estimated.previous_from_current)
        return replace(features, kept=kept, ego_motion=estimated, alignment=alignment, previous=previous)

    def _triangulated(self, features: Features, batch: CameraBatch) -> Features:
        """Add what the matches with the previous frame say of depth, if there are any."""
        previous, alignment = features.previous, features.alignment
        if previous is None or previous.previous_from_current is None or alignment is None:
            return features
        depths = self.dense.depth.bins[None] * self._scale(batch)[:, None]
        finest = self.triangulation(
            features.levels[0],
            alignment.matches,
            depths,
            batch.K,
            previous.K,
            previous.previous_from_current,
            previous.valid,
        )
        return replace(features, levels=[finest, *features.levels[1:]])

    def _seen_from_elsewhere(self, features: Features, batch: CameraBatch) -> Features:
        previous = features.previous
        before = None if previous is None else previous.features.get("cross_view")
        bins, view = self.config.depth_bins, self.config.cross_view
        assert view is not None  # it was built from it
        neighbours = select_neighbours(
            batch, None if before is None else previous, bins.nearest, bins.farthest, view.neighbours
        )
        source = batch.images if view.features == "own" else features.own[1]
        views, cost = self.cross_view(source, batch.K, neighbours, before)
        seen = self.cross_view_fusion(features.own, views, cost)
        return replace(features, levels=seen, kept={**features.kept, "cross_view": views})

    def _embedding_streams(self, features: Features) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return what the dense dual branch sees beside its level: other views' features and the previous frame's."""
        if not self.config.dense_dual_branch:
            return [], []
        seen = before = valid = None
        if features.levels is not features.own:
            size = features.own[EMBEDDED_LEVEL].shape[-2:]
            seen = functional.interpolate(features.levels[EMBEDDED_LEVEL - 1], size, mode="bilinear")
        if features.previous is not None and "embedded" in features.previous.features:
            before, valid = features.previous.features["embedded"], features.previous.valid
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
    twist: bool

    @property
    def cross_view(self) -> bool:
        """Whether anything reads levels that other views have a say in."""
        return bool(self.dense or self.panoptic or self.volume)
