# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From what a camera's rays end on to the truth of its image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.ground_truth import CameraTruth
from mtl_perception.core.labels import UNKNOWN
from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.rendering.actors import Actors
from mtl_perception.data.world.rendering.seen import Seen

PANOPTIC_BASE = 1000
"""Panoptic id = label * this + instance."""


def camera_truth(
    shape: tuple[int, int],
    rays: NDArray[np.float32],
    world_from_camera: Transform,
    world_from_base: Transform,
    seen: Seen,
    flow: NDArray[np.float32],
    moving: NDArray[np.uint8],
    sky: int,
) -> CameraTruth:
    """Return the truth of one image.

    Args:
        shape: (height, width).
        rays: float32 (N, 3) of the pixels, row by row, in the optical frame, z = 1; NaN where the lens sees nothing.
        world_from_camera, world_from_base: at the image's stamp.
        seen: what the rays end on.
        flow: float32 (K, 3), velocity in the world of the points on actors, m/s.
        moving: uint8 (K,), 255 for points on actors that move as a whole.
        sky: label id of rays that end on nothing.
    """
    nothing = np.isinf(seen.depth)
    blind = np.flatnonzero(np.isnan(rays[:, 0]))

    depth, semantic = seen.depth.copy(), seen.label.copy()
    semantic[nothing] = sky
    depth[blind], semantic[blind] = np.nan, UNKNOWN

    normals = seen.normal @ world_from_camera[:3, :3].astype(np.float32)
    away = np.einsum("ij,ij->i", normals, rays) > 0
    np.negative(normals, out=normals, where=away[:, None])
    normals[nothing] = np.nan

    scene_flow = np.zeros((len(depth), 3), np.float32)
    scene_flow[nothing] = np.nan
    scene_flow[seen.on_actor] = flow @ world_from_base[:3, :3]
    motion_mask = np.zeros(len(depth), np.uint8)
    motion_mask[seen.on_actor] = moving

    semantic = semantic.reshape(shape)
    instance = seen.instance.reshape(shape)
    return CameraTruth(
        depth=depth.reshape(shape),
        semantic=semantic,
        instance=instance,
        panoptic=panoptic_of(semantic, instance),
        normals=normals.reshape(*shape, 3),
        edges=edges_of(semantic),
        motion_mask=motion_mask.reshape(shape),
        scene_flow=scene_flow.reshape(*shape, 3),
    )


def velocities(
    points: NDArray[np.floating], seen: Seen, actors: Actors, seconds: float, interval_s: float
) -> NDArray[np.float32]:
    """Return how fast points (K, 3) of the world that lie on actors move over an interval, float32 (K, 3) in m/s."""
    result = np.zeros((len(points), 3), np.float32)
    for index in np.unique(seen.actor).tolist():
        mine = np.flatnonzero(seen.actor == index)
        change = actors.later_from_now(index, seconds, seconds + interval_s)
        change -= np.eye(4)
        change = change[seen.part[mine]]
        moved = np.einsum("nij,nj->ni", change[:, :3, :3], points[mine]) + change[:, :3, 3]
        result[mine] = moved / interval_s
    return result


def panoptic_of(semantic: NDArray[np.uint8], instance: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return label * 1000 + instance (H, W), -1 where the label is unknown.

    A thing keeps its number where that is below 1000. The others get, in the order of their numbers, the next number
    from (number modulo 999) + 1 on that nothing else in the image has.
    """
    numbers = instance
    if instance.max(initial=0) >= PANOPTIC_BASE:
        present = np.unique(instance)
        taken = set(present[present < PANOPTIC_BASE].tolist())
        renumbered = present.copy()
        for place in np.flatnonzero(present >= PANOPTIC_BASE):
            number = int(present[place]) % (PANOPTIC_BASE - 1) + 1
            while number in taken:
                number = number % (PANOPTIC_BASE - 1) + 1
            taken.add(number)
            renumbered[place] = number
        numbers = renumbered[np.searchsorted(present, instance)]
    result = semantic.astype(np.int32) * PANOPTIC_BASE + numbers
    result[semantic == UNKNOWN] = -1
    return result


def edges_of(semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 255 (H, W) on both pixels where left and right, or upper and lower, neighbours are of different classes.

    What is unknown has no borders.
    """
    edges = np.zeros(semantic.shape, np.uint8)
    known = semantic != UNKNOWN
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        border = (semantic[first] != semantic[second]) & known[first] & known[second]
        border = border.view(np.uint8) * np.uint8(255)
        edges[first] |= border
        edges[second] |= border
    return edges
