# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images of a scene and their exact truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera
from mtl_perception.core.ground_truth import CameraTruth
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.data.world.cameras.lens import pixel_rays_of, project_distorted
from mtl_perception.data.world.cameras.sensor import develop, exposure_factor, lens_dirt
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.rendering.actors import Actors, PlacedActors, View
from mtl_perception.data.world.rendering.camera_truth import camera_truth, velocities
from mtl_perception.data.world.rendering.seen import Seen, StillThings, look
from mtl_perception.data.world.rendering.shading import Points, Shading
from mtl_perception.data.world.rendering.sky import sky_colour
from mtl_perception.data.world.rendering.textures import MaterialTable
from mtl_perception.data.world.scene import Lamp, Light, Scene

LONGEST_SHADOW = 4.0
"""Shadows of a low sun are searched this many times as far as things are high."""

LONGEST_SMEAR = 40
"""So many pixels to each side the blur of a fast actor reaches at most."""

FLOW_INTERVAL_S = 0.1


class Renderer:
    """Casts rays into a scene. Still things are prepared once, actors for every image.

    The same image comes out whatever was rendered before.
    """

    def __init__(self, scene: Scene, conditions: Conditions | None = None, seed: int = 0) -> None:
        """Prepare a scene; `seed` is for what belongs to its cameras: dirt on the lens, and exposure over time.

        Raises:
            KeyError: the label space has no class "sky".
        """
        self._scene, self._seed = scene, seed
        self._conditions = conditions or Conditions()
        self._still = StillThings(scene.still)
        self._actors = Actors(scene.actors)
        self._shading = Shading(scene.light, MaterialTable(scene.materials, scene.light.lamps_lit))
        self._shadow = _shadow(scene.light)
        self._sky_label = scene.labels.id_of("sky")
        self._lenses: WeakKeyDictionary[Camera, _Lens] = WeakKeyDictionary()

    def render(
        self,
        camera: Camera,
        world_from_camera: Callable[[float], Transform],
        seconds: float,
        generator: np.random.Generator,
        flow_interval_s: float = FLOW_INTERVAL_S,
    ) -> tuple[NDArray[np.uint8], CameraTruth]:
        """Return the RGB image (H, W, 3) and its truth; both are of the exposure's middle.

        Args:
            camera: may be distorted. Where its lens sees nothing the image is black and the truth unknown.
            world_from_camera: the optical frame's pose over time in seconds.
            seconds: when.
            generator: of the image's noise.
            flow_interval_s: scene flow is the mean velocity from `seconds` until so much later, or since so much before
                where negative. Still things have exactly 0.
        """
        image, lens, seen = self._expose(camera, world_from_camera, seconds, generator)
        pose = world_from_camera(seconds)
        hit = lens.directions[seen.on_actor] * seen.depth[seen.on_actor, None]
        flow = velocities(transform_points(pose, hit), seen, self._actors, seconds, flow_interval_s)
        moving = np.zeros(len(seen.actor), np.uint8)
        for index in np.unique(seen.actor).tolist():
            moving[seen.actor == index] = 255 if self._actors.moves(index, seconds) else 0
        world_from_base = pose @ inverse(camera.base_from_camera)
        shape = (camera.height, camera.width)
        truth = camera_truth(shape, lens.rays, pose, world_from_base, seen, flow, moving, self._sky_label)
        return image, truth

    def look(
        self,
        camera: Camera,
        world_from_camera: Callable[[float], Transform],
        seconds: float,
        generator: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the same image as `render`, and of its truth the depth (H, W) alone, which costs nothing."""
        image, lens, seen = self._expose(camera, world_from_camera, seconds, generator)
        depth = seen.depth.copy()
        depth[lens.blind] = np.nan
        return image, depth.reshape(camera.height, camera.width)

    def _expose(
        self,
        camera: Camera,
        world_from_camera: Callable[[float], Transform],
        seconds: float,
        generator: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], _Lens, Seen]:
        """Return the image, and what its rays end on."""
        if camera not in self._lenses:
            self._lenses[camera] = _Lens.of(camera)
        lens = self._lenses[camera]
        pose = world_from_camera(seconds)
        rotation = pose[:3, :3].astype(np.float32)
        unit, directions = lens.unit @ rotation.T, lens.directions @ rotation.T
        origin = pose[:3, 3].astype(np.float32)
        placed = self._actors.placed(seconds, View(pose[:3, 3], pose[:3, 2], lens.half_angle, self._shadow))
        seen = look(origin, directions, unit, self._still, self._actors, placed, seconds, lens.blind)
        world_from_base = pose @ inverse(camera.base_from_camera)
        radiance = self._radiance(camera, lens, seen, placed, origin, unit, world_from_base, generator)
        image = develop(
            radiance,
            self._scene.sensor,
            self._conditions,
            generator,
            exposure_factor(self._seed, camera.name, seconds, self._conditions),
            lens_dirt(self._seed, camera.name, camera.width, camera.height, self._conditions),
            self._movement(camera, lens, world_from_camera, seen, seconds),
        )
        image.reshape(-1, 3)[lens.blind] = 0
        return image, lens, seen

    def _radiance(
        self,
        camera: Camera,
        lens: _Lens,
        seen: Seen,
        placed: PlacedActors | None,
        origin: NDArray[np.float32],
        unit: NDArray[np.float32],
        world_from_base: Transform,
        generator: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Return the light (H, W, 3) that comes to the camera."""
        scene, ray = self._scene, seen.ray
        lamps: list[Lamp] = []
        if scene.light.lamps_lit:
            lamps = [*scene.lamps, *(_in_world(lamp, world_from_base) for lamp in scene.robot_lamps)]
        depth = seen.depth.take(ray)
        distance = depth * lens.length.take(ray)
        view = np.ascontiguousarray(unit.take(ray, axis=0).T)
        points = Points(
            position=origin[:, None] + view * distance,
            normal=seen.smooth,
            view=view,
            distance=distance,
            width=depth * np.float32(1.0 / camera.K[0, 0]),
            material=seen.material,
            texture=seen.texture,
            pixel=ray,
            shape=(camera.height, camera.width),
        )
        casters = [self._still.caster] if placed is None else [self._still.caster, placed.caster]
        radiance = np.zeros((3, len(unit)), np.float32)
        sky = np.isinf(seen.depth)
        sky[lens.blind] = False
        sky_ray = np.flatnonzero(sky)
        if len(sky_ray):
            radiance[:, sky_ray] = sky_colour(scene.light, np.ascontiguousarray(unit.take(sky_ray, axis=0).T))
        radiance[:, ray] = self._shading.radiance(points, casters, lamps, generator)
        return np.ascontiguousarray(radiance.T).reshape(camera.height, camera.width, 3)

    def _movement(
        self,
        camera: Camera,
        lens: _Lens,
        world_from_camera: Callable[[float], Transform],
        seen: Seen,
        seconds: float,
    ) -> NDArray[np.float32] | None:
        """Return how far what each pixel shows moves in the image while the shutter is open (H, W, 2), pixels."""
        open_s = self._conditions.motion_blur_s
        if open_s == 0:
            return None
        pose = world_from_camera(seconds)
        # What is infinitely far moves with the camera's rotation only: a far point stands for it.
        depth = np.where(np.isinf(seen.depth), 1e5, seen.depth)
        points = transform_points(pose, lens.directions.astype(np.float64) * depth[:, None])
        on_actor = points[seen.on_actor]
        pixels = []
        for share in (-0.5, 0.5):
            then = share * open_s
            points[seen.on_actor] = on_actor + then * velocities(on_actor, seen, self._actors, seconds, then)
            camera_points = transform_points(inverse(world_from_camera(seconds + then)), points)
            pixels.append(project_distorted(camera, camera_points)[0])
        flow = (pixels[1] - pixels[0]).astype(np.float32)
        flow[lens.blind] = np.nan
        flow = flow.reshape(camera.height, camera.width, 2)
        for index in np.unique(seen.actor).tolist():
            _smear(flow, seen.on_actor[seen.actor == index])
        return flow


@dataclass(frozen=True, eq=False)
class _Lens:
    """A camera's rays, row by row.

    Attributes:
        rays: float32 (N, 3), z = 1, NaN where the lens sees nothing.
        directions: the same, but (0, 0, 1) where the lens sees nothing.
        unit: the same of length 1.
        length: float32 (N,), of `directions`.
        blind: int64, which pixels the lens does not see.
        half_angle: of the cone around the axis that contains all rays, radians.
    """

    rays: NDArray[np.float32]
    directions: NDArray[np.float32]
    unit: NDArray[np.float32]
    length: NDArray[np.float32]
    blind: NDArray[np.int64]
    half_angle: float

    @classmethod
    def of(cls, camera: Camera) -> _Lens:
        rays = pixel_rays_of(camera).reshape(-1, 3)
        blind = np.flatnonzero(np.isnan(rays[:, 0]))
        directions = rays.copy()
        directions[blind] = (0.0, 0.0, 1.0)
        length = np.sqrt(np.einsum("ij,ij->i", directions, directions))
        half_angle = float(np.arccos(1.0 / length.max()))
        return cls(rays, directions, directions / length[:, None], length, blind, half_angle)


def _smear(flow: NDArray[np.float32], pixels: NDArray[np.int64]) -> None:
    """Let what lies in the way of a fast actor, at some pixels, move in the image as the actor does.

    While the shutter is open the actor passes there, so its light must get there.
    """
    height, width = flow.shape[:2]
    movement = np.nan_to_num(flow.reshape(-1, 2)[pixels]).mean(axis=0)
    across, down = (int(v) for v in np.clip(np.rint(movement / 2), -LONGEST_SMEAR, LONGEST_SMEAR))
    if across == down == 0:
        return
    kernel = np.zeros((2 * abs(down) + 1, 2 * abs(across) + 1), np.uint8)
    cv2.line(kernel, (abs(across) - across, abs(down) - down), (abs(across) + across, abs(down) + down), 1)
    passed = np.zeros((height, width), np.uint8)
    passed.reshape(-1)[pixels] = 1
    passed = cv2.dilate(passed, kernel).astype(bool)
    passed.reshape(-1)[pixels] = False
    slower = np.hypot(flow[..., 0], flow[..., 1]) < np.hypot(*movement)  # NaN compares false
    flow[passed & slower] = movement


def _shadow(light: Light) -> NDArray[np.float64]:
    """Return from the top of a thing of one metre's height to the end of its shadow (3,)."""
    if not light.is_sun:
        return np.zeros(3)
    x, y, z = light.position
    reach = min(LONGEST_SHADOW, np.hypot(x, y) / max(z, 1e-3))
    return -np.array([x, y, 0.0]) / max(np.hypot(x, y), 1e-9) * reach


def _in_world(lamp: Lamp, world_from_base: Transform) -> Lamp:
    """Return a lamp of the robot's in the world."""
    position = world_from_base[:3, :3] @ lamp.position + world_from_base[:3, 3]
    direction = None if lamp.direction is None else world_from_base[:3, :3] @ lamp.direction
    return Lamp(
        (float(position[0]), float(position[1]), float(position[2])),
        lamp.strength,
        lamp.radius,
        None if direction is None else (float(direction[0]), float(direction[1]), float(direction[2])),
        lamp.cone,
    )
