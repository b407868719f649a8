# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one camera's prediction says about surfaces: gated, weighted depth with colour and labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import UNKNOWN, Camera, CameraPrediction, LabelSpace, Prediction, pixel_rays
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MappingError
from mtl_perception.mapping.fusion.depth_gate import gate_depth, surface_facing

SKY = "sky"
"""A label of this name is no surface."""


@dataclass(frozen=True, eq=False)
class DepthView:
    """One camera's usable measurements. Arrays are images (H, W).

    Attributes:
        world_from_camera: the optical frame's pose.
        K: 3x3 intrinsics of the image.
        rays: (H, W, 3) rays of the optical frame with z = 1.
        depth: float32 metres along the optical axis; NaN where gated, +inf where beyond the map's reach.
        facing: float32, how much nearer to the surface a point comes with each metre of depth, see `surface_facing`.
        weight: float32 0..1, the share of an exact observation that a pixel counts.
        colour: uint8 (H, W, 3) RGB.
        label: uint8 ids, 255 unknown.
        label_weight: float32, what a pixel's label counts.
        panoptic: int32, label * 1000 + instance, numbered anew in every image, -1 unknown; or None.
    """

    world_from_camera: Transform
    K: NDArray[np.float64]
    rays: NDArray[np.float32]
    depth: NDArray[np.float32]
    facing: NDArray[np.float32]
    weight: NDArray[np.float32]
    colour: NDArray[np.uint8]
    label: NDArray[np.uint8]
    label_weight: NDArray[np.float32]
    panoptic: NDArray[np.int32] | None = None


def views_of(prediction: Prediction, config: MapperConfig, labels: LabelSpace) -> list[DepthView]:
    """Return what each camera contributes.

    Raises:
        MappingError: a pose or a depth image is missing or makes no sense; the text names the camera and the field.
    """
    if not prediction.cameras:
        raise MappingError("no camera has an image")
    _check_pose(prediction.world_from_base, "world_from_base")
    for name, camera in prediction.cameras.items():
        _check(camera, f"camera '{name}'")
    return [_view(camera, config, labels) for camera in prediction.cameras.values()]


def as_published(prediction: Prediction) -> Prediction:
    """Return what `perception/frame` carries of a prediction: the same map must come of both."""
    cameras = {name: replace(camera, semantic_confidence=None) for name, camera in prediction.cameras.items()}
    return replace(prediction, cameras=cameras, occupancy=None)


def _check(prediction: CameraPrediction, where: str) -> None:
    _check_pose(prediction.world_from_camera, f"{where}: world_from_camera")
    if prediction.depth is None:
        raise MappingError(f"{where}: depth is missing (the task was not computed)")
    size = (prediction.camera.height, prediction.camera.width)
    for field in ("depth", "depth_std", "semantic", "semantic_confidence", "motion_mask", "panoptic", "colour"):
        image = getattr(prediction, field)
        if image is not None and image.shape[:2] != size:
            found = f"{image.shape[1]}x{image.shape[0]}"
            raise MappingError(f"{where}: {field} is {found}, its camera is {size[1]}x{size[0]}")


def _check_pose(pose: Transform | None, where: str) -> None:
    if pose is None:
        raise MappingError(f"{where} is missing: no pose is known at this stamp")
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise MappingError(f"{where} is not a finite 4x4 transform")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
        raise MappingError(f"{where} is no rigid transform, its rotation is {rotation.tolist()}")


def _view(prediction: CameraPrediction, config: MapperConfig, labels: LabelSpace) -> DepthView:
    assert prediction.depth is not None and prediction.world_from_camera is not None  # checked in views_of
    depth = prediction.depth.astype(np.float32, order="C")
    label = np.full(depth.shape, UNKNOWN, np.uint8) if prediction.semantic is None else prediction.semantic
    weight = np.ones(depth.shape, np.float32)
    gated = np.zeros(depth.shape, dtype=bool) if prediction.motion_mask is None else prediction.motion_mask > 0
    with np.errstate(invalid="ignore"):
        if prediction.depth_std is not None:
            gated |= ~(prediction.depth_std <= config.max_relative_std * depth)
            weight = (1.0 / (1.0 + (prediction.depth_std / config.truncation) ** 2)).astype(np.float32)
        logarithm = np.log(np.where(depth > 0, depth, np.float32(np.nan)))
    gate_depth(
        depth,
        logarithm,
        np.ascontiguousarray(label),
        _unmappable(labels),
        np.float32(config.min_depth),
        np.float32(config.max_depth),
        np.float32(config.max_depth_ramp),
        gated,
    )
    rays = _rays(prediction.camera.width, prediction.camera.height, prediction.camera.K.tobytes())
    facing = np.empty_like(depth)
    surface_facing(depth, rays, np.float32(config.least_facing), facing)
    confidence = prediction.semantic_confidence
    return DepthView(
        world_from_camera=prediction.world_from_camera,
        K=prediction.camera.K,
        rays=rays,
        depth=depth,
        facing=facing,
        weight=weight,
        colour=prediction.colour,
        label=label,
        label_weight=weight if confidence is None else (weight * confidence).astype(np.float32),
        panoptic=prediction.panoptic,
    )


@lru_cache(maxsize=32)
def _rays(width: int, height: int, K: bytes) -> NDArray[np.float32]:
    camera = Camera("rays", width, height, np.frombuffer(K).reshape(3, 3), np.eye(4))
    return pixel_rays(camera).astype(np.float32)


def _unmappable(labels: LabelSpace) -> NDArray[np.bool_]:
    table = labels.movable.copy()
    table[[label.id for label in labels.labels if label.name == SKY]] = True
    return table
