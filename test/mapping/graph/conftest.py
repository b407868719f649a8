# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A mesh of bricks that a registry of objects follows."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.fusion.measured import MeasuredBlocks
from mtl_perception.mapping.graph.objects import ObjectRegistry
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshBlock

CONFIG = MapperConfig(object_min_vertices=12)  # cells of 0.2 m, blocks of 0.4 m
SECOND = 10**9


class Bricks:
    """A mesh of cells, each with some vertices of one class, that a registry is kept up to date with."""

    def __init__(self, labels, config=CONFIG):
        self.labels, self.config = labels, config
        self.registry = ObjectRegistry(config, labels)
        self.measured = MeasuredBlocks()
        self.cells = {}  # (label id, cell) -> number of vertices
        self.stamp_ns = 0
        self._meshes = {}

    def put(self, label, cells, vertices=6):
        for cell in cells:
            self.cells[self.labels.id_of(label), tuple(cell)] = vertices
        return self

    def take(self, label, cells):
        for cell in cells:
            del self.cells[self.labels.id_of(label), tuple(cell)]
        return self

    def blocks(self):
        """Blocks of 2x2x2 cells."""
        content = {}
        for (label, cell), count in sorted(self.cells.items()):
            for number in range(count):
                inside = np.array([0.01 * number, 0.05, 0.13 - 0.01 * number])
                vertex = (0.2 * np.array(cell) + 0.02 + inside, label, 0.5 + 0.01 * number)
                content.setdefault(tuple(value // 2 for value in cell), []).append(vertex)
        return {key: mesh_of(vertices) for key, vertices in content.items()}

    def changes(self):
        blocks = self.blocks()
        changed = {key: mesh for key, mesh in blocks.items() if not same(mesh, self._meshes.get(key, EMPTY_MESH))}
        removed = tuple(key for key in self._meshes if key not in blocks)
        self._meshes = blocks
        return changed, removed

    def objects(self, after_s=1.0):
        """The objects, all that has changed being measured now."""
        self.stamp_ns += int(after_s * SECOND)
        changed, removed = self.changes()
        if changed:
            keys = np.array(sorted(changed), np.int32)
            self.measured.note(keys, self.stamp_ns)
            self.registry.note_measured(keys)
        if removed:
            self.measured.forget(np.array(removed, np.int32))
        self.registry.note(changed, removed)
        return self.registry.current(self.measured, self.stamp_ns)

    def ids(self, after_s=1.0):
        return [item.id for item in self.objects(after_s)]


def mesh_of(vertices):
    points, labels, confidence = zip(*vertices, strict=True)
    points = np.array(points, np.float32)
    colours = (points * 1000).astype(np.int64).astype(np.uint8)
    return MeshBlock(
        points,
        EMPTY_MESH.triangles,
        colours,
        np.array(labels, np.uint8),
        np.array(confidence, np.float32),
        np.zeros(len(points), np.uint16),
    )


def same(one, other):
    return np.array_equal(one.vertices, other.vertices) and np.array_equal(one.labels, other.labels)


@pytest.fixture
def bricks(labels):
    """No bricks yet; `type(bricks)(labels)` makes more of these."""
    return Bricks(labels)
