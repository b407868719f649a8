# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is true of a whole world: its labelled mesh, its objects, regions and places; in memory and in files."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import ply
from mtl_perception.core.ground_truth import Box
from mtl_perception.core.outside_files import read_json
from mtl_perception.core.transforms import quaternion_from_rotation, transform_from
from mtl_perception.data.world.rendering.textures import MaterialTable
from mtl_perception.data.world.scene import Region, Scene, merged
from mtl_perception.data.world.truth.boxes import box_of_actor, box_of_thing, extent_of_actor
from mtl_perception.data.world.truth.places import Places, places_of

MESH_FILE, OBJECTS_FILE = "world.ply", "world_objects.json"
_MOST_BYTES = 2**28  # of the objects
FORMAT, VERSION = "mtl_perception.world_truth", 1
_ABOUT = {
    "frame": "world: z up (REP-103); the poses that the world's recording calls 'odom' are in it",
    "units": "metres, seconds, metres per second; quaternions x, y, z, w",
    "mesh": f"{MESH_FILE}: all that stands still; its vertices' label is an index into 'labels'",
    "objects": "everything that can be counted. centre, orientation and size (length along its own x, width, height) "
    "of the box that holds all its surface; moves: at second 0 it is there, with that velocity, and not in the mesh",
    "regions": "rooms and stretches of street: outline (x, y) anticlockwise; height null: open to the sky",
    "places": "where a robot can stand: position on the ground, metres of free space around it, index of its region "
    "(-1: none); edges: pairs of indices of places between which the way is free",
}
_COLOURS_OVER_M = 1.0  # wide enough for a surface's mean colour rather than that of a brick or its joint


@dataclass(frozen=True, eq=False)
class WorldMesh:
    """All that stands still in a world.

    Attributes:
        vertices: float32 (V, 3), metres in the world.
        triangles: int32 (T, 3), indices of vertices.
        labels: uint8 (V,), label ids.
        colours: uint8 (V, 3) RGB, of the surface itself, as if evenly lit.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    labels: NDArray[np.uint8]
    colours: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class WorldObject:
    """One thing that can be counted.

    Attributes:
        instance: its number in the world, as in the images' instance truth.
        label: the name of its class.
        box: around all its surface, in the world; of what moves, with its place and velocity at second 0.
        moves: whether it is an actor; then it is not in the mesh.
    """

    instance: int
    label: str
    box: Box
    moves: bool


@dataclass(frozen=True, eq=False)
class WorldTruth:
    """What is true of a world as a whole. `labels` are the names of the classes by id."""

    labels: tuple[str, ...]
    mesh: WorldMesh
    objects: tuple[WorldObject, ...]
    regions: tuple[Region, ...]
    places: Places


def world_truth(scene: Scene, duration_s: float = 20.0) -> WorldTruth:
    """Return the truth of a scene whose actors are defined for `duration_s`."""
    names = scene.labels.names
    objects = []
    for thing in scene.still:
        if thing.instance:
            box = box_of_thing(thing, names[thing.label])
            objects.append(WorldObject(thing.instance, names[thing.label], box, False))
    for actor in scene.actors:
        if actor.instance:
            box = box_of_actor(actor, extent_of_actor(actor, duration_s), names[actor.label], 0.0)
            objects.append(WorldObject(actor.instance, names[actor.label], box, True))
    objects.sort(key=lambda item: item.instance)
    return WorldTruth(names, _mesh_of(scene), tuple(objects), tuple(scene.regions), places_of(scene))


def save_world_truth(truth: WorldTruth, folder: Path) -> None:
    """Write `world.ply` and `world_objects.json` into a folder; each file is there whole or not at all.

    Raises:
        OSError: a file cannot be written.
    """
    mesh, vertices = truth.mesh, np.empty(len(truth.mesh.vertices), dtype=_VERTEX)
    for names, values in (("xyz", mesh.vertices), (("red", "green", "blue"), mesh.colours)):
        for name, column in zip(names, values.T, strict=True):
            vertices[name] = column
    vertices["label"] = mesh.labels
    comment = f"positions in metres, world frame, z up; label is an index into the labels of {OBJECTS_FILE}"
    temporary = [folder / f".{name}.{os.getpid()}" for name in (MESH_FILE, OBJECTS_FILE)]
    try:
        ply.write_ply(temporary[0], vertices, mesh.triangles, comment)
        temporary[1].write_text(json.dumps(_content(truth), allow_nan=False) + "\n")
        for path, name in zip(temporary, (MESH_FILE, OBJECTS_FILE), strict=True):
            os.replace(path, folder / name)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def load_world_truth(folder: Path) -> WorldTruth:
    """Read what `save_world_truth` wrote.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not what it should be; names it.
    """
    path = folder / OBJECTS_FILE
    content = read_json(path, _MOST_BYTES)
    try:
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {content['format']} {content['version']}, expected {FORMAT} {VERSION}")
        objects = tuple(_object(entry) for entry in content["objects"])
        regions = tuple(_region(entry) for entry in content["regions"])
        places = _places(content["places"])
        labels = tuple(content["labels"])
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: {error!r:.500}") from error
    vertices, triangles = ply.read_mesh(folder / MESH_FILE)
    if vertices.dtype != np.dtype([(name, f"<{kind}") for name, kind in _VERTEX]):
        raise ValueError(f"{folder / MESH_FILE}: its vertices have {vertices.dtype.names!r:.500}")
    mesh = WorldMesh(
        ply.columns(vertices, "x", "y", "z"),
        triangles,
        vertices["label"].copy(),
        ply.columns(vertices, "red", "green", "blue"),
    )
    return WorldTruth(labels, mesh, objects, regions, places)


_VERTEX = [*((axis, "f4") for axis in "xyz"), *((name, "u1") for name in ("red", "green", "blue", "label"))]


def _mesh_of(scene: Scene) -> WorldMesh:
    if not scene.still:
        nothing = np.zeros((0, 3))
        return WorldMesh(
            nothing.astype(np.float32), nothing.astype(np.int32), np.zeros(0, np.uint8), nothing.astype(np.uint8)
        )
    mesh = merged([thing.mesh for thing in scene.still])
    label = np.repeat([thing.label for thing in scene.still], [3 * len(thing.mesh) for thing in scene.still])
    corners = np.ascontiguousarray(mesh.corners.reshape(-1, 3)) + np.float32(0.0)  # no negative zeros
    texture, material = np.ascontiguousarray(mesh.texture.reshape(-1, 3).T), np.repeat(mesh.material, 3)
    width = np.full(len(corners), _COLOURS_OVER_M, np.float32)
    linear, _ = MaterialTable(scene.materials).surface(material, texture, width)
    colours = np.rint(255 * np.clip(linear.T, 0.0, 1.0) ** (1 / 2.2)).astype(np.uint8)
    packed = np.ascontiguousarray(np.concatenate([colours, label[:, None].astype(np.uint8)], axis=1))
    # Corners are one vertex when they are equal in every byte.
    words = np.concatenate([corners.view(np.uint32), packed.view(np.uint32)], axis=1)
    order = np.lexsort(words.T)
    first = np.append(True, (np.diff(words[order].astype(np.int64), axis=0) != 0).any(axis=1))
    number = np.empty(len(words), np.int32)
    number[order] = np.cumsum(first) - 1
    kept = order[first]
    return WorldMesh(corners[kept], number.reshape(-1, 3), packed[kept, 3], packed[kept, :3])


def _content(truth: WorldTruth) -> dict[str, Any]:
    places = truth.places
    return {
        "format": FORMAT,
        "version": VERSION,
        "about": _ABOUT,
        "labels": list(truth.labels),
        "objects": [
            {
                "instance": item.instance,
                "label": item.label,
                "moves": item.moves,
                "centre": _numbers(item.box.frame_from_box[:3, 3]),
                "orientation": _numbers(quaternion_from_rotation(item.box.frame_from_box[:3, :3]), 9),
                "size": _numbers(np.array(item.box.size)),
                "velocity": _numbers(np.zeros(3) if item.box.velocity is None else item.box.velocity),
            }
            for item in truth.objects
        ],
        "regions": [
            {
                "name": region.name,
                "kind": region.kind,
                "outline": _numbers(region.outline),
                "floor": round(region.floor, 4),
                "height": round(region.height, 4) if math.isfinite(region.height) else None,
                "neighbours": list(region.neighbours),
            }
            for region in truth.regions
        ],
        "places": {
            "positions": _numbers(places.positions, 3),
            "clearance": _numbers(places.clearance, 3),
            "region": places.region.tolist(),
            "edges": places.edges.tolist(),
        },
    }


def _numbers(values: NDArray, decimals: int = 4) -> list[Any]:
    return np.round(np.asarray(values, np.float64), decimals).tolist()  # type: ignore[no-any-return]


def _object(entry: dict[str, Any]) -> WorldObject:
    pose = transform_from(entry["centre"], entry["orientation"])
    length, width, height = entry["size"]
    box = Box(pose, (length, width, height), entry["label"], str(entry["instance"]), 1.0, np.array(entry["velocity"]))
    return WorldObject(int(entry["instance"]), entry["label"], box, bool(entry["moves"]))


def _region(entry: dict[str, Any]) -> Region:
    height = math.inf if entry["height"] is None else float(entry["height"])
    outline, neighbours = np.array(entry["outline"], np.float64).reshape(-1, 2), tuple(entry["neighbours"])
    return Region(entry["name"], entry["kind"], outline, float(entry["floor"]), height, neighbours)


def _places(entry: dict[str, Any]) -> Places:
    return Places(
        np.array(entry["positions"], np.float64).reshape(-1, 3),
        np.array(entry["clearance"], np.float64),
        np.array(entry["region"], np.int32),
        np.array(entry["edges"], np.int32).reshape(-1, 2),
    )
