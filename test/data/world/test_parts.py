# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parts a world is built from: shapes, paths, actors and textures."""

import numpy as np
import pytest

from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import Centreline, upright
from mtl_perception.data.world.rendering.textures import PATTERNS, MaterialTable
from mtl_perception.data.world.scene import Actor, Material, merged, posed


@pytest.mark.parametrize(
    "mesh",
    [
        shapes.box((1, 2, 3), (0, 0, 0), 0),
        shapes.cylinder((0, 0, -1), (0, 0, 1), 0.5, 0),
        shapes.ellipsoid((0, 0, 0), (1, 2, 3), 0, 2),
    ],
    ids=["box", "cylinder", "ellipsoid"],
)
def test_bodies_are_closed_and_face_outward(mesh) -> None:
    a, b, c = mesh.corners.astype(float).transpose(1, 0, 2)
    face = np.cross(b - a, c - a)
    assert np.allclose(face.sum(axis=0), 0, atol=1e-4), "the faces of a closed body add up to nothing"
    assert np.einsum("ij,ij->", face, (a + b + c) / 3) > 0
    assert (np.einsum("ij,ikj->ik", face, mesh.normals) > 0).all()


def test_box_has_its_volume_after_scaling() -> None:
    mesh = shapes.box((1, 2, 3), (0, 0, 1.5), 0).at(5, 6, 7, yaw=0.7, scale=2.0)
    a, b, c = mesh.corners.astype(float).transpose(1, 0, 2)
    assert np.einsum("ij,ij->", np.cross(a, b), c) / 6 == pytest.approx(48.0, rel=1e-4)
    assert np.allclose(np.linalg.norm(mesh.normals, axis=-1), 1, atol=1e-5)


def test_centreline_offsets_are_as_far_as_they_say() -> None:
    line = Centreline(-50, 100, [0.0, 0.01, -0.01, 0.01])
    s = np.linspace(-40, 90, 50)
    middle, left = line.points(s, 0.0), line.points(s, 3.0)
    assert np.allclose(np.linalg.norm(left - middle, axis=1), 3.0)
    ahead = line.points(s + 0.01, 0.0) - middle
    assert np.allclose(np.linalg.norm(ahead, axis=1), 0.01, rtol=1e-3)
    assert (np.cross(ahead, left - middle)[:, 2] > 0).all(), "left is left"


def test_upright_is_a_rotation_whose_pitch_lowers_the_nose() -> None:
    pose = upright((1, 2, 3), 0.4, 0.3, 0.2)
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3))
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    assert (upright((0, 0, 0), 0.0, 0.3) @ [1, 0, 0, 1])[2] < 0


@pytest.mark.parametrize("speed, moves", [(0.0, False), (0.05, False), (0.2, True), (8.0, True)])
def test_actor_moves_above_a_tenth_of_a_metre_per_second(speed: float, moves: bool) -> None:
    actor = Actor(shapes.box((1, 1, 1), (0, 0, 0), 0), lambda t: upright((speed * t, 0, 0), 0.0)[None], 8, 1)
    assert actor.moves(3.0) is moves


def test_posed_moves_each_part_by_its_own_pose() -> None:
    body, arm = shapes.box((1, 1, 1), (0, 0, 0), 0), shapes.box((1, 1, 1), (0, 0, 0), 0).as_part(1)
    mesh = posed(merged([body, arm]), np.stack([upright((0, 0, 0), 0.0), upright((10, 0, 0), 0.5)]))
    assert mesh.corners[: len(body)].reshape(-1, 3).mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-5)
    assert mesh.corners[len(body) :].reshape(-1, 3).mean(axis=0) == pytest.approx([10, 0, 0], abs=1e-5)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_give_reflectances_that_vary_near_and_calm_down_far(pattern: str) -> None:
    generator = np.random.default_rng(3)
    numbers = {
        "facade": (3.0, 2.5, 0.5, 0.5, 1.0, 1.0, 0.3, 0.1),
        "plate": (0.4, 0.0),
        "slabs": (0.5, 0.3, 0.5, 0.02, 0.2),
    }
    default = {"roadway": (3.2, 0.0, 0.5, 0.5), "dull": (0.1, 0.5), "cloth": (0.2, 0.1, 0.05)}
    parameters = {**numbers, **default}.get(pattern, (0.2, 0.5, 0.3))
    table = MaterialTable([Material(pattern, (0.4, 0.3, 0.2), (0.8, 0.8, 0.8), parameters)])
    texture = generator.uniform(-5, 5, (4000, 3)).astype(np.float32) * np.float32(
        [0.1, 0.1, 0.1] if pattern == "plate" else 1
    )
    texture = np.ascontiguousarray(texture.T)
    near, _ = table.surface(np.zeros(4000, np.int32), texture, np.full(4000, 0.003, np.float32))
    far, _ = table.surface(np.zeros(4000, np.int32), texture, np.full(4000, 3.0, np.float32))
    for colours in (near, far):
        assert (
            colours.shape == (3, 4000) and np.isfinite(colours).all() and (colours >= 0).all() and (colours <= 1).all()
        )
    assert near.std(axis=1).max() > 0.01
