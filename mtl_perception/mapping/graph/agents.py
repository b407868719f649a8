# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What moves, in the scene graph: the robots' trajectories, and the tracks of other things.

Both are in partitions of Hydra's layer 2, apart from the objects of its partition 0: `a` has the robot's keyframes, as
in Hydra, `b`, `c`, ... those of robots whose maps were merged into this one, and `T` has the tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import numpy as np
import spark_dsg
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.scene_graph import SceneEdge, SceneLayer, SceneNode
from mtl_perception.mapping.graph.track import Track

AGENT_LAYER = spark_dsg.DsgLayers.AGENTS
AGENT_LAYER_ID = 2
TRACK_PREFIX = "T"

_ROBOT_COLOURS = ((255, 160, 0), (0, 160, 255), (200, 80, 220), (90, 200, 60))  # then these again


class RobotWay(Protocol):
    """A robot's keyframes: their stamps (K,), and its poses (K, 4, 4) in the world."""

    @property
    def stamps_ns(self) -> NDArray[np.int64]: ...
    @property
    def poses(self) -> NDArray[np.float64]: ...


def robot_prefix(robot: int) -> str:
    """Return the letter of a robot; this one is number 0."""
    return chr(ord("a") + robot)


def agent_view(
    robots: Sequence[RobotWay], tracks: Sequence[Track], labels: LabelSpace
) -> tuple[SceneLayer, tuple[SceneNode, ...], tuple[SceneEdge, ...]]:
    """Return the layer of what moves as plain data: nodes of keyframes, linked one to the next, and of tracks."""
    nodes: list[SceneNode] = []
    edges: list[SceneEdge] = []
    for number, way in enumerate(robots):
        own = _keyframe_nodes(number, way)
        lengths = np.linalg.norm(np.diff(way.poses[:, :3, 3], axis=0), axis=1).tolist()
        pairs = zip(own, own[1:], lengths, strict=False)
        edges += [SceneEdge(one.id, other.id, length) for one, other, length in pairs]
        nodes += own
    nodes += [_track_node(track, labels) for track in tracks]
    return SceneLayer(AGENT_LAYER, AGENT_LAYER_ID, len(nodes)), tuple(nodes), tuple(edges)


def add_agents(
    graph: spark_dsg.DynamicSceneGraph, robots: Sequence[RobotWay], tracks: Sequence[Track], labels: LabelSpace
) -> None:
    """Add the keyframes, each linked to the next, and the tracks, with their velocity and where they have been."""
    for number, way in enumerate(robots):
        _add_keyframes(graph, number, way)
    for track in tracks:
        symbol = spark_dsg.NodeSymbol(TRACK_PREFIX, track.id)
        partition = spark_dsg.PartitionId(TRACK_PREFIX)
        graph.add_node(AGENT_LAYER_ID, symbol, _track_attributes(track, labels), partition)


def _keyframe_nodes(robot: int, way: RobotWay) -> list[SceneNode]:
    return [
        SceneNode(
            id=int(symbol.value),
            layer=AGENT_LAYER,
            name=str(symbol),
            label=-1,
            label_name="",
            confidence=1.0,
            position=position,
            centroid=position,
            size=np.zeros(3),
            colour=_ROBOT_COLOURS[robot % len(_ROBOT_COLOURS)],
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
        )
        for symbol, position, stamp_ns in zip(
            _keyframe_symbols(robot, way), way.poses[:, :3, 3], way.stamps_ns.tolist(), strict=True
        )
    ]


def _add_keyframes(graph: spark_dsg.DynamicSceneGraph, robot: int, way: RobotWay) -> None:
    partition = spark_dsg.PartitionId(robot_prefix(robot))
    poses = way.poses
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat() if len(poses) else np.zeros((0, 4))
    before = None
    for symbol, stamp_ns, pose, (x, y, z, w) in zip(
        _keyframe_symbols(robot, way), way.stamps_ns.tolist(), poses, quaternions.tolist(), strict=True
    ):
        attributes = spark_dsg.AgentNodeAttributes()
        attributes.position = pose[:3, 3]
        attributes.world_R_body = spark_dsg.Quaternion(w, x, y, z)
        attributes.timestamp = timedelta(microseconds=stamp_ns / 1000)
        attributes.external_key = symbol.category_id
        attributes.last_update_time_ns = stamp_ns
        graph.add_node(AGENT_LAYER_ID, symbol, attributes, partition)
        if before is not None:
            graph.insert_edge(before, symbol)
        before = symbol


def _keyframe_symbols(robot: int, way: RobotWay) -> list[spark_dsg.NodeSymbol]:
    prefix = robot_prefix(robot)
    return [spark_dsg.NodeSymbol(prefix, number) for number in range(len(way.stamps_ns))]


def _track_node(track: Track, labels: LabelSpace) -> SceneNode:
    symbol = spark_dsg.NodeSymbol(TRACK_PREFIX, track.id)
    position = track.world_from_box[:3, 3]
    red, green, blue = labels.palette[track.label].tolist()
    return SceneNode(
        id=int(symbol.value),
        layer=AGENT_LAYER,
        name=str(symbol),
        label=track.label,
        label_name=labels.names[track.label],
        confidence=track.confidence,
        position=position,
        centroid=position,
        size=np.array(track.size),
        yaw=_yaw(track),
        colour=(red, green, blue),
        first_seen_ns=track.first_seen_ns,
        last_seen_ns=track.last_seen_ns,
    )


def _track_attributes(track: Track, labels: LabelSpace) -> spark_dsg.ObjectNodeAttributes:
    attributes = spark_dsg.ObjectNodeAttributes()
    attributes.name = f"{labels.names[track.label]} {track.id}"
    attributes.position = track.world_from_box[:3, 3]
    attributes.semantic_label = track.label
    attributes.color = labels.palette[track.label]
    size, centre = np.array(track.size, np.float32), track.world_from_box[:3, 3].astype(np.float32)
    attributes.bounding_box = spark_dsg.BoundingBox(size, centre, _yaw(track))
    attributes.last_update_time_ns = track.last_seen_ns
    attributes.is_active = True
    attributes.metadata.set(
        {
            "confidence": track.confidence,
            "velocity": track.velocity.tolist(),
            "position_std": track.position_std,
            "first_seen_ns": track.first_seen_ns,
            "last_seen_ns": track.last_seen_ns,
            "stamps_ns": track.stamps_ns.tolist(),
            "positions": track.positions.tolist(),
        }
    )
    return attributes


def _yaw(track: Track) -> float:
    return float(np.arctan2(track.world_from_box[1, 0], track.world_from_box[0, 0]))
