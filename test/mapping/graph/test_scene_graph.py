# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects and the scene graph."""

import numpy as np
import pytest
import spark_dsg

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph.object_cells import connected_cells


@pytest.fixture
def two_things(labels, scene):
    return (
        scene.box("floor", (-1, -4, -0.1), (5, 4, 0))
        .box("furniture", (2, -1.5, 0), (2.6, -0.7, 0.8))
        .box("furniture", (2, 0.7, 0), (2.6, 1.5, 0.8))
        .box("pedestrian", (2, -0.2, 0), (2.3, 0.2, 1.7))
    )


def test_connected_cells_are_those_that_touch():
    cells = np.sort(pack(np.array([[0, 0, 0], [1, 1, 1], [2, 1, 0], [5, 5, 5], [5, 6, 4], [-3, 0, 0], [9, 9, 9]])))
    component = connected_cells(cells)
    assert len(np.unique(component)) == 4
    assert sorted(np.unique(component, return_counts=True)[1].tolist()) == [1, 1, 2, 3]


def test_a_long_chain_of_cells_is_one_component():
    line = np.stack([np.arange(500), np.arange(500) % 2, np.zeros(500, int)], axis=1)
    assert len(np.unique(connected_cells(np.sort(pack(line))))) == 1


def test_things_are_objects_and_movable_ones_are_not(two_things, frame, labels):
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(two_things.look((0, 0, 1.2), pitch=0.4), stamp_ns=5))
    objects = mapper.objects()
    assert [item.label for item in objects] == [labels.id_of("furniture")] * 2
    right, left = sorted(objects, key=lambda item: item.centroid[1])
    truncation = 0.2  # a side that is not seen may reach this far
    assert np.abs(right.minimum[:2] - [2, -1.5]).max() < truncation
    assert np.abs(left.maximum[1:] - [1.5, 0.8]).max() < truncation
    assert all(0.5 < item.confidence <= 1 for item in objects)
    assert all(item.first_seen_ns == item.last_seen_ns == 5 for item in objects)


def test_objects_keep_their_ids_when_another_is_found(two_things, frame, labels):
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(two_things.look((0, 1.1, 1.2), pitch=0.4, yaw=0.35), stamp_ns=1))
    (first,) = mapper.objects()
    ids = set()
    for stamp in range(2, 6):
        mapper.integrate(frame(two_things.look((0.05 * stamp, 0, 1.2), pitch=0.4, yaw=-0.1), stamp_ns=stamp))
        ids.add(tuple(item.id for item in mapper.objects()))
        assert np.linalg.norm(mapper.objects()[0].centroid - first.centroid) < 0.3
    assert ids == {(0, 1)}
    known, new = mapper.objects()
    assert known.first_seen_ns == 1 and known.last_seen_ns == 5
    assert new.first_seen_ns == 2


def test_small_things_are_not_reported(two_things, frame, labels):
    mapper = Mapper(MapperConfig(object_min_vertices=10000), labels)
    mapper.integrate(frame(two_things.look((0, 0, 1.2), pitch=0.4)))
    assert mapper.objects() == ()


def test_the_view_of_the_graph(two_things, frame, labels):
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(two_things.look((0, 0, 1.2), pitch=0.4), stamp_ns=5))
    graph = mapper.scene_graph()
    assert [(layer.name, layer.id) for layer in graph.layers[:2]] == [("OBJECTS", 2), ("PLACES", 3)]
    assert graph.layers[0].nodes == 2
    assert (graph.layers[-1].name, graph.layers[-1].nodes) == ("AGENTS", 1)
    node = graph.nodes[0]
    assert node.name == "O(0)" and node.label_name == "furniture" and node.layer == "OBJECTS"
    assert node.id == spark_dsg.NodeSymbol("O", 0).value
    assert node.size == pytest.approx([0.6, 0.8, 0.8], abs=0.25)
    assert node.first_seen_ns == 5


def test_spark_dsg_reads_the_bytes(two_things, frame, labels):
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(two_things.look((0, 0, 1.2), pitch=0.4), stamp_ns=5))
    graph = spark_dsg.DynamicSceneGraph.from_binary(mapper.scene_graph_bytes())
    assert not graph.has_mesh()
    layer = graph.get_layer(spark_dsg.DsgLayers.OBJECTS)
    assert layer.id == 2 and layer.num_nodes() == 2
    attributes = graph.get_node(spark_dsg.NodeSymbol("O", 1)).attributes
    item = mapper.objects()[1]
    assert attributes.name == "furniture 1"
    assert attributes.semantic_label == item.label
    assert np.allclose(attributes.position, item.centroid)
    assert np.allclose(attributes.bounding_box.dimensions, item.maximum - item.minimum)
    assert attributes.bounding_box.contains(item.centroid)
    assert attributes.metadata.get()["first_seen_ns"] == 5
    assert graph.get_labelspace(2, 0).labels_to_names[item.label] == "furniture"


def test_the_graph_can_carry_the_mesh_and_objects_name_their_vertices(two_things, frame, labels):
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(two_things.look((0, 0, 1.2), pitch=0.4)))
    graph = spark_dsg.DynamicSceneGraph.from_binary(mapper.scene_graph_bytes(include_mesh=True))
    mesh = mapper.mesh()
    assert np.allclose(graph.mesh.get_vertices()[:3].T, mesh.vertices)
    assert graph.mesh.num_faces() == len(mesh.triangles)
    assert graph.mesh.get_labels() == mesh.labels.tolist()
    attributes = graph.get_node(spark_dsg.NodeSymbol("O", 0)).attributes
    assert len(attributes.mesh_connections) > 40
    assert {mesh.labels[index] for index in attributes.mesh_connections} == {labels.id_of("furniture")}
