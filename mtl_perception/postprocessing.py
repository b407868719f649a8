# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From what the network says to the fields of a Prediction: full-size images, invalid values, boxes, grids, classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import (
    FREE,
    UNKNOWN,
    UNOBSERVED,
    BevMap,
    Detection,
    EgoMotion,
    LabelSpace,
    Occupancy,
    Steering,
    VoxelGrid,
)
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.memory import Past
from mtl_perception.network import CameraBatch, NetworkConfig, NetworkOutput
from mtl_perception.network.motion.flow_composition import to_base_velocity
from mtl_perception.network.motion.se3 import rig_motion
from mtl_perception.network.panoptic.post_processing import UNKNOWN as UNKNOWN_SEGMENT
from mtl_perception.network.panoptic.post_processing import (
    panoptic_from_centres,
    panoptic_from_queries,
    semantic_from_queries,
)
from mtl_perception.network.volume.center_head import CenterHead

OUTSIDE: Mapping[str, float] = {
    "depth": np.nan,
    "depth_std": np.nan,
    "semantic": UNKNOWN,
    "semantic_confidence": 0.0,
    "normals": np.nan,
    "edges": 0,
    "edge_probability": 0.0,
    "panoptic": UNKNOWN_SEGMENT,
    "motion_mask": 0,
    "scene_flow": np.nan,
}
"""What each image of a CameraPrediction holds where the source image shows nothing."""
_ROS_ORDER = [3, 4, 5, 0, 1, 2]  # translation first; the network's covariances have rotation first


@dataclass(frozen=True)
class Thresholds:
    """How likely, 0 to 1, something has to be to be taken for true.

    Attributes:
        detection: of a box's score. Low, because who takes a box for true decides that by its score.
        surface: where a surface is less likely, nothing is there (sky), for depth, normals and scene flow. A branch
            missed is worse than one too thick.
        semantic: of a label; less certain ones are unknown. At 0 all are given.
        edge: of a border between classes.
        motion: that something moves by itself, for the motion mask.
        occupancy: that a voxel is occupied.
    """

    detection: float = 0.1
    surface: float = 0.2
    semantic: float = 0.0
    edge: float = 0.5
    motion: float = 0.5
    occupancy: float = 0.5


class Postprocessing:
    """Turns the network's outputs into what a Prediction holds; the units and frames are those described there.

    Attributes:
        thresholds: may be replaced between two frames.
    """

    def __init__(self, config: NetworkConfig, labels: LabelSpace) -> None:
        """Prepare for a network and its label space."""
        self.thresholds = Thresholds()
        self.grid: VoxelGrid = config.grid.to_grid()
        self._box_grid: VoxelGrid = config.box_grid.to_grid()
        self._volume = config.volume
        self._labels = len(labels)
        self._things = [label.id for label in labels.labels if label.thing]
        self._occupancy_labels = torch.tensor([labels.id_of(name) for name in labels.subsets["occupancy"]])

    def images(
        self, output: NetworkOutput, tasks: Collection[str], batch: CameraBatch, past: Past | None
    ) -> dict[str, NDArray]:
        """Return the images of `tasks`, by their names in CameraPrediction, each (N, H, W) or (N, H, W, 3).

        Rows of cameras without a previous image are meaningless in the motion mask (which is not there if there is none
        at all), and NaN in the scene flow.
        """
        height, width = batch.images.shape[-2:]
        size = (height, width)
        result: dict[str, Tensor] = {}
        if "depth" in tasks and output.depth is not None and output.depth_std is not None:
            # Inverse depth is what bends least between two pixels of one plane.
            result["depth"] = 1.0 / _upsampled(1.0 / output.depth, size)
            result["depth_std"] = _upsampled(output.depth_std, size)
        if "normals" in tasks and output.normals is not None:
            normals = _upsampled(output.normals, size)
            result["normals"] = normals / normals.norm(dim=1, keepdim=True)
        if "edges" in tasks and output.edge_logits is not None:
            logits = _upsampled(output.edge_logits, size)
            result |= {"edges": _mask(logits > _logit(self.thresholds.edge)), "edge_probability": logits.sigmoid()}
        if "semantic" in tasks or "panoptic" in tasks:
            result |= self._segmentation(output, tasks, size)
        if "motion_mask" in tasks and output.motion_logits is not None and past is not None:
            logits = _upsampled(output.motion_logits, size)
            result["motion_mask"] = _mask(logits > _logit(self.thresholds.motion))
        if "scene_flow" in tasks:
            result["scene_flow"] = _scene_flow(output, batch, past)
        on_surfaces = [name for name in ("depth", "depth_std", "normals", "scene_flow") if name in result]
        if on_surfaces and output.surface is not None:
            empty = _upsampled(output.surface, size) < self.thresholds.surface
            for name in on_surfaces:
                image = result[name]
                result[name] = image.masked_fill(empty if image.ndim == 3 else empty[:, None], torch.nan)
        return {name: _image(tensor) for name, tensor in result.items()}

    def rig(
        self, output: NetworkOutput, tasks: Collection[str], batch: CameraBatch, past: Past | None
    ) -> dict[str, Any]:
        """Return what a Prediction says of the whole rig for `tasks`, by the names of its fields."""
        result: dict[str, Any] = {}
        if "occupancy" in tasks and output.occupancy_logits is not None and output.reached is not None:
            result["occupancy"] = self._occupancy(output.occupancy_logits[0].float(), output.reached[0].float())
        if "bev_map" in tasks and output.map_logits is not None and self._volume is not None:
            layers = _numpy(output.map_logits[0].float().sigmoid())
            by_name = dict(zip(self._volume.map_layers, layers, strict=True))
            result["bev_map"] = BevMap(self.grid.origin[:2], self.grid.voxel_size, by_name)
        if "detections" in tasks and output.boxes is not None:
            result["detections"] = self._detections(output)
        if "ego_motion" in tasks and past is not None:
            result["ego_motion"] = _ego_motion(output, batch, past)
        if "steering" in tasks and output.steering is not None and output.steering_log_variance is not None:
            std = float((0.5 * output.steering_log_variance[0]).exp())
            result["steering"] = Steering(float(output.steering[0]), std)
        context = {}
        for task, logits in output.scene_logits.items():
            if task in tasks:
                probability = logits[0].float().softmax(dim=0).tolist()
                context[task] = dict(zip(SCENE_CLASSES[task], probability, strict=True))
        return result | {"driving_context": context}

    def _segmentation(self, output: NetworkOutput, tasks: Collection[str], size: tuple[int, int]) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        scores = semantic = confidence = None
        if output.semantic_logits is not None:
            scores = output.semantic_logits
        elif "semantic" in tasks and output.queries is not None:
            scores = semantic_from_queries(output.queries)
        if scores is not None:
            # Channels last: the same values, but going through the classes of a pixel is twice as fast.
            full = _upsampled(scores.contiguous(memory_format=torch.channels_last), size).permute(0, 2, 3, 1)
            probability = full if output.semantic_logits is None else full.softmax(dim=3)
            confidence, semantic = probability.max(dim=3)
        if "semantic" in tasks and semantic is not None and confidence is not None:
            unsure = confidence < self.thresholds.semantic
            known = semantic.to(torch.uint8).masked_fill(unsure, UNKNOWN)
            result |= {"semantic": known, "semantic_confidence": confidence}
        if "panoptic" not in tasks:
            return result
        if output.queries is not None:
            result["panoptic"] = panoptic_from_queries(output.queries, self._things, size).panoptic
        elif output.centre_logits is not None and output.centre_offsets is not None:
            assert semantic is not None and confidence is not None  # the perceiver has it computed for this task
            centres = (output.centre_logits, output.centre_offsets)
            found = panoptic_from_centres(semantic, confidence, *centres, self._things, self._labels)
            result["panoptic"] = found.panoptic
        return result

    def _occupancy(self, logits: Tensor, reached: Tensor) -> Occupancy:
        known = self._occupancy_labels.to(logits.device)
        probability = logits[0].sigmoid()
        best = known[logits[1:][known].max(dim=0).indices].to(torch.uint8)  # argmax takes three times as long
        # Far from a camera its rays are over a voxel apart: what lies beside one is seen, too; what is below is not.
        reached = functional.max_pool3d(reached[None], kernel_size=(3, 3, 1), stride=1, padding=(1, 1, 0))[0]
        labels = torch.full_like(best, UNOBSERVED)
        labels[reached > 0.5] = FREE
        occupied = (probability >= self.thresholds.occupancy) & (reached > 0.1)
        labels[occupied] = best[occupied]
        return Occupancy(self.grid, _numpy(labels), _numpy(probability))

    def _detections(self, output: NetworkOutput) -> tuple[Detection, ...]:
        assert output.boxes is not None and self._volume is not None
        threshold = self.thresholds.detection
        boxes = CenterHead.decode(output.boxes, self._box_grid, self._volume.boxes, threshold)[0]
        columns = (boxes.label, boxes.score, boxes.centre, boxes.size, boxes.yaw, boxes.velocity)
        return tuple(
            Detection(self._volume.detection_labels[label], score, tuple(centre), tuple(extent), yaw, tuple(velocity))
            for label, score, centre, extent, yaw, velocity in zip(*(c.tolist() for c in columns), strict=True)
        )


def _scene_flow(output: NetworkOutput, batch: CameraBatch, past: Past | None) -> Tensor:
    """Return velocities (N, 3, H, W), 0 where more likely nothing moves; NaN for cameras without a previous image."""
    size = (batch.images.shape[-2], batch.images.shape[-1])
    motion = None
    if past is not None:
        motion = past.previous.previous_from_current
        if motion is None and output.ego_motion is not None:
            motion = output.ego_motion.previous_from_current
    if past is None or motion is None or output.independent_flow is None:
        return torch.full((len(batch.images), 3, *size), torch.nan, device=batch.images.device)
    elapsed = past.previous.elapsed
    assert elapsed is not None  # the memory knows it
    velocity = to_base_velocity(output.independent_flow, motion, batch.base_from_camera, elapsed)
    velocity = _upsampled(velocity, size)
    if output.flow_mask_logits is not None:
        velocity = velocity.masked_fill(_upsampled(output.flow_mask_logits, size)[:, None] < 0.0, 0.0)
    return velocity.masked_fill(~past.previous.valid[:, None, None, None], torch.nan)


def _ego_motion(output: NetworkOutput, batch: CameraBatch, past: Past) -> EgoMotion | None:
    """Return the base's motion since the newest frame before; a camera that was missing there tells of a longer one."""
    if output.ego_motion is None:
        return None
    told = past.previous.of_one_frame
    motion, covariance = rig_motion(
        output.ego_motion.previous_from_current,
        batch.base_from_camera,
        output.ego_motion.log_variance,
        told,
        batch.frame_index,
        batch.num_frames,
    )
    ordered = _numpy(covariance[0].double())[np.ix_(_ROS_ORDER, _ROS_ORDER)]
    return EgoMotion(past.stamp_ns, _numpy(motion[0].double()), ordered)


def _upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps (N, h, w) or (N, C, h, w) to another size; float32."""
    if maps.ndim == 3:
        return _upsampled(maps[:, None], size)[:, 0]
    return functional.interpolate(maps.float(), size, mode="bilinear")


def _logit(probability: float) -> float:
    """Return the logit of a probability, infinite at 0 and 1."""
    if not 0.0 < probability < 1.0:
        return -math.inf if probability <= 0.0 else math.inf
    return math.log(probability / (1.0 - probability))


def _mask(set_: Tensor) -> Tensor:
    return set_.to(torch.uint8) * 255


def _image(tensor: Tensor) -> NDArray:
    """Return (N, H, W), or (N, 3, H, W) with the channels last."""
    return _numpy(tensor.permute(0, 2, 3, 1).contiguous() if tensor.ndim == 4 else tensor)


def _numpy(tensor: Tensor) -> NDArray:
    return tensor.cpu().numpy()
