# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A graph that tells its followers what has changed, each since that one was told before."""

import gc

import numpy as np
import pytest

from mtl_perception.mapping import SceneEdge, SceneNode
from mtl_perception.mapping.graph.kept_graph import KeptGraph

LAYERS = ("OBJECTS", "PLACES", "ROOMS")


def node(number, seen=0):
    at = np.array([number, seen, 0.0])
    return SceneNode(number, LAYERS[number % 3], f"O({number})", 1, "sign", 1.0, at, at, np.ones(3), (1, 2, 3), 0, seen)


def applied(state, changes):
    """A state, nodes and edges, after changes."""
    nodes, edges = ({}, {}) if changes.starts_anew else state
    nodes = {number: each for number, each in nodes.items() if number not in changes.removed_nodes}
    edges = {ends: edge for ends, edge in edges.items() if ends not in changes.removed_edges}
    nodes |= {each.id: each for each in changes.nodes}
    edges |= {edge.ends: edge for edge in changes.edges}
    assert all(end in nodes for ends in edges for end in ends)
    return nodes, edges


@pytest.mark.parametrize("seed", range(5))
def test_followers_of_any_pace_have_the_graph(seed):
    rng = np.random.default_rng(seed)
    graph = KeptGraph()
    paces = (1, 2, 7)
    followers, states, sequences = [graph.follow() for _ in paces], [None] * 3, [0] * 3
    edges = {}
    for step in range(1, 60):
        before = graph.sequence
        for number in rng.integers(0, 30, rng.integers(0, 5)).tolist():
            if number in graph and rng.random() < 0.4:
                edges.pop(number, None)
                for owner in edges:
                    edges[owner].pop(number, None)
                    graph.link(owner, [SceneEdge(owner, to, at) for to, at in edges[owner].items()])
                graph.drop([number])
            else:
                graph.put([node(number, step)])
        known = sorted(number for number in range(30) if number in graph)
        for owner in rng.choice(known, min(2, len(known)), replace=False).tolist():
            edges[owner] = {int(to): float(rng.integers(1, 3)) for to in rng.choice(known, 2) if to != owner}
            graph.link(owner, [SceneEdge(owner, to, at) for to, at in edges[owner].items()])
        if step == 40:
            graph.clear()
            edges = {}
        graph.commit()
        assert graph.sequence - before <= 1
        view = graph.view()
        for at, pace in enumerate(paces):
            if step % pace == 0:
                changes = followers[at].changes()
                assert changes.previous == sequences[at] and changes.sequence == graph.sequence == view.sequence
                assert not changes.starts_anew or states[at] is None or step >= 40 or pace > 1
                states[at], sequences[at] = applied(states[at], changes), changes.sequence
                assert states[at] == ({each.id: each for each in view.nodes}, {edge.ends: edge for edge in view.edges})
                assert changes.layers == view.layers
        assert [layer.nodes for layer in view.layers[:3]] == [
            sum(each.layer == name for each in view.nodes) for name in LAYERS
        ]


def test_what_is_the_same_is_no_change():
    graph = KeptGraph()
    follower = graph.follow()
    graph.put([node(1), node(2)])
    graph.link(1, [SceneEdge(1, 2, 3.0)])
    graph.commit()
    assert follower.changes().starts_anew and graph.sequence == 1
    graph.put([node(1)])
    graph.link(1, [SceneEdge(1, 2, 3.0)])
    graph.commit()
    changes = follower.changes()
    assert len(changes) == 0 and changes.sequence == changes.previous == graph.sequence == 1
    graph.link(1, [SceneEdge(1, 2, 4.0)])
    graph.commit()
    assert [edge.weight for edge in follower.changes().edges] == [4.0] and graph.sequence == 2


def test_a_follower_who_has_missed_more_than_there_is_starts_anew():
    graph = KeptGraph()
    follower = graph.follow()
    graph.put([node(0)])
    graph.commit()
    follower.changes()
    for number in range(1, 50):
        graph.put([node(number)])
        graph.drop([number - 1])
        graph.commit()
    changes = follower.changes()
    assert changes.starts_anew and [each.id for each in changes.nodes] == [49] and not changes.removed_nodes


def test_followers_are_forgotten_with_their_owners():
    graph = KeptGraph()
    follower = graph.follow()
    assert len(graph._followers) == 1
    del follower
    gc.collect()
    assert len(graph._followers) == 0
