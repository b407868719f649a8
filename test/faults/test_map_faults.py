# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Saved maps that are damaged, or made by somebody who means harm, loaded through the node's service."""

import io
import json
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest
from fault_map import MapSystem, change_manifest, loaded, memory_within, rewrite, save

ABSURD = 10**13


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    system = MapSystem(tmp_path_factory.mktemp("maps"))
    system.start()
    save(system, "good")
    yield system
    system.close()


def flip(folder):
    content = bytearray((folder / "blocks.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "blocks.zip").write_bytes(content)


def truncate(folder):
    content = (folder / "blocks.zip").read_bytes()
    rewrite(folder, "blocks.zip", content[: len(content) // 2])


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def no_bytes(folder):
    rewrite(folder, "objects.json", b"")


def zipped(entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def absurd_array(folder):
    header = npy(np.zeros(1, np.int64))
    header = header.replace(b"'shape': (1,), }" + b" " * 14, f"'shape': ({ABSURD},), }}".encode() + b" " * 1)
    assert str(ABSURD).encode() in header
    rewrite(folder, "trajectory.npz", zipped({"stamps_ns.npy": header}))


def zip_bomb(folder):
    rewrite(folder, "air.npz", zipped({"regions.npy": npy(np.zeros(2**25, np.int64))}, zipfile.ZIP_DEFLATED))


def overlapping(folder):
    """One megabyte of which a hundred entries say that it is theirs."""
    content = bytearray(zipped({"0": bytes(2**20)}))
    start = content.index(b"PK\x01\x02")
    entry, end = bytes(content[start : content.index(b"PK\x05\x06")]), content.index(b"PK\x05\x06")
    entries = b"".join(entry[:46] + f"{n:02d}"[-1:].encode() for n in range(100))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 100, 100, len(entries), start, 0)
    assert end > start
    rewrite(folder, "blocks.zip", bytes(content[:start]) + entries + tail)


def region_bomb(folder):
    path = folder / "blocks.zip"
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name, content = next(iter(entries.items()))
    head = bytearray(content[:64])
    struct.pack_into("<4I", head, 24, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    rewrite(folder, "blocks.zip", zipped({**entries, name: bytes(head) + content[64:]}))


def objects_of_python(folder):
    array = np.array([{"a": 1}], dtype=object)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    rewrite(folder, "instances.npz", zipped({"label.npy": file.getvalue()}))


def link_out(folder):
    outside = folder.parent.parent / f"{folder.name}.ground.npz"
    shutil.move(folder / "ground.npz", outside)
    (folder / "ground.npz").symlink_to(outside)


def dots(folder):
    shutil.copy(folder / "air.npz", folder.parent / "air.npz")
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    change_manifest(folder, files={"../air.npz": listed["air.npz"]})


def pipe(folder):
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def deep(folder):
    (folder / "manifest.json").write_text("[" * 100_000)


def endless(folder):
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("/dev/zero")


def other_labels(folder):
    labels = json.loads((folder / "manifest.json").read_text())["labels"]
    labels["labels"][1]["name"] = "motorway"
    labels |= {"subsets": {}, "datasets": {}}
    change_manifest(folder, labels=labels)


def hostile_labels(folder):
    labels = json.loads((folder / "manifest.json").read_text())["labels"]
    labels["labels"][1]["colour"] = [1e400, 0, 0]
    change_manifest(folder, labels=labels)


def nan_voxels(folder):
    from mtl_perception.mapping.window.region_file import encode, read

    with zipfile.ZipFile(folder / "blocks.zip") as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name, content = next(iter(entries.items()))
    region = read(io.BytesIO(content), name)
    voxels = {**region.voxels, "tsdf": np.full_like(region.voxels["tsdf"], np.nan)}
    changed = type(region)(region.region, region.keys, region.seen_ns, region.meshes, voxels)
    rewrite(folder, "blocks.zip", zipped({**entries, name: encode(changed)}))


TABLE = [
    (flip, "a bit of a map flipped", "one bit of blocks.zip is another", "blocks.zip is damaged"),
    (truncate, "map truncated", "half of blocks.zip, with the right checksum", "is no readable map: BadZipFile"),
    (empty, "map folder empty", "all files of a map removed", "manifest.json"),
    (no_bytes, "file of a map empty", "objects.json has no bytes, and the right checksum", "objects.json is not JSON"),
    (lambda folder: change_manifest(folder, version=99), "map of another version", "version 99", "map version 99"),
    (absurd_array, "absurd array size in a map", "an array of 80 TB by its header", "trajectory.npz: stamps_ns.npy is"),
    (zip_bomb, "zip bomb in a map", "256 MiB of zeros, deflated", "air.npz: 'regions.npy' is compressed"),
    (overlapping, "entries of a map overlap", "100 entries that are the same megabyte", "its entries have"),
    (region_bomb, "absurd counts in a map's region", "4294967295 blocks", "is damaged: it says to have 4294967295"),
    (nan_voxels, "voxels of a map are NaN", "a region's distances are NaN", "tsdf is not finite"),
    (objects_of_python, "pickle in a map", "an array of Python objects", "label.npy holds objects, which is refused"),
    (link_out, "link out of a map", "ground.npz is a link to a file outside", "ground.npz is a link"),
    (dots, "dots in a map's list of files", "the manifest lists ../air.npz", "lists '../air.npz'"),
    (pipe, "pipe in place of a manifest", "manifest.json is a FIFO", "manifest.json is not a regular file"),
    (endless, "device in place of a manifest", "manifest.json leads to /dev/zero", "is not a regular file"),
    (deep, "manifest nested too deeply", "100,000 brackets", "nested too deeply"),
    (
        lambda folder: change_manifest(folder, frames=1e400),
        "infinite number in a manifest",
        "frames is Infinity",
        "frames is inf, expected a whole number",
    ),
    (
        lambda folder: change_manifest(folder, centre=[float("nan"), 0, 0]),
        "robot of a map is nowhere",
        "centre is NaN",
        "centre is [nan, 0, 0]",
    ),
    (other_labels, "map of another label space", "class 1 is called motorway", "was made with the classes"),
    (hostile_labels, "map with labels that are none", "a colour of Infinity", "colour [inf, 0, 0]"),
]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        pytest.param(
            spoil,
            text,
            id=name.replace(" ", "_"),
            marks=pytest.mark.fault(name, done=f"load: {done}", expected="refused by file and value, the map stays"),
        )
        for spoil, name, done, text in TABLE
    ],
)
def test_map_that_cannot_be_loaded(system, case, request, spoil, text):
    folder = system.folder / f"bad_{request.node.callspec.id[:40]}"
    shutil.copytree(system.folder / "good", folder)
    spoil(folder)
    with system.during(case), memory_within(180):
        system.refused(case, loaded(system, folder.name), text)


@pytest.mark.fault(
    "autosave damaged when the node starts",
    done="a byte added to objects.json, configure",
    expected="unconfigured, with the reason, nothing overwritten; well once it is whole",
)
def test_damaged_autosave(system, case):
    path = shutil.copytree(system.folder / "good", system.folder / "home") / "objects.json"
    good = path.read_bytes()
    path.write_bytes(good + b" ")
    other = MapSystem(system.folder, autosave_resume="always", autosave_path="home", autosave_period=0.1)
    try:
        assert other.node.trigger_configure().name == "FAILURE"
        status = next(each for each in other.node._statuses() if each.name == "lifecycle")
        assert status.values["state"] == "unconfigured" and "objects.json is damaged" in status.message
        case.saw(f"lifecycle: {status.message}".replace(str(system.folder), "/tmp/maps"))
        assert path.read_bytes() == good + b" "
        path.write_bytes(good)
        other.start()
        assert other.node._mapper.stats.frames == system.node._mapper.stats.frames + 1
    finally:
        other.close()


def test_after_all_of_them_a_good_map_is_loaded(system):
    before = system.content()
    assert loaded(system, "good").success
    assert system.content()[1] == before[1]
    system.more()
