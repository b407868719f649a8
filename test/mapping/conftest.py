# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small scene that a camera looks at with perfect depth, for all mapping tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import UNKNOWN, Camera, CameraPrediction, LabelSpace, Prediction, pixel_rays
from mtl_perception.core.transforms import BODY_FROM_OPTICAL

LABELS = Path(__file__).parents[2] / "config" / "labels" / "default.yaml"


class Scene:
    """Boxes and spheres with a class each; looks are predictions with exact depth and labels."""

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
        self._meshes: list = []
        self._labels: list[int] = []

    def box(self, label: str, minimum, maximum) -> Scene:
        size = np.subtract(maximum, minimum)
        mesh = o3d.geometry.TriangleMesh.create_box(*size.tolist()).translate(list(minimum))
        return self._add(mesh, label)

    def sphere(self, label: str, centre, radius: float) -> Scene:
        mesh = o3d.geometry.TriangleMesh.create_sphere(radius, resolution=100).translate(list(centre))
        return self._add(mesh, label)

    def _add(self, mesh, label: str) -> Scene:
        self._meshes.append(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
        self._labels.append(self.labels.id_of(label))
        return self

    def look(self, position, yaw=0.0, pitch=0.0, name="front", width=160) -> CameraPrediction:
        """What a camera at `position` sees, looking along +x turned left by `yaw` and down by `pitch`, radians."""
        height = width * 3 // 4
        K = np.array([[0.6 * width, 0, width / 2 - 0.5], [0, 0.6 * width, height / 2 - 0.5], [0, 0, 1]])
        camera = Camera(name, width, height, K, np.eye(4))
        pose = body_pose(position, yaw, pitch) @ BODY_FROM_OPTICAL
        scene = o3d.t.geometry.RaycastingScene()
        for mesh in self._meshes:
            scene.add_triangles(mesh)
        directions = pixel_rays(camera) @ pose[:3, :3].T
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions], axis=-1)
        hit = scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32)))
        depth = hit["t_hit"].numpy()  # directions have z = 1 in the optical frame, so t is the depth along the axis
        geometry = hit["geometry_ids"].numpy().astype(np.int64)
        table = np.append(np.array(self._labels, dtype=np.uint8), UNKNOWN)
        semantic = table[np.minimum(geometry, len(self._labels))].astype(np.uint8)
        return CameraPrediction(
            camera=camera,
            stamp_ns=0,
            world_from_camera=pose,
            colour=self.labels.palette[semantic],
            depth=np.where(np.isfinite(depth), depth, np.nan).astype(np.float32),
            semantic=semantic,
        )


def body_pose(position, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    tilt = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn @ tilt, position
    return pose


def frame_of(*looks: CameraPrediction, stamp_ns: int = 0, base=(0.0, 0.0, 0.0)) -> Prediction:
    cameras = {look.camera.name: replace(look, stamp_ns=stamp_ns) for look in looks}
    return Prediction(stamp_ns, cameras, "base_link", "odom", body_pose(base), tasks=("depth", "semantic"))


@pytest.fixture(scope="session")
def labels() -> LabelSpace:
    return LabelSpace.load(LABELS)


@pytest.fixture(scope="session")
def new_scene(labels: LabelSpace):
    """The function that makes an empty scene."""
    return lambda: Scene(labels)


@pytest.fixture
def scene(labels: LabelSpace) -> Scene:
    return Scene(labels)


@pytest.fixture(scope="session")
def frame():
    """The function that makes a frame of looks."""
    return frame_of


@pytest.fixture
def room(labels: LabelSpace) -> Scene:
    """A floor, a wall 3 m ahead, and a piece of furniture before it."""
    return (
        Scene(labels)
        .box("floor", (-1, -3, -0.1), (4, 3, 0))
        .box("wall", (3, -3, 0), (3.2, 3, 2.5))
        .box("furniture", (2, -0.5, 0), (2.6, 0.5, 0.8))
    )


@pytest.fixture
def walk(room: Scene):
    """Six frames of the room."""
    yaws = np.linspace(-0.3, 0.3, 6)
    return [
        frame_of(room.look((0.1 * i, 0.05 * i, 1.2), yaw=yaw, pitch=0.3), stamp_ns=i * 10**8)
        for i, yaw in enumerate(yaws.tolist())
    ]


class GraphCopy:
    """A graph that lives on what a follower is told."""

    def __init__(self, mapper):
        self._mapper, self._follower = mapper, mapper.follow_scene_graph()
        self.nodes, self.edges, self.sequence, self.was = {}, {}, -1, ({}, {})

    def follow(self):
        changes = self._mapper.scene_graph_changes(self._follower)
        assert changes.starts_anew or changes.previous == self.sequence
        assert changes.sequence > self.sequence or not (len(changes) or changes.starts_anew)
        self.was = dict(self.nodes), dict(self.edges)
        if changes.starts_anew:
            self.nodes, self.edges = {}, {}
        for ends in changes.removed_edges:
            self.edges.pop(ends, None)
        for number in changes.removed_nodes:
            self.nodes.pop(number, None)
        self.nodes |= {node.id: node for node in changes.nodes}
        self.edges |= {edge.ends: edge for edge in changes.edges}
        self.sequence = changes.sequence
        return changes
