# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All that other programs read of a map; none of it is read back.

mesh.ply              the mesh with colours, labels, their confidence, and instances; its vertices are the map's cloud
mesh.glb              the mesh with colours, labels and instances as binary glTF, upright in every viewer
scene_graph.sparkdsg  the scene graph with the mesh, for spark-dsg and Hydra's tools
scene_graph.json      the scene graph without the mesh, in spark-dsg's own JSON
grid.pgm, grid.yaml   the 2D grid as nav2_map_server loads it
esdf.npz              distances to the nearest obstacle: `distance` (H, W), row = y, column = x, NaN where unknown;
                      `origin` (x, y) of the outer corner of cell [0, 0], `resolution`, and `band`, the obstacles' least
                      and greatest height above the ground; all in metres
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spark_dsg

from mtl_perception.mapping.graph.graph_files import write_graph, write_graph_json
from mtl_perception.mapping.ground.ground_grid import GridMap
from mtl_perception.mapping.products.glb import MOST_BYTES, file_size, write_glb
from mtl_perception.mapping.products.nav2_map import write_nav2_map
from mtl_perception.mapping.slices.esdf_slice import EsdfSlice
from mtl_perception.mapping.surface.meshing import MeshArrays
from mtl_perception.mapping.surface.ply import write_ply

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MapProducts:
    """What the files are made of.

    Attributes:
        mesh: of the whole map; the instances are those of `MapObject.instance`.
        graph: with the mesh.
        grid: the obstacles and free ground.
        esdf: distances to the obstacles.
        band: least and greatest height of these above the ground, metres.
    """

    mesh: MeshArrays
    graph: spark_dsg.DynamicSceneGraph
    grid: GridMap
    esdf: EsdfSlice
    band: tuple[float, float]


def write_products(folder: Path, products: MapProducts) -> None:
    """Write all files to a folder, large ones piece by piece; a mesh that is too large for glTF has no `mesh.glb`.

    Raises:
        OSError: a file cannot be written.
    """
    write_ply(folder / "mesh.ply", products.mesh)
    if file_size(products.mesh) <= MOST_BYTES:
        write_glb(folder / "mesh.glb", products.mesh)
    else:
        _LOG.warning("the mesh is too large for mesh.glb: it is in mesh.ply alone")
    write_graph(folder / "scene_graph.sparkdsg", products.graph)
    write_graph_json(folder / "scene_graph.json", products.graph)
    write_nav2_map(folder / "grid.yaml", products.grid)
    esdf = products.esdf
    np.savez(
        folder / "esdf.npz", distance=esdf.data, origin=esdf.origin, resolution=esdf.resolution, band=products.band
    )
