# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A world: a scene that a robot moves through, and what its cameras see at any time, with the exact truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.core.voxels import Occupancy, VoxelGrid
from mtl_perception.data.occupancy import DEFAULT_GRID, occupancy_from_depth
from mtl_perception.data.world.cabin.cabin import Cabin
from mtl_perception.data.world.cameras.lens import pixel_rays_of, project_distorted
from mtl_perception.data.world.cameras.rigs import RigLayout, load_rig, varied
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.indoor.building import build_indoor
from mtl_perception.data.world.indoor.floor_plan import plan_indoor
from mtl_perception.data.world.indoor.people import add_people
from mtl_perception.data.world.indoor.walking import plan_walk
from mtl_perception.data.world.mesh_scene import mesh_scene
from mtl_perception.data.world.rendering.light import (
    headlights,
    indoor_light,
    indoor_sensor,
    lamps_left_on,
    street_light,
    street_sensor,
)
from mtl_perception.data.world.rendering.renderer import FLOW_INTERVAL_S, Renderer
from mtl_perception.data.world.scene import Scene
from mtl_perception.data.world.street.actors import add_traffic
from mtl_perception.data.world.street.building import build_street
from mtl_perception.data.world.street.driving import Drive, plan_drive
from mtl_perception.data.world.street.roads import plan_street
from mtl_perception.data.world.truth.bev import BevTruth
from mtl_perception.data.world.truth.boxes import BoxTruth
from mtl_perception.data.world.truth.world_truth import WorldTruth, world_truth

KINDS = ("street", "indoor", "mesh")
START_NS = 1_700_000_000_000_000_000
"""Stamp of a world's second 0."""
LONGEST_S = 120.0

_BEFORE_START_NS = 10**9  # a camera may be exposed a little before the frame's stamp

# Every part of a world draws from a generator of its own, so that (say) night falls on the same street.
_LAYOUT, _SCENERY, _ACTORS, _LIGHT, _RIG, _CABIN, _NOISE = range(7)


_Path = Callable[[float], Transform]
_Known = TypeVar("_Known")


class Motion(Protocol):
    """How a robot moves through a world."""

    def world_from_base(self, seconds: float) -> Transform:
        """Return the pose of the base, 4x4."""


class World:
    """A street to drive along, rooms to walk through, or a user's own mesh. The same arguments give the same bytes.

    Attributes:
        kind: one of `KINDS`.
        seed: what it was drawn from.
        labels: the label space of the truth.
        conditions: how hard it is to see.
        layout: the cameras, and when each is exposed.
        duration_s: for how long the robot's way is defined.
        scene: the things, actors, lamps and regions.
        motion: how the robot moves; a `Drive` on a street.
        cabin: the driver, or None.
    """

    @classmethod
    def generate(
        cls,
        kind: str,
        seed: int,
        labels: LabelSpace,
        *,
        cameras: str | RigLayout = "surround4",
        image_size: tuple[int, int] | None = None,
        duration_s: float = 20.0,
        conditions: Conditions | None = None,
        vary_rig: bool = False,
        cabin: bool = False,
    ) -> World:
        """Build a street or an interior.

        Args:
            kind: "street" or "indoor".
            seed: any number from 0; each gives another world.
            labels: the label space of the truth.
            cameras: a rig of config/rigs, a YAML file, or a layout.
            image_size: width and height in pixels instead of the rig's own.
            duration_s: how long the robot is on its way, at most `LONGEST_S`.
            conditions: how hard it is to see; None: a fair day.
            vary_rig: change the rig to another vehicle's or robot's, as the seed says.
            cabin: also show the driver.

        Raises:
            ValueError: the kind is unknown, a number is out of range, or the rig's file is wrong.
            FileNotFoundError: there is no such rig.
            KeyError: the label space lacks a class that the world shows.
        """
        if kind not in ("street", "indoor"):
            raise ValueError(f"world kind '{kind}' is not one of street, indoor")
        if seed < 0:
            raise ValueError(f"seed {seed} must not be negative")
        if not 0 < duration_s <= LONGEST_S:
            raise ValueError(f"a world lasts more than 0 and at most {LONGEST_S:g} s, not {duration_s} s")
        layout = load_rig(cameras, image_size) if isinstance(cameras, str) else cameras
        if vary_rig:
            layout = varied(layout, _generator(kind, seed, _RIG))
        conditions = conditions or Conditions()
        make = _street if kind == "street" else _indoor
        scene, motion = make(seed, labels, duration_s, conditions)
        driver = Cabin(_generator(kind, seed, _CABIN), labels) if cabin else None
        return cls(kind, seed, scene, motion, layout, duration_s, conditions, driver)

    @classmethod
    def from_mesh(
        cls,
        path: str | Path,
        labels: LabelSpace,
        *,
        label: str = "building",
        trajectory: str | Path | None = None,
        seed: int = 0,
        cameras: str | RigLayout = "surround4",
        image_size: tuple[int, int] | None = None,
        duration_s: float = 20.0,
        conditions: Conditions | None = None,
    ) -> World:
        """Build a world from a user's own mesh (PLY, OBJ, GLB, STL; metres, z up).

        Args:
            path: the mesh. A PLY's vertex property `label` gives label ids.
            label: the class of a mesh without such a property.
            trajectory: the robot's way as a TUM file (t x y z qx qy qz qw: world_from_base); None: a way is found.
            seed: for the noise of the cameras, and for the way that is found.
            labels, cameras, image_size, duration_s, conditions: as for `generate`.

        Raises:
            ValueError, OSError: a file cannot be read or makes no sense; names it.
            KeyError: the label space lacks the label.
        """
        layout = load_rig(cameras, image_size) if isinstance(cameras, str) else cameras
        conditions = conditions or Conditions()
        generator = _generator("mesh", seed, _LAYOUT)
        scene, motion = mesh_scene(Path(path), labels, label, trajectory, duration_s, conditions, generator)
        return cls("mesh", seed, scene, motion, layout, min(duration_s, motion.duration_s), conditions, None)

    def __init__(
        self,
        kind: str,
        seed: int,
        scene: Scene,
        motion: Motion,
        layout: RigLayout,
        duration_s: float,
        conditions: Conditions,
        cabin: Cabin | None,
    ) -> None:
        """Join the parts; `generate` and `from_mesh` make them."""
        self.kind, self.seed, self.scene, self.motion = kind, seed, scene, motion
        self.layout, self.duration_s, self.conditions, self.cabin = layout, duration_s, conditions, cabin
        self.labels = scene.labels
        self._renderer = Renderer(scene, conditions, seed)
        self._boxes, self._bev = BoxTruth(scene, duration_s), BevTruth(scene)

    @property
    def rig(self) -> Rig:
        """The cameras."""
        return self.layout.rig

    @cached_property
    def truth(self) -> WorldTruth:
        """What is true of the world as a whole: its labelled mesh, objects, regions and places."""
        return world_truth(self.scene, self.duration_s)

    def world_from_base(self, seconds: float) -> Transform:
        """Return the robot's pose 4x4 at a time."""
        return self.motion.world_from_base(seconds)

    def look(self, seconds: float) -> RigFrame:
        """Return what all cameras see, as `render` does, without what is true of it.

        Raises:
            ValueError: the time is outside 0..duration_s.
        """
        return self._exposed(seconds, self._renderer.look)[0]

    def drive(self, seconds: float) -> Sample:
        """Return what all cameras and the cabin's see, as `render` does, with what is true of the drive alone.

        That is the steering and the classes of driver, vehicle and traffic. Truth of pixels and surroundings, which is
        about half of the work where there is one camera, is left out.

        Raises:
            ValueError: the time is outside 0..duration_s.
        """
        frame = self.look(seconds)
        cabin, truth = self._drive_at((frame.stamp_ns - START_NS) * 1e-9)
        return Sample(frame, truth, cabin=cabin)

    def render(
        self,
        seconds: float,
        *,
        previous_s: float | None = None,
        flow_interval_s: float = FLOW_INTERVAL_S,
        grid: VoxelGrid = DEFAULT_GRID,
    ) -> Sample:
        """Return what all cameras see, each exposed at its own time shortly after, and what is true of it.

        Args:
            seconds: since the world's start.
            previous_s: when the frame before was taken, for the ego motion; None: there is none.
            flow_interval_s: scene flow is the mean velocity from each image's stamp until so much later (or since so
                much earlier, when negative).
            grid: of the occupancy; the BEV map has its cells in x and y.

        Raises:
            ValueError: the time is outside 0..duration_s.
        """
        expose = partial(self._renderer.render, flow_interval_s=flow_interval_s)
        frame, truth = self._exposed(seconds, expose)
        now = (frame.stamp_ns - START_NS) * 1e-9
        world_from_base = self.world_from_base(now)
        cabin, known = self._drive_at(now)
        known = replace(
            known,
            cameras=truth,
            ego_motion=None if previous_s is None else self._ego_motion(previous_s, world_from_base),
            sweep=Sweep(frame.stamp_ns, world_from_base, boxes=self._boxes.boxes(world_from_base, now)),
            occupancy=self._occupancy(frame, truth, grid),
            bev_map=self._bev.map(world_from_base, grid),
        )
        return Sample(frame, known, cabin=cabin)

    def _exposed(
        self, seconds: float, expose: Callable[[Camera, _Path, float, np.random.Generator], tuple[NDArray, _Known]]
    ) -> tuple[RigFrame, Mapping[str, _Known]]:
        """Return a frame, and what else `expose` returns per camera."""
        if not 0.0 <= seconds <= self.duration_s:
            raise ValueError(f"time {seconds} s is outside the world's 0..{self.duration_s} s")
        since_start_ns = round(seconds * 1e9)
        images, stamps, poses, known = {}, {}, {}, {}
        for index, camera in enumerate(self.rig):
            elapsed_ns = since_start_ns + self.layout.exposure_offsets_ns[camera.name]
            pose = self._pose_of(camera.base_from_camera)
            stamps[camera.name], poses[camera.name] = START_NS + elapsed_ns, pose(elapsed_ns * 1e-9)
            noise = _generator(self.kind, self.seed, _NOISE, elapsed_ns + _BEFORE_START_NS, index)
            images[camera.name], known[camera.name] = expose(camera, pose, elapsed_ns * 1e-9, noise)
        world_from_base = self.world_from_base(since_start_ns * 1e-9)
        return RigFrame(self.rig, START_NS + since_start_ns, images, stamps, poses, world_from_base), known

    def _drive_at(self, now: float) -> tuple[CabinFrame | None, GroundTruth]:
        """Return what is seen of the driver, and what is true of driver, vehicle and traffic."""
        cabin, context = (None, {}) if self.cabin is None else self.cabin.frame(now)
        if not isinstance(self.motion, Drive):
            return cabin, GroundTruth(driving_context=context)
        vehicle = {
            "vehicle_behaviour": self.motion.vehicle_behaviour(now),
            "traffic_context": self.motion.traffic_context(now),
        }
        return cabin, GroundTruth(steering=self.motion.steering(now), driving_context={**context, **vehicle})

    def _pose_of(self, base_from_camera: Transform) -> _Path:
        return lambda seconds: self.world_from_base(seconds) @ base_from_camera

    def _ego_motion(self, previous_s: float, world_from_base: Transform) -> EgoMotion:
        previous_ns = round(previous_s * 1e9)
        previous = self.world_from_base(previous_ns * 1e-9)
        return EgoMotion(START_NS + previous_ns, inverse(previous) @ world_from_base, np.zeros((6, 6)))

    def _occupancy(self, frame: RigFrame, truth: Mapping[str, CameraTruth], grid: VoxelGrid) -> Occupancy:
        """Return the voxels that the cameras see, each from where it was when it was exposed."""
        assert frame.world_from_base is not None
        base_from_world = inverse(frame.world_from_base)
        views = []
        for camera in self.rig:
            seen, depth = truth[camera.name], truth[camera.name].depth
            assert depth is not None
            base_from_camera = base_from_world @ frame.world_from_camera[camera.name]
            views.append((replace(camera, base_from_camera=base_from_camera), depth, seen.semantic))
        return occupancy_from_depth(grid, views, pixel_rays_of, project_distorted)


def _street(seed: int, labels: LabelSpace, duration_s: float, conditions: Conditions) -> tuple[Scene, Motion]:
    light = _generator("street", seed, _LIGHT)
    scene = Scene(labels, street_light(light, conditions), street_sensor(light, conditions))
    if conditions.night:
        scene.robot_lamps = headlights()
    layout = _generator("street", seed, _LAYOUT)
    plan = plan_street(layout, duration_s)
    drive = plan_drive(plan, layout, duration_s)
    build_street(scene, plan, drive, _generator("street", seed, _SCENERY))
    add_traffic(scene, plan, drive, _generator("street", seed, _ACTORS))
    return scene, drive


def _indoor(seed: int, labels: LabelSpace, duration_s: float, conditions: Conditions) -> tuple[Scene, Motion]:
    light = _generator("indoor", seed, _LIGHT)
    scene = Scene(labels, indoor_light(light, conditions), indoor_sensor(light, conditions))
    layout = _generator("indoor", seed, _LAYOUT)
    plan = plan_indoor(layout, duration_s)
    build_indoor(scene, plan, _generator("indoor", seed, _SCENERY))
    scene.lamps = lamps_left_on(scene.lamps, light, conditions)
    walk = plan_walk(plan, layout, duration_s)
    add_people(scene, plan, walk, _generator("indoor", seed, _ACTORS))
    return scene, walk


def _generator(kind: str, seed: int, part: int, *more: int) -> np.random.Generator:
    return np.random.default_rng([KINDS.index(kind), seed, part, *more])
