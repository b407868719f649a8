# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own mesh as a scene: colours, labels, axes, and the robot's way through it."""

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import LabelSpace, ply
from mtl_perception.data.world import World, shapes
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.mesh_path import MeshPath, path_from_file, path_in_free_space
from mtl_perception.data.world.mesh_scene import mesh_scene
from mtl_perception.data.world.scene import Mesh, Scene, linear_from_screen, merged

LABELS = LabelSpace.load(Path(__file__).parents[3] / "config" / "labels" / "default.yaml")
ROOM = (6.0, 4.0, 2.6)
CRATE = (1.0, 1.0, 0.8)  # in a corner


def room() -> Mesh:
    """A hollow room from 0, 0, 0 (its walls face inwards) with a crate in the corner."""
    hollow = shapes.box(ROOM, np.array(ROOM) / 2, 0)
    inward = Mesh(hollow.corners[:, ::-1], -hollow.normals, hollow.texture, hollow.material, hollow.part)
    return merged([inward, shapes.box(CRATE, np.array(CRATE) / 2, 0)])


def write_room(path: Path, labels: np.ndarray | None = None) -> Path:
    mesh = room()
    fields = [(name, "f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.zeros(3 * len(mesh), dtype=fields + ([("label", "u1")] if labels is not None else []))
    for name, column in zip("xyz", mesh.corners.reshape(-1, 3).T, strict=True):
        vertices[name] = column
    vertices["red"], vertices["green"] = 200, 100
    if labels is not None:
        vertices["label"] = np.repeat(labels, 3)
    ply.write_ply(path, vertices, np.arange(len(vertices)).reshape(-1, 3), "a room")
    return path


def load(path: Path, label: str = "wall", trajectory: Path | None = None) -> tuple[Scene, MeshPath]:
    return mesh_scene(path, LABELS, label, trajectory, 20.0, Conditions(), np.random.default_rng(4))


def test_a_coloured_ply_becomes_a_scene_of_one_class(tmp_path: Path) -> None:
    scene, _ = load(write_room(tmp_path / "room.ply"))
    (thing,) = scene.still
    assert LABELS.names[thing.label] == "wall" and len(thing.mesh) == 24 and thing.instance == 0
    assert np.allclose(thing.mesh.corners, room().corners)
    assert np.allclose(thing.mesh.texture, linear_from_screen(np.array([200, 100, 0]) / 255), atol=1e-3)
    assert scene.materials[thing.mesh.material[0]].pattern == "vertex_colour"
    a, b, c = thing.mesh.corners.transpose(1, 0, 2)
    assert np.einsum("ij,ij->i", np.cross(b - a, c - a), thing.mesh.normals[:, 0]).min() > 0


def test_the_labels_of_a_ply_make_things_and_layers(tmp_path: Path) -> None:
    mesh = room()
    labels = np.where(mesh.corners[..., 2].max(axis=1) == 0, LABELS.id_of("floor"), 255)
    labels[12:] = LABELS.id_of("furniture")
    scene, _ = load(write_room(tmp_path / "room.ply", labels))
    found = {LABELS.names[thing.label]: thing for thing in scene.still}
    assert set(found) == {"floor", "wall", "furniture"} and len(scene.still) == 3
    assert found["floor"].layer == "floor" and not found["wall"].layer
    assert found["furniture"].instance == 1 and found["wall"].instance == 0
    assert np.allclose(found["furniture"].mesh.corners.reshape(-1, 3).max(axis=0), CRATE)


def test_two_things_apart_are_two_instances_with_all_their_pieces(tmp_path: Path) -> None:
    cars = [shapes.box((4, 2, 1.2), (x, 8, 0.9), 0) for x in (2, 12)]
    wheels = [shapes.box((0.6, 0.2, 0.6), (x + 1, 8, 0.3), 0) for x in (2, 12)]
    boxes = merged([*cars, *wheels])
    path = tmp_path / "cars.ply"
    vertices = np.zeros(3 * len(boxes), dtype=[(name, "f4") for name in "xyz"])
    for name, column in zip("xyz", boxes.corners.reshape(-1, 3).T, strict=True):
        vertices[name] = column
    ply.write_ply(path, vertices, np.arange(len(vertices)).reshape(-1, 3), "two cars")
    way = tmp_path / "way.txt"
    way.write_text("0 0 0 0 0 0 0 1\n1 1 0 0 0 0 0 1\n")
    scene, _ = load(path, "car", way)
    assert [thing.instance for thing in scene.still] == [1, 2]
    assert [len(thing.mesh) for thing in scene.still] == [24, 24]


def test_textures_of_an_obj_colour_its_corners(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :, 0], image[4:, :, 2] = 255, 128  # OpenCV's order: the upper half is blue, the lower dark red
    cv2.imwrite(str(tmp_path / "t.png"), image)
    (tmp_path / "m.mtl").write_text("newmtl t\nKd 1 1 1\nmap_Kd t.png\n")
    quad = "v 0 0 0\nv 9 0 0\nv 9 9 0\nv 0 9 0\nvt 0.1 0.1\nvt 0.9 0.1\nvt 0.9 0.9\nvt 0.1 0.9\n"
    path = tmp_path / "m.obj"
    path.write_text(f"mtllib m.mtl\n{quad}usemtl t\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n")
    scene, _ = load(path, "road")
    (thing,) = scene.still
    low = thing.mesh.corners[..., 1] == 0
    assert low.sum() == 3
    assert np.allclose(thing.mesh.texture[low], linear_from_screen([128 / 255, 0, 0]), atol=1e-3)
    assert np.allclose(thing.mesh.texture[~low], [0, 0, 1], atol=1e-3)
    assert thing.layer == "road"


def test_gltf_is_turned_so_that_z_is_up(tmp_path: Path) -> None:
    points = np.array([[0, 1, 0], [8, 1, 0], [0, 1, 8], [8, 1, 8]], "<f4")  # level, at height 1 of y
    index = np.array([0, 2, 1, 1, 2, 3], "<u2")
    body = points.tobytes() + index.tobytes()
    head = json.dumps(
        {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
            "buffers": [{"byteLength": len(body)}],
            "bufferViews": [
                {"buffer": 0, "byteOffset": 0, "byteLength": 48},
                {"buffer": 0, "byteOffset": 48, "byteLength": 12},
            ],
            "accessors": [
                {
                    "bufferView": 0,
                    "componentType": 5126,
                    "count": 4,
                    "type": "VEC3",
                    "min": [0, 1, 0],
                    "max": [8, 1, 8],
                },
                {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR"},
            ],
        }
    ).encode()
    head += b" " * (-len(head) % 4)
    size = 12 + 8 + len(head) + 8 + len(body)
    path = tmp_path / "floor.glb"
    path.write_bytes(
        struct.pack("<4sII", b"glTF", 2, size)
        + struct.pack("<I4s", len(head), b"JSON")
        + head
        + struct.pack("<I4s", len(body), b"BIN\0")
        + body
    )
    scene, _ = load(path, "floor")
    (thing,) = scene.still
    assert np.allclose(thing.mesh.corners[..., 2], 1.0) and np.allclose(thing.mesh.normals[..., 2], 1.0)
    assert thing.mesh.corners[..., 1].min() == pytest.approx(-8)


def test_the_way_that_is_found_stays_on_the_floor_and_clear_of_everything(tmp_path: Path) -> None:
    scene, motion = load(write_room(tmp_path / "room.ply"))
    assert motion.duration_s == 20.0
    target = o3d.t.geometry.RaycastingScene()
    corners = room().corners.reshape(-1, 3)
    target.add_triangles(
        o3d.core.Tensor(corners), o3d.core.Tensor(np.arange(len(corners), dtype=np.uint32).reshape(-1, 3))
    )
    poses = np.stack([motion.world_from_base(t) for t in np.linspace(0, 20, 201)])
    assert np.allclose(poses[:, 2, 3], 0, atol=1e-3), "on the floor"
    middle = (poses[:, :3, 3] + [0, 0, 0.6]).astype(np.float32)
    assert target.compute_distance(o3d.core.Tensor(middle)).numpy().min() > 0.3
    up = np.concatenate([middle, np.tile(np.float32([0, 0, 1]), (201, 1))], axis=1)
    assert np.allclose(target.cast_rays(o3d.core.Tensor(up))["t_hit"].numpy(), ROOM[2] - 0.6, atol=1e-3), (
        "not in a crate"
    )
    steps = np.diff(poses[:, :3, 3], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.1 and np.linalg.norm(steps, axis=1).min() > 0.01
    forward = poses[:-1, :3, 0]
    assert np.einsum("ij,ij->i", forward, steps / np.linalg.norm(steps, axis=1, keepdims=True)).min() > 0.99
    assert len(scene.lamps) >= 1 and all(0 < lamp.position[2] < ROOM[2] for lamp in scene.lamps), "it is indoors"


@pytest.mark.parametrize("inside_out", [False, True])
def test_the_way_does_not_lead_through_a_house_without_rooms(inside_out: bool) -> None:
    """Where the triangles are inside out, a house without rooms looks like a room: there is a way all the same."""
    ground = shapes.box((44.0, 44.0, 0.5), (0.0, 0.0, -0.25), 0)
    house = shapes.box((26.0, 26.0, 7.0), (0.0, 0.0, 3.5), 0)
    corners = np.concatenate([ground.corners, house.corners])
    motion = path_in_free_space(corners[:, ::-1] if inside_out else corners, 20.0, np.random.default_rng(1))
    places = np.stack([motion.world_from_base(t)[:3, 3] for t in np.linspace(0, 20, 41)])
    assert np.allclose(places[:, 2], 0.0, atol=1e-3)
    if not inside_out:
        assert (np.abs(places[:, :2]).max(axis=1) > 13.3).all(), "outside of the walls"


def test_a_world_of_a_mesh_is_seen_as_it_is(tmp_path: Path) -> None:
    way = tmp_path / "way.txt"
    way.write_text("0 2 2 0 0 0 0 1\n2 4 2 0 0 0 0 1\n")
    path = write_room(tmp_path / "room.ply")
    world = World.from_mesh(path, LABELS, label="wall", trajectory=way, cameras="mono", image_size=(64, 48))
    assert world.duration_s == pytest.approx(2.0) and world.kind == "mesh"
    sample = world.render(1.0, previous_s=0.5)
    (camera,) = world.rig
    truth, image = sample.truth.cameras[camera.name], sample.frame.images[camera.name].astype(float)
    looking = world.world_from_base(1.0) @ camera.base_from_camera
    ahead = looking[:3, 2]
    assert truth.depth[24, 32] == pytest.approx((ROOM[0] - looking[0, 3]) / ahead[0], rel=0.05)
    assert (truth.semantic == LABELS.id_of("wall")).all() and np.isfinite(truth.depth).all()
    assert image[..., 0].mean() > 1.3 * image[..., 1].mean() > 1.3 * image[..., 2].mean(), "red, then green, no blue"
    assert sample.truth.bev_map is None and sample.truth.ego_motion is not None
    assert sample.truth.ego_motion.previous_base_from_base[:3, 3] == pytest.approx([0.5, 0, 0])
    assert sample.truth.occupancy is not None and sample.truth.occupancy.occupied.any()


def test_a_trajectory_is_followed_from_its_first_stamp_on(tmp_path: Path) -> None:
    path = tmp_path / "way.txt"
    path.write_text("# t x y z qx qy qz qw\n100.0 0 0 0 0 0 0 1\n\n102.0 4 0 0.5 0 0 0.70710678 0.70710678\n")
    motion = path_from_file(path)
    assert motion.duration_s == pytest.approx(2.0)
    half = motion.world_from_base(1.0)
    assert half[:3, 3] == pytest.approx([2, 0, 0.25])
    assert half[:2, 0] == pytest.approx([np.cos(np.pi / 4), np.sin(np.pi / 4)])
    assert motion.world_from_base(9.0)[:3, 3] == pytest.approx([4, 0, 0.5])
    scene, same = load(write_room(tmp_path / "room.ply"), trajectory=path)
    assert same.duration_s == pytest.approx(2.0) and scene.still


@pytest.mark.parametrize(
    "content, message",
    [
        ("0 0 0 0 0 0 0 1\n", "two poses"),
        ("0 0 0 0 0 0 0 1\n0 1 0 0 0 0 0 1\n", "line 2"),
        ("0 0 0 0 0 0 0 1\n1 1 0 0 0 0 0\n", "line 2"),
        ("0 0 0 0 0 0 0 0\n", "norm"),
        ("a b\n", "line 1"),
    ],
)
def test_a_wrong_trajectory_says_where(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "way.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        path_from_file(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.glb", struct.pack("<4sIIII", b"glTF", 2, 24, 1 << 27, 0) + b"{}  ", "134217728 bytes"),
        ("a.glb", b"glTF", "no glTF"),
        ("a.gltf", b"[" * 20_000, "nested too deeply"),
        ("a.gltf", b'{"buffers": [{"byteLength": 1099511627776, "uri": "data:,x"}]}', "a buffer says"),
        ("a.gltf", b'{"buffers": [{"byteLength": 8, "uri": "b.bin"}]}', "b.bin"),
        ("a.gltf", b'{"accessors": [{"count": 1099511627776}]}', "an accessor counts"),
    ],
)
def test_gltf_that_says_to_have_more_than_there_is_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*{message}"):
        load(tmp_path / name)


def test_what_is_no_mesh_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ply"):
        load(tmp_path / "none.ply")
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"empty\.obj"):
        load(tmp_path / "empty.obj")
    with pytest.raises(ValueError, match=r"room\.txt"):
        load(write_room(tmp_path / "room.txt"))
    with pytest.raises(KeyError, match="unicorn"):
        load(write_room(tmp_path / "room.ply"), "unicorn")
    crate = shapes.box((0.3, 0.3, 0.3), (0, 0, 0), 0)
    o3d.io.write_triangle_mesh(
        str(tmp_path / "crate.stl"),
        o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(crate.corners.reshape(-1, 3).astype(float)),
            o3d.utility.Vector3iVector(np.arange(36).reshape(-1, 3)),
        ).compute_triangle_normals(),
    )
    with pytest.raises(ValueError, match=r"crate\.stl.*give a trajectory"):
        load(tmp_path / "crate.stl")
