# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes around a world's things, with velocity and track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.ground_truth import Box
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.data.world.scene import Actor, Scene, Thing

RANGE_M = 60.0
FASTEST_M_S = 50.0
"""Nothing in a world is faster."""
ROUNDING_M = 0.002
"""Added on all sides: surfaces are rendered in float32 some hundred metres from the origin."""
SAMPLE_S = 0.05
STEP_S = 1e-3
SETTLING_S = 2.0
"""Worlds are defined for so long before second 0 and after their duration."""


class BoxTruth:
    """Knows the box of everything in a world whose class is to be detected (the labels' subset "detection").

    A box has one size for all time, holds all the surface of its thing at every time, and is no larger than that asks
    for: a walking person's includes the swing of arms and legs. Its axes are those of the thing's body (part 0 of an
    actor, `world_from_object` of what stands still).
    """

    def __init__(self, scene: Scene, duration_s: float = 20.0) -> None:
        """`duration_s` is for how long the scene's actors are defined, from second 0."""
        names = scene.labels.names
        wanted = {scene.labels.id_of(name) for name in scene.labels.subsets.get("detection", ())}
        self._still = [box_of_thing(thing, names[thing.label]) for thing in scene.still if thing.label in wanted]
        self._places = np.array([box.frame_from_box[:2, 3] for box in self._still]).reshape(-1, 2)
        self._movers = [
            _Mover(actor, names[actor.label], duration_s) for actor in scene.actors if actor.label in wanted
        ]

    def boxes(self, world_from_base: Transform, seconds: float, range_m: float = RANGE_M) -> tuple[Box, ...]:
        """Return the boxes, in the base frame, of everything whose centre is within `range_m` of the base.

        The distance is measured along the ground. Velocities are over ground, in the axes of the base frame: the
        derivative of the centre, as a central difference over 2 ms. What others hide has its box, too.
        """
        base_from_world = inverse(world_from_base)
        place = world_from_base[:3, 3]
        near = np.flatnonzero(np.linalg.norm(self._places - place[:2], axis=1) <= range_m)
        boxes = [self._still[index] for index in near]
        boxes += [box for mover in self._movers if (box := mover.box(place, seconds, range_m)) is not None]
        return tuple(_seen_from(base_from_world, box) for box in boxes)


@dataclass(frozen=True, eq=False)
class Extent:
    """Corners of the box around a thing in its own axes: lowest and highest x, y, z (3,), metres."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def box_of_thing(thing: Thing, label: str) -> Box:
    """Return the box of something that stands still, in the world."""
    axes = thing.world_from_object.astype(np.float64)
    axes[:3, :3] /= np.linalg.norm(axes[:3, 0])  # it may scale, the same along all axes
    points = (thing.mesh.corners.reshape(-1, 3).astype(np.float64) - axes[:3, 3]) @ axes[:3, :3]
    extent = Extent(points.min(axis=0) - ROUNDING_M, points.max(axis=0) + ROUNDING_M)
    return _box(axes, extent, label, thing.instance, np.zeros(3))


def box_of_actor(actor: Actor, extent: Extent, label: str, seconds: float) -> Box:
    """Return an actor's box at a time, in the world."""
    before, now, after = (actor.poses(seconds + step)[0] for step in (-STEP_S, 0.0, STEP_S))
    velocity = (_centre(after, extent) - _centre(before, extent)) / (2 * STEP_S)
    return _box(now, extent, label, actor.instance, velocity)


def extent_of_actor(actor: Actor, duration_s: float) -> Extent:
    """Return what an actor's surface takes up, in the axes of its part 0, at all times from -2 s to duration + 2 s.

    How the parts are placed on part 0 is sampled every 0.05 s. Between two samples a coordinate of a point goes beyond
    them as the parabola through three samples does; a quarter of the most that a parabola can is left for what is not
    one (a limb that swings at 3 Hz leaves it by a fifth).
    """
    corners = actor.mesh.corners.reshape(-1, 3).astype(np.float64)
    part = np.repeat(actor.mesh.part, 3)
    low, high = (
        np.min(corners[part == 0], axis=0, initial=np.inf),
        np.max(corners[part == 0], axis=0, initial=-np.inf),
    )
    if part.any():
        times = np.arange(-SETTLING_S, duration_s + SETTLING_S + SAMPLE_S, SAMPLE_S)
        poses = np.stack([actor.poses(float(time)) for time in times])
        turned = poses[:, :1, :3, :3].transpose(0, 1, 3, 2)  # body_from_world
        rotation = turned @ poses[:, :, :3, :3]
        offset = np.einsum(
            "spij,spj->spi", turned.repeat(poses.shape[1], axis=1), poses[..., :3, 3] - poses[:, :1, :3, 3]
        )
        for index in np.unique(part[part > 0]):
            points = np.unique(corners[part == index], axis=0)
            places = points @ rotation[:, index].transpose(0, 2, 1) + offset[:, index, None]
            lowest, highest = _reach(places.astype(np.float32))
            low, high = np.minimum(low, lowest), np.maximum(high, highest)
    return Extent(low - ROUNDING_M, high + ROUNDING_M)


class _Mover:
    """An actor whose extent is found when it first comes near, and who is not asked where it is while far away."""

    def __init__(self, actor: Actor, label: str, duration_s: float) -> None:
        self._actor, self._label, self._duration_s = actor, label, duration_s
        self._extent: Extent | None = None
        self._seen: tuple[float, NDArray[np.float64]] | None = None

    def box(self, place: NDArray[np.float64], seconds: float, range_m: float) -> Box | None:
        """Return the box in the world if its centre is near a place."""
        if self._seen is not None:
            at, where = self._seen
            if np.hypot(*(where - place)[:2]) - FASTEST_M_S * abs(seconds - at) > range_m + _WIDEST_M:
                return None
        pose = self._actor.poses(seconds)[0]
        self._seen = (seconds, pose[:3, 3])
        if np.hypot(*(pose[:3, 3] - place)[:2]) > range_m + _WIDEST_M:
            return None
        if self._extent is None:
            self._extent = extent_of_actor(self._actor, self._duration_s)
        if np.hypot(*(_centre(pose, self._extent) - place)[:2]) > range_m:
            return None
        return box_of_actor(self._actor, self._extent, self._label, seconds)


_WIDEST_M = 10.0  # from the origin of a thing to the middle of its box


def _seen_from(base_from_world: Transform, box: Box) -> Box:
    velocity = None if box.velocity is None else base_from_world[:3, :3] @ box.velocity
    return Box(base_from_world @ box.frame_from_box, box.size, box.label, box.track, box.score, velocity)


def _box(axes: Transform, extent: Extent, label: str, instance: int, velocity: NDArray[np.float64]) -> Box:
    """Return the box of an extent in rigid axes."""
    world_from_box = axes.copy()
    world_from_box[:3, 3] = _centre(axes, extent)
    length, width, height = (extent.high - extent.low).tolist()
    return Box(world_from_box, (length, width, height), label, str(instance), velocity=velocity)


def _centre(axes: Transform, extent: Extent) -> NDArray[np.float64]:
    return axes[:3, :3] @ (0.5 * (extent.low + extent.high)) + axes[:3, 3]


def _reach(places: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest x, y, z (3,) of points at equally spaced times (S, P, 3), and between the times."""
    second = np.diff(places, 2, axis=0)
    margin = np.abs(second).max(axis=(0, 1)).astype(np.float64) / 8
    ends = np.stack([-places.min(axis=(0, 1)), places.max(axis=(0, 1))]).astype(np.float64)
    for end, sign in zip(ends, (-1, 1), strict=True):
        for axis in range(3):
            # A parabola through three samples ends at most an eighth of their second difference above the highest.
            time, point = np.nonzero(sign * places[1:-1, :, axis] >= end[axis] - margin[axis])
            before, middle, after = (sign * places[time + step, point, axis] for step in range(3))
            slope, bend = (after - before) / 2, np.maximum(-sign * second[time, point, axis], 1e-9)
            above = np.where(np.abs(slope) <= bend, slope**2 / (2 * bend), 0.0)
            end[axis] = max(end[axis], float((middle + above).max(initial=-np.inf)))
    return -ends[0] - margin / 4, ends[1] + margin / 4
