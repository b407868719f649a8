# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of one batch: one encoder pass over all images, then each decoder on the rows that carry its truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import UNOBSERVED
from mtl_perception.network import MultiTaskNetwork, PreviousFrame
from mtl_perception.network.config import VOLUME_TASKS
from mtl_perception.network.driving.dual_branch import DualBranchOutput
from mtl_perception.network.geometry import depth_scale
from mtl_perception.network.motion.alignment import LOG_VARIANCE, Alignment
from mtl_perception.network.motion.ego_motion import EgoMotion
from mtl_perception.network.multi_task import Features
from mtl_perception.network.panoptic.query_segmentation import QuerySegmentation
from mtl_perception.network.panoptic.targets import query_targets
from mtl_perception.training.balancing.feature_decoupling import decoupling_loss
from mtl_perception.training.image_pairs import SELF_SUPERVISED, ImagePairs, self_supervised_terms
from mtl_perception.training.losses.consistency import depth_normal_loss, edge_semantic_loss
from mtl_perception.training.losses.depth import depth_loss
from mtl_perception.training.losses.distillation import flow_distillation_loss
from mtl_perception.training.losses.edges import edges_loss
from mtl_perception.training.losses.ego_motion import matching_loss
from mtl_perception.training.losses.motion import motion_loss
from mtl_perception.training.losses.normals import normals_loss
from mtl_perception.training.losses.panoptic import largest_segments, panoptic_loss, panoptic_maps
from mtl_perception.training.losses.pose import LIKELIHOOD, pose_loss, variance_loss
from mtl_perception.training.losses.reduction import nearest, stride_of
from mtl_perception.training.losses.scene_flow import FlowTruth, independent_flow_of, scene_flow_loss
from mtl_perception.training.losses.semantic import semantic_loss
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
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingBatch

if TYPE_CHECKING:
    from mtl_perception.training.objective import Objective

_NORMALS = ("normals", "depth")
_EDGES = ("edges", "semantic")


@dataclass(frozen=True)
class Losses:
    """What a batch cost, all of it scalars with a gradient.

    Attributes:
        tasks: the loss of each task that the batch has truth for.
        terms: what is asked for beside the truth, weighted.
        features: the maps that the decoupling term compares: "shared" and each task's own; empty without that term.
    """

    tasks: dict[str, Tensor]
    terms: dict[str, Tensor]
    features: dict[str, Tensor] = field(default_factory=dict)


class BatchLosses:
    """One evaluation of the objective: what the batch needs is decoded once, and the losses share it."""

    def __init__(
        self,
        objective: Objective,
        network: MultiTaskNetwork,
        batch: TrainingBatch,
        tasks: Collection[str],
        withheld: bool,
    ) -> None:
        """Encode and decode; `withheld`: without the cameras' motion."""
        self.objective, self.network, self.batch, self.settings = objective, network, batch, objective.settings
        self.tasks = frozenset(tasks)
        self.rows = {task: rows for task in tasks if len(rows := _rows_with_truth(task, batch))}
        if objective.teacher is not None and "scene_flow" in tasks and len(batch.previous_rows):
            self.rows["scene_flow"] = batch.previous_rows  # the teacher has something to say of all of them
        self.features, _ = network.encode(batch.cameras, self._previous(withheld), tasks=tuple(tasks))
        self.dense, self.embedded = self._decode_dense_with_embedding()
        self.motion_rows, self.motion = self._decode_motion()

    def losses(self) -> Losses:
        """Return all of them."""
        tasks: dict[str, Tensor] = {}
        named: dict[str, Callable[[], Tensor | None]] = {
            "depth": self._depth,
            "semantic": self._semantic,
            "normals": self._normals,
            "edges": self._edges,
            "panoptic": self._panoptic,
        }
        for task, loss in named.items():
            if task in self.rows:
                value = loss()
                if value is not None:
                    tasks[task] = value
        motion, taught = self._motion()
        volume, terms = self._volume()
        terms |= taught | self._consistency() | self._self_supervision()
        features: dict[str, Tensor] = {}
        if self.embedded is not None:
            shared, specific = self.embedded.shared, self.embedded.specific
            terms["decoupling"] = self.settings.decoupling * self._exactly(decoupling_loss, shared, specific)
            features = {"shared": shared, **specific}
        return Losses(tasks | motion | volume, terms, features)

    def _previous(self, withheld: bool) -> PreviousFrame | None:
        if self.batch.previous is None:
            return None
        with torch.no_grad():
            memory = self.network.memory_of(self.batch.previous)
        previous = self.batch.previous_frame(memory)
        if not withheld:
            return previous
        return PreviousFrame(previous.features, previous.K, None, previous.valid)

    # Dense tasks

    def _decode_dense_with_embedding(
        self,
    ) -> tuple[dict[str, tuple[Tensor, dict[str, Tensor]]], DualBranchOutput | None]:
        """Decode, and catch the maps that the decoupling term is about, if there are any and it has a weight."""
        branch = getattr(getattr(self.network, "dense", None), "dual_branch", None)
        if branch is None or not self.settings.decoupling:
            return self._decode_dense(), None
        caught: list[DualBranchOutput] = []
        handle = branch.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            return self._decode_dense(), caught[-1] if caught else None
        finally:
            handle.remove()

    def _decode_dense(self) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        """Return, per dense task, the rows it was decoded on and what came out."""
        if not hasattr(self.network, "dense"):
            return {}
        wanted = {task: rows for task, rows in self.rows.items() if task in self.network.dense.tasks}
        if "depth" in self.network.dense.tasks:
            needing = [task for task in ("motion_mask", "scene_flow", *VOLUME_TASKS) if task in self.rows]
            rows = [self.rows[task] for task in ("depth", *needing) if task in self.rows]
            if self._has_pairs:
                rows.append(self.batch.previous_rows)
            if rows:
                wanted["depth"] = torch.cat(rows).unique()
        for weight, pair in ((self.settings.depth_normal, _NORMALS), (self.settings.edge_semantic, _EDGES)):
            if weight and all(task in wanted for task in pair):
                wanted |= dict.fromkeys(pair, torch.cat([wanted[task] for task in pair]).unique())
        if hasattr(self.network.dense, "attention") or hasattr(self.network.dense, "dual_branch"):
            # Here every task's features are computed for each other's sake: all at once costs less.
            union = torch.cat(list(wanted.values())).unique() if wanted else torch.zeros(0)
            decoded = self._decode(union, tuple(wanted)) if wanted else {}
            return dict.fromkeys(wanted, (union, decoded))
        return {task: (rows, self._decode(rows, (task,))) for task, rows in wanted.items()}

    def _decode(self, rows: Tensor, tasks: Collection[str]) -> dict[str, Tensor]:
        return self.network.decode_dense(self._some(rows), self.batch.cameras.select(rows), tasks)

    def _some(self, rows: Tensor) -> Features:
        return self.features.select(rows)

    def _depth(self) -> Tensor:
        rows, decoded = self.dense["depth"]
        logits = decoded["depth_logits"]
        bins = self.network.dense.depth.bins
        return self._exactly(depth_loss, logits, self._scale(rows), bins, nearest(self.batch.depth[rows], logits))

    def _semantic(self) -> Tensor | None:
        if "semantic" not in self.dense:
            return None  # it comes from the panoptic queries
        rows, decoded = self.dense["semantic"]
        logits = decoded["semantic_logits"]
        truth = nearest(self.batch.semantic[rows], logits)
        weights = self.objective.class_weights.to(logits.device)
        return self._exactly(semantic_loss, logits, truth, self.batch.label_table, weights)

    def _normals(self) -> Tensor:
        rows, decoded = self.dense["normals"]
        normals = decoded["normals"]
        return self._exactly(normals_loss, normals, nearest(self.batch.normals[rows], normals))

    def _edges(self) -> Tensor:
        rows, decoded = self.dense["edges"]
        return self._exactly(edges_loss, decoded["edge_logits"], self.batch.edges[rows])

    def _panoptic(self) -> Tensor:
        rows, things = self.rows["panoptic"], self.objective.things
        batch, features = self.batch, self._some(rows)
        truth = panoptic_maps(batch.semantic[rows], batch.label_table, batch.instance[rows], things)
        if isinstance(self.network.panoptic, QuerySegmentation):
            targets = largest_segments(query_targets(truth, things), self.network.panoptic.segment_texts)
            return torch.stack(list(self.network.panoptic.loss(features.levels, targets).values())).sum()
        decoded = self.network.decode_panoptic(features)
        return self._exactly(panoptic_loss, decoded["centre_logits"], decoded["centre_offsets"], truth, things)

    # Temporal tasks

    def _motion(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the losses of these tasks, and the term of what a teacher says of them."""
        losses: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        if "ego_motion" in self.rows:
            ego = self._ego_motion()
            if ego is not None:
                losses["ego_motion"] = ego
        rows, decoded = self.motion_rows, self.motion
        if "motion_logits" in decoded and "motion_mask" in self.rows:
            losses["motion_mask"] = self._exactly(motion_loss, decoded["motion_logits"], self.batch.motion_mask[rows])
        if "complete_flow" in decoded and "scene_flow" in self.rows:
            losses["scene_flow"] = self._exactly(
                scene_flow_loss,
                decoded["complete_flow"],
                decoded["independent_flow"],
                decoded["flow_mask_logits"],
                self._flow_truth(rows),
            )
            terms |= self._taught(rows, decoded)
        return losses, terms

    def _decode_motion(self) -> tuple[Tensor, dict[str, Any]]:
        """Return the rows that masks and flow were decoded on, and what came out."""
        wanted = {task for task in ("motion_mask", "scene_flow") if task in self.rows}
        rows = [self.rows[task] for task in sorted(wanted)]
        if self._has_pairs and "scene_flow" in self.network.config.tasks:
            wanted.add("scene_flow")
            rows.append(self.batch.previous_rows)
        if not wanted:
            return self.batch.previous_rows[:0], {}
        chosen = torch.cat(rows).unique()
        cameras, depth = self.batch.cameras.select(chosen), self._depth_of(chosen)
        return chosen, self.network.decode_motion(self._some(chosen), cameras, wanted, depth)

    def _taught(self, rows: Tensor, decoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the term of what a teacher says of flow and mask on some rows; none without a teacher."""
        said = None if self.objective.teacher is None else self.objective.teacher(self.batch)
        if said is None:
            return {}
        target = said.select(_positions(rows, self.batch.previous_rows))
        loss = self._exactly(flow_distillation_loss, decoded["complete_flow"], decoded["flow_mask_logits"], target)
        return {"distillation": self.objective.settings.distillation * loss}

    def _ego_motion(self) -> Tensor | None:
        rows = self.rows["ego_motion"]
        truth = self.batch.previous_from_current[_positions(rows, self.batch.previous_rows)]
        alignment, estimate = self.features.alignment, self.features.ego_motion
        solved = None if estimate is None else EgoMotion(estimate.vector[rows], estimate.log_variance[rows])
        if alignment is None:
            return None if solved is None else self._exactly(pose_loss, solved, truth)
        loss = self._alignment(alignment, rows, truth)
        if solved is not None:
            loss = loss + LIKELIHOOD * self._exactly(variance_loss, solved, truth, LOG_VARIANCE[0])
        return loss

    def _alignment(self, alignment: Alignment, rows: Tensor, motion: Tensor) -> Tensor:
        """Return the loss of matches and of the depth that alignment has of its own."""
        batch = self.batch
        logits = alignment.depth_logits[rows]
        head = self.network.motion.alignment.depth
        of_depth = self._exactly(depth_loss, logits, self._scale(rows), head.bins, nearest(batch.depth[rows], logits))
        chosen = alignment.matches.select(rows)
        K, flow = batch.cameras.K[rows], self._flow_truth(rows)
        moved = self._exactly(independent_flow_of, flow.velocity, motion, flow.base_from_camera, flow.seconds)
        moved = torch.where((flow.motion_mask == 0)[:, None] & moved.isnan(), 0.0, moved)
        return of_depth + self._exactly(
            matching_loss, chosen, alignment.depth[rows], batch.depth[rows], moved, K, K, motion
        )

    def _flow_truth(self, rows: Tensor) -> FlowTruth:
        batch = self.batch
        positions = _positions(rows, batch.previous_rows)
        return FlowTruth(
            velocity=batch.scene_flow[rows],
            depth=batch.depth[rows],
            motion_mask=batch.motion_mask[rows],
            K=batch.cameras.K[rows],
            base_from_camera=batch.cameras.base_from_camera[rows],
            previous_from_current=batch.previous_from_current[positions],
            seconds=batch.seconds[positions],
        )

    def _depth_of(self, rows: Tensor, name: str = "depth") -> Tensor | None:
        if "depth" not in self.dense:
            return None
        decoded_rows, decoded = self.dense["depth"]
        return decoded[name][_positions(rows, decoded_rows)]

    # What is asked for without truth

    def _consistency(self) -> dict[str, Tensor]:
        """Return what tasks say about each other, where both were decoded."""
        terms: dict[str, Tensor] = {}
        if self.settings.depth_normal and all(task in self.dense for task in _NORMALS):
            rows, decoded = self.dense["normals"]
            depth, surface = self._depth_of(rows), self._depth_of(rows, "surface")
            assert depth is not None and surface is not None
            visible = torch.where(surface > 0.5, depth, torch.nan)
            stride = stride_of(self.batch.depth, depth)
            K = self.batch.cameras.K[rows]
            value = self._exactly(depth_normal_loss, decoded["normals"], visible, K, stride)
            terms["depth_normal"] = self.settings.depth_normal * value
        if self.settings.edge_semantic and all(task in self.dense for task in _EDGES):
            edges, semantic = self.dense["edges"][1]["edge_logits"], self.dense["semantic"][1]["semantic_logits"]
            terms["edge_semantic"] = self.settings.edge_semantic * self._exactly(edge_semantic_loss, edges, semantic)
        return terms

    @property
    def _has_pairs(self) -> bool:
        """Whether a self-supervised term wants pairs of images that the batch has."""
        wanted = any(getattr(self.settings, name) for name in SELF_SUPERVISED)
        return wanted and len(self.batch.previous_rows) > 0 and "depth" in self.network.config.tasks

    def _self_supervision(self) -> dict[str, Tensor]:
        batch, rows = self.batch, self.batch.previous_rows
        depth = self._depth_of(rows) if self._has_pairs else None
        if depth is None or batch.previous is None or self.features.previous is None:
            return {}
        motion, complete, mask = self.features.previous.previous_from_current, None, None
        if "complete_flow" in self.motion:
            complete, mask = self.motion["complete_flow"], self.motion["flow_mask_logits"]
            depth = _resized(depth, complete)
        pairs = ImagePairs(
            images=batch.cameras.images[rows],
            previous_images=batch.previous.images,
            K=batch.cameras.K[rows],
            previous_K=batch.previous.K,
            base_from_camera=batch.cameras.base_from_camera[rows],
            ground_known=batch.cameras.ground_known[rows],
            previous_from_current=None if motion is None else motion[rows],
            depth=depth,
            complete_flow=complete,
            mask_logits=mask,
        )
        weights = {name: getattr(self.settings, name) for name in SELF_SUPERVISED}
        with torch.autocast(batch.depth.device.type, enabled=False):
            return self_supervised_terms(pairs, weights)

    # Tasks of the rig's 3D half

    def _volume(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the tasks' losses, each with that of its suppression scores, and that of the prototypes' masks."""
        wanted = [task for task in VOLUME_TASKS if task in self.rows]
        if not wanted:
            return {}, {}
        batch, config = self.batch, self.network.config
        assert config.volume is not None  # the configuration was checked
        rows = torch.cat([self.rows[task] for task in wanted]).unique()
        logits = self._depth_of(rows, "depth_logits")
        assert logits is not None  # the network has it for these tasks
        if "depth" in self.tasks:
            # Depth is what the images show, not what makes the voxels come out right.
            logits = logits.detach()
        decoded = self.network.decode_volume(self._some(rows), logits, batch.cameras.select(rows), wanted)
        frames = batch.cameras.frame_index[rows].unique()
        occupancy, bev_map = batch.occupancy[frames], batch.bev_map[frames]
        boxes = [batch.boxes[frame] for frame in frames.tolist()]
        grid, classes = config.box_grid.to_grid(), config.volume.detection_labels

        losses: dict[str, Tensor] = {}
        regions: dict[str, Tensor] = {}
        if "occupancy" in wanted:
            losses["occupancy"] = self._exactly(occupancy_loss, decoded["occupancy_logits"], occupancy)
            regions["occupancy"] = region_of_occupancy(occupancy)
        if "bev_map" in wanted:
            losses["bev_map"] = self._exactly(map_loss, decoded["map_logits"], bev_map)
            regions["bev_map"] = region_of_map(bev_map)
        if "detections" in wanted:
            losses["detections"] = self._exactly(boxes_loss, decoded["boxes"], boxes, grid, classes)
            regions["detections"] = region_of_boxes(boxes, grid, classes).to(rows.device)
        for task, scores in decoded.get("suppression_logits", {}).items():
            if task in losses:
                losses[task] = losses[task] + self._exactly(suppression_loss, scores, regions[task])
        if decoded.get("prototype_mask_logits") is None:
            return losses, {}
        return losses, {"prototypes": self._exactly(prototype_loss, decoded["prototype_mask_logits"], occupancy)}

    def _scale(self, rows: Tensor) -> Tensor:
        return depth_scale(self.batch.cameras.K[rows], self.network.config.depth_bins.canonical_focal)

    def _exactly(self, loss: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Call a loss outside autocast, which would take products of coordinates in half precision."""
        with torch.autocast(self.batch.depth.device.type, enabled=False):
            return loss(*arguments)


def _rows_with_truth(task: str, batch: TrainingBatch) -> Tensor:
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


def _resized(depth: Tensor, like: Tensor) -> Tensor:
    """Bring a depth map (N, h, w) to the size of other maps."""
    if depth.shape[-2:] == like.shape[-2:]:
        return depth
    return functional.interpolate(depth.float()[:, None], like.shape[-2:], mode="bilinear")[:, 0]


def _positions(rows: Tensor, among: Tensor) -> Tensor:
    """Return where each of some rows stands among ascending rows."""
    return torch.searchsorted(among, rows)
