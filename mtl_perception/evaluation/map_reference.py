# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map that the truth gives, made frame by frame, and how another map compares with it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core import UNKNOWN, Camera, CameraPrediction, LabelSpace, pixel_rays
from mtl_perception.core.transforms import transform_points
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.meshes import surface_distances
from mtl_perception.evaluation.statistics import FrameStatistics
from mtl_perception.mapping import Mapper, MapperConfig, MappingError, MeshArrays
from mtl_perception.mapping.fusion.blocks import pack

_DENSE = 0.3  # a depth image of which a larger share is known can be fused to a surface
_LEAST_THRESHOLD = 0.05  # metres
_NO_SURFACE = "no true depth shows a surface within the map's reach"


class MapReference:
    """Collects what is true of a bag's frames, and judges a map by it.

    The reference is what the same mapper makes of the true depth, seen by the cameras of the predictions (nearest
    pixel) at the poses of the predictions. What moves is kept out by the true motion masks and the true labels, or by
    the predicted labels where the true ones are not the suite's own. So a map of perfect predictions is the reference.

    Where depth is known at single places only (LiDAR), the reference is the cloud of these points within the map's
    reach, one a voxel: it tells what a map lacks, not what a map has too much.

    A point is right within the larger of 5 cm and a voxel.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Compare with maps of this configuration.

        Raises:
            ValueError: `config.ground_labels` names a class that `labels` does not have.
        """
        self._config, self._labels = config, labels
        self._mapper = Mapper(config, labels, with_grid=False)
        self._cloud = _Cloud(config.voxel_size)
        self._movable = labels.movable
        self._own_labels = True
        self._reason = "no frame has true depth"

    def add(self, judged: JudgedFrame) -> None:
        """Add what is true of a frame; frames without a pose or without true depth add nothing."""
        own_labels = not judged.truth.dataset
        # In the order in which the map fuses them: averages are rounded, and the last of many votes decides.
        known = [(name, judged.cameras[name]) for name in judged.prediction.cameras if name in judged.cameras]
        dense = {name: camera for name, camera in known if _is_dense(camera.truth.depth)}
        try:
            if dense:
                views = {name: _true_view(camera, own_labels) for name, camera in dense.items()}
                self._mapper.fuse(replace(judged.prediction, cameras=views))
                self._own_labels &= own_labels and all(c.truth.semantic is not None for c in dense.values())
                self._reason = _NO_SURFACE
            else:
                self._add_points(judged)
        except MappingError as error:
            self._reason = str(error)

    def map_statistics(self, mesh: MeshArrays) -> FrameStatistics | None:
        """Return how a map's mesh compares, for `MapScore`; None when there is nothing to compare with (`why_not`)."""
        reference = self._mapper.mesh()
        points = reference.vertices if len(reference.triangles) else self._cloud.points()
        if not len(points):
            return None
        if not len(reference.triangles):
            return FrameStatistics(_recall_sums(points, mesh, self.threshold))
        sums = _surface_sums(mesh, reference.vertices, reference.triangles, self.threshold)
        if len(mesh.triangles) and self._own_labels:
            sums |= _label_sums(mesh, reference, self.threshold)
        return FrameStatistics(sums)

    @property
    def threshold(self) -> float:
        """How near is right, metres."""
        return max(_LEAST_THRESHOLD, self._config.voxel_size)

    @property
    def why_not(self) -> str:
        """Why there is no reference, or why it cannot tell everything; "" where it can."""
        if len(self._mapper.mesh().triangles):
            return ""
        if len(self._cloud):
            return "true depth is known at single points only: accuracy, precision and f1 need true surfaces"
        return self._reason

    def _add_points(self, judged: JudgedFrame) -> None:
        for name, camera in judged.cameras.items():
            pixels, depth = _known_depths(camera)
            if not len(pixels):
                continue
            pose = camera.prediction.world_from_camera
            if pose is None:
                raise MappingError(f"camera '{name}': world_from_camera is missing: no pose is known at this stamp")
            self._reason = _NO_SURFACE
            chosen = (depth >= self._config.min_depth) & (depth <= self._config.max_depth)
            labels = camera.predicted_at("semantic", pixels)
            if labels is not None:
                chosen &= ~self._movable[labels]
            rays = _rays(camera.camera, pixels[chosen])
            self._cloud.add(transform_points(pose, rays * depth[chosen, None]))


def surface_statistics(
    mesh: MeshArrays, vertices: NDArray[np.float32], triangles: NDArray[np.integer], threshold: float
) -> FrameStatistics:
    """Return how a map's mesh compares with a surface, for `MapScore`; labels are not compared.

    Args:
        mesh: of the map.
        vertices: (N, 3) in the world, metres, of the surface.
        triangles: (M, 3) of them.
        threshold: how near is right, metres.
    """
    return FrameStatistics(_surface_sums(mesh, vertices, triangles, threshold))


class _Cloud:
    """Points in the world, of which each voxel keeps the first."""

    def __init__(self, voxel_size: float) -> None:
        self._voxel_size = voxel_size
        self._points: dict[int, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._points)

    def add(self, points: NDArray[np.float64]) -> None:
        voxels, first = np.unique(pack(np.floor(points / self._voxel_size)), return_index=True)
        for voxel, point in zip(voxels.tolist(), points[first], strict=True):
            self._points.setdefault(voxel, point)

    def points(self) -> NDArray[np.float64]:
        """Return the points (N, 3) in the order of their voxels."""
        return np.array([self._points[voxel] for voxel in sorted(self._points)]).reshape(-1, 3)


def _is_dense(depth: NDArray[np.float32] | None) -> bool:
    return depth is not None and float(np.mean(~np.isnan(depth))) > _DENSE


def _true_view(camera: JudgedCamera, own_labels: bool) -> CameraPrediction:
    """Return a camera's prediction with what is true in place of what was predicted."""
    truth, prediction = camera.truth, camera.prediction
    assert truth.depth is not None  # it is dense
    depth = _seen(camera, truth.depth, np.nan)
    depth[np.isinf(depth)] = np.nan  # sky: no surface, as predictions have it
    semantic, confidence = prediction.semantic, prediction.semantic_confidence
    if own_labels and truth.semantic is not None:
        semantic, confidence = _seen(camera, truth.semantic, UNKNOWN), None
    return CameraPrediction(
        camera=prediction.camera,
        stamp_ns=prediction.stamp_ns,
        world_from_camera=prediction.world_from_camera,
        colour=prediction.colour,
        depth=depth,
        semantic=semantic,
        semantic_confidence=confidence,
        motion_mask=None if truth.motion_mask is None else _seen(camera, truth.motion_mask, 0),
    )


def _seen(camera: JudgedCamera, image: NDArray, outside: float) -> NDArray:
    """Return a truth image as the prediction's camera sees it, nearest pixel."""
    pixels, beside = _nearest(_key(camera.camera), _key(camera.prediction.camera))
    seen = image.take(pixels)
    seen.ravel()[beside] = outside
    return seen


def _known_depths(camera: JudgedCamera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels (N, 2) of the camera's own image whose depth (N,) is known."""
    if camera.sparse_depth is not None:
        return camera.sparse_depth.pixels.astype(np.float64), camera.sparse_depth.depth.astype(np.float64)
    if camera.truth.depth is None:
        return np.zeros((0, 2)), np.zeros(0)
    row, column = np.nonzero(np.isfinite(camera.truth.depth))
    return np.stack([column, row], axis=1).astype(np.float64), camera.truth.depth[row, column].astype(np.float64)


def _recall_sums(points: NDArray, mesh: MeshArrays, threshold: float) -> dict[str, float]:
    """Return all sums, those of the reference's points filled in."""
    sums: dict[str, float] = dict.fromkeys(_COUNTS, 0) | dict.fromkeys(_DISTANCES, 0.0)
    sums["reference_points"] = len(points)
    if len(mesh.triangles):
        distance = surface_distances(points, mesh.vertices, mesh.triangles)
        sums["reference_measured"] = len(points)
        sums["reference_distance"] = float(distance.sum(dtype=np.float64))
        sums["reference_within"] = int((distance <= threshold).sum())
    return sums


def _surface_sums(mesh: MeshArrays, vertices: NDArray, triangles: NDArray, threshold: float) -> dict[str, float]:
    """Return all sums, those of labels left empty."""
    sums = _recall_sums(vertices, mesh, threshold)
    sums["surface_points"], sums["surface_within"] = sums["reference_points"], sums["reference_within"]
    if len(mesh.triangles):
        distance = surface_distances(mesh.vertices, vertices, triangles)
        sums["map_points"] = len(distance)
        sums["map_distance"] = float(distance.sum(dtype=np.float64))
        sums["map_within"] = int((distance <= threshold).sum())
    return sums


def _label_sums(mesh: MeshArrays, reference: MeshArrays, threshold: float) -> dict[str, float]:
    apart, nearest = cKDTree(reference.vertices).query(mesh.vertices, distance_upper_bound=threshold)
    near = np.flatnonzero(np.isfinite(apart))
    true = reference.labels[nearest[near]]
    known = true != UNKNOWN
    return {"labelled": int(known.sum()), "label_hits": int((mesh.labels[near] == true)[known].sum())}


_COUNTS = (
    "map_points",
    "map_within",
    "reference_points",
    "reference_measured",
    "reference_within",
    "surface_points",
    "surface_within",
    "labelled",
    "label_hits",
)
_DISTANCES = ("map_distance", "reference_distance")

_CameraKey = tuple[int, int, bytes, str, bytes]


def _key(camera: Camera) -> _CameraKey:
    K, distortion = np.asarray(camera.K, np.float64), np.asarray(camera.distortion, np.float64)
    return camera.width, camera.height, K.tobytes(), camera.distortion_model, distortion.tobytes()


@lru_cache(maxsize=32)
def _nearest(target: _CameraKey, source: _CameraKey) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, for each pixel of a pinhole camera, its flat place (H, W) in the target's image; and which have none."""
    pinhole = Camera("source", source[0], source[1], np.frombuffer(source[2]).reshape(3, 3), np.eye(4))
    rays = pixel_rays(pinhole).reshape(-1, 1, 3)
    K, model, distortion = np.frombuffer(target[2]).reshape(3, 3), target[3], np.frombuffer(target[4])
    still = np.zeros(3)
    if model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(rays, still, still, K, distortion)
    else:
        pixels, _ = cv2.projectPoints(rays, still, still, K, distortion)
    column, row = np.rint(pixels.reshape(source[1], source[0], 2)).astype(np.intp).transpose(2, 0, 1)
    inside = (column >= 0) & (column < target[0]) & (row >= 0) & (row < target[1])
    return np.where(inside, row * target[0] + column, 0), np.flatnonzero(~inside)


def _rays(camera: Camera, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rays (N, 3) with z = 1 of pixels (N, 2) of a camera's own image."""
    if not len(pixels):
        return np.zeros((0, 3))
    points = np.ascontiguousarray(pixels[:, None])
    if camera.distortion_model == "equidistant" and not camera.is_rectified:
        straight = cv2.fisheye.undistortPoints(points, camera.K, camera.distortion)
    else:
        straight = cv2.undistortPoints(points, camera.K, None if camera.is_rectified else camera.distortion)
    return np.concatenate([straight[:, 0], np.ones((len(pixels), 1))], axis=1)
