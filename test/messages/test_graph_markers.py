# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Markers of a scene graph: only what looks different is sent, and a viewer that gets it shows the graph as it is."""

from dataclasses import replace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.mapping import SceneEdge, SceneGraphChanges, SceneNode
from mtl_perception.mapping.graph.kept_graph import KeptGraph
from mtl_perception.messages.graph_markers import SceneGraphMarkers


def place(number, x, y, colour=(255, 0, 51), seen=7):
    at = np.array([x, y, 0.0])
    return SceneNode(number, "PLACES", f"p({number})", 3, "floor", 1.0, at, at, np.zeros(3), colour, 5, seen)


def thing(number, x, y, label="car", seen=7):
    at = np.array([x, y, 0.5])
    return SceneNode(number, "OBJECTS", f"O({number})", 8, label, 0.8, at, at, np.ones(3), (1, 2, 3), 5, seen)


def changes(nodes=(), edges=(), gone=(), gone_edges=(), anew=False):
    return SceneGraphChanges(2, 1, anew, tuple(nodes), tuple(gone), tuple(edges), tuple(gone_edges), ())


class Viewer:
    """What RViz shows."""

    def __init__(self):
        self.markers, self.shown = SceneGraphMarkers(), {}

    def update(self, changed):
        """Show the changes; return the markers that were sent."""
        data = self.markers.update(changed, 10**9 + 9, "odom")
        if data is None:
            return []
        message = deserialize_message(data, MarkerArray)
        assert len(serialize_message(message)) == len(data)  # no field is missing and none is left over
        for marker in message.markers:
            assert (marker.header.frame_id, marker.header.stamp.nanosec) == ("odom", 9)
            if marker.action == Marker.DELETEALL:
                self.shown.clear()
            elif marker.action == Marker.DELETE:
                del self.shown[marker.ns, marker.id]
            else:
                self.shown[marker.ns, marker.id] = marker
        return list(message.markers)

    def points(self, what):
        """All points of balls or edges."""
        found = [marker for (ns, _), marker in self.shown.items() if ns.endswith(what)]
        return sorted((p.x, p.y, p.z) for marker in found for p in marker.points)


def test_nodes_are_boxes_with_names_or_balls_and_edges_are_lines():
    viewer = Viewer()
    nodes = [thing(1, 1, 2), thing(2, 4, 5), place(3, 0, 1), place(4, 2, 1, (0, 255, 0))]
    first, *sent = viewer.update(changes(nodes, [SceneEdge(1, 2, 5.2), SceneEdge(3, 4, 2.0)], anew=True))
    assert first.action == Marker.DELETEALL
    assert [(marker.ns, marker.type) for marker in sent] == [
        *(("OBJECTS boxes", Marker.CUBE), ("OBJECTS names", Marker.TEXT_VIEW_FACING)) * 2,
        ("PLACES balls", Marker.SPHERE_LIST),
        ("OBJECTS edges", Marker.LINE_LIST),
        ("PLACES edges", Marker.LINE_LIST),
    ]
    box, name, _, _, balls, line, lines = sent
    assert (box.pose.position.x, box.scale.x, name.text) == (1, 1, "car O(1)") and name.pose.position.z > 1.0
    assert [(p.x, p.y, p.z) for p in balls.points] == [(0, 1, 0), (2, 1, 0)]
    assert [(round(c.r, 3), round(c.g, 3), round(c.b, 3)) for c in balls.colors] == [(1, 0, 0.2), (0, 1, 0)]
    assert [[(p.x, p.y) for p in each.points] for each in (line, lines)] == [[(1, 2), (4, 5)], [(0, 1), (2, 1)]]


def test_only_what_looks_different_is_sent():
    viewer = Viewer()
    nodes = [thing(1, 1, 2), *(place(10 + at, 3.0 * at, 1) for at in range(30))]
    edges = [SceneEdge(10 + at, 11 + at, 3.0) for at in range(29)]
    assert len(viewer.update(changes(nodes, edges, anew=True))) == 1 + 2 + 18 + 17
    assert viewer.update(changes([replace(nodes[0], last_seen_ns=99), place(12, 6, 1, seen=99)])) == []
    assert [marker.type for marker in viewer.update(changes([thing(1, 1, 2, "bus")]))] == [1, 9]
    assert [marker.ns for marker in viewer.update(changes([place(12, 6, 1, (0, 0, 0))]))] == ["PLACES balls"]
    (sent,) = viewer.update(changes(edges=[SceneEdge(11, 13, 6.0)]))
    assert (sent.ns, len(sent.points)) == ("PLACES edges", 2 * 3)
    box, name = viewer.update(changes(gone=[1]))
    assert (box.action, name.action, {box.ns, name.ns}) == (2, 2, {"OBJECTS boxes", "OBJECTS names"})
    assert viewer.update(changes(gone_edges=[(38, 39)], gone=[39]))


@pytest.mark.parametrize("seed", range(3))
def test_after_any_changes_a_viewer_shows_the_graph(seed):
    rng = np.random.default_rng(seed)
    graph, viewer = KeptGraph(), Viewer()
    follower, nodes = graph.follow(), {}
    for _ in range(40):
        for number in rng.integers(0, 40, 6).tolist():
            if rng.random() < 0.35 and number in nodes:
                for owner in [number, *(other for other in nodes if number in nodes[other][1])]:
                    nodes[owner][1].discard(number)
                    graph.link(owner, [SceneEdge(owner, to, 1.0) for to in sorted(nodes[owner][1])])
                graph.drop([number])
                del nodes[number]
            else:
                x, y = rng.uniform(-15, 15, 2).round(1).tolist()
                made = (thing if number % 4 == 0 else place)(number, x, y)
                nodes[number] = made, nodes.get(number, (None, set()))[1]
                graph.put([made])
        for owner in rng.choice(sorted(nodes), 3).tolist():
            nodes[owner][1].update({int(to) for to in rng.choice(sorted(nodes), 2)} - {owner})
            graph.link(owner, [SceneEdge(owner, to, 1.0) for to in sorted(nodes[owner][1])])
        graph.commit()
        if rng.random() < 0.05:
            follower.start_anew()
        viewer.update(follower.changes())
        balls = [tuple(made.position.tolist()) for made, _ in nodes.values() if made.layer == "PLACES"]
        assert viewer.points("balls") == sorted(balls)
        ends = [nodes[end][0] for owner, (_, others) in nodes.items() for to in others for end in (owner, to)]
        assert viewer.points("edges") == sorted(tuple(made.position.tolist()) for made in ends)
        boxes = {marker.pose.position.x for (ns, _), marker in viewer.shown.items() if ns == "OBJECTS boxes"}
        assert boxes == {made.position[0] for made, _ in nodes.values() if made.layer == "OBJECTS"}
