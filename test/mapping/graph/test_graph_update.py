# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A scene graph that is kept and changed equals one that is made of the whole map at once, whatever happens to it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mtl_perception.core import Detection
from mtl_perception.mapping import Mapper, MapperConfig, SceneEdge
from mtl_perception.mapping.graph.agents import keyframe_nodes, track_nodes
from mtl_perception.mapping.graph.ground_layers import area_nodes, place_nodes, region_nodes
from mtl_perception.mapping.graph.scene_graph import are_same, object_nodes
from mtl_perception.mapping.graph.spark_graph import SparkGraph
from test.mapping.conftest import GraphCopy, body_pose

CONFIG = MapperConfig(max_pose_jump=1000.0, object_min_vertices=12, min_weight=0.4, max_weight=4.0)


def from_scratch(mapper):
    """All nodes and edges of a map's graph, by the most simple-minded way to find them."""
    ground, objects = mapper.ground(), mapper.objects()
    places, trajectory = ground.places, mapper.trajectory()
    nodes = [
        *(of_places := place_nodes(places, ground.place_region, mapper.labels)),
        *(of_regions := region_nodes(ground.regions)),
        *(of_areas := area_nodes(ground.areas)),
        *(of_objects := object_nodes(objects, mapper.labels)),
        *(keyframes := keyframe_nodes(0, 0, trajectory.stamps_ns, trajectory.poses)),
        *track_nodes(mapper.tracks(), mapper.labels),
    ]
    by_id = {node.id: node for node in nodes}
    within = [(of_places[one], of_places[other]) for one, other in places.edges.tolist()]
    within += list(pairwise(keyframes))
    region_of = dict(zip([region.id for region in ground.regions], of_regions, strict=True))
    place_of = dict(zip(places.ids.tolist(), of_places, strict=True))
    between = []
    for region in ground.regions:
        within += [(region_of[region.id], region_of[other]) for other in region.neighbours if other > region.id]
        between += [(region_of[region.id], place_of[place]) for place in region.places.tolist()]
    for area, node in zip(ground.areas, of_areas, strict=True):
        between += [(node, region_of[region]) for region in area.regions]
    for item, node in zip(objects, of_objects, strict=True):
        own = mapper._scene.ground.regions_at(item.centroid[None])[0]
        apart = np.hypot(*(places.positions[:, :2] - item.centroid[:2]).T)
        nearest = [at for at in np.lexsort((places.ids, apart))[:16].tolist() if apart[at] < 5.0]
        preferred = [at for at in nearest if own >= 0 and ground.place_region[at] == own] + nearest
        between += [(of_places[at], node) for at in preferred[:1]]
    lengths = [pytest.approx(np.linalg.norm(one.centroid - other.centroid)) for one, other in within]
    edges = [SceneEdge(one.id, other.id, length) for (one, other), length in zip(within, lengths, strict=True)]
    edges += [SceneEdge(parent.id, child.id, 1.0) for parent, child in between]
    return by_id, {edge.ends: edge for edge in edges}


def check(nodes, edges, mapper):
    expected_nodes, expected_edges = from_scratch(mapper)
    assert nodes.keys() == expected_nodes.keys()
    assert all(are_same(nodes[number], node) for number, node in expected_nodes.items())
    assert edges == expected_edges


@pytest.fixture(scope="module")
def flat(new_scene):
    """Two rooms with a door between them, with things in some places."""

    def make(*things):
        scene = new_scene().box("floor", (0, 0, -0.1), (8.1, 4, 0))
        for low, high in (((-0.1, -0.1), (8.2, 0)), ((-0.1, 4), (8.2, 4.1)), ((-0.1, 0), (0, 4)), ((8.1, 0), (8.2, 4))):
            scene.box("wall", (*low, 0), (*high, 2.5))
        scene.box("wall", (4, 0, 0), (4.1, 1.6, 2.5)).box("wall", (4, 2.4, 0), (4.1, 4, 2.5))
        for x, y in things:
            scene.box("furniture", (x, y, 0), (x + 0.4, y + 0.5, 0.7))
        return scene

    return make


THINGS = ((0.5, 3.0), (3.2, 0.4), (5.0, 3.0), (7.2, 0.6), (6.3, 1.7), (4.4, 0.3))


def drive(flat, frame, labels, rng, steps):
    """Frames of a robot that jumps about in the flat while things come and go, and somebody walks through it."""
    scenes = [flat(*(thing for at, thing in enumerate(THINGS) if which >> at & 1)) for which in (0b011111, 0b110101)]
    for number in range(steps):
        x, y, yaw = rng.uniform(0.8, 7.4), rng.uniform(0.8, 3.2), rng.uniform(-np.pi, np.pi)
        x = x if abs(x - 4.05) > 0.5 else 3.0
        look = scenes[number * 2 // steps].look((x, y, 1.2), yaw, 0.45, width=80)
        made = frame(look, stamp_ns=number * 10**8, base=(x, y, 0))
        walker = np.array([0.3 + 0.1 * number - x, 2.0 - y, 0.8])
        box = Detection(labels.id_of("pedestrian"), 0.9, tuple(walker.tolist()), (0.5, 0.5, 1.7), 0.1, (1.0, 0.0))
        yield replace(made, detections=(box,) if number % 12 > 2 else (), tasks=(*made.tasks, "detections"))


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_happens_the_graph_is_as_if_made_at_once(flat, frame, labels, tmp_path, seed):
    rng = np.random.default_rng(seed)
    mapper = Mapper(CONFIG, labels)
    eager, lazy = GraphCopy(mapper), GraphCopy(mapper)
    spark = SparkGraph(labels, CONFIG.object_gap, mapper.follow_scene_graph())
    things = set()
    for number, each in enumerate(drive(flat, frame, labels, rng, 36)):
        if number in (12, 20):  # the world moves a little
            stamps = mapper.trajectory().stamps_ns[[0, -1]].tolist()
            turn = body_pose((0.1 * (number - 16), 0.05, 0.0), yaw=0.02 * (number - 14))
            mapper.correct([(stamp, turn @ mapper.trajectory().at(stamp)) for stamp in dict.fromkeys(stamps)])
        if number == 15:
            mapper.load(mapper.save(tmp_path / "map"))
        if number == 30:
            mapper.reset()
        mapper.integrate(replace(each, stamp_ns=each.stamp_ns - 2 * 10**9) if number >= 24 else each)  # the clock jumps
        things |= {item.id for item in mapper.objects()}
        changes = eager.follow()
        assert changes.starts_anew == (number in (0, 12, 15, 20, 30))
        check(eager.nodes, eager.edges, mapper)
        if not changes.starts_anew:  # nothing is told that has not changed
            nodes, edges = eager.was
            assert not any(node.id in nodes and are_same(nodes[node.id], node) for node in changes.nodes)
            assert not any(edges.get(edge.ends) == edge for edge in changes.edges)
        spark.update()
        if number % 5 == 4:
            lazy.follow()
            view = mapper.scene_graph()
            assert view.sequence == lazy.sequence == eager.sequence
            assert [node.id for node in view.nodes if not are_same(node, lazy.nodes[node.id])] == []
            assert len(view.nodes) == len(lazy.nodes) == len(eager.nodes)
            assert {edge.ends: edge for edge in view.edges} == lazy.edges == eager.edges
            fresh = SparkGraph(labels, CONFIG.object_gap, mapper.follow_scene_graph())
            fresh.update()
            assert spark.graph.to_binary() == fresh.graph.to_binary() == mapper.scene_graph_bytes()
    assert len(things) >= 5 and len(mapper.objects()) < len(things)


def test_a_step_changes_what_it_sees_alone(flat, frame, labels):
    mapper = Mapper(CONFIG, labels)
    scene = flat(*THINGS)
    path = [(1, 0.0), (3, 3.1), (1, 1.5), (1, -1.5), (5, 0.0), (7, 3.1), (7, 1.5), (7, -1.5)]
    for number, (x, yaw) in enumerate(path):
        mapper.integrate(frame(scene.look((x, 2.0, 1.2), yaw, 0.45), stamp_ns=number * 10**8, base=(x, 2.0, 0)))
    copy = GraphCopy(mapper)
    whole = len(copy.follow())
    assert not copy.follow().starts_anew and len(copy.follow()) == 0
    mapper.integrate(frame(scene.look((7, 2.0, 1.2), -0.2, 0.45, width=80), stamp_ns=10**9, base=(7, 2.0, 0)))
    changes = copy.follow()
    assert 0 < len(changes) < whole / 3 and not changes.starts_anew
    assert min(node.position[0] for node in changes.nodes if node.layer == "PLACES") > 4.1
    check(copy.nodes, copy.edges, mapper)


def test_a_copy_of_a_map_has_followers_of_its_own(flat, frame, labels):
    mapper = Mapper(CONFIG, labels)
    mapper.integrate(frame(flat(*THINGS).look((2, 2, 1.2), 0.3, 0.45), base=(2, 2, 0)))
    copy = GraphCopy(mapper)
    copy.follow()
    other = mapper.copy()
    assert other.scene_graph_bytes() == mapper.scene_graph_bytes()
    other.integrate(frame(flat().look((6, 2, 1.2), 0.3, 0.45), stamp_ns=10**9, base=(6, 2, 0)))
    assert len(copy.follow()) == 0
    other.close()
