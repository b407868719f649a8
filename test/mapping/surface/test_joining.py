# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One mesh of many blocks, against merging all vertices at once."""

import numpy as np

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.surface.joining import joined
from mtl_perception.mapping.surface.meshing import EMPTY_MESH


def test_parts_are_joined_as_if_they_were_one(walk, labels):
    mapper = Mapper(MapperConfig(), labels)
    for frame in walk:
        mapper.integrate(frame)
    blocks = mapper.meshed_anew()
    whole = mapper.mesh()
    parts = {}
    for key, block in blocks.items():
        parts.setdefault(tuple(coordinate // 4 for coordinate in key), {})[key] = block
    in_pieces = joined((parts[part] for part in sorted(parts)), 0.05, 32)
    at_once = joined([{}, blocks, {}], 0.05, 32)
    every = np.concatenate([blocks[key].vertices for key in sorted(blocks)])
    distinct = np.unique(every, axis=0)
    assert len(in_pieces.vertices) == len(at_once.vertices) == len(whole.vertices) == len(distinct) < len(every)
    assert np.array_equal(np.unique(whole.vertices, axis=0), distinct)
    assert corners(in_pieces) == corners(at_once) == corners(whole)
    assert len(parts) > 10
    for field in ("vertices", "triangles", "colours", "labels", "confidence", "instances"):
        assert np.array_equal(getattr(in_pieces, field), getattr(whole, field)), field
        assert getattr(whole, field).dtype == getattr(EMPTY_MESH, field).dtype, field


def corners(mesh):
    """Each triangle with all that its vertices have, in an order that does not depend on theirs."""
    attributes = np.concatenate(
        [mesh.vertices, mesh.colours, mesh.labels[:, None], mesh.confidence[:, None]], axis=1, dtype=np.float64
    )
    return sorted(map(bytes, attributes[mesh.triangles].reshape(len(mesh.triangles), -1)))


def test_nothing_joined_is_an_empty_mesh():
    assert joined([], 0.05, 32) is EMPTY_MESH
    assert len(joined([{}, {}], 0.05, 32).vertices) == 0
