# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What moves, in the scene graph: the robot's trajectory, and the tracks of other things.

Both are in partitions of Hydra's layer 2, apart from the objects of its partition 0: `a` has the robot's keyframes, as
in Hydra, `b`, `c`, ... those of robots whose maps were merged into this one, and `T` the tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import spark_dsg
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.scene_graph import AGENT_LAYER, SceneEdge, SceneNode, symbol
from mtl_perception.mapping.graph.track import Track

TRACK_PREFIX = "T"
TRACK_SYMBOL = symbol(TRACK_PREFIX)

_ROBOT_COLOURS = ((255, 160, 0), (0, 160, 255), (200, 80, 220), (90, 200, 60))  # then these again
_NO_EXTENT = np.zeros(3)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class KeyframeNode(SceneNode):
    """A pose of a robot.

    Attributes:
        robot: its number, see `robot_prefix`.
        orientation: that of its base in the world, a quaternion x y z w.
    """

    robot: int
    orientation: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrackNode(SceneNode):
    """A thing that moves.

    Attributes:
        velocity: (3,) in the world, m/s.
        position_std: standard deviation of its position, metres.
        stamps_ns, positions: (N,) and (N, 3), where it was seen lately.
    """

    velocity: NDArray[np.float64]
    position_std: float
    stamps_ns: NDArray[np.int64]
    positions: NDArray[np.float64]


def robot_prefix(robot: int) -> str:
    """Return the letter of a robot; this one is number 0."""
    return chr(ord("a") + robot)


def keyframe_nodes(robot: int, first: int, stamps_ns: NDArray[np.int64], poses: NDArray[np.float64]) -> list[SceneNode]:
    """Return the nodes of a robot's keyframes number `first` and following, with stamps (N,) and poses (N, 4, 4)."""
    if not len(poses):
        return []
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat().tolist()
    prefix = robot_prefix(robot)
    start = symbol(prefix)
    return [
        KeyframeNode(
            id=start + number,
            layer=AGENT_LAYER,
            name=f"{prefix}({number})",
            label=-1,
            label_name="",
            confidence=1.0,
            position=position,
            centroid=position,
            size=_NO_EXTENT,
            colour=_ROBOT_COLOURS[robot % len(_ROBOT_COLOURS)],
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
            robot=robot,
            orientation=(x, y, z, w),
        )
        for number, (stamp_ns, position, (x, y, z, w)) in enumerate(
            zip(stamps_ns.tolist(), poses[:, :3, 3].copy(), quaternions, strict=True), first
        )
    ]


def way_between(one: SceneNode, other: SceneNode) -> SceneEdge:
    """Return the edge between two nodes of a layer."""
    return SceneEdge(one.id, other.id, float(np.linalg.norm(one.centroid - other.centroid)))


def track_nodes(tracks: Sequence[Track], labels: LabelSpace) -> list[SceneNode]:
    """Return the nodes of tracks."""
    names, palette = labels.names, labels.palette
    return [
        TrackNode(
            id=TRACK_SYMBOL + track.id,
            layer=AGENT_LAYER,
            name=f"{TRACK_PREFIX}({track.id})",
            label=track.label,
            label_name=names[track.label],
            confidence=track.confidence,
            position=track.world_from_box[:3, 3],
            centroid=track.world_from_box[:3, 3],
            size=np.array(track.size),
            yaw=float(np.arctan2(track.world_from_box[1, 0], track.world_from_box[0, 0])),
            colour=(int(palette[track.label, 0]), int(palette[track.label, 1]), int(palette[track.label, 2])),
            first_seen_ns=track.first_seen_ns,
            last_seen_ns=track.last_seen_ns,
            velocity=track.velocity,
            position_std=track.position_std,
            stamps_ns=track.stamps_ns,
            positions=track.positions,
        )
        for track in tracks
    ]


def fill_keyframe(attributes: spark_dsg.AgentNodeAttributes, node: KeyframeNode) -> None:
    """Set spark-dsg's attributes of a keyframe."""
    x, y, z, w = node.orientation
    attributes.position = node.position
    attributes.world_R_body = spark_dsg.Quaternion(w, x, y, z)
    attributes.timestamp = timedelta(microseconds=node.last_seen_ns / 1000)
    attributes.external_key = node.id - symbol(robot_prefix(node.robot))
    attributes.last_update_time_ns = node.last_seen_ns


def fill_track(attributes: spark_dsg.ObjectNodeAttributes, node: TrackNode) -> None:
    """Set spark-dsg's attributes of a track, with its velocity and where it has been."""
    attributes.name = f"{node.label_name} {node.id - TRACK_SYMBOL}"
    attributes.position = node.position
    attributes.semantic_label = node.label
    attributes.color = np.array(node.colour, np.uint8)
    attributes.bounding_box = spark_dsg.BoundingBox(
        node.size.astype(np.float32), node.position.astype(np.float32), node.yaw
    )
    attributes.last_update_time_ns = node.last_seen_ns
    attributes.is_active = True
    attributes.metadata.set(
        {
            "confidence": node.confidence,
            "velocity": node.velocity.tolist(),
            "position_std": node.position_std,
            "first_seen_ns": node.first_seen_ns,
            "last_seen_ns": node.last_seen_ns,
            "stamps_ns": node.stamps_ns.tolist(),
            "positions": node.positions.tolist(),
        }
    )
