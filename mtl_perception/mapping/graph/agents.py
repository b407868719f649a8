# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What moves, in the scene graph: the robot's trajectory, and the tracks of other things.

Both are in partitions of Hydra's layer 2, apart from the objects of its partition 0: `a` has the robot's keyframes, as
in Hydra, and `T` the tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import spark_dsg
from scipy.spatial.transform import Rotation

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.scene_graph import SceneEdge, SceneLayer, SceneNode
from mtl_perception.mapping.graph.track import Track
from mtl_perception.mapping.poses.trajectory import Trajectory

AGENT_LAYER = spark_dsg.DsgLayers.AGENTS
AGENT_LAYER_ID = 2
ROBOT_PREFIX, TRACK_PREFIX = "a", "T"

_ROBOT_COLOUR = (255, 160, 0)


def agent_view(
    trajectory: Trajectory, tracks: Sequence[Track], labels: LabelSpace
) -> tuple[SceneLayer, tuple[SceneNode, ...], tuple[SceneEdge, ...]]:
    """Return the layer of what moves as plain data: nodes of keyframes, linked one to the next, and of tracks."""
    stamps_ns, positions = trajectory.stamps_ns.tolist(), trajectory.poses[:, :3, 3]
    nodes = [
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
            colour=_ROBOT_COLOUR,
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
        )
        for symbol, position, stamp_ns in zip(_keyframe_symbols(trajectory), positions, stamps_ns, strict=True)
    ]
    lengths = np.linalg.norm(np.diff(positions, axis=0), axis=1).tolist()
    edges = tuple(
        SceneEdge(one.id, other.id, length) for one, other, length in zip(nodes, nodes[1:], lengths, strict=False)
    )
    nodes += [_track_node(track, labels) for track in tracks]
    return SceneLayer(AGENT_LAYER, AGENT_LAYER_ID, len(nodes)), tuple(nodes), edges


def add_agents(
    graph: spark_dsg.DynamicSceneGraph, trajectory: Trajectory, tracks: Sequence[Track], labels: LabelSpace
) -> None:
    """Add the keyframes, each linked to the next, and the tracks, with their velocity and where they have been."""
    robot, moving = spark_dsg.PartitionId(ROBOT_PREFIX), spark_dsg.PartitionId(TRACK_PREFIX)
    poses = trajectory.poses
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat() if len(poses) else np.zeros((0, 4))
    before = None
    for symbol, stamp_ns, pose, (x, y, z, w) in zip(
        _keyframe_symbols(trajectory), trajectory.stamps_ns.tolist(), poses, quaternions.tolist(), strict=True
    ):
        attributes = spark_dsg.AgentNodeAttributes()
        attributes.position = pose[:3, 3]
        attributes.world_R_body = spark_dsg.Quaternion(w, x, y, z)
        attributes.timestamp = timedelta(microseconds=stamp_ns / 1000)
        attributes.external_key = symbol.category_id
        attributes.last_update_time_ns = stamp_ns
        graph.add_node(AGENT_LAYER_ID, symbol, attributes, robot)
        if before is not None:
            graph.insert_edge(before, symbol)
        before = symbol
    for track in tracks:
        symbol = spark_dsg.NodeSymbol(TRACK_PREFIX, track.id)
        graph.add_node(AGENT_LAYER_ID, symbol, _track_attributes(track, labels), moving)


def _keyframe_symbols(trajectory: Trajectory) -> list[spark_dsg.NodeSymbol]:
    return [spark_dsg.NodeSymbol(ROBOT_PREFIX, number) for number in range(len(trajectory))]


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
