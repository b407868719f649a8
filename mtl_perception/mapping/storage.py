# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps in files: a versioned folder with checksums, replaced as one, refused whole when anything is wrong.

manifest.json       format, version, settings, classes, sizes, and the SHA-256 of each file below
blocks.zip          an entry a region: voxels, stamps and meshes of its blocks (see window/region_file.py)
aside.zip           blocks that newer ones have replaced, until the trajectory is corrected
instances.npz       what the voxels' instances are
ground.npz          the 2D grid's evidence, its distance fields, and what is found of the squares of the ground
air.npz             blocks without voxels that are known to be free
objects.json        the objects, what is remembered of others that merged or vanished, and the next free id
objects.npz         their cells, and the summaries of the mesh that they are made of
tracks.npz          the things that move, and those that did lately
trajectory.npz      the robot's keyframes
others.npz          those of robots whose maps were merged into this one
mesh.ply, ...       what other programs read (see products/map_products.py), and this one does not
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.core.outside_files import read_json
from mtl_perception.mapping.archives import opened, read_arrays, write_arrays
from mtl_perception.mapping.atomic_folder import current, replacing
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MapFormatError
from mtl_perception.mapping.fusion.blocks import BLOCK, FARTHEST_BLOCK, unpack
from mtl_perception.mapping.fusion.instances import InstanceState
from mtl_perception.mapping.graph import object_files
from mtl_perception.mapping.graph.ground_graph import check_state
from mtl_perception.mapping.graph.map_object import ObjectsState
from mtl_perception.mapping.products.map_products import MapProducts, write_products
from mtl_perception.mapping.window.region_file import RegionError
from mtl_perception.mapping.window.set_aside import SetAside, read_parts, write_parts

FORMAT = "mtl_perception.map"
VERSION = 4
MANIFEST = "manifest.json"
_MANIFEST_BYTES = 4 * 2**20
_OBJECTS_BYTES = 2**30  # of some million objects

_READ_BACK = (
    "blocks.zip",
    "aside.zip",
    "instances.npz",
    "ground.npz",
    "air.npz",
    "objects.json",
    "objects.npz",
    "tracks.npz",
    "trajectory.npz",
    "others.npz",
)
_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,  # of zipfile: encrypted or of an unknown kind
    EOFError,
    struct.error,
    zipfile.BadZipFile,
)
"""What files can raise that are not as they must be."""


@dataclass(frozen=True, eq=False)
class SavedMap:
    """What a map continues from, beside its regions.

    Attributes:
        frames: that were fused.
        stamp_ns: of the last one.
        centre: (3,), where the robot was last, in the world; None before the first frame.
        instances: what the voxels' numbers stand for.
        ground: as in `GroundGraph.state`.
        air: as in `FreeAir.state`.
        objects: as in `ObjectRegistry.state`.
        tracks: as in `TrackRegistry.state`.
        trajectory: as in `Trajectory.state`.
        others: as in `OtherRobots.state`.
    """

    frames: int
    stamp_ns: int
    centre: NDArray[np.float64] | None
    instances: InstanceState
    ground: dict[str, NDArray]
    air: dict[str, NDArray]
    objects: ObjectsState
    tracks: dict[str, NDArray]
    trajectory: dict[str, NDArray]
    others: dict[str, NDArray]


def save(
    state: SavedMap,
    regions: Iterable[tuple[int, int, bytes]],
    aside: SetAside,
    products: MapProducts,
    folder: Path,
    config: MapperConfig,
    labels: LabelSpace,
) -> Path:
    """Write a map to a folder that is new, empty, or a map; return it. A crash leaves the old map loadable.

    `regions` is written as it comes: of each region its number, how many blocks it has, and what
    `window.region_file.encode` makes of it.

    Raises:
        MapFormatError: the place is taken by something else than a map.
        OSError: the files cannot be written.
    """
    check_target(folder)
    folder = folder.absolute()
    with replacing(folder, MANIFEST) as new:
        blocks = _write_regions(new / "blocks.zip", regions)
        write_parts(new / "aside.zip", aside)
        _write_files(new, state, products)
        _write_manifest(new, state, blocks, config, labels)
    return folder


def check_target(folder: Path) -> None:
    """Look whether a map may be saved to a folder.

    Raises:
        MapFormatError: the place is taken by something else than a map.
    """
    folder = folder.absolute()
    if folder.exists() and not is_map(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise MapFormatError(f"{folder} exists and is no map (it has no {MANIFEST}): it is not overwritten")


def is_map(folder: Path) -> bool:
    """Return whether there is a saved map, readable or not."""
    return (current(folder, MANIFEST) / MANIFEST).is_file()


def settings_of(folder: Path) -> tuple[MapperConfig, LabelSpace]:
    """Return the settings and the classes of a saved map.

    Raises:
        MapFormatError: the folder is no map of this version.
    """
    folder = current(folder.absolute(), MANIFEST)
    try:
        manifest = _manifest(folder)
        return MapperConfig.model_validate(manifest["config"]), LabelSpace.from_dict(manifest["labels"])
    except MapFormatError:
        raise
    except _ERRORS as error:
        raise MapFormatError(f"{folder} is no readable map: {type(error).__name__}: {error}") from error


def misfit(theirs: MapperConfig, their_labels: LabelSpace, ours: MapperConfig, our_labels: LabelSpace) -> str:
    """Return in what, with both values, a map was made otherwise than this one is; nothing if they fit together."""
    for name in ("voxel_size", "truncation_voxels", "grid_resolution", "ground_labels", "place_spacing", "object_gap"):
        their, our = getattr(theirs, name), getattr(ours, name)
        if their != our:
            return f"was made with {name} {their}, this map has {our}"
    if their_labels.names != our_labels.names:
        return f"was made with the classes {list(their_labels.names)}, this map has {list(our_labels.names)}"
    return ""


def load(
    folder: Path, config: MapperConfig, labels: LabelSpace, adopt: Callable[[bytes, str], int], aside: SetAside
) -> SavedMap:
    """Read a map, checking all of it first.

    `adopt` is given each region and what to call it; it checks the region and returns how many blocks it has. What was
    set aside comes into `aside`, which is empty.

    Raises:
        MapFormatError: the folder is no map, is damaged, or was made with other voxels or classes.
    """
    folder = current(folder.absolute(), MANIFEST)
    try:
        manifest = _checked_manifest(folder)
        wrong = misfit(*settings_of(folder), config, labels)
        if wrong:
            raise MapFormatError(f"{folder} {wrong}")
        saved = _read_files(folder, manifest, config)
        _read_regions(folder / "blocks.zip", _whole(manifest, "blocks"), adopt)
        read_parts(folder / "aside.zip", aside)
        return saved
    except MapFormatError:
        raise
    except _ERRORS as error:
        raise MapFormatError(f"{folder} is no readable map: {type(error).__name__}: {error}") from error


def _write_regions(path: Path, regions: Iterable[tuple[int, int, bytes]]) -> int:
    """Write regions one after the other; return how many blocks they have."""
    blocks = 0
    with zipfile.ZipFile(path, "w") as archive:  # not compressed: regions are
        for region, count, content in regions:
            x, y, z = unpack(np.array(region)).tolist()
            archive.writestr(zipfile.ZipInfo(f"{x}_{y}_{z}.region"), content)
            blocks += count
    return blocks


def _read_regions(path: Path, blocks: int, adopt: Callable[[bytes, str], int]) -> None:
    with opened(path) as archive:
        try:
            found = sum(adopt(archive.read(entry), f"{path}/{entry.filename}") for entry in archive.infolist())
        except RegionError as error:
            raise MapFormatError(str(error)) from error
    if found != blocks:
        raise MapFormatError(f"{path} has {found} blocks, {MANIFEST} says {blocks}")


def _write_files(folder: Path, state: SavedMap, products: MapProducts) -> None:
    write_arrays(folder / "instances.npz", vars(state.instances))
    write_arrays(folder / "ground.npz", state.ground)
    write_arrays(folder / "air.npz", state.air)
    listed, arrays = object_files.to_files(state.objects)
    write_arrays(folder / "objects.npz", arrays)
    write_arrays(folder / "tracks.npz", state.tracks)
    write_arrays(folder / "trajectory.npz", state.trajectory)
    write_arrays(folder / "others.npz", state.others)
    (folder / "objects.json").write_text(json.dumps(listed, indent=1))
    write_products(folder, products)


def _write_manifest(folder: Path, state: SavedMap, blocks: int, config: MapperConfig, labels: LabelSpace) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "frames": state.frames,
        "stamp_ns": state.stamp_ns,
        "blocks": blocks,
        "centre": None if state.centre is None else state.centre.tolist(),
        "config": config.model_dump(mode="json"),
        "labels": labels.to_dict(),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST, _MANIFEST_BYTES)
    if manifest["format"] != FORMAT or manifest["version"] != VERSION:
        found = f"{manifest['format']} version {manifest['version']}"
        raise MapFormatError(f"{folder / MANIFEST}: format is {found}, this program reads {FORMAT} version {VERSION}")
    return dict(manifest)


def _checked_manifest(folder: Path) -> dict[str, Any]:
    manifest = _manifest(folder)
    missing = [name for name in _READ_BACK if name not in manifest["files"]]
    if missing:
        raise MapFormatError(f"{folder / MANIFEST} does not list {', '.join(missing)}")
    for name, entry in manifest["files"].items():
        path = folder / name
        if Path(name).name != name:
            raise MapFormatError(f"{folder / MANIFEST} lists {name!r:.80}, which is no name of a file")
        if path.is_symlink():
            raise MapFormatError(f"{path} is a link, which no file of a map is")
        if not path.is_file():
            raise MapFormatError(f"{path} is missing")
        if path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
            raise MapFormatError(f"{path} is damaged: its size or checksum is not the manifest's")
    return manifest


def _read_files(folder: Path, manifest: dict[str, Any], config: MapperConfig) -> SavedMap:
    instances = InstanceState(**read_arrays(folder / "instances.npz"))
    for name, (dtype, width) in {"label": ("uint8", ()), "root": ("uint16", ()), "votes": ("int64", (3,))}.items():
        array = getattr(instances, name)
        rows = len(array) if name == "votes" else len(instances.label)
        _expect(folder / "instances.npz", name, array, dtype, (rows, *width))
    _check_instances(folder / "instances.npz", instances)
    ground = read_arrays(folder / "ground.npz")
    check_state(ground)
    listed = read_json(folder / "objects.json", _OBJECTS_BYTES)
    return SavedMap(
        frames=_whole(manifest, "frames"),
        stamp_ns=_whole(manifest, "stamp_ns"),
        centre=_centre(manifest["centre"], config),
        instances=instances,
        ground=ground,
        air=_air(folder / "air.npz"),
        objects=object_files.from_files(listed, read_arrays(folder / "objects.npz")),
        tracks=read_arrays(folder / "tracks.npz"),
        trajectory=read_arrays(folder / "trajectory.npz"),
        others=read_arrays(folder / "others.npz"),
    )


def _centre(values: list[float] | None, config: MapperConfig) -> NDArray[np.float64] | None:
    if values is None:
        return None
    centre = np.array(values, dtype=np.float64)
    farthest = FARTHEST_BLOCK * BLOCK * config.voxel_size
    if centre.shape != (3,) or not (np.abs(centre) < farthest).all():
        raise MapFormatError(f"{MANIFEST}: centre is {values!r:.80}, expected coordinates within {farthest:g} m")
    return centre


def _whole(manifest: dict[str, Any], name: str) -> int:
    """Return a count or a stamp of the manifest."""
    value = manifest[name]
    if type(value) is not int or not 0 <= value < 2**63:
        raise MapFormatError(f"{MANIFEST}: {name} is {value!r:.80}, expected a whole number that is not negative")
    return value


def _air(path: Path) -> dict[str, NDArray]:
    air = read_arrays(path)
    for name, dtype in {"regions": "int64", "blocks": "uint64"}.items():
        _expect(path, name, air[name], dtype, (len(air["regions"]),))
    if not (np.diff(air["regions"]) > 0).all():
        raise MapFormatError(f"{path}: its regions are not in order")
    return air


def _expect(path: Path, name: str, array: NDArray, dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise MapFormatError(f"{path}: {name} is {array.dtype} {array.shape}, expected {dtype} {shape}")


def _check_instances(path: Path, instances: InstanceState) -> None:
    count = len(instances.label)
    highest = max(int(array.max(initial=0)) for array in (instances.root, instances.votes[:, :2]))
    if highest >= count or (instances.votes < 0).any():
        raise MapFormatError(f"{path}: it has {count} instances, and there are numbers beyond them")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
