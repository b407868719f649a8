# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From predictions to a map: labelled surface, 2D grid, objects, scene graph, files. No ROS, no torch."""

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MapFormatError, MappingError
from mtl_perception.mapping.fusion.blocks import BLOCK, Key
from mtl_perception.mapping.graph.ground_graph import GroundView
from mtl_perception.mapping.graph.kept_graph import SceneGraphFollower
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.places import Places
from mtl_perception.mapping.graph.regions import Area, Region
from mtl_perception.mapping.graph.scene_graph import (
    SceneEdge,
    SceneGraphChanges,
    SceneGraphView,
    SceneLayer,
    SceneNode,
)
from mtl_perception.mapping.ground.distance_field import FieldMap
from mtl_perception.mapping.ground.ground_grid import GridMap
from mtl_perception.mapping.ground.occupancy_follower import GridPart, OccupancyChanges, OccupancyFollower
from mtl_perception.mapping.mapper import Mapper
from mtl_perception.mapping.reports import MapStats, MapUpdate
from mtl_perception.mapping.slices.esdf_slice import EsdfSlice
from mtl_perception.mapping.surface.meshing import MeshArrays, MeshBlock

__all__ = [
    "BLOCK",
    "Area",
    "EsdfSlice",
    "FieldMap",
    "GridMap",
    "GridPart",
    "GroundView",
    "Key",
    "MapFormatError",
    "MapObject",
    "MapStats",
    "MapUpdate",
    "Mapper",
    "MapperConfig",
    "MappingError",
    "MeshArrays",
    "MeshBlock",
    "OccupancyChanges",
    "OccupancyFollower",
    "Places",
    "Region",
    "SceneEdge",
    "SceneGraphChanges",
    "SceneGraphFollower",
    "SceneGraphView",
    "SceneLayer",
    "SceneNode",
]
