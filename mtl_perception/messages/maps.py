# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map's 2D grids, distance field and scene graph as messages. The mesh is in `mesh`, points are in `points`."""

from __future__ import annotations

import array
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.stamps import to_header, to_time
from mtl_perception_msgs.msg import SceneGraph, SceneGraphEdge, SceneGraphLayer, SceneGraphNode

if TYPE_CHECKING:
    from mtl_perception.mapping import EsdfSlice, GridMap, SceneGraphView

_TEXT_HEIGHT = 0.2  # metres
_BALL = 0.15  # metres, of a place
_PLACE_LAYER = "PLACES"


def to_occupancy_grid(grid: GridMap, stamp_ns: int, frame_id: str) -> OccupancyGrid:
    """Return the 2D grid: -1 unknown, 0 free, 100 occupied; row 0 is the smallest y of `frame_id`."""
    message = OccupancyGrid(header=to_header(stamp_ns, frame_id))
    message.info.map_load_time = to_time(stamp_ns)
    message.info.resolution = float(grid.resolution)
    message.info.height, message.info.width = grid.data.shape
    x, y = (float(value) for value in grid.origin[:2])
    message.info.origin = Pose(position=Point(x=x, y=y, z=0.0), orientation=Quaternion(w=1.0))
    message.data = array.array("b", np.ascontiguousarray(grid.data, dtype=np.int8).tobytes())
    return message


def to_esdf_points(esdf: EsdfSlice, stamp_ns: int, frame_id: str) -> PointCloud2:
    """Return the known cells of a distance field as points at its height.

    Their field `intensity` is the distance to the nearest obstacle in metres, negative inside of one, as voxblox and
    nvblox publish it.
    """
    row, column = np.nonzero(~np.isnan(esdf.data))
    xyz = np.empty((len(row), 3), np.float32)
    xyz[:, 0] = esdf.origin[0] + (column + 0.5) * esdf.resolution
    xyz[:, 1] = esdf.origin[1] + (row + 0.5) * esdf.resolution
    xyz[:, 2] = esdf.height
    return to_point_cloud(xyz, stamp_ns, frame_id, fields={"intensity": esdf.data[row, column]})


def to_scene_graph(graph: SceneGraphView, spark_dsg: bytes, stamp_ns: int, frame_id: str) -> SceneGraph:
    """Return the scene graph with spark-dsg's own bytes; nodes have boxes in `frame_id`."""
    message = SceneGraph(header=to_header(stamp_ns, frame_id))
    message.layers = [SceneGraphLayer(name=layer.name, id=layer.id, nodes=layer.nodes) for layer in graph.layers]
    message.nodes = [to_scene_graph_node(node) for node in graph.nodes]
    message.edges = [
        SceneGraphEdge(source=edge.source, target=edge.target, weight=float(edge.weight)) for edge in graph.edges
    ]
    message.spark_dsg = array.array("B", spark_dsg)
    return message


def scene_graph_markers(graph: SceneGraphView, stamp_ns: int, frame_id: str) -> MarkerArray:
    """Return nodes that have an extent as boxes with their names, places as balls, and edges as lines.

    What was shown before is deleted first. All balls are one marker, for there are thousands of places.
    """
    message = MarkerArray(markers=[Marker(header=to_header(stamp_ns, frame_id), action=Marker.DELETEALL)])
    places = [node for node in graph.nodes if node.layer == _PLACE_LAYER]
    # the robot's keyframes have no extent, and are shown by the lines between them
    extended = [node for node in graph.nodes if node.layer != _PLACE_LAYER and np.any(node.size)]
    for number, node in enumerate(extended):
        x, y, z = (float(value) for value in node.size)
        box = _marker(stamp_ns, frame_id, f"{node.layer} boxes", number, Marker.CUBE)
        box.pose = _pose(node.position, node.yaw)
        box.scale = Vector3(x=max(x, 0.01), y=max(y, 0.01), z=max(z, 0.01))
        box.color = _colour(node.colour, 0.4)
        text = _marker(stamp_ns, frame_id, f"{node.layer} names", number, Marker.TEXT_VIEW_FACING)
        text.pose = _pose(np.asarray(node.position) + [0.0, 0.0, z / 2 + _TEXT_HEIGHT])
        text.scale.z = _TEXT_HEIGHT
        text.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        text.text = f"{node.label_name} {node.name}"
        message.markers += [box, text]
    if places:
        balls = _marker(stamp_ns, frame_id, _PLACE_LAYER, 0, Marker.SPHERE_LIST)
        balls.scale = Vector3(x=_BALL, y=_BALL, z=_BALL)
        balls.points = [_pose(node.position).position for node in places]
        balls.colors = [_colour(node.colour, 1.0) for node in places]
        message.markers.append(balls)
    if graph.edges:
        lines = _marker(stamp_ns, frame_id, "edges", 0, Marker.LINE_LIST)
        lines.scale.x = 0.02
        lines.color = ColorRGBA(r=0.8, g=0.8, b=0.8, a=1.0)
        positions = {node.id: _pose(node.position).position for node in graph.nodes}
        lines.points = [positions[end] for edge in graph.edges for end in (edge.source, edge.target)]
        message.markers.append(lines)
    return message


def to_scene_graph_node(node: Any) -> SceneGraphNode:
    """Return a node of the scene graph."""
    x, y, z = (float(value) for value in node.size)
    return SceneGraphNode(
        id=node.id,
        layer=node.layer,
        name=node.name,
        label=int(node.label),
        label_name=node.label_name,
        confidence=float(node.confidence),
        pose=_pose(node.position, node.yaw),
        size=Vector3(x=x, y=y, z=z),
        color=_colour(node.colour, 1.0),
        first_seen=to_time(node.first_seen_ns),
        last_seen=to_time(node.last_seen_ns),
    )


def _marker(stamp_ns: int, frame_id: str, namespace: str, number: int, kind: int) -> Marker:
    marker = Marker(header=to_header(stamp_ns, frame_id), ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    return marker


def _pose(position: Any, yaw: float = 0.0) -> Pose:
    x, y, z = (float(value) for value in position)
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)))


def _colour(rgb: Any, alpha: float) -> ColorRGBA:
    red, green, blue = (float(value) / 255.0 for value in rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)
