# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images of a scene and their exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, pixel_rays
from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.casting import Caster, Hits, first_hits
from mtl_perception.data.world.scene import Light, Scene, merged, posed
from mtl_perception.data.world.sky import sky_colour
from mtl_perception.data.world.textures import MaterialTable, mix

ACTOR_RANGE_M = 90.0
SOFT_RADIUS = 0.04
Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class CameraTruth:
    """What is exactly known about an image.

    Attributes:
        depth: float32 (H, W), metres along the optical axis, NaN where nothing is hit (sky).
        semantic: uint8 (H, W), label ids; the sky has the sky's label.
        instance: int32 (H, W), number of the thing in its world, 0 where it is none.
        motion_mask: uint8 (H, W), 255 where the surface belongs to something that moves in the world, else 0.
    """

    depth: NDArray[np.float32]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.int32]
    motion_mask: NDArray[np.uint8]


class Renderer:
    """Casts rays into a scene. Still things are prepared once, actors once for every instant."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._materials = MaterialTable(scene.materials)
        counts = [len(mesh) for mesh, _, _ in scene.still]
        still = merged([mesh for mesh, _, _ in scene.still])
        label = np.repeat([label for _, label, _ in scene.still], counts)
        instance = np.repeat([instance for _, _, instance in scene.still], counts)
        self._still = Caster(still, label, instance, np.zeros(len(still)))
        self._sky_label = scene.labels.id_of("sky")
        self._actors_at: tuple[float, Caster | None] = (np.nan, None)

    def render(
        self, camera: Camera, world_from_camera: Transform, seconds: float, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], CameraTruth]:
        """Return the RGB image (H, W, 3) and its truth at an instant; `generator` gives the image noise."""
        height, width = camera.height, camera.width
        directions = (pixel_rays(camera).reshape(-1, 3) @ world_from_camera[:3, :3].T).astype(np.float32)
        origin = world_from_camera[:3, 3].astype(np.float32)
        casters = [self._still, *self._actors(origin, seconds)]
        hits = first_hits(origin, directions, casters)
        radiance = np.empty((height * width, 3), np.float32)
        missed = np.ones(height * width, bool)
        missed[hits.ray] = False
        radiance[missed] = sky_colour(self._scene.light, directions[missed])
        shading = _Shading(self._scene.light, self._materials, casters, (height, width), 1.0 / camera.K[0, 0])
        radiance[hits.ray] = shading.radiance(origin, directions[hits.ray], hits, generator)

        def image_of(values: NDArray, elsewhere: float, dtype: type) -> NDArray:
            image: NDArray = np.full(height * width, elsewhere, dtype)
            image[hits.ray] = values
            return image.reshape(height, width)

        truth = CameraTruth(
            image_of(hits.depth, np.nan, np.float32),
            image_of(hits.label, self._sky_label, np.uint8),
            image_of(hits.instance, 0, np.int32),
            image_of(hits.moving, 0, np.uint8),
        )
        return self._develop(radiance.reshape(height, width, 3), generator), truth

    def _actors(self, origin: Array, seconds: float) -> list[Caster]:
        """Return the actors that are near enough to matter at an instant, as one mesh, or nothing."""
        at, caster = self._actors_at
        if at != seconds:
            caster = self._place_actors(origin, seconds)
            self._actors_at = (seconds, caster)
        return [] if caster is None else [caster]

    def _place_actors(self, origin: Array, seconds: float) -> Caster | None:
        meshes, tags = [], []
        for actor in self._scene.actors:
            poses = actor.poses(seconds)
            if np.linalg.norm(poses[0, :3, 3] - origin) > ACTOR_RANGE_M:
                continue
            meshes.append(posed(actor.mesh, poses.astype(np.float32)))
            tags.append((actor.label, actor.instance, 255 if actor.moves(seconds) else 0))
        if not meshes:
            return None
        per_triangle = np.repeat(np.array(tags), [len(mesh) for mesh in meshes], axis=0)
        return Caster(merged(meshes), *per_triangle.T)

    def _develop(self, radiance: Array, generator: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image that the sensor makes of light (H, W, 3)."""
        sensor = self._scene.sensor
        height, width = radiance.shape[:2]
        y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
        falloff = 1 - np.float32(sensor.vignetting) * (x * x + y * y) / 2
        light = (
            radiance * falloff[..., None] * (np.array(sensor.white_balance, np.float32) * np.float32(sensor.exposure))
        )
        light = cv2.GaussianBlur(light, (0, 0), sensor.blur)
        grain = generator.standard_normal(light.shape, dtype=np.float32) * np.float32(sensor.noise)
        light = light + grain * (0.3 + np.sqrt(np.maximum(light, 0)))
        shown = np.clip(light, 0, None)
        shown = shown * (1 + shown / 4) / (1 + shown)  # highlights roll off instead of clipping at once
        shown = np.clip(shown, 0, 1) ** np.float32(1 / 2.2)
        shown = np.clip(0.5 + (shown - 0.5) * sensor.contrast, 0, 1)
        return (shown * 255 + 0.5).astype(np.uint8)


class _Shading:
    """What light comes from the points that one image's rays hit."""

    def __init__(
        self, light: Light, materials: MaterialTable, casters: list[Caster], shape: tuple[int, int], pixel: float
    ) -> None:
        self._light, self._materials, self._casters, self._shape, self._pixel = light, materials, casters, shape, pixel

    def radiance(self, origin: Array, directions: Array, hits: Hits, generator: np.random.Generator) -> Array:
        """Return linear RGB (M, 3) of the hits, whose rays have directions (M, 3)."""
        light = self._light
        length = np.sqrt(np.einsum("ij,ij->i", directions, directions))
        view = directions / length[:, None]
        points = origin + directions * hits.depth[:, None]
        facing = -np.einsum("ij,ij->i", hits.normal, view)
        normals = np.where((facing < 0)[:, None], -hits.normal, hits.normal)
        facing = np.abs(facing)
        # A pixel covers more of a surface seen at a grazing angle; half of that is blurred, as a lens and eye would.
        width = hits.depth * np.float32(self._pixel) / np.sqrt(np.maximum(facing, 0.05))
        colour = self._materials.reflectance(hits.material, hits.texture, width)

        to_light, strength = _towards(light, points)
        cosine = np.maximum(np.einsum("ij,ij->i", normals, to_light), 0)
        visible = self._visible(points, normals, cosine, hits.ray, generator)
        direct = (cosine * visible * strength)[:, None] * np.array(light.strength, np.float32)
        # Light from everywhere: more from above than from below.
        everywhere = (0.72 + 0.28 * normals[:, 2])[:, None] * np.array(light.ambient, np.float32)
        radiance = colour * (direct + everywhere + self._materials.glow[hits.material][:, None])
        gloss = self._materials.gloss[hits.material]
        shiny = np.flatnonzero(gloss > 0)
        if len(shiny):
            grazing = 1 - facing[shiny]
            mirrored = view[shiny] + 2 * facing[shiny, None] * normals[shiny]
            share = gloss[shiny] * (0.12 + 0.88 * grazing**4)
            seen = sky_colour(light, mirrored) * np.clip(0.35 + 1.3 * mirrored[:, 2:], 0.12, 1.0)
            highlight = np.maximum(np.einsum("ij,ij->i", mirrored, to_light[shiny]), 0) ** 60 * visible[shiny]
            glint = (highlight * gloss[shiny])[:, None] * np.array(light.strength, np.float32) * 1.5
            radiance[shiny] = mix(radiance[shiny], np.minimum(seen, 1.0), share) + glint
        haze = 1 - np.exp(-hits.depth * length / light.visibility)
        return mix(radiance, np.minimum(np.array(light.horizon, np.float32), 0.9), haze)

    def _visible(
        self, points: Array, normals: Array, cosine: Array, ray: NDArray[np.int64], generator: np.random.Generator
    ) -> Array:
        """Return how much of the light each point sees, 0..1: one ray aimed at a random spot of it.

        One ray is noisy, more so for a large light, so its answer is smoothed over neighbouring pixels.
        """
        light = self._light
        lit = np.flatnonzero(cosine > 0)
        rays = np.empty((len(lit), 6), np.float32)
        rays[:, :3] = points[lit] + normals[lit] * np.float32(0.01)
        rays[:, 3:] = generator.standard_normal((len(lit), 3), dtype=np.float32) * np.float32(light.radius)
        rays[:, 3:] += np.array(light.position, np.float32)
        if not light.is_sun:
            rays[:, 3:] -= rays[:, :3]
        far = np.inf if light.is_sun else 0.97
        blocked = np.zeros(len(lit), bool)
        for caster in self._casters:
            blocked |= caster.blocked(rays, far)
        visible = np.zeros(len(points), np.float32)
        visible[lit] = ~blocked
        smoothing = 1.6 if light.radius > SOFT_RADIUS else 0.6  # pixels
        images = np.zeros((2, self._shape[0] * self._shape[1]), np.float32)
        images[0, ray], images[1, ray[lit]] = visible, 1.0
        seen, weight = (
            cv2.GaussianBlur(image.reshape(self._shape), (0, 0), smoothing).reshape(-1)[ray] for image in images
        )
        return np.where(cosine > 0, seen / np.maximum(weight, 1e-6), 0.0).astype(np.float32)


def _towards(light: Light, points: Array) -> tuple[Array, Array]:
    """Return the unit direction from points to the light (N, 3) and the light's fall-off (N,)."""
    if light.is_sun:
        return np.broadcast_to(np.array(light.position, np.float32), points.shape), np.ones(len(points), np.float32)
    offset = np.array(light.position, np.float32) - points
    distance = np.linalg.norm(offset, axis=1)
    return offset / distance[:, None], (2.0 / (1.0 + 0.35 * distance * distance)).astype(np.float32)
