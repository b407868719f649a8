# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own mesh as a scene: a scan, or what a modelling program wrote."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.core import ply
from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.outside_files import parse_json, read_bytes
from mtl_perception.core.validation_text import error_text
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.mesh_path import MeshPath, path_from_file, path_in_free_space
from mtl_perception.data.world.rendering.light import (
    ceiling_lamp,
    indoor_light,
    indoor_sensor,
    street_light,
    street_sensor,
)
from mtl_perception.data.world.scene import Mesh, Scene, linear_from_screen

SUFFIXES = (".ply", ".obj", ".glb", ".gltf", ".stl")
LAYERS = ("road", "pavement", "floor")
"""Labels whose surface is a BEV layer of the same name."""

_GREY = 0.6  # what has no colour, on a screen
_NO_LABEL = 255
_CEILING_M = 8.0  # a robot with something above it, no higher than this, is indoors
_LAMP_EVERY_M = 5.0
_TOUCHING_M = 0.02
_MOST_BYTES = 1 << 33
_GLB_HEAD = struct.Struct("<4sIIII")  # magic, version, length; length and kind of the chunk that describes the rest
_Y_UP_SUFFIXES = (".glb", ".gltf")  # glTF's axes; the others are taken as they are
_Z_UP_FROM_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def mesh_scene(
    path: Path,
    labels: LabelSpace,
    label: str,
    trajectory: str | Path | None,
    duration_s: float,
    conditions: Conditions,
    generator: np.random.Generator,
) -> tuple[Scene, MeshPath]:
    """Return the scene of a mesh file, and how the robot moves through it.

    Args:
        path: PLY, OBJ, glTF or STL, in metres; z is up (in glTF y is, as that says). Colours come from its vertices,
            textures or materials; a PLY's vertex property `label` holds label ids.
        labels: the label space.
        label: name of the class of all that has no label.
        trajectory: the robot's way (see `path_from_file`); None: it goes round in the widest free space.
        duration_s: for how long it goes round.
        conditions: night and fog make the light.
        generator: draws light, cameras and the way.

    Raises:
        OSError: a file cannot be read.
        ValueError: the mesh has no triangles, is of an unknown kind, or has nowhere to go; the trajectory makes no
            sense; names the file.
        KeyError: the label space lacks the label.
    """
    default = labels.id_of(label)
    surface = _read(path)
    if trajectory is not None:
        motion = path_from_file(Path(trajectory))
    else:
        try:
            motion = path_in_free_space(surface.corners, duration_s, generator)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; give a trajectory") from error
    way = np.stack([motion.world_from_base(float(t))[:3, 3] for t in np.linspace(0, motion.duration_s, 60)])
    ceilings = _ceilings(surface.corners, way)
    indoors = float(np.mean(ceilings < _CEILING_M)) > 0.5
    light, sensor = (indoor_light, indoor_sensor) if indoors else (street_light, street_sensor)
    scene = Scene(labels, light(generator, conditions), sensor(generator, conditions))
    if indoors:
        _hang_lamps(scene, way, ceilings, generator)
    own = np.where(surface.labels < len(labels), surface.labels, default)
    for present in np.unique(own):
        _add(scene, surface, np.flatnonzero(own == present), labels.names[present])
    return scene, motion


@dataclass(frozen=True, eq=False)
class _Surface:
    """Triangles: corners float32 (T, 3, 3), linear RGB float32 (T, 3, 3) of the corners, labels int (T,), 255 none."""

    corners: NDArray[np.float32]
    colours: NDArray[np.float32]
    labels: NDArray[np.int64]


def _read(path: Path) -> _Surface:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a mesh ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no mesh {path}")
    surface = _from_ply(path) if suffix == ".ply" else _from_model(path)
    if not len(surface.corners) or not np.isfinite(surface.corners).all():
        raise ValueError(f"{path}: there is no mesh of triangles in it, or a vertex is not finite")
    return surface


def _from_ply(path: Path) -> _Surface:
    vertices, triangles = ply.read_mesh(path, ("x", "y", "z"))
    names = vertices.dtype.names or ()
    colours = np.full((len(vertices), 3), _GREY)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large or no number is refused, or has no label
        if {"red", "green", "blue"} <= {*names}:
            colours = np.clip(np.nan_to_num(ply.columns(vertices, "red", "green", "blue") / 255.0), 0.0, 1.0)
        label = np.full(len(triangles), _NO_LABEL)
        if "label" in names and len(triangles):
            label = np.median(vertices["label"][triangles].astype(int), axis=1).astype(int)
            label[label < 0] = _NO_LABEL
        corners = ply.columns(vertices, "x", "y", "z")[triangles].astype(np.float32)
    return _Surface(corners, linear_from_screen(colours)[triangles].astype(np.float32), label)


def _from_model(path: Path) -> _Surface:
    if path.suffix.lower() in _Y_UP_SUFFIXES:
        try:
            _check_gltf(path)
        except (LookupError, TypeError, AttributeError, ValueError, OSError, struct.error) as error:
            raise ValueError(f"{path} is no glTF file that can be read: {error_text(error)}") from error
    model = o3d.io.read_triangle_model(str(path))  # type: ignore[arg-type]  # Open3D's stub is wrong
    corners, colours = [np.zeros((0, 3, 3))], [np.zeros((0, 3, 3))]
    for part in model.meshes:
        triangles = np.asarray(part.mesh.triangles)
        corners.append(np.asarray(part.mesh.vertices)[triangles])
        material = model.materials[part.material_idx] if 0 <= part.material_idx < len(model.materials) else None
        colours.append(_colours(part.mesh, triangles, material))
    points = np.concatenate(corners)
    if path.suffix.lower() in _Y_UP_SUFFIXES:
        points = points @ _Z_UP_FROM_Y_UP.T
    everything = np.concatenate(colours).astype(np.float32)
    return _Surface(points.astype(np.float32), everything, np.full(len(points), _NO_LABEL))


def _check_gltf(path: Path) -> None:
    """Refuse what says to have more than there is: memory for it is allocated before that is noticed."""
    size = path.stat().st_size
    if path.suffix.lower() == ".glb":
        with path.open("rb") as file:  # only the description: the rest is large, and Open3D reads it
            _, _, _, length, _ = _GLB_HEAD.unpack(file.read(_GLB_HEAD.size))
            if length > size - _GLB_HEAD.size:
                raise ValueError(f"its description has {length} bytes, the file {size}")
            text = file.read(length)
    else:
        text = read_bytes(path, _MOST_BYTES)
    document, everything = parse_json(text), 0
    for buffer in document.get("buffers", []):
        address = buffer.get("uri", "data:")
        there = size if address.startswith("data:") else (path.parent / unquote(address)).stat().st_size
        if buffer["byteLength"] > there:
            raise ValueError(f"a buffer says to have {buffer['byteLength']} bytes, there are {there}")
        everything += there
    for accessor in document.get("accessors", []):
        if accessor["count"] > everything:
            raise ValueError(f"an accessor counts {accessor['count']} of something, there are {everything} bytes")


def _colours(
    mesh: o3d.geometry.TriangleMesh,
    triangles: NDArray,
    material: o3d.visualization.rendering.MaterialRecord | None,
) -> NDArray[np.float64]:
    """Return linear RGB (T, 3, 3) of triangles' corners: the texture there, else the vertices' or material's colour."""
    if material is not None and material.albedo_img is not None and mesh.has_triangle_uvs():
        image = np.asarray(material.albedo_img)
        image = np.repeat(image.reshape(*image.shape[:2], -1)[..., :3], 3 if image.ndim == 2 else 1, axis=2)
        u, v = np.asarray(mesh.triangle_uvs).reshape(-1, 3, 2).transpose(2, 0, 1)
        column = np.clip(np.mod(u, 1.0) * image.shape[1], 0, image.shape[1] - 1).astype(int)
        row = np.clip((1.0 - np.mod(v, 1.0)) * image.shape[0], 0, image.shape[0] - 1).astype(int)
        return linear_from_screen(image[row, column] / np.iinfo(image.dtype).max)
    if mesh.has_vertex_colors():
        return linear_from_screen(np.asarray(mesh.vertex_colors)[triangles])
    colour = np.ones(3) if material is None else np.asarray(material.base_color)[:3]
    return np.broadcast_to(
        linear_from_screen(np.full(3, _GREY) if (colour == 1).all() else colour), (*triangles.shape, 3)
    )


def _add(scene: Scene, surface: _Surface, chosen: NDArray[np.int64], label: str) -> None:
    """Add the triangles of one class: each thing by itself if the class can be counted."""
    material = scene.material("vertex_colour", (1.0, 1.0, 1.0))
    pieces = [chosen]
    if scene.labels.labels[scene.labels.id_of(label)].thing:
        pieces = [chosen[piece] for piece in _connected(surface.corners[chosen])]
    for piece in pieces:
        corners = surface.corners[piece]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        face /= np.maximum(np.linalg.norm(face, axis=1, keepdims=True), 1e-12)
        normals = np.repeat(face[:, None], 3, axis=1)
        numbers = np.full(len(piece), material, np.int32)
        mesh = Mesh(corners, normals, surface.colours[piece], numbers, np.zeros(len(piece), np.int32))
        scene.add(mesh, label, layer=label if label in LAYERS else "")


def _connected(corners: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Return the indices of the triangles of each thing: of pieces that hang together, or whose bounds meet."""
    points, number = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(points.astype(np.float64)), o3d.utility.Vector3iVector(number.reshape(-1, 3))
    )
    piece = np.asarray(mesh.cluster_connected_triangles()[0])
    low, high = np.full((piece.max() + 1, 3), np.inf), np.full((piece.max() + 1, 3), -np.inf)
    np.minimum.at(low, piece, corners.min(axis=1))
    np.maximum.at(high, piece, corners.max(axis=1))
    thing = np.arange(len(low))
    for index in range(len(low)):  # a car's wheels are pieces of their own
        meets = ((low[index] <= high + _TOUCHING_M) & (low <= high[index] + _TOUCHING_M)).all(axis=1)
        joined = np.unique(thing[meets])
        thing[np.isin(thing, joined)] = joined[0]
    return [np.flatnonzero(thing[piece] == index) for index in np.unique(thing)]


def _ceilings(corners: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return how far it is from places (N, 3) on the ground, or eyes, up to something; infinite in the open."""
    vertices = np.ascontiguousarray(corners.reshape(-1, 3))
    target = o3d.t.geometry.RaycastingScene(nthreads=1)
    indices = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
    target.add_triangles(o3d.core.Tensor.from_numpy(vertices), o3d.core.Tensor.from_numpy(indices))
    rays = np.zeros((len(places), 6), np.float32)
    rays[:, :3], rays[:, 5] = places + [0.0, 0.0, 0.1], 1.0
    distance: NDArray[np.float32] = target.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)["t_hit"].numpy()
    return distance


def _hang_lamps(
    scene: Scene, way: NDArray[np.float64], ceilings: NDArray[np.float32], generator: np.random.Generator
) -> None:
    """Hang a lamp under the ceiling every few metres of the robot's way."""
    hung: list[NDArray[np.float64]] = []
    for place, ceiling in zip(way, ceilings, strict=True):
        if ceiling < _CEILING_M and all(np.linalg.norm(place - other) > _LAMP_EVERY_M for other in hung):
            hung.append(place)
            x, y, z = place
            scene.lamps.append(ceiling_lamp((x, y, z + 0.1 + 0.85 * float(ceiling)), generator))
