# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map of another robot becomes a part of this one.

Its blocks are moved rigidly onto this map's lattice, as those of a map are whose trajectory was corrected, and fused
with the blocks that are there. Things that are the same in both maps get this map's numbers first, so that their
surfaces become one; then the objects are found in the new mesh as always, and those of this map keep their ids. The 2D
grid and the free air are joined, and places and regions found again where that changes something.

Not taken over: the other robot's tracks of moving things, which are of its own time; what it had set aside for a
correction of its trajectory, which will not come here; objects that it remembers as vanished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import Transform, transform_points
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MappingError
from mtl_perception.mapping.graph.agents import robot_prefix
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.object_ids import Identity
from mtl_perception.mapping.merging.alignment import MapView, aligned
from mtl_perception.mapping.merging.other_map import OtherMap, opened
from mtl_perception.mapping.merging.same_objects import same_objects
from mtl_perception.mapping.merging.thing_numbers import ThingNumbers
from mtl_perception.mapping.merging.voxel_union import joined_region
from mtl_perception.mapping.poses.reanchoring import moved
from mtl_perception.mapping.reports import MergeReport
from mtl_perception.mapping.scene import Scene
from mtl_perception.mapping.volume import Volume
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.set_aside import SetAside

_RIGID = 1e-6  # by which a rotation may differ from one
_FARTHEST = 1e5  # metres; beyond, single precision would be coarser than voxels


@dataclass(frozen=True, eq=False)
class ThisMap:
    """The map that another one becomes a part of; it is meshed.

    Attributes:
        volume, scene: of the map.
        config, labels: its settings and classes.
        now_ns: stamp of its newest frame.
        with_grid: whether it has a 2D grid.
        archive_folder: where folders for what is not in memory are made.
        remesh: meshes what has changed, and lets the objects follow.
    """

    volume: Volume
    scene: Scene
    config: MapperConfig
    labels: LabelSpace
    now_ns: int
    with_grid: bool
    archive_folder: Path | None
    remesh: Callable[[], object]

    def objects(self) -> tuple[MapObject, ...]:
        """Return the static things as of now."""
        return self.scene.objects.current(self.volume.blocks.measured, self.now_ns)


def merge(ours: ThisMap, folder: Path, given: Transform | None) -> MergeReport:
    """Take the saved map of a folder into this one; `given` is self_from_other, None if that is to be found.

    Raises:
        MappingError: the maps do not fit, the transform is none or cannot be found, or there are too many robots; this
            map is unchanged.
        MapFormatError: the folder is no map, or is damaged; this map is unchanged.
        OSError: a part cannot be read or written; this map is unchanged.
    """
    with opened(folder, ours.config, ours.labels, ours.archive_folder) as theirs:
        return _merged(ours, theirs, given)


def _merged(ours: ThisMap, theirs: OtherMap, given: Transform | None) -> MergeReport:
    volume, scene, objects = ours.volume, ours.scene, ours.objects()
    scene.others.check_room(theirs.robots)
    alignment = None
    if given is None:
        their_view = MapView(theirs.volume, theirs.saved.objects.objects)
        alignment = aligned(MapView(volume, objects), their_view, ours.config, ours.labels.static_things)
        given = alignment.self_from_other
    transform = _checked(given)

    def move(points: NDArray[np.float64], _: int) -> NDArray[np.float64]:
        return transform_points(transform, points)

    their_objects = theirs.saved.objects.objects
    same = same_objects(objects, theirs.saved.objects, transform, ours.config.object_gap)
    before, refused = volume.instances.state(), volume.instances.refused
    numbers = ThingNumbers(theirs.saved.instances, volume.instances, their_objects, objects, same)
    try:
        archive, keys = _joined(ours, theirs, transform, numbers)
    except BaseException:
        volume.instances.restore(before)
        raise

    shared = keys[volume.blocks.have(keys)]
    ways = theirs.ways(transform, _anchor(ours, theirs, transform, shared))
    robots = tuple(robot_prefix(1 + len(scene.others.ways) + number) for number in range(len(ways)))
    things = _things(scene, theirs, numbers)
    scene.objects.adopt(things, move)
    left_out = 0
    if ours.with_grid:
        robot = None if volume.window.centre is None else volume.window.centre[:2]
        left_out = scene.ground.merge(theirs.scene.ground, transform, robot)
        volume.air.merge(theirs.saved.air, transform)
    scene.others.add(ways)
    scene.start_graph_anew()
    volume.replace(archive, keys)
    ours.remesh()
    ours.objects()
    now = scene.objects.become_of([item for item, _ in things], move)
    found = {old.id: now[new.id] for old, (new, _) in zip(their_objects, things, strict=True) if new.id in now}
    known_before = {item.id for item in objects}
    return MergeReport(
        self_from_other=transform,
        alignment=alignment,
        frames=theirs.saved.frames,
        robots=robots,
        objects=found,
        known_objects=tuple(sorted(known_before & set(found.values()))),
        new_blocks=len(keys) - len(shared),
        shared_blocks=len(shared),
        cells_left_out=left_out,
        unnumbered_things=volume.instances.refused - refused,
    )


def _checked(transform: Transform) -> Transform:
    transform = np.array(transform, np.float64)
    fits = (
        transform.shape == (4, 4)
        and bool(np.isfinite(transform).all())
        and np.allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=_RIGID)
        and np.linalg.det(transform[:3, :3]) > 0
        and np.allclose(transform[3], [0, 0, 0, 1], atol=_RIGID)
    )
    if not fits:
        raise MappingError(f"self_from_other is {transform.tolist()}, which is no rigid transform")
    if np.abs(transform[:3, 3]).max() > _FARTHEST:
        away = transform[:3, 3].tolist()
        raise MappingError(f"self_from_other has the translation {away}, maps are at most {_FARTHEST:g} m apart")
    return transform


def _joined(
    ours: ThisMap, theirs: OtherMap, transform: Transform, numbers: ThingNumbers
) -> tuple[RegionArchive, NDArray[np.int32]]:
    """Return an archive with the blocks of both maps, and the keys (N, 3) of those that the other one has."""
    config, blocks = ours.config, ours.volume.blocks
    result, moving = (RegionArchive(config.voxel_size, config.max_depth, ours.archive_folder) for _ in range(2))

    def rigid(stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.broadcast_to(transform, (len(stamps_ns), 4, 4))

    def at_once(seen_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.zeros(len(seen_ns), np.int64)

    try:
        keys = moved(theirs.volume.blocks, SetAside(), rigid, at_once, config, moving)
        blocks.write_to(result)
        for region in moving.regions():
            part = moving.read(region)
            if part is None:
                raise OSError("a part of the other map could not be read")  # the archive has said which, and why
            instances = numbers.of_voxels(part, transform, config.voxel_size, config.object_gap)
            part = replace(part, voxels={**part.voxels, "instance": instances})
            robots = len(ours.scene.others.ways)
            result.put(joined_region(blocks.whole(region), part, robots, config.max_weight))
    except BaseException:
        result.close()
        raise
    finally:
        moving.close()
    return result, keys


def _anchor(ours: ThisMap, theirs: OtherMap, transform: Transform, shared: NDArray[np.int32]) -> int:
    """Return the stamp of the pose of this robot on which the other map is to hang; see `OtherRobots`.

    It is the median of those on which the blocks hang that both maps have; without any, that of the keyframe nearest
    to the other robot's way.
    """
    if len(shared):
        anchors = np.sort(ours.volume.block_anchors(shared, ours.now_ns))
        return int(anchors[len(anchors) // 2])
    mine, other = ours.scene.path.trajectory, theirs.scene.path.trajectory
    if not len(mine) or not len(other):
        return ours.now_ns
    positions = transform_points(transform, other.poses[:, :3, 3])
    away, nearest = cKDTree(mine.poses[:, :3, 3]).query(positions)
    return int(mine.stamps_ns[nearest[away.argmin()]])


def _things(scene: Scene, theirs: OtherMap, numbers: ThingNumbers) -> list[tuple[MapObject, Identity]]:
    """Return the other map's objects with new ids, and with instances of this map."""
    state = theirs.saved.objects
    old = sorted(known.id for identity in state.identities for known in identity.known)
    first = scene.objects.take_ids(len(old))
    new = {number: first + rank for rank, number in enumerate(old)}
    things = []
    for item, identity in zip(state.objects, state.identities, strict=True):
        known = tuple(replace(each, id=new[each.id]) for each in identity.known)
        origins = np.array([new[number] for number in identity.origins.tolist()], np.int64)
        instance = numbers.of_object(item)
        things.append(
            (
                replace(item, id=new[item.id], instance=instance),
                Identity(new[item.id], item.vertices, item.first_seen_ns, item.last_seen_ns, known, origins),
            )
        )
    return things
