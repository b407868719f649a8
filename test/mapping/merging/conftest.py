# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A flat that two robots look at, each in a world of its own, and what they save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.core.transforms import inverse
from mtl_perception.mapping import Mapper, MapperConfig
from test.mapping.conftest import body_pose

CONFIG = MapperConfig(voxel_size=0.1, grid_resolution=0.1, max_depth=5.0)
OTHER_WORLD = body_pose((4.0, -9.0, 0.35), yaw=2.0)  # other_world_from_world
SELF_FROM_OTHER = inverse(OTHER_WORLD)
SECOND = 10**9
SIZES = [(0.9, 0.5, 0.7), (0.5, 0.5, 1.3), (1.4, 0.6, 0.5), (0.6, 0.9, 0.9), (1.1, 0.4, 1.5), (0.7, 0.7, 0.6)]


def flat(scene, places):
    """Two rooms of 6 m x 5 m with a door between, and furniture at places x y."""
    scene.box("floor", (0, 0, -0.2), (12.2, 5, 0))
    for low, high in (((-0.2, -0.2), (12.4, 0)), ((-0.2, 5), (12.4, 5.2)), ((-0.2, 0), (0, 5)), ((12.2, 0), (12.4, 5))):
        scene.box("wall", (*low, 0), (*high, 2.5))
    scene.box("wall", (6, 0, 0), (6.2, 1.8, 2.5)).box("wall", (6, 3.0, 0), (6.2, 5, 2.5))
    for (x, y), (length, width, height) in zip(places, SIZES * 3, strict=False):
        scene.box("furniture", (x, y, 0), (x + length, y + width, height))
    return scene


FURNITURE = [
    (0.6, 0.5), (4.6, 0.3), (2.2, 4.2), (7.6, 0.4), (10.6, 1.8), (8.4, 4.0), (0.4, 3.2), (10.8, 4.2), (4.3, 4.2),
]  # fmt: skip
ELSEWHERE = [*FURNITURE[:3], (11.3, 0.5), (9.0, 0.3), (7.0, 4.3), (2.1, 0.3), (4.0, 3.8), (9.4, 3.4)]


def look_at(scene, frame, x, y, yaw, number, told=True):
    """A frame; things are told from each other, in each frame by other numbers, if that is asked for."""
    look = scene.look((x, y, 1.3), yaw=yaw, pitch=0.35, width=120)
    if told:
        things = look.semantic == scene.labels.id_of("furniture")
        look = replace(look, panoptic=numbered(scene, look, things, number))
    return frame(look, stamp_ns=number * SECOND, base=(x, y, 0.0))


def numbered(scene, look, things, seed):
    """The panoptic labels of a look: which box each pixel of a thing lies in."""
    rows, columns = np.nonzero(things)
    camera = look.camera
    rays = np.stack([(columns - camera.K[0, 2]) / camera.K[0, 0], (rows - camera.K[1, 2]) / camera.K[1, 1]], axis=1)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * look.depth[rows, columns, None]
    points = rays @ look.world_from_camera[:3, :3].T + look.world_from_camera[:3, 3]
    result = np.where(look.semantic == 255, -1, look.semantic.astype(np.int32) * 1000)
    shuffled = np.random.default_rng(seed).permutation(len(scene.furniture)) + 1
    for which, (low, high) in enumerate(scene.furniture):
        inside = ((points > low - 0.02) & (points < high + 0.02)).all(axis=1)
        result[rows[inside], columns[inside]] += shuffled[which]
    return result.astype(np.int32)


def in_other_world(made, transform=OTHER_WORLD, later_ns=0):
    """A frame as a robot with another world frame and another clock gives it."""
    cameras = {
        name: replace(
            camera, world_from_camera=transform @ camera.world_from_camera, stamp_ns=camera.stamp_ns + later_ns
        )
        for name, camera in made.cameras.items()
    }
    return replace(
        made, stamp_ns=made.stamp_ns + later_ns, cameras=cameras, world_from_base=transform @ made.world_from_base
    )


def mapped(frames, labels, config=CONFIG):
    mapper = Mapper(config, labels)
    for made in frames:
        mapper.fuse(made)
    return mapper


def unchanged(mapper, folder, loaded):
    """Look whether a map is as it was saved."""
    before = loaded(folder)
    assert mapper.stats == before.stats
    assert mapper.scene_graph_bytes(True) == before.scene_graph_bytes(True)
    assert np.array_equal(mapper.mesh().vertices, before.mesh().vertices)
    assert np.array_equal(mapper.instances.state().label, before.instances.state().label)


FIRST_WAY = [
    (1.5, 2.2, 0.0), (1.5, 2.2, 1.2), (1.6, 2.4, 2.6), (1.8, 2.4, -2.4), (2.4, 2.4, -1.2), (3.2, 2.4, 0.8),
    (4.0, 2.4, -0.8), (4.8, 2.4, 0.0), (5.4, 2.4, 0.1), (6.0, 2.4, 0.6), (6.4, 2.4, -0.7), (7.0, 2.4, 0.0),
]  # fmt: skip
SECOND_WAY = [
    (10.5, 2.4, 0.0), (10.5, 2.4, 1.3), (10.2, 2.5, -1.3), (9.6, 2.4, 2.4), (9.0, 2.4, -2.4), (8.4, 2.4, 3.1),
    (7.6, 2.4, 3.0), (6.8, 2.4, -2.9), (6.0, 2.4, 2.7), (5.2, 2.4, 3.1), (4.6, 2.4, -2.6), (4.2, 2.4, 2.2),
]  # fmt: skip


@pytest.fixture(scope="session")
def world(new_scene, labels, frame, tmp_path_factory):
    """Frames and saved maps of two robots in a flat, and of one elsewhere.

    `first` and `second` are frames in the world of the first robot, `other_frames` those of the second in its own;
    `one`, `other`, `elsewhere` are saved maps; `joint()` is the map that one robot makes of all frames.
    """
    folder = tmp_path_factory.mktemp("maps")
    scene = furnished(new_scene(), FURNITURE)
    first = [look_at(scene, frame, *at, number + 1) for number, at in enumerate(FIRST_WAY)]
    second = [look_at(scene, frame, *at, number + 20) for number, at in enumerate(SECOND_WAY)]
    other_frames = [in_other_world(made) for made in second]
    strange = furnished(new_scene(), ELSEWHERE)
    elsewhere = [look_at(strange, frame, *at, number + 1) for number, at in enumerate(FIRST_WAY)]
    ours = mapped(first, labels)
    return SimpleNamespace(
        scene=scene,
        first=first,
        second=second,
        other_frames=other_frames,
        ours=ours,
        one=ours.save(folder / "one"),
        other=mapped(other_frames, labels).save(folder / "other"),
        elsewhere=mapped(elsewhere, labels).save(folder / "elsewhere"),
        folder=Path(folder),
        joint=mapped([*first, *second], labels),
    )


def furnished(scene, places):
    flat(scene, places)
    scene.furniture = [
        (np.array([x, y, 0.0]), np.array([x + length, y + width, height]))
        for (x, y), (length, width, height) in zip(places, SIZES * 3, strict=False)
    ]
    return scene


@pytest.fixture
def loaded(labels):
    """The function that loads a saved map."""

    def load(folder, config=CONFIG):
        mapper = Mapper(config, labels)
        mapper.load(folder)
        return mapper

    return load
