# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scene graph as serialised messages, read back by rclpy."""

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from mtl_perception.mapping import SceneEdge, SceneGraphChanges, SceneLayer, SceneNode
from mtl_perception.messages.maps import to_scene_graph_node
from mtl_perception.messages.scene_graph import SceneGraphMessages, changes_message
from mtl_perception_msgs.msg import SceneGraph
from mtl_perception_msgs.msg import SceneGraphChanges as Changes

LAYERS = (SceneLayer("OBJECTS", 2, 2), SceneLayer("PLACES", 3, 0))


def node(number, text="car", yaw=0.0, seconds=5):
    at = np.array([number, 2.0, -3.5])
    times = seconds * 10**9 + 7, seconds * 10**9 + 8
    return SceneNode(number, "OBJECTS", f"O({number})", 8, text, 0.75, at, at, np.ones(3), (255, 0, 51), *times, yaw)


def changes(nodes=(), edges=(), gone=(), gone_edges=(), sequence=4, anew=False):
    return SceneGraphChanges(sequence, sequence - 1, anew, tuple(nodes), gone, tuple(edges), gone_edges, LAYERS)


def read(data, kind):
    message = deserialize_message(data, kind)
    assert len(serialize_message(message)) == len(data)  # no field is missing and none is left over
    return message


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 1, 0), (3, 2, 2, 3), (1, 1, 1, 1)])
def test_changes_are_as_rclpy_writes_them(counts):
    nodes = [node(3 * at, "car" * at, 0.3 * at) for at in range(counts[0])]
    edges = [SceneEdge(at, 2**63 + at, 0.5 * at) for at in range(counts[1])]
    gone, gone_edges = tuple(range(counts[2])), tuple((2**62 + at, at) for at in range(counts[3]))
    message = read(changes_message(changes(nodes, edges, gone, gone_edges, anew=True), 10**9 + 5, "odom"), Changes)
    assert (message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec) == ("odom", 1, 5)
    assert (message.sequence, message.previous, message.starts_anew) == (4, 3, True)
    assert [(layer.name, layer.id, layer.nodes) for layer in message.layers] == [("OBJECTS", 2, 2), ("PLACES", 3, 0)]
    assert list(message.nodes) == [deserialized(each) for each in nodes]
    assert [(edge.source, edge.target, edge.weight) for edge in message.edges] == [
        (edge.source, edge.target, edge.weight) for edge in edges
    ]
    assert tuple(message.removed_nodes) == gone
    assert tuple((edge.source, edge.target) for edge in message.removed_edges) == gone_edges


def deserialized(each):
    """A node as `to_scene_graph_node` makes it, its numbers as short as in a message."""
    message = to_scene_graph_node(each)
    return deserialize_message(serialize_message(message), type(message))


def test_the_whole_graph_is_what_changes_have_made_of_it():
    graph = SceneGraphMessages()
    graph.follow(changes([node(1), node(2), node(5)], [SceneEdge(1, 2, 5.2), SceneEdge(2, 5, 1.0)], anew=True))
    graph.follow(changes([node(2, "bus")], [SceneEdge(1, 2, 3.5)], (5,), ((2, 5),), sequence=9))
    message = read(graph.whole(b"\x00\xffabc", 9, "odom"), SceneGraph)
    assert bytes(message.spark_dsg) == b"\x00\xffabc" and message.sequence == 9
    assert [(n.id, n.name, n.label_name, n.first_seen.nanosec) for n in message.nodes] == [
        (1, "O(1)", "car", 7),
        (2, "O(2)", "bus", 7),
    ]
    assert [(edge.source, edge.target, edge.weight) for edge in message.edges] == [(1, 2, 3.5)]
    assert (message.layers[0].nodes, message.layers[1].name) == (2, "PLACES")
    graph.follow(changes([node(7)], anew=True, sequence=12))
    message = read(graph.whole(b"", 9, "odom"), SceneGraph)
    assert [each.id for each in message.nodes] == [7] and not message.edges


def test_stamps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="outside of what"):
        changes_message(changes([node(1, seconds=2**31)]), 0, "odom")
