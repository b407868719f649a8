# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map of scenes whose surfaces are known."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.mapping import Mapper, MapperConfig, MappingError


def mapped(config, labels, frames):
    mapper = Mapper(config, labels)
    for frame in frames:
        mapper.integrate(frame)
    return mapper


def triangle_set(mesh):
    corners = mesh.vertices[mesh.triangles]
    first = [min(range(3), key=lambda i: tuple(corner[i])) for corner in corners.tolist()]
    turned = [np.roll(corner, -start, axis=0).ravel().tolist() for corner, start in zip(corners, first, strict=True)]
    return sorted(map(tuple, turned))


def test_a_wall_is_meshed_where_it_is(scene, frame, labels):
    scene.box("wall", (2.03, -4, -4), (2.2, 4, 4))
    looks = [frame(scene.look((0, y, 0.1 * y), yaw=y)) for y in (-0.3, -0.1, 0.0, 0.2)]
    mesh = mapped(MapperConfig(), labels, looks).mesh()
    assert len(mesh.triangles) > 500
    assert np.abs(mesh.vertices[:, 0] - 2.03).max() < 0.025
    assert (mesh.labels == labels.id_of("wall")).all()
    assert (mesh.colours == labels.palette[labels.id_of("wall")]).all()


def test_a_sphere_is_meshed_where_it_is(scene, frame, labels):
    scene.sphere("furniture", (2, 0, 0), 0.6)
    around = [(0, 0, 0), (2, -2, 0), (4, 0, 0), (2, 2, 0)]
    frames = [frame(scene.look(position, yaw=number * np.pi / 2)) for number, position in enumerate(around)]
    mesh = mapped(MapperConfig(voxel_size=0.04), labels, frames * 2).mesh()
    off = np.abs(np.linalg.norm(mesh.vertices - [2, 0, 0], axis=1) - 0.6)
    assert off.mean() < 0.02
    assert len(mesh.triangles) > 1500


def test_triangles_face_free_space(scene, frame, labels):
    scene.box("wall", (2.03, -4, -4), (2.2, 4, 4))
    mesh = mapped(MapperConfig(), labels, [frame(scene.look((0, 0, 0)))]).mesh()
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]] for corner in range(3))
    assert np.cross(b - a, c - a)[:, 0].mean() < 0


def test_meshing_by_touched_blocks_equals_meshing_all(walk, labels):
    mapper = Mapper(MapperConfig(), labels)
    blocks = {}
    for frame in walk:
        update = mapper.integrate(frame)
        blocks |= update.changed_blocks
        for key in update.removed_blocks:
            del blocks[key]
    whole = mapper.meshed_anew()
    assert blocks.keys() == whole.keys() == set(mapper.mesh_keys)
    for key, block in whole.items():
        for field in ("vertices", "triangles", "colours", "labels", "confidence"):
            assert np.array_equal(getattr(blocks[key], field), getattr(block, field)), (key, field)


def test_no_triangle_is_in_two_blocks(walk, labels):
    mapper = mapped(MapperConfig(), labels, walk)
    mesh = mapper.mesh()
    triangles = triangle_set(mesh)
    solid = [t for t in triangles if len({t[0:3], t[3:6], t[6:9]}) == 3]
    assert len(set(solid)) == len(solid)
    assert sum(len(block.triangles) for block in mapper.mesh_blocks(mapper.mesh_keys).values()) == len(triangles)


def test_the_joined_mesh_has_no_cracks_between_blocks(scene, frame, labels):
    scene.sphere("furniture", (2, 0, 0), 0.6)
    around = [(0, 0, 0), (2, -2, 0), (4, 0, 0), (2, 2, 0)]
    frames = [frame(scene.look(position, yaw=number * np.pi / 2)) for number, position in enumerate(around)]
    mesh = mapped(MapperConfig(), labels, frames * 2).mesh()
    middle = np.abs(mesh.vertices[mesh.triangles][:, :, 2]).max(axis=1) < 0.2  # the poles are not seen
    edges = np.sort(mesh.triangles[middle][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    inner = (np.abs(mesh.vertices[edges][:, :, 2]) < 0.1).all(axis=1)
    _, uses = np.unique(edges[inner], axis=0, return_counts=True)
    assert (uses == 2).all()


def test_the_same_frames_give_the_same_map(walk, labels):
    first, second = (mapped(MapperConfig(), labels, walk).mesh() for _ in range(2))
    for field in ("vertices", "triangles", "colours", "labels", "confidence"):
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


def test_two_cameras_in_one_step_see_two_walls(scene, frame, labels):
    scene.box("wall", (2, -3, -2), (2.2, 3, 2)).box("building", (-2.2, -3, -2), (-2, 3, 2))
    both = frame(scene.look((0, 0, 0)), scene.look((0, 0, 0), yaw=np.pi, name="back"))
    mapper = Mapper(MapperConfig(), labels)
    update = mapper.integrate(both)
    mesh = mapper.mesh()
    assert np.abs(mesh.vertices[mesh.labels == labels.id_of("wall"), 0] - 2).max() < 0.025
    assert np.abs(mesh.vertices[mesh.labels == labels.id_of("building"), 0] + 2).max() < 0.025
    assert set(update.seconds) == {"gate", "window", "fuse", "grid", "track", "mesh"}


def test_a_walking_person_leaves_no_surface_by_its_class_or_by_the_motion_mask(labels, scene, frame):
    scene.box("wall", (3, -3, -2), (3.2, 3, 2))
    person = [
        type(scene)(labels).box("wall", (3, -3, -2), (3.2, 3, 2)).box("pedestrian", (1.5, y, -1), (1.8, y + 0.4, 0.8))
        for y in (-0.8, 0.0, 0.6)
    ]
    by_class = [frame(world.look((0, 0, 0))) for world in person]
    by_mask = []
    for world in person:
        look = world.look((0, 0, 0))
        mask = np.where(look.semantic == labels.id_of("pedestrian"), 255, 0).astype(np.uint8)
        by_mask.append(frame(replace(look, semantic=None, motion_mask=mask)))
    for frames in (by_class, by_mask):
        mesh = mapped(MapperConfig(), labels, frames).mesh()
        assert len(mesh.vertices) > 500
        assert mesh.vertices[:, 0].min() > 2.9


def test_what_has_left_is_carved_away(labels, scene, frame):
    scene.box("wall", (3, -3, -2), (3.2, 3, 2))
    with_box = (
        type(scene)(labels).box("wall", (3, -3, -2), (3.2, 3, 2)).box("furniture", (1.5, -0.3, -1), (1.8, 0.3, 0.8))
    )
    mapper = mapped(MapperConfig(), labels, [frame(with_box.look((0, 0, 0)))] * 3)
    assert mapper.mesh().vertices[:, 0].min() < 1.6
    removed = []
    for _ in range(40):
        removed += mapper.integrate(frame(scene.look((0, 0, 0)))).removed_blocks
    assert mapper.mesh().vertices[:, 0].min() > 2.9
    assert removed
    assert mapper.objects() == ()


def test_sky_is_no_surface(labels, scene, frame):
    look = scene.box("sky", (3, -3, -2), (3.2, 3, 2)).look((0, 0, 0))
    assert len(mapped(MapperConfig(), labels, [frame(look)]).mesh().vertices) == 0


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (lambda f: replace(f, world_from_base=None), r"^world_from_base is missing"),
        (lambda f: change(f, world_from_camera=None), r"camera 'front': world_from_camera is missing"),
        (lambda f: change(f, depth=None), r"camera 'front': depth is missing"),
        (
            lambda f: change(f, depth=np.ones((4, 5), np.float32)),
            r"camera 'front': depth is 5x4, its camera is 160x120",
        ),
        (lambda f: change(f, world_from_camera=np.full((4, 4), np.nan)), r"'front': world_from_camera is not a finite"),
        (lambda f: change(f, world_from_camera=np.diag([2.0, 2, 2, 1])), r"'front': world_from_camera is no rigid"),
        (lambda f: replace(f, cameras={}), r"^no camera has an image"),
    ],
)
def test_a_frame_without_pose_or_depth_is_refused_and_changes_nothing(walk, labels, broken, text):
    mapper = mapped(MapperConfig(), labels, walk[:2])
    before, stats = mapper.mesh(), mapper.stats
    with pytest.raises(MappingError, match=text):
        mapper.integrate(broken(replace(walk[2], stamp_ns=7)))
    assert mapper.stats == stats
    assert np.array_equal(mapper.mesh().vertices, before.vertices)


def change(frame, **fields):
    return replace(frame, cameras={"front": replace(frame.cameras["front"], **fields)})


def test_memory_is_bounded_and_the_map_is_not(scene, frame, labels):
    scene.box("wall", (-100, 1.5, -3), (100, 2, 3))
    mapper = Mapper(MapperConfig(max_blocks=150), labels)
    removed = set()
    for x in range(0, 20, 2):
        removed |= set(mapper.integrate(frame(scene.look((x, 0, 0), yaw=np.pi / 2), base=(x, 0, 0))).removed_blocks)
        assert mapper.stats.blocks - mapper.stats.archived_blocks <= 150
    stats = mapper.stats
    assert stats.evicted_blocks > 0 and stats.refused_blocks == stats.dropped_blocks == 0
    assert not removed
    x = mapper.mesh().vertices[:, 0]
    assert x.min() < 0 and x.max() > 18 and np.diff(np.sort(x)).max() < 1
    assert set(mapper.meshed_anew()) == set(mapper.mesh_keys)


def test_what_does_not_fit_beside_what_is_nearer_is_refused(scene, frame, labels):
    scene.box("wall", (-100, 4, -3), (100, 4.5, 3))
    mapper = Mapper(MapperConfig(max_blocks=64), labels)
    mapper.integrate(frame(scene.look((0, 0, 0), yaw=np.pi / 2)))
    stats = mapper.stats
    assert 20 < stats.blocks <= 64 and stats.archived_blocks == stats.dropped_blocks == 0
    assert stats.refused_blocks > 50
    assert np.abs(mapper.mesh().vertices[:, 0]).max() < 3


def test_stats_and_reset(walk, labels):
    mapper = mapped(MapperConfig(), labels, walk)
    stats = mapper.stats
    assert stats.frames == 6
    assert stats.objects == 1
    assert stats.vertices == sum(len(block.vertices) for block in mapper.mesh_blocks(mapper.mesh_keys).values()) > 1000
    mapper.reset()
    assert mapper.stats == mapped(MapperConfig(), labels, []).stats
    assert len(mapper.mesh().vertices) == 0
    assert mapper.mesh_blocks([(0, 0, 0)])[0, 0, 0].triangles.shape == (0, 3)


def test_points_are_the_coloured_labelled_vertices(walk, labels):
    mapper = mapped(MapperConfig(), labels, walk)
    xyz, rgb, label = mapper.points()
    assert xyz.shape == rgb.shape == (len(label), 3)
    clear = label == labels.id_of("wall")
    assert np.abs(xyz[clear, 0] - 3).mean() < 0.05


def test_live_settings_hold_from_the_next_frame_on(scene, frame, labels):
    scene.box("wall", (2.03, -4, -4), (2.2, 4, 4))
    mapper = Mapper(MapperConfig(), labels)
    mapper.adjust(MapperConfig(min_depth=3.0), labels)
    mapper.integrate(frame(scene.look((0, 0, 0))))
    assert mapper.stats.vertices == 0
    mapper.adjust(MapperConfig(), labels)
    mapper.integrate(frame(scene.look((0, 0, 0)), stamp_ns=10**8))
    assert mapper.stats.vertices > 0
    jumped = frame(scene.look((0, 0, 0)), stamp_ns=2 * 10**8, base=(20, 0, 0))
    with pytest.raises(MappingError, match="the pose jumped by"):
        mapper.integrate(jumped)
    mapper.adjust(MapperConfig(pose_jump_patience=0.0, on_pose_jump="refuse"), labels)
    with pytest.raises(MappingError, match="the pose jumped by"):
        mapper.integrate(replace(jumped, stamp_ns=3 * 10**8))
    mapper.adjust(MapperConfig(pose_jump_patience=0.0), labels)
    assert mapper.integrate(replace(jumped, stamp_ns=4 * 10**8)).moved


@pytest.mark.parametrize("values", [{"voxel_size": 0.1}, {"max_depth": 5.0}, {"object_gap": 0.3}])
def test_other_settings_of_a_map_cannot_change(values, labels):
    mapper = Mapper(MapperConfig(), labels)
    (name,) = values
    with pytest.raises(ValueError, match=f"{name} .* of a map cannot become {values[name]}"):
        mapper.adjust(MapperConfig(**values), labels)
    fewer = replace(labels, labels=labels.labels[:-1])
    with pytest.raises(ValueError, match=r"the classes .* of a map cannot become"):
        mapper.adjust(MapperConfig(), fewer)
    assert mapper.config == MapperConfig() and mapper.labels is labels
