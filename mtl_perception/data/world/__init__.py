# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up streets and rooms with exact ground truth, ray-cast on the CPU: for training, for the demo, and as an oracle.

`World.generate("street", seed=7, labels=labels).render(1.5)` gives the images of all cameras 1.5 s into the drive, and
their depth, labels, instances, motion mask and occupancy. The same kind, seed and time give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform
from mtl_perception.core.voxels import Occupancy
from mtl_perception.data.occupancy import DEFAULT_GRID, occupancy_from_depth
from mtl_perception.data.world import course, room, street
from mtl_perception.data.world.light import room_light, room_sensor, street_light, street_sensor
from mtl_perception.data.world.rendering import CameraTruth, Renderer
from mtl_perception.data.world.scene import Scene
from mtl_perception.data.world.trajectory import upright

__all__ = ["KINDS", "CameraTruth", "RenderedFrame", "World"]

KINDS = ("street", "room")
START_NS = 1_700_000_000_000_000_000
"""Stamp of a world's second 0."""

_STREET_CAMERAS = (
    ("front", 0.0, 0.9, 0.0),
    ("left", 90.0, 0.0, 0.5),
    ("right", -90.0, 0.0, -0.5),
    ("back", 180.0, -0.9, 0.0),
)


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """The images of a rig at an instant, the truth per camera, and the occupancy that all cameras together see."""

    frame: RigFrame
    truth: Mapping[str, CameraTruth]
    occupancy: Occupancy


class World:
    """A street to drive through or a room to walk in.

    Attributes:
        kind: "street" or "room".
        seed: what it was drawn from.
        rig: its cameras. Street: front, left, right, back (as many as asked for, in this order) on a vehicle whose base
            frame is on the road; room: one camera named "camera" whose body is the base frame.
        duration_s: for how long the robot's way is defined.
        labels: the label space of the truth.
    """

    kind: str
    seed: int
    rig: Rig
    duration_s: float
    labels: LabelSpace

    @classmethod
    def generate(
        cls,
        kind: str,
        seed: int,
        labels: LabelSpace,
        image_size: tuple[int, int] = (256, 192),
        cameras: int | None = None,
    ) -> World:
        """Build a world; `image_size` is (width, height), `cameras` how many of the street's four (None: all).

        Raises:
            ValueError: the kind is unknown, or the number of cameras is not one that it has.
            KeyError: the label space lacks a class that the world shows.
        """
        return cls(kind, seed, labels, image_size, cameras)

    def __init__(
        self, kind: str, seed: int, labels: LabelSpace, image_size: tuple[int, int], cameras: int | None
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"world kind '{kind}' is not one of {', '.join(KINDS)}")
        available = len(_STREET_CAMERAS) if kind == "street" else 1
        count = available if cameras is None else cameras
        if not 1 <= count <= available:
            raise ValueError(f"cameras={cameras}: a {kind} has 1 to {available}")
        self.kind, self.seed, self.labels = kind, seed, labels
        generator = np.random.default_rng([KINDS.index(kind), seed])
        plan: course.Plan | room.Plan
        if kind == "street":
            plan, self.duration_s = course.plan_street(generator), course.DURATION_S
            self.rig, self._delays_ns = _street_rig(generator, image_size, count)
            scene = Scene(labels, street_light(generator), street_sensor(generator))
            street.build_street(scene, plan, generator)
        else:
            plan, self.duration_s = room.plan_room(generator), room.DURATION_S
            self.rig, self._delays_ns = _room_rig(generator, image_size), {"camera": 0}
            scene = Scene(labels, room_light(generator, plan.size, plan.height), room_sensor(generator))
            room.build_room(scene, plan, generator)
        self._plan, self._renderer = plan, Renderer(scene)

    def world_from_base(self, seconds: float) -> Transform:
        """Return the robot's pose 4x4 at a time."""
        return self._plan.base(seconds)

    def render(self, seconds: float) -> RenderedFrame:
        """Return all cameras' images and truth; each camera is exposed at its own stamp, at most 15 ms after the first.

        Raises:
            ValueError: the time is outside 0..duration_s.
        """
        if not 0.0 <= seconds <= self.duration_s:
            raise ValueError(f"time {seconds} s is outside the world's 0..{self.duration_s} s")
        since_start_ns = round(seconds * 1e9)
        images, stamps, poses, truth = {}, {}, {}, {}
        for index, camera in enumerate(self.rig):
            elapsed_ns = since_start_ns + self._delays_ns[camera.name]
            stamps[camera.name] = START_NS + elapsed_ns
            poses[camera.name] = self.world_from_base(elapsed_ns * 1e-9) @ camera.base_from_camera
            noise = np.random.default_rng([KINDS.index(self.kind), self.seed, elapsed_ns, index])
            images[camera.name], truth[camera.name] = self._renderer.render(
                camera, poses[camera.name], elapsed_ns * 1e-9, noise
            )
        world_from_base = self.world_from_base(since_start_ns * 1e-9)
        frame = RigFrame(self.rig, START_NS + since_start_ns, images, stamps, poses, world_from_base)
        return RenderedFrame(frame, truth, self._occupancy(truth))

    def _occupancy(self, truth: Mapping[str, CameraTruth]) -> Occupancy:
        """Return the voxels that the cameras see; the sky is infinitely far."""
        views = [
            (
                camera,
                np.where(np.isnan(truth[camera.name].depth), np.inf, truth[camera.name].depth),
                truth[camera.name].semantic,
            )
            for camera in self.rig
        ]
        return occupancy_from_depth(DEFAULT_GRID, views)


def _street_rig(generator: np.random.Generator, image_size: tuple[int, int], count: int) -> tuple[Rig, dict[str, int]]:
    """Return cameras that look around from a vehicle, and how many nanoseconds after the first each is exposed."""
    height, fov = generator.uniform(1.2, 1.8), np.deg2rad(generator.uniform(60, 100))
    pitch = np.deg2rad(generator.uniform(-1.0, 7.0))
    synchronous = generator.random() < 0.5
    cameras, delays = [], {}
    for index, (name, yaw, x, y) in enumerate(_STREET_CAMERAS[:count]):
        body = upright(
            (x, y, height), np.deg2rad(yaw + generator.normal(0, 1.0)), pitch, np.deg2rad(generator.normal(0, 0.3))
        )
        cameras.append(_camera(name, image_size, fov, body))
        delays[name] = 0 if synchronous else index * 5_000_000
    return Rig(tuple(cameras)), delays


def _room_rig(generator: np.random.Generator, image_size: tuple[int, int]) -> Rig:
    return Rig((_camera("camera", image_size, np.deg2rad(generator.uniform(55, 78)), np.eye(4)),))


def _camera(name: str, image_size: tuple[int, int], horizontal_fov: float, base_from_body: Transform) -> Camera:
    width, height = image_size
    focal = width / 2 / np.tan(horizontal_fov / 2)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    return Camera(name, width, height, K, base_from_body @ BODY_FROM_OPTICAL, frame_id=f"{name}_optical_frame")
