# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How near a run came to what its bag knows to be true: recorded depth, LiDAR, the map that recorded depth gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Occupancy, Prediction, pixel_rays, project
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.data.bags import BagReader
from mtl_perception.evaluation.meshes import mesh_distance
from mtl_perception.mapping import Mapper, MapperConfig, MeshArrays
from mtl_perception.messages.images import depth_to_array, mono_to_array
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.poses import read_odometry
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.running.recorder import PredictedDepth, PredictionRecorder

LIDAR = "/ground_truth/lidar"
_FARTHEST = 80.0  # metres: depth beyond is not scored
_DENSE = 0.3  # a depth image with a larger share of valid pixels can be fused to a surface
_COMPLETE_WITHIN_VOXELS = 2.0
_COLUMN_POINTS = 3  # LiDAR points that a column needs
_LIDAR_WINDOW_NS = 60_000_000  # a sweep belongs to a frame of nearly its stamp


def has_ground_truth(bag: Path) -> bool:
    """Whether the bag has recorded depth or LiDAR.

    Raises:
        BagError: there is no bag.
    """
    with BagReader(bag) as reader:
        return LIDAR in reader.topics or any(_is_depth(name) for name in reader.topics)


def depth_abs_rel(bag: Path, recorder: PredictionRecorder) -> float | None:
    """Return the mean of |predicted - true| / true over all pixels with recorded depth (else LiDAR points), or None."""
    errors = [_relative_errors(predicted, depth) for predicted, depth in _recorded_depths(bag, recorder)]
    if not errors:
        errors = list(_lidar_errors(bag, recorder))
    total = sum(len(error) for error in errors)
    return float(sum(error.sum(dtype=np.float64) for error in errors) / total) if total else None


def occupancy_ground_error_m(bag: Path, recorder: PredictionRecorder, labels: LabelSpace) -> float | None:
    """Return the median over columns of the predicted ground's height minus the LiDAR's, metres, or None.

    The predicted ground is the centre of a column's lowest voxel of a ground class; LiDAR's is the 10th percentile of
    its points in that column.
    """
    errors = []
    for stamp_ns, points in _sweeps(bag):
        nearest = min(recorder.occupancy, key=lambda stamp: abs(stamp - stamp_ns), default=None)
        if nearest is not None and abs(nearest - stamp_ns) <= _LIDAR_WINDOW_NS:
            errors.append(_ground_errors(recorder.occupancy[nearest], points, labels))
    joined = np.concatenate(errors) if errors else np.zeros(0)
    return float(np.median(joined)) if len(joined) else None


def map_distance(
    bag: Path, recorder: PredictionRecorder, mesh: MeshArrays, config: MapperConfig, labels: LabelSpace
) -> dict[str, float]:
    """Compare the mesh with the one that the bag's recorded depth gives with the same settings.

    Returns `mesh_distance_m` (mean distance of its vertices to that mesh) and `mesh_completeness` (share of that mesh
    within two voxels of this one); empty when no dense depth was recorded or one of the meshes is empty.
    """
    mapper = Mapper(config, labels)
    moving = _moving(bag, recorder)
    for predicted, depth in _recorded_depths(bag, recorder):
        if np.isfinite(depth).mean() > _DENSE:
            # What moves is no part of a map, and the network's own map leaves it out, too.
            depth[moving.get((predicted.camera.name, predicted.stamp_ns), False)] = np.nan
            mapper.integrate(_as_prediction(predicted, depth))
    reference = mapper.mesh()
    if not len(reference.triangles) or not len(mesh.triangles):
        return {}
    distance = mesh_distance(
        mesh.vertices,
        mesh.triangles,
        reference.vertices,
        reference.triangles,
        tolerance=_COMPLETE_WITHIN_VOXELS * config.voxel_size,
    )
    return {
        "mesh_distance_m": round(distance.accuracy, 4),
        "mesh_completeness": round(distance.completeness, 4),
        "mesh_completeness_within_m": _COMPLETE_WITHIN_VOXELS * config.voxel_size,
    }


def _recorded_depths(bag: Path, recorder: PredictionRecorder) -> Iterator[tuple[PredictedDepth, NDArray[np.float32]]]:
    """Yield each predicted depth image with the recorded one of its stamp, seen by the same pinhole camera."""
    with BagReader(bag) as reader:
        topics = [name for name in reader.topics if _is_depth(name)]
        infos = _camera_infos(reader, topics)
        for topic, _, message in reader.messages(list(infos)) if infos else ():
            predicted = recorder.depths.get((_camera_name(topic), stamp_ns_from(message.header.stamp)))
            if predicted is not None:
                yield predicted, _as_seen_by(predicted.camera, depth_to_array(message, topic), infos[topic])


def _moving(bag: Path, recorder: PredictionRecorder) -> Mapping[tuple[str, int], NDArray[np.bool_]]:
    """Return, per camera and stamp, which pixels of the prediction are known to show something that moves."""
    masks = {}
    with BagReader(bag) as reader:
        topics = [name for name in reader.topics if name.startswith("/ground_truth/") and name.endswith("/motion_mask")]
        for topic, _, message in reader.messages(topics) if topics else ():
            key = (_camera_name(topic), stamp_ns_from(message.header.stamp))
            if key in recorder.depths:
                camera = recorder.depths[key].camera
                mask = mono_to_array(message, topic).astype(np.uint8)
                masks[key] = cv2.resize(mask, (camera.width, camera.height), interpolation=cv2.INTER_NEAREST) > 0
    return masks


def _camera_infos(reader: BagReader, depth_topics: list[str]) -> dict[str, Any]:
    """Return per depth topic the first CameraInfo: its own, else its camera's."""
    sources = {}
    for topic in depth_topics:
        own, camera = topic.removesuffix("/depth") + "/camera_info", f"/{_camera_name(topic)}/camera_info"
        sources[topic] = own if own in reader.topics else camera
    wanted = {name for name in sources.values() if name in reader.topics}
    found: dict[str, Any] = {}
    for name, _, message in reader.messages(wanted) if wanted else ():
        found.setdefault(name, message)
        if found.keys() == wanted:
            break
    return {topic: found[source] for topic, source in sources.items() if source in found}


def _as_seen_by(camera: Camera, depth: NDArray[np.float32], info: Any) -> NDArray[np.float32]:
    """Resample a depth image with its CameraInfo to the rectified camera of a prediction, nearest pixel."""
    rays = pixel_rays(camera).reshape(-1, 1, 3)
    K = np.asarray(info.k, dtype=np.float64).reshape(3, 3)
    distortion = np.asarray(info.d, dtype=np.float64)
    still = np.zeros(3)
    if info.distortion_model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(rays, still, still, K, distortion)
    else:
        pixels, _ = cv2.projectPoints(rays, still, still, K, distortion)
    where = pixels.reshape(camera.height, camera.width, 2).astype(np.float32)
    u, v = where[..., 0], where[..., 1]
    outside = float("nan")
    seen = cv2.remap(depth, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)
    return np.asarray(seen, dtype=np.float32)


def _relative_errors(predicted: PredictedDepth, truth: NDArray[np.float32]) -> NDArray[np.float32]:
    depth = predicted.depth.astype(np.float32)
    valid = np.isfinite(depth) & np.isfinite(truth) & (truth > 0.1) & (truth <= _FARTHEST)
    return np.abs(depth[valid] - truth[valid]) / truth[valid]


def _lidar_errors(bag: Path, recorder: PredictionRecorder) -> Iterator[NDArray[np.float32]]:
    world_from_base = _base_poses(bag)
    for stamp_ns, points in _sweeps(bag):
        if stamp_ns not in world_from_base:
            continue
        in_world = transform_points(world_from_base[stamp_ns], points)
        for predicted in recorder.depths.values():
            if abs(predicted.stamp_ns - stamp_ns) <= _LIDAR_WINDOW_NS:
                yield _sparse_errors(predicted, in_world)


def _sparse_errors(predicted: PredictedDepth, points_in_world: NDArray) -> NDArray[np.float32]:
    camera = predicted.camera
    pixels, truth = project(camera, transform_points(inverse(predicted.world_from_camera), points_in_world))
    ahead = (truth > 0.1) & (truth <= _FARTHEST)
    column, row = np.rint(pixels[ahead]).astype(int).T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    depth = predicted.depth[row[inside], column[inside]].astype(np.float32)
    expected = truth[ahead][inside].astype(np.float32)
    valid = np.isfinite(depth)
    return np.abs(depth[valid] - expected[valid]) / expected[valid]


def _ground_errors(occupancy: Occupancy, points: NDArray, labels: LabelSpace) -> NDArray[np.float64]:
    grid = occupancy.grid
    ground_ids = [labels.id_of(name) for name in ("road", "pavement", "floor") if name in labels.names]
    is_ground = np.isin(occupancy.labels, ground_ids)
    lowest = np.argmax(is_ground, axis=2)
    predicted = grid.origin[2] + (lowest + 0.5) * grid.voxel_size
    flat = points.copy()
    flat[:, 2] = grid.origin[2]  # columns have no top
    cells, inside = grid.indices(flat)
    column = cells[inside, 0] * grid.shape[1] + cells[inside, 1]
    heights = points[inside, 2]
    order = np.argsort(column, kind="stable")
    columns, starts = np.unique(column[order], return_index=True)
    errors = []
    for index, members in zip(columns, np.split(heights[order], starts[1:]), strict=True):
        x, y = divmod(int(index), grid.shape[1])
        if len(members) >= _COLUMN_POINTS and is_ground[x, y].any():
            errors.append(predicted[x, y] - np.percentile(members, 10))
    return np.asarray(errors, dtype=np.float64)


def _sweeps(bag: Path) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield stamp and points (N, 3) in the base frame of every LiDAR sweep."""
    with BagReader(bag) as reader:
        if LIDAR in reader.topics:
            for topic, _, message in reader.messages([LIDAR]):
                yield stamp_ns_from(message.header.stamp), xyz_of(read_point_cloud(message, topic), topic)


def _base_poses(bag: Path) -> Mapping[int, Transform]:
    with BagReader(bag) as reader:
        if "/odom" not in reader.topics:
            return {}
        poses = (read_odometry(message, topic) for topic, _, message in reader.messages(["/odom"]))
        return {pose.stamp_ns: pose.target_from_source for pose in poses}


def _as_prediction(predicted: PredictedDepth, depth: NDArray[np.float32]) -> Prediction:
    camera = predicted.camera
    world_from_base = predicted.world_from_camera @ inverse(camera.base_from_camera)
    colour = np.zeros((camera.height, camera.width, 3), dtype=np.uint8)
    view = CameraPrediction(camera, predicted.stamp_ns, predicted.world_from_camera, colour, depth=depth)
    return Prediction(predicted.stamp_ns, {camera.name: view}, "base_link", "odom", world_from_base)


def _is_depth(topic: str) -> bool:
    return topic.startswith("/ground_truth/") and topic.endswith("/depth")


def _camera_name(topic: str) -> str:
    return topic.removeprefix("/ground_truth/").rsplit("/", 1)[0]
