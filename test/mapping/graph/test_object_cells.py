# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Summaries of vertices per class and cell, and surfaces made of them."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from mtl_perception.mapping.fusion.blocks import pack, unpack
from mtl_perception.mapping.graph import object_cells
from mtl_perception.mapping.graph.object_cells import (
    SUMMARY,
    connected_cells,
    joined,
    neighbours,
    summarised,
    surfaces_of,
)
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshBlock

COUNTABLE = np.arange(256) == 3
EDGE = 0.2


@pytest.fixture
def blocks():
    """Blocks of 0.4 m with vertices of three classes anywhere in them, one of them not known."""
    rng = np.random.default_rng(0)
    found = {}
    for key in [(0, 0, 0), (1, 0, 0), (-1, 2, 0), (5, 5, 5), (7, 0, 1)]:
        count = 60
        found[key] = MeshBlock(
            ((np.array(key) + rng.random((count, 3))) * 0.4).astype(np.float32),
            EMPTY_MESH.triangles,
            rng.integers(0, 256, (count, 3)).astype(np.uint8),
            rng.choice(np.array([1, 3, 255], np.uint8), count),
            rng.random(count).astype(np.float32),
            np.zeros(count, np.uint16),
        )
    found[9, 9, 9] = MeshBlock(*(field[:0] for field in vars(found[0, 0, 0]).values()))
    return found


def test_a_summary_tells_of_all_vertices_of_a_class_in_a_cell(blocks):
    found = summarised(blocks, COUNTABLE, EDGE)
    assert set(found) == set(pack(np.array(list(blocks)[:-1])).tolist())
    for key, block in list(blocks.items())[:-1]:
        entries = joined([found[int(pack(np.array(key)))]])
        cells = pack(np.floor(block.vertices.astype(np.float64) / EDGE).astype(np.int64))
        assert entries["cell"].tolist() == np.unique(cells[block.labels == 3]).tolist()
        for entry in entries:
            here = cells == entry["cell"]
            mine = here & (block.labels == 3)
            assert entry["kind"] == 3 and entry["vertices"] == mine.sum()
            assert entry["position"] == pytest.approx(block.vertices[mine].sum(axis=0))
            assert entry["colour"].tolist() == block.colours[mine].sum(axis=0, dtype=int).tolist()
            assert entry["confidence"] == pytest.approx(block.confidence[mine].sum())
            assert entry["mixed"] == pytest.approx(block.confidence[here & (block.labels != 255)].sum())
            assert np.array_equal(entry["minimum"], block.vertices[mine].min(axis=0))
            assert np.array_equal(entry["maximum"], block.vertices[mine].max(axis=0))


def test_blocks_are_summarised_alike_together_and_apart(blocks, monkeypatch):
    together = summarised(blocks, COUNTABLE, EDGE)
    assert {k: v for key in blocks for k, v in summarised({key: blocks[key]}, COUNTABLE, EDGE).items()} == together
    monkeypatch.setattr(object_cells, "_AT_ONCE", 2)
    assert summarised(blocks, COUNTABLE, EDGE) == together


def test_a_surface_has_the_sums_of_its_vertices(blocks):
    found = summarised(blocks, COUNTABLE, EDGE)
    keys = sorted(found)
    of = np.repeat(keys, [len(found[key]) // SUMMARY.itemsize for key in keys])
    surfaces = surfaces_of(joined([found[key] for key in keys]), of)
    near = next(surface for surface in surfaces if pack(np.zeros(3, int)) in surface.cells)
    chosen = [block.labels == 3 for block in (blocks[0, 0, 0], blocks[1, 0, 0])]
    points = np.concatenate([blocks[0, 0, 0].vertices[chosen[0]], blocks[1, 0, 0].vertices[chosen[1]]])
    assert near.blocks.tolist() == pack(np.array([[0, 0, 0], [1, 0, 0]])).tolist()
    assert near.vertices == len(points)
    cells, cell = np.unique(np.floor(points.astype(float) / EDGE), axis=0, return_inverse=True)
    middles = np.array([points[cell.ravel() == number].astype(float).mean(axis=0) for number in range(len(cells))])
    beside = np.array([(np.abs(cells - own).sum(axis=1) == 1).sum() for own in cells])
    weights = np.sqrt(np.bincount(cell.ravel())) / (1 + beside)
    assert beside.any() and near.centroid == pytest.approx(np.average(middles, axis=0, weights=weights))
    assert np.array_equal(near.minimum, points.min(axis=0)) and np.array_equal(near.maximum, points.max(axis=0))
    confidence = [
        block.confidence[labelled].sum()
        for labelled, block in zip(chosen, (blocks[0, 0, 0], blocks[1, 0, 0]), strict=True)
    ]
    assert near.confidence == pytest.approx(sum(confidence) / len(points))
    assert sum(surface.vertices for surface in surfaces) == sum((block.labels == 3).sum() for block in blocks.values())
    assert [int(surface.cells[0]) for surface in surfaces] == sorted(int(surface.cells[0]) for surface in surfaces)


def test_neighbours_are_the_26_around():
    around = neighbours(pack(np.array([[5, -3, 0]])))
    assert len(around) == 26
    assert set(around.tolist()) == {
        int(pack(np.array([5 + x, -3 + y, z]))) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)
    } - {int(pack(np.array([5, -3, 0])))}


def test_the_centroid_of_a_pole_is_drawn_down_less_to_where_it_is_meshed_finely():
    """Its lower half is meshed all around and straddles cells, of its upper half there is a ribbon."""
    rng = np.random.default_rng(0)
    below = np.concatenate([rng.uniform(-0.1, 0.1, (2000, 2)), rng.uniform(0.0, 3.0, (2000, 1))], axis=1)
    above = np.concatenate([rng.uniform(0.02, 0.04, (60, 2)), np.linspace(3.0, 6.0, 60)[:, None]], axis=1)
    vertices = np.concatenate([below, above]).astype(np.float32)
    count = len(vertices)
    colours, labels, instances = np.zeros((count, 3), np.uint8), np.full(count, 3, np.uint8), np.zeros(count, np.uint16)
    pole = MeshBlock(vertices, EMPTY_MESH.triangles, colours, labels, np.ones(count, np.float32), instances)
    entries = joined(list(summarised({(0, 0, 0): pole}, COUNTABLE, EDGE).values()))
    (found,) = surfaces_of(entries, np.zeros(len(entries), np.int64))
    assert vertices[:, 2].mean() < 1.6 and 1.8 < found.centroid[2] < 3.1 and np.abs(found.centroid[:2]).max() < 0.05


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_cells_are_connected_through_others_within_reach(reach):
    rng = np.random.default_rng(reach)
    points = np.unique(rng.integers(0, 13 * reach, (150, 3)), axis=0)
    cells = np.sort(pack(points))
    near = np.abs(unpack(cells)[:, None] - unpack(cells)).max(axis=2) <= reach
    _, expected = connected_components(near)
    found = connected_cells(cells, reach)
    assert 5 < len(np.unique(expected)) < len(cells) - 5
    first = np.array([np.argmax(expected == number) for number in expected])
    assert np.array_equal(found, first)
