# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The places, rooms and buildings of a scene graph: as plain data, and as spark-dsg and Hydra's tools read them."""

import numpy as np
import pytest
import spark_dsg

from mtl_perception.mapping import Mapper, MapperConfig


@pytest.fixture(scope="module")
def mapper(new_scene, frame, labels):
    """A map of two rooms with a door between them; a cupboard stands at the wall between, on the right side of it."""
    scene = new_scene().box("floor", (0, 0, -0.1), (8.1, 4, 0)).box("furniture", (4.1, 3.0, 0), (4.5, 3.8, 1.0))
    for low, high in (((-0.1, -0.1), (8.2, 0)), ((-0.1, 4), (8.2, 4.1)), ((-0.1, 0), (0, 4)), ((8.1, 0), (8.2, 4))):
        scene.box("wall", (*low, 0), (*high, 2.5))
    scene.box("wall", (4, 0, 0), (4.1, 1.6, 2.5)).box("wall", (4, 2.4, 0), (4.1, 4, 2.5))
    path = [(1, 2, 0.5), (1, 2, -0.5), (3, 2, 0.0), (6, 2, 2.6), (6, 2, -2.6), (5, 1, 1.2)]
    mapper = Mapper(MapperConfig(), labels)
    for number, (x, y, yaw) in enumerate(path):
        mapper.fuse(frame(scene.look((x, y, 1.2), yaw, 0.35), stamp_ns=number * 10**9, base=(x, y, 0)))
    return mapper


def by_layer(graph):
    return {layer.name: [node for node in graph.nodes if node.layer == layer.name] for layer in graph.layers}


def test_the_layers_have_hydras_names_and_ids_and_symbols(mapper):
    graph = mapper.scene_graph()
    nodes = by_layer(graph)
    assert [(layer.name, layer.id) for layer in graph.layers] == [
        ("OBJECTS", 2),
        ("PLACES", 3),
        ("ROOMS", 4),
        ("BUILDINGS", 5),
        ("AGENTS", 2),
    ]
    assert [len(nodes[layer.name]) for layer in graph.layers] == [layer.nodes for layer in graph.layers]
    for letter, name in zip("OpRBa", nodes, strict=True):
        for node in nodes[name]:
            number = int(node.name[2:-1])
            assert node.name == f"{letter}({number})" and node.id == spark_dsg.NodeSymbol(letter, number).value
    assert [node.label_name for node in nodes["ROOMS"]] == ["room", "room"]
    assert [node.label_name for node in nodes["BUILDINGS"]] == ["building"]
    assert {node.label_name for node in nodes["PLACES"]} == {"floor"}
    room = min(nodes["ROOMS"], key=lambda node: node.centroid[0])
    assert room.position[:2] == pytest.approx([2, 2], abs=0.5) and room.size[:2] == pytest.approx([4, 4], abs=1.0)


def test_every_node_has_a_parent_and_edges_join_neighbours(mapper):
    graph = mapper.scene_graph()
    nodes = {node.id: node for node in graph.nodes}
    order = {layer.name: layer.id for layer in graph.layers}
    parents = {}
    for edge in graph.edges:
        source, target = nodes[edge.source], nodes[edge.target]
        assert order[source.layer] - order[target.layer] in (0, 1)
        length = np.linalg.norm(source.centroid - target.centroid)
        assert edge.weight == (pytest.approx(length) if source.layer == target.layer else 1.0)
        if source.layer != target.layer:
            assert parents.setdefault(target.id, source.id) == source.id
    below = [node for node in graph.nodes if node.layer not in ("BUILDINGS", "AGENTS")]
    assert np.mean([node.id in parents for node in below]) > 0.95
    rooms = [edge for edge in graph.edges if nodes[edge.source].layer == nodes[edge.target].layer == "ROOMS"]
    assert len(rooms) == 1


def test_a_place_of_an_object_is_in_its_room(mapper):
    graph = mapper.scene_graph()
    nodes = {node.id: node for node in graph.nodes}
    (cupboard,) = by_layer(graph)["OBJECTS"]
    parent = {edge.target: edge.source for edge in graph.edges if nodes[edge.source].layer != nodes[edge.target].layer}
    place = nodes[parent[cupboard.id]]
    room = nodes[parent[place.id]]
    assert place.position[0] > 4.1 and room.centroid[0] > 4.1
    assert nodes[parent[room.id]].layer == "BUILDINGS"


def test_spark_dsg_loads_the_file_with_all_layers(mapper, tmp_path, labels):
    graph = spark_dsg.DynamicSceneGraph.load(str(mapper.save(tmp_path / "map") / "scene_graph.sparkdsg"))
    view = mapper.scene_graph()
    assert graph.num_nodes() == len(view.nodes) and graph.num_edges() == len(view.edges)
    for layer in view.layers[:-1]:  # agents are in partitions of their own, see test_agents
        assert graph.get_layer(layer.name).id == layer.id
        assert graph.get_layer(layer.name).num_nodes() == layer.nodes > 0
    kinds = {
        "PLACES": spark_dsg.PlaceNodeAttributes,
        "ROOMS": spark_dsg.RoomNodeAttributes,
        "BUILDINGS": spark_dsg.SemanticNodeAttributes,
        "AGENTS": spark_dsg.AgentNodeAttributes,
    }
    for node in view.nodes:
        attributes = graph.get_node(node.id).attributes
        assert np.allclose(attributes.position, node.centroid)
        assert type(attributes) is kinds.get(node.layer, spark_dsg.ObjectNodeAttributes)
    places = mapper.ground().places
    clearance = {node.id.category_id: node.attributes.distance for node in graph.get_layer("PLACES").nodes}
    assert clearance == pytest.approx(dict(zip(places.ids.tolist(), places.clearance.tolist(), strict=True)))
    room = graph.get_node(spark_dsg.NodeSymbol("R", mapper.ground().regions[0].id)).attributes
    assert room.name.startswith("room ") and room.metadata.get()["kind"] == "room"
    assert room.bounding_box.contains(room.position)
    for edge in view.edges:
        source, target = graph.get_node(edge.source), graph.get_node(edge.target)
        assert graph.get_edge(edge.source, edge.target).info.weight == pytest.approx(edge.weight)
        if source.layer != target.layer:
            assert target.has_parent() and target.get_parent() == edge.source
    assert graph.get_labelspace(3, 0).labels_to_names[labels.id_of("floor")] == "floor"


def test_a_loaded_map_has_the_same_graph(mapper, tmp_path, labels):
    other = Mapper(MapperConfig(), labels)
    other.load(mapper.save(tmp_path / "map"))
    assert other.scene_graph_bytes() == mapper.scene_graph_bytes()
    assert other.stats == mapper.stats
