# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layer of places as nodes and edges, made when they are asked for."""

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.graph.ground_layers import PLACE_SYMBOL, ROOM_SYMBOL
from mtl_perception.mapping.graph.kept_graph import KeptGraph
from mtl_perception.mapping.graph.kept_ground import KeptGround
from mtl_perception.mapping.graph.place_layer import PlaceLayer
from mtl_perception.mapping.graph.scene_graph import are_same


@pytest.fixture
def two_rooms(new_plan):
    """Two rooms with a door between them."""
    plan = new_plan((16.0, 8.0), MapperConfig()).draw("floor", 0, 0, 16, 8)
    return plan.draw("wall", 8, 0, 8.2, 3.5).draw("wall", 8, 4.5, 8.2, 8).update()


def kept(plan):
    return KeptGround(plan.config, plan.grid.class_labels, plan.squares, plan.graph, plan.rooms, plan.segments)


def test_all_of_it_is_the_places_with_their_ways_and_regions(two_rooms):
    ground = kept(two_rooms)
    ground.update()
    layer = PlaceLayer(ground, two_rooms.labels)
    places, nodes = two_rooms.graph.places(), layer.nodes()
    assert layer.count == len(places) == len(nodes) > 50
    assert [node.id - PLACE_SYMBOL for node in nodes] == places.ids.tolist()
    assert np.array_equal([node.position for node in nodes], places.positions)
    assert [node.clearance for node in nodes] == places.clearance.tolist()
    edges = layer.edges()
    assert [edge.ends for edge in edges] == sorted(edge.ends for edge in edges)
    ways = {edge.ends: edge.weight for edge in edges if edge.source >= PLACE_SYMBOL}
    of_places = (PLACE_SYMBOL + places.ids[places.edges]).tolist()
    assert ways == dict(zip(map(tuple, of_places), places.lengths.tolist(), strict=True))
    rooms = {edge.target: edge.source - ROOM_SYMBOL for edge in edges if edge.source < PLACE_SYMBOL}
    assert rooms.keys() == {node.id for node in nodes} and sorted(set(rooms.values())) == sorted(ground.regions)
    for region in ground.regions.values():
        assert [PLACE_SYMBOL + place for place in region.places.tolist()] == [
            node for node in sorted(rooms) if rooms[node] == region.id
        ]


def test_some_of_it_is_part_of_all(two_rooms):
    ground = kept(two_rooms)
    ground.update()
    layer = PlaceLayer(ground, two_rooms.labels)
    nodes, edges = layer.nodes(), layer.edges()
    some = layer.nodes([node.id for node in nodes[3:40:7]])
    assert all(are_same(one, other) for one, other in zip(some, nodes[3:40:7], strict=True))
    assert layer.edges([edge.ends for edge in edges[::5]]) == edges[::5]
    assert layer.nodes([]) == layer.edges([]) == []


def test_a_graph_has_what_is_lent_to_it(two_rooms):
    ground, graph = kept(two_rooms), KeptGraph()
    ground.update()
    layer = PlaceLayer(ground, two_rooms.labels)
    follower = graph.follow()
    graph.clear(layer)
    graph.commit()
    first = follower.changes()
    assert first.starts_anew and [node.id for node in first.nodes] == [node.id for node in layer.nodes()]
    assert first.edges == tuple(layer.edges()) and first.layers[1].nodes == layer.count
    number, edge = layer.nodes()[5].id, layer.edges()[9]
    graph.note([number], [PLACE_SYMBOL + 10**6], [edge.ends], [(1, PLACE_SYMBOL + 10**6)])
    graph.commit()
    changes = follower.changes()
    assert [node.id for node in changes.nodes] == [number] and changes.removed_nodes == (PLACE_SYMBOL + 10**6,)
    assert changes.edges == (edge,) and changes.removed_edges == ((1, PLACE_SYMBOL + 10**6),)
    assert changes.layers == graph.layers == graph.view().layers
    graph.clear()
    assert graph.view().nodes == graph.view().edges == () and follower.changes().starts_anew
