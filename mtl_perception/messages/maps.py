# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map's 2D grids, distance field and nodes of its scene graph as messages.

The mesh is in `mesh`, points are in `points`, the scene graph in `scene_graph` and `graph_markers`.
"""

from __future__ import annotations

import array
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA

from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.stamps import to_header, to_time
from mtl_perception_msgs.msg import SceneGraphNode

if TYPE_CHECKING:
    from mtl_perception.mapping import EsdfSlice, GridMap


def to_occupancy_grid(grid: GridMap, stamp_ns: int, frame_id: str) -> OccupancyGrid:
    """Return the 2D grid: -1 unknown, 0 free, 100 occupied; row 0 is the smallest y of `frame_id`."""
    message = OccupancyGrid(header=to_header(stamp_ns, frame_id))
    message.info.map_load_time = to_time(stamp_ns)
    message.info.resolution = float(grid.resolution)
    message.info.height, message.info.width = grid.data.shape
    x, y = (float(value) for value in grid.origin[:2])
    message.info.origin = Pose(position=Point(x=x, y=y, z=0.0), orientation=Quaternion(w=1.0))
    message.data = to_cells(grid.data)
    return message


def to_cells(data: NDArray[np.int8]) -> array.array[int]:
    """Return the cells of a grid (H, W) row by row, as messages have them."""
    return array.array("b", np.ascontiguousarray(data, dtype=np.int8).tobytes())


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


def _pose(position: Any, yaw: float = 0.0) -> Pose:
    x, y, z = (float(value) for value in position)
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)))


def _colour(rgb: Any, alpha: float) -> ColorRGBA:
    red, green, blue = (float(value) / 255.0 for value in rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)
