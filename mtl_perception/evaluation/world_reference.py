# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A rendered world's own surface and things, as far as a robot has seen them, and how a map compares with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mtl_perception.core import LabelSpace, pixel_rays
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.world.truth.world_truth import WorldObject, WorldTruth
from mtl_perception.evaluation.ground_reference import ground_statistics
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.kept_ids import KeptIds
from mtl_perception.evaluation.meshes import surface_distances
from mtl_perception.evaluation.statistics import FrameStatistics
from mtl_perception.mapping import GroundView, MapObject, MeshArrays
from mtl_perception.mapping.fusion.blocks import pack

REACH_M = 20.0
"""What is farther from a camera does not count as seen."""
THRESHOLD_M = 0.05
"""How near a surface has to be."""
OBJECT_M = 0.5
"""How near the centroid of an object's surface has to be to that of the thing's surface that was seen."""
_SEEN_EDGE = 0.05  # metres; one point of what was seen is kept in each cube of this size
_LEAST_SEEN = 40  # such points: of a thing of which less was seen a map need not know
_AROUND_BOX = 0.03  # metres


@dataclass(frozen=True, eq=False)
class SeenObject:
    """A thing that stands still, as far as it was seen: its class, and the mean (3,) of its N points."""

    label: int
    centroid: NDArray[np.float64]
    points: int


class WorldReference:
    """Collects what a robot has seen of a world, and judges a map by it.

    Seen is what the true depth images show within `REACH_M` that stands still. A map's vertices are compared with the
    world's mesh, what was seen with the map's. A map of perfect predictions comes near to it, but voxels, thin things
    and grazing looks keep it from being the same (unlike `MapReference`, whose reference is made by the same mapper).
    """

    def __init__(self, truth: WorldTruth, labels: LabelSpace) -> None:
        """Start with nothing seen.

        Raises:
            ValueError: the world has a class that `labels` does not have.
        """
        unknown = sorted(set(truth.labels) - set(labels.names))
        if unknown:
            raise ValueError(f"the world's truth has a class '{unknown[0]}', which '{labels.name}' does not have")
        self._truth, self._labels = truth, labels
        self._own_label = np.array([labels.id_of(name) for name in truth.labels], np.uint8)
        self._seen: dict[int, tuple[NDArray[np.float64], int]] = {}
        self._ids = KeptIds([(thing, labels.id_of(thing.label)) for thing in self._things()])

    def add(self, judged: JudgedFrame) -> None:
        """Add what the true depth of a frame shows; cameras without a pose or without a depth image add nothing."""
        for camera in judged.cameras.values():
            truth, pose = camera.truth, camera.prediction.world_from_camera
            if truth.depth is None or truth.semantic is None or pose is None:
                continue
            still = ~self._labels.movable[truth.semantic] & (truth.depth < REACH_M)
            if truth.motion_mask is not None:
                still &= truth.motion_mask == 0
            rows, columns = np.nonzero(still)
            rays = pixel_rays(camera.camera)[rows, columns]
            points = transform_points(pose, rays * truth.depth[rows, columns, None])
            cells, first = np.unique(pack(np.floor(points / _SEEN_EDGE)), return_index=True)
            seen = zip(cells.tolist(), points[first], truth.semantic[rows, columns][first].tolist(), strict=True)
            for cell, point, label in seen:
                self._seen.setdefault(cell, (point, label))

    def look(self, objects: Sequence[MapObject]) -> None:
        """Look which of a map's objects stand for which things now; to be called every `LOOK_NS`."""
        self._ids.look(objects)

    def map_statistics(self, mesh: MeshArrays) -> FrameStatistics | None:
        """Return how a map's mesh compares, for `MapScore`; None when nothing was seen."""
        points, _ = self._points()
        if not len(points):
            return None
        sums: dict[str, float] = dict.fromkeys(_COUNTS, 0) | dict.fromkeys(_DISTANCES, 0.0)
        sums["reference_points"] = sums["surface_points"] = len(points)
        if len(mesh.triangles):
            missed = surface_distances(points, mesh.vertices, mesh.triangles)
            sums["reference_measured"] = len(points)
            sums["reference_distance"] = float(missed.sum(dtype=np.float64))
            sums["reference_within"] = sums["surface_within"] = int((missed <= THRESHOLD_M).sum())
            apart, label = self._nearest(mesh.vertices)
            right = apart <= THRESHOLD_M
            sums["map_points"] = len(apart)
            sums["map_distance"] = float(apart.sum(dtype=np.float64))
            sums["map_within"] = sums["labelled"] = int(right.sum())
            sums["label_hits"] = int((mesh.labels == label)[right].sum())
        return FrameStatistics(sums)

    def graph_statistics(self, objects: Sequence[MapObject], ground: GroundView) -> FrameStatistics | None:
        """Return how a map's objects, places and rooms compare, for `SceneGraphScore`; None when nothing was seen.

        A thing is found by one object of its class whose centroid is within `OBJECT_M` of that of its seen surface. An
        object is right if it finds a thing, even one of which too little was seen to ask for it.
        """
        if not self._seen:
            return None
        seen = self.seen_objects()
        asked = [thing for thing in seen if thing.points >= _LEAST_SEEN]
        return FrameStatistics(
            {
                "objects": len(objects),
                "objects_right": len(_pairs(seen, objects)),
                "things": len(asked),
                "things_found": len(_pairs(asked, objects)),
                "id_looks": self._ids.looks,
                "ids_kept": self._ids.kept,
                **ground_statistics(self._truth, self._points()[0], ground),
            }
        )

    def seen_objects(self) -> list[SeenObject]:
        """Return the things that stand still and can be counted, as far as they were seen.

        A point is of the smallest box of its class that it lies in.
        """
        points, labels = self._points()
        owner = np.full(len(points), -1)
        things = self._things()
        order = sorted(range(len(things)), key=lambda number: -float(np.prod(things[number].box.size)))
        for number in order:
            thing = things[number]
            offset = np.abs(transform_points(inverse(thing.box.frame_from_box), points))
            inside = (offset <= np.array(thing.box.size) / 2 + _AROUND_BOX).all(axis=1)
            owner[inside & (labels == self._labels.id_of(thing.label))] = number
        return [
            SeenObject(self._labels.id_of(things[number].label), points[owner == number].mean(axis=0), int(count))
            for number, count in enumerate(np.bincount(owner[owner >= 0], minlength=len(things)))
            if count
        ]

    def _things(self) -> list[WorldObject]:
        static = self._labels.static_things
        return [item for item in self._truth.objects if not item.moves and static[self._labels.id_of(item.label)]]

    def _points(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return what was seen: points (N, 3) in the order of their cells, and their labels (N,)."""
        seen = [self._seen[cell] for cell in sorted(self._seen)]
        points = np.array([point for point, _ in seen]).reshape(-1, 3)
        return points, np.array([label for _, label in seen], np.uint8)

    def _nearest(self, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return how far points (N, 3) are from the world's mesh, and the class that it has there."""
        mesh = self._truth.mesh
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.vertices, np.float32)),
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.triangles, np.uint32)),
        )
        query = o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, np.float32))
        answer = scene.compute_closest_points(query)
        apart = np.linalg.norm(answer["points"].numpy() - points, axis=1)
        label = mesh.labels[mesh.triangles[answer["primitive_ids"].numpy(), 0]]
        return apart, self._own_label[label]


def _pairs(things: Sequence[SeenObject], objects: Sequence[MapObject]) -> list[tuple[int, int]]:
    """Return which thing is which object: as many pairs as can be, as near as can be."""
    if not things or not objects:
        return []
    apart = np.linalg.norm(
        np.array([thing.centroid for thing in things])[:, None] - np.array([item.centroid for item in objects]), axis=2
    )
    same = np.array([thing.label for thing in things])[:, None] == np.array([item.label for item in objects])
    cost = np.where(same & (apart <= OBJECT_M), apart, 1e3)
    return [(row, column) for row, column in zip(*linear_sum_assignment(cost), strict=True) if cost[row, column] < 1e3]


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
