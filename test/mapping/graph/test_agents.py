# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's way and moving things in the scene graph, apart from what stands still."""

from dataclasses import replace

import numpy as np
import pytest
import spark_dsg

from mtl_perception.core import Detection
from mtl_perception.mapping import Mapper, MapperConfig


@pytest.fixture
def drive(room, frame, labels):
    """Ten frames half a metre apart; a car drives ahead of the robot at 5 m/s, a tree does not count as a mover."""

    def made(first: int = 0):
        frames = []
        for number in range(first, first + 10):
            ahead = 8.0 + 0.5 * number - 0.05 * number  # as seen from the robot, which drives at 0.5 m/s
            car = Detection(labels.id_of("car"), 0.9, (ahead, 1.0, 0.7), (4.0, 1.8, 1.5), 0.0, (5.0, 0.0))
            tree = Detection(labels.id_of("vegetation"), 0.9, (5.0, 3.0, 1.0), (1.0, 1.0, 2.0), 0.0, (0.0, 0.0))
            look = room.look((0.05 * number, 0, 1.2), pitch=0.3, width=80)
            made = frame(look, stamp_ns=number * 10**8, base=(0.05 * number, 0, 0))
            frames.append(replace(made, detections=(car, tree), tasks=(*made.tasks, "detections")))
        return frames

    return made


@pytest.fixture
def driven(drive, labels):
    mapper = Mapper(MapperConfig(), labels)
    for each in drive():
        mapper.integrate(each)
    return mapper


def test_the_layer_of_agents_has_the_keyframes_and_the_tracks(driven, labels):
    graph = driven.scene_graph()
    names = ["OBJECTS", "PLACES", "ROOMS", "BUILDINGS", "AGENTS"]
    assert [(layer.name, layer.id) for layer in graph.layers] == list(zip(names, (2, 3, 4, 5, 2), strict=True))
    agents = [node for node in graph.nodes if node.layer == "AGENTS"]
    (track,) = [node for node in agents if node.name.startswith("T")]
    assert (track.name, track.label_name, driven.stats.tracks) == ("T(0)", "car", 1)
    assert track.position == pytest.approx([8.0 + 4.5, 1.0, 0.7], abs=0.3)
    keyframes = [node for node in agents if node is not track]
    assert len(keyframes) == len(driven.trajectory()) >= 1
    assert [node.label for node in keyframes] == [-1] * len(keyframes)
    assert len([edge for edge in graph.edges if edge.source in {node.id for node in keyframes}]) == len(keyframes) - 1


def test_tracks_take_other_colours_and_thresholds_at_once(driven, drive, labels):
    (before,) = [node for node in driven.scene_graph().nodes if node.name.startswith("T")]
    assert before.colour == labels.labels[labels.id_of("car")].colour
    recoloured = labels.with_colours({"car": (1, 2, 3)})
    driven.adjust(driven.config.model_copy(update={"track_min_score": 0.95, "track_max_unseen": 0.15}), recoloured)
    (after,) = [node for node in driven.scene_graph().nodes if node.name.startswith("T")]
    assert after.colour == (1, 2, 3)
    graph = spark_dsg.DynamicSceneGraph.from_binary(driven.scene_graph_bytes())
    assert graph.get_node(spark_dsg.NodeSymbol("T", 0)).attributes.color.tolist()[:3] == [1, 2, 3]
    for number, each in enumerate(drive(10)):
        driven.integrate(replace(each, detections=()) if number < 3 else each)
    assert driven.tracks() == ()  # unseen for too long, and its boxes of 0.9 begin no other


def test_spark_dsg_has_them_in_partitions_of_their_own(driven):
    graph = spark_dsg.DynamicSceneGraph.from_binary(driven.scene_graph_bytes())
    robot = graph.get_layer(2, spark_dsg.PartitionId("a"))
    assert robot.num_nodes() == len(driven.trajectory())
    assert graph.get_layer(2, spark_dsg.PartitionId("T")).num_nodes() == 1
    attributes = graph.get_node(spark_dsg.NodeSymbol("T", 0)).attributes
    known = attributes.metadata.get()
    assert known["velocity"] == pytest.approx([5.0, 0.0, 0.0], abs=0.3)
    assert len(known["positions"]) == len(known["stamps_ns"]) == 10
    first = graph.get_node(spark_dsg.NodeSymbol("a", 0)).attributes
    assert np.allclose(first.position, driven.trajectory().poses[0, :3, 3])
    assert (first.world_R_body.w, first.last_update_time_ns) == (1.0, 0)


def test_a_frame_without_boxes_looked_for_says_nothing_about_tracks(driven, drive, labels):
    last = replace(drive(10)[0], detections=None)
    driven.integrate(last)
    assert driven.tracks()[0].last_seen_ns == 9 * 10**8 and driven.tracks()[0].confidence > 0.8


def test_a_clock_that_jumps_back_begins_new_tracks_and_a_new_way(driven, drive):
    for each in drive(5):
        driven.integrate(each)
    (track,) = driven.tracks()
    assert track.id == 1 and track.first_seen_ns >= 5 * 10**8
    assert driven.trajectory().stamps_ns[0] == 5 * 10**8


def test_tracks_and_the_way_go_on_after_loading(driven, drive, labels, tmp_path):
    driven.save(tmp_path / "map")
    other = Mapper(MapperConfig(), labels)
    other.load(tmp_path / "map")
    later = drive(10)
    for each in later:
        driven.integrate(each)
        other.integrate(each)
    assert driven.scene_graph_bytes() == other.scene_graph_bytes()
    assert other.tracks()[0].id == 0
