# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A saved map as the parts that a map consists of, and these as one that can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import spark_dsg

from mtl_perception.core import LabelSpace
from mtl_perception.mapping import storage
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MapFormatError
from mtl_perception.mapping.products.map_products import MapProducts
from mtl_perception.mapping.scene import Scene
from mtl_perception.mapping.storage import SavedMap
from mtl_perception.mapping.surface.meshing import MeshArrays
from mtl_perception.mapping.volume import Volume

_ESDF_END = 5.0  # metres; distances in the saved field end there


@dataclass(frozen=True, eq=False)
class ReadMap:
    """A map that was read, with all of its blocks in an archive.

    Attributes:
        volume: of the map.
        scene: what it knows beside.
        saved: all but the blocks, as it was saved.
    """

    volume: Volume
    scene: Scene
    saved: SavedMap


def read_map(folder: Path, config: MapperConfig, labels: LabelSpace, archive_folder: Path | None) -> ReadMap:
    """Read a map, checking all of it, and have the blocks about its centre in memory.

    Args:
        folder: of the map.
        config, labels: what it must have been made with.
        archive_folder: where the folder for the blocks is made, see `PrivateFolder`.

    Raises:
        MapFormatError: the folder is no map, is damaged, or was made with other voxels or classes.
        OSError: the folder for the blocks cannot be made.
    """
    volume = Volume(config, labels, archive_folder)
    try:
        saved = storage.load(folder, config, labels, volume.blocks.archive.adopt, volume.aside)
        read = taken_over(volume, Scene(config, labels, archive_folder), saved)
        if saved.centre is not None:
            volume.window.open_at(saved.centre)
        return read
    except MapFormatError as error:
        volume.close()
        raise error if str(folder) in str(error) else MapFormatError(f"{folder}: {error}") from error
    except BaseException:
        volume.close()
        raise


def taken_over(volume: Volume, scene: Scene, saved: SavedMap) -> ReadMap:
    """Let a volume and a scene, which knows nothing, have all that was saved beside the blocks; return the map.

    Raises:
        MapFormatError: something in it makes no sense.
    """
    scene.restore(saved)
    volume.others = scene.others
    volume.instances.restore(saved.instances)
    volume.air.restore(saved.air)
    return ReadMap(volume, scene, saved)


def state_of(volume: Volume, scene: Scene, frames: int, stamp_ns: int) -> SavedMap:
    """Return all of a map but the blocks, to be saved; `stamp_ns` is that of the newest of its frames."""
    return SavedMap(
        frames=frames,
        stamp_ns=stamp_ns,
        centre=volume.window.centre,
        instances=volume.instances.state(),
        ground=scene.ground.state(),
        air=volume.air.state(),
        objects=scene.objects.state(volume.blocks.measured, stamp_ns),
        tracks=scene.tracks.state(),
        trajectory=scene.path.trajectory.state(),
        others=scene.others.state(),
    )


def products_of(
    volume: Volume, scene: Scene, config: MapperConfig, mesh: MeshArrays, graph: spark_dsg.DynamicSceneGraph
) -> MapProducts:
    """Return what other programs read of a map; `mesh` is of all of it, and the graph has this mesh."""
    band = (config.obstacle_min_height, config.obstacle_max_height)
    esdf = volume.esdf(scene.ground.grid, band, None, _ESDF_END)
    return MapProducts(mesh, graph, scene.ground.occupancy(), esdf, band)
