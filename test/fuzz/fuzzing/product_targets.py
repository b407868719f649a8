# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files that programs write: maps, checkpoints, worlds, meshes, and what is kept between the steps of a training."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzzing import make
from fuzzing.file_case import file_case, folder_case
from fuzzing.harness import Case, Target
from fuzzing.hostile import arrays, as_npz, contents, edited, json_files, npz_files
from fuzzing.make import Maker
from fuzzing.message_targets import CAMERA, POSE, prediction
from fuzzing.settings_targets import LABELS
from mtl_perception.core.labels import LabelSpace
from mtl_perception.mapping import MapFormatError, Mapper, MapperConfig
from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, VOXELS, pack
from mtl_perception.mapping.reading import read_map
from mtl_perception.mapping.storage import settings_of
from mtl_perception.mapping.window import region_file
from mtl_perception.mapping.window.regions import block_keys
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, load_checkpoint
from mtl_perception.network.checkpoint import save_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.running.demo import scene_of
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.driving.features import ClipFeatures
from mtl_perception.training.samples import BoxTruth, TrainingSample
from mtl_perception.training.sources.pairs import read_pair, write_pair
from mtl_perception.training.state import Record, load_state, save_state

_NETWORK = {
    "preset": "tiny",
    "tasks": ["depth"],
    "num_labels": 2,
    "input_pixels": 64 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 8, "canonical_focal": 100.0},
    "dense": {"width": 8},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 4.0, "shape": [4, 4, 4]},
}


def small_map(folder: Path) -> tuple[Path, MapperConfig, LabelSpace]:
    """Save a map of one look at a wall."""
    labels = LabelSpace.from_dict(json.loads(json.dumps(LABELS)))
    config = MapperConfig(ground_labels=("road",), wall_labels=(), room_labels=(), voxel_size=0.2, max_blocks=64)
    seen = prediction()
    front = seen.cameras["front"]
    depth = np.full((CAMERA.height, CAMERA.width), 1.5, np.float32)
    flat = replace(front, depth=depth, semantic=np.zeros(depth.shape, np.uint8), panoptic=None, depth_std=None)
    mapper = Mapper(config, labels)
    mapper.integrate(replace(seen, cameras={"front": flat}, world_from_base=POSE, detections=None))
    return mapper.save(folder / "map"), config, labels


def _map(folder: Path) -> Case:
    path, config, labels = small_map(folder)
    files: dict[str, Any] = {}
    for file in sorted(path.iterdir()):
        if file.suffix == ".npz":
            with np.load(file) as stored:
                files[file.name] = arrays(dict(stored)).map(as_npz)
        elif file.name in ("manifest.json", "objects.json"):
            files[file.name] = json_files(json.loads(file.read_text()))
        elif file.suffix == ".zip":
            files[file.name] = make.one_of(contents(file.read_bytes()), _regions(file))

    def read(where: Path) -> None:
        their_config, their_labels = settings_of(where)
        assert their_config.voxel_size > 0 and len(their_labels)
        found = read_map(where, config, labels, folder)
        found.volume.close()
        found.scene.close()

    return folder_case(path, files, read, (MapFormatError,), names=str(path), finish=_with_checksums)


def _with_checksums(folder: Path) -> None:
    """Let the manifest say what the files are: whoever makes a hostile map does so."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        for name in manifest["files"]:
            content = (folder / name).read_bytes()
            manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        path.write_text(json.dumps(manifest))
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError):
        return  # it is the manifest itself that is hostile


def _regions(path: Path) -> Maker:
    """Make archives of regions whose own checksums are right, too."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}

    def build(edits: list[tuple], name: str) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(zipfile.ZipInfo(name or entry), _with_digests(edited(content, edits)))
        return file.getvalue()

    edit = make.tuples(make.sampled_from((1, 17)), make.integers(0, 1 << 16), make.integers(0, (1 << 32) - 1))
    return make.builds(build, make.lists(edit, max_size=2), make.sampled_from(("", "", "../x", "0_0_0.region")))


def _with_digests(content: bytes) -> bytes:
    """Return the content of a region file with the digests that it must have."""
    head, digest = region_file._HEAD, region_file._DIGEST
    if len(content) < head.size + 2 * digest:
        return content
    *_, first, second = head.unpack_from(content)
    start = head.size + 2 * digest
    parts = content[start : start + first], content[start + first : start + first + second]
    digests = b"".join(hashlib.sha256(content[: head.size] + part).digest() for part in parts)
    return content[: head.size] + digests + content[start:]


def _region(_: Path) -> Case:
    number = int(pack(np.zeros(3, int)))
    keys = block_keys(number)[[0, 5]]
    voxels = {name: np.zeros((2, VOXELS, *shape), kind) for name, (kind, shape) in ATTRIBUTES.items()}
    valid = region_file.encode(region_file.Region(number, keys, np.zeros((2, 2), np.int64), {}, voxels))

    def read(content: bytes) -> None:
        found = region_file.read(io.BytesIO(_with_digests(content)), "a.region")
        assert len(found.keys) == len(found.seen_ns)

    return Case(contents(valid), read, "a.region", (region_file.RegionError,), [valid])


def _checkpoint(folder: Path) -> Case:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    labels = LabelSpace.from_dict(json.loads(json.dumps(LABELS)))
    path = folder / "tiny.safetensors"
    save_checkpoint(path, MultiTaskNetwork(NetworkConfig.model_validate(_NETWORK)), labels, ("depth",), {"steps": 1})
    valid = path.read_bytes()

    def read(where: Path) -> None:
        found = load_checkpoint(where)
        assert len(found.labels) == found.network.config.num_labels
        assert all(torch.isfinite(tensor).all() for tensor in found.network.state_dict().values())

    return file_case(path, _safetensors(valid), read, [valid], (ValueError, OSError), names="tiny.safetensors")


def _safetensors(valid: bytes) -> Maker:
    """Make files with other headers and other metadata in it, whose length is right."""
    (length,) = struct.unpack_from("<Q", valid)
    header = json.loads(valid[8 : 8 + length])
    texts = {key: json.loads(text) for key, text in header["__metadata__"].items() if text[:1] in '{["'}

    def with_header(content: bytes) -> bytes:
        return struct.pack("<Q", len(content)) + content + valid[8 + length :]

    def with_text(key: str, text: bytes) -> bytes:
        metadata = header["__metadata__"] | {key: text.decode(errors="replace")}
        return with_header(json.dumps(header | {"__metadata__": metadata}).encode())

    few = {name: header[name] for name in list(header)[:6]}
    rest = b"," + json.dumps(header)[1:].encode()  # of two entries of one name the last counts: the valid one

    def with_rest(content: bytes) -> bytes:
        return with_header(content[:-1] + rest if content[-1:] == b"}" and content[:1] == b"{" else content)

    headers = make.one_of(json_files(few).map(with_rest), json_files(header).map(with_header))
    made = [headers, contents(valid)]
    made += [make.builds(with_text, make.just(key), json_files(document)) for key, document in texts.items()]
    return make.one_of(*made)


def _state(folder: Path) -> Case:
    config = TrainingConfig.load(config_file("training", "nano_world"))
    path = folder / "state.safetensors"
    save_state(path, config, Record(3, {"depth": 0.5}), {"network": "x"}, {"model.a": torch.zeros(2)})
    valid = path.read_bytes()
    return file_case(path, _safetensors(valid), lambda where: load_state(where, config, {"network": "x"}), [valid])


def _scene_of(folder: Path) -> Case:
    (folder / "world.json").write_text(json.dumps({"seed": 1, "kind": "indoor", "cameras": ["front"], "frames": 3}))
    files = {"world.json": json_files(json.loads((folder / "world.json").read_text()))}
    return folder_case(folder, files, lambda where: scene_of(where))


def _sample() -> TrainingSample:
    height, width = 4, 6
    return TrainingSample(
        images=np.zeros((1, height, width, 3), np.uint8),
        K=np.eye(3)[None],
        base_from_camera=np.eye(4)[None],
        ground_known=True,
        depth=np.ones((1, height, width), np.float32),
        semantic=np.zeros((1, height, width), np.uint8),
        dataset="",
        motion_mask=np.zeros((1, height, width), np.uint8),
        previous_images=np.zeros((1, height, width, 3), np.uint8),
        previous_from_current=np.eye(4)[None],
        seconds=0.1,
        normals=np.zeros((1, height, width, 3), np.float32),
        instance=np.zeros((1, height, width), np.int32),
        scene_flow=np.zeros((1, height, width, 3), np.float32),
        occupancy=np.zeros((2, 2, 2), np.uint8),
        bev_map=np.zeros((1, 2, 2), np.float32),
        boxes=BoxTruth(
            np.zeros((1, 3)), np.ones((1, 3)), np.zeros(1), np.zeros((1, 2)), np.zeros(1, int), np.ones(1, bool)
        ),
    )


def _pair(folder: Path) -> Case:
    path = folder / "pair.npz"
    write_pair(path, _sample(), ("road",))
    with np.load(path) as stored:
        valid = dict(stored)
    return file_case(path, npz_files(valid), lambda p: read_pair(p, ("road",)), [as_npz(valid)])


def _features(folder: Path) -> Case:
    valid = {field.name: np.zeros((2, 3), np.float16) for field in fields(ClipFeatures)}
    path = folder / "features.npz"
    return file_case(path, npz_files(valid), ClipFeatures.load, [as_npz(valid)])


TARGETS = (
    Target("map", (
            *(f"mapping.{name}" for name in ("reading.read_map", "storage.load", "storage.settings_of")),
            *(f"mapping.{name}" for name in ("archives.opened", "archives.read_arrays", "window.set_aside.read_parts")),
            "mapping.graph.object_files.from_files",
        ), 1500, _map),
    Target("region", ("mapping.window.region_file.read",), 3000, _region),
    Target("checkpoint", ("network.checkpoint.load_checkpoint",), 1000, _checkpoint),
    Target("training_state", ("training.state.load_state",), 1500, _state),
    Target("world_json", ("running.demo.scene_of",), 1000, _scene_of),
    Target("training_pair", ("training.sources.pairs.read_pair", "core.outside_files.read_npz"), 1500, _pair),
    Target("clip_features", ("training.driving.features.ClipFeatures.load",), 1000, _features),
)
