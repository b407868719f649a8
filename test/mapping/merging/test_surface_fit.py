# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Surfaces laid over each other: yaw and shift, nothing else."""

import numpy as np
import pytest

from mtl_perception.core.transforms import inverse
from mtl_perception.mapping.merging.surface_fit import fitted
from mtl_perception.mapping.merging.surface_samples import SurfaceSamples, samples_of
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshBlock
from test.mapping.conftest import body_pose

REACHES = (0.5, 0.25, 0.12)


def room(seed, count=6000, tilt=0.0):
    """Points on the floor, two walls and a box, off by a centimetre."""
    random = np.random.default_rng(seed)
    planes = [
        ((0, 0, 1), (3, 2, 0), (3, 2, 0)),
        ((1, 0, 0), (0, 2, 1.2), (0, 2, 1.2)),
        ((0, 1, 0), (3, 0, 1.2), (3, 0, 1.2)),
        ((-1, 0, 0), (2, 1.5, 0.4), (0, 0.4, 0.4)),
        ((0, -1, 0), (2.5, 1.1, 0.4), (0.5, 0, 0.4)),
    ]
    points, normals = [], []
    for normal, middle, half in planes:
        points.append(np.array(middle) + random.uniform(-1, 1, (count // 5, 3)) * half)
        normals.append(np.tile(np.array(normal, float), (count // 5, 1)))
    points = np.concatenate(points) + random.normal(0, 0.01, (count // 5 * 5, 3))
    turn = body_pose((0, 0, 0), pitch=tilt)
    samples = SurfaceSamples(points, np.concatenate(normals), np.zeros(len(points), dtype=bool))
    return samples.moved(turn)


@pytest.mark.parametrize("seed", range(4))
def test_a_guess_that_is_a_little_off_is_mended(seed):
    random = np.random.default_rng(seed)
    ours, transform = room(1), body_pose(random.uniform(-5, 5, 3), yaw=random.uniform(-3, 3))
    theirs = room(2).moved(inverse(transform))
    guess = transform @ body_pose(random.uniform(-0.2, 0.2, 3), yaw=random.uniform(-0.05, 0.05))
    fit = fitted(guess, ours, theirs, REACHES)
    off = inverse(transform) @ fit.transform
    assert np.linalg.norm(off[:3, 3]) < 0.02 and abs(off[1, 0]) < 0.005
    assert fit.residual < 0.03 and fit.near > 0.8 * len(theirs)


def test_a_tilt_is_not_hidden_in_the_transform():
    fit = fitted(np.eye(4), room(1), room(2, tilt=0.03), REACHES)
    np.testing.assert_array_equal(fit.transform[2, :3], [0, 0, 1])
    np.testing.assert_array_equal(fit.transform[:2, 2], [0, 0])


def test_where_nothing_meets_there_is_no_fit():
    assert fitted(body_pose((0, 0, 30.0)), room(1), room(2), REACHES) is None


def test_samples_are_on_the_surface_and_look_to_the_free_side():
    edge = 0.1
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(9), indexing="ij"), axis=-1).reshape(-1, 2) * edge
    low = np.add.outer(np.arange(8) * 9, np.arange(8)).reshape(-1)
    triangles = np.concatenate([np.stack([low, low + 9, low + 10], 1), np.stack([low, low + 10, low + 1], 1)])
    count = len(grid)
    mesh = MeshBlock(
        np.concatenate([grid, np.zeros((count, 1))], axis=1).astype(np.float32),
        triangles.astype(np.int32),
        np.zeros((count, 3), np.uint8),
        np.where(grid[:, 0] < 0.4, 15, 3).astype(np.uint8),
        np.ones(count, np.float32),
        np.zeros(count, np.uint16),
    )
    things = np.arange(256) == 15
    samples = samples_of([{}, {(0, 0, 0): mesh, (5, 5, 5): EMPTY_MESH}], 2 * edge, things)
    assert 16 <= len(samples) <= 25 and set(map(tuple, samples.points)) <= set(map(tuple, mesh.vertices.astype(float)))
    np.testing.assert_allclose(samples.normals, np.tile([0.0, 0.0, 1.0], (len(samples), 1)), atol=1e-6)
    assert np.array_equal(samples.of_things, samples.points[:, 0] < 0.4 - 1e-6)
    assert len(samples.upright()) == 0 and len(samples.thinned(7)) == 7
    assert len(samples.beside(samples, body_pose((0.1, 0.0, 0.0)), 2.0)) == len(samples)
    assert len(samples.beside(samples, body_pose((30.0, 0.0, 0.0)), 2.0)) == 0
