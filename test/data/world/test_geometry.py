# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The truth of worlds proven by geometry: it fits together, and equals rays that are cast here one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import (
    FREE,
    UNKNOWN,
    Camera,
    CameraTruth,
    LabelSpace,
    Rig,
    Sample,
)
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse, transform_points
from mtl_perception.data.occupancy import BEHIND_M, DEFAULT_GRID
from mtl_perception.data.world import World
from mtl_perception.data.world.cameras.lens import pixel_rays_of, project_distorted
from mtl_perception.data.world.cameras.rigs import RigLayout
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import merged, posed
from mtl_perception.data.world.truth.boxes import BoxTruth

LABELS = LabelSpace.load(Path(__file__).parents[3] / "config" / "labels" / "default.yaml")
WORLDS = [("street", 3), ("street", 8), ("indoor", 2), ("indoor", 5)]
START_S, STEP_S = 3.0, 0.1
EPOCH_NS = 1_700_000_000_000_000_000


def rig() -> RigLayout:
    """Pinholes ahead and behind, a fisheye to the left and a barrel lens to the right, exposed one after the other."""
    width, height, focal = 120, 80, 62.0
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    lenses = {
        "front": (0.0, "", np.zeros(0)),
        "left": (90.0, "equidistant", np.array([0.03, -0.01, 0.0, 0.0])),
        "right": (-90.0, "plumb_bob", np.array([-0.2, 0.03, 0.001, -0.002, 0.0])),
        "back": (180.0, "", np.zeros(0)),
    }
    cameras = [
        Camera(
            name, width, height, K, upright((0.1, 0.0, 1.4), np.deg2rad(yaw), 0.06) @ BODY_FROM_OPTICAL, model, values,
            frame_id=f"{name}_optical_frame",
        )
        for name, (yaw, model, values) in lenses.items()
    ]  # fmt: skip
    return RigLayout(Rig(tuple(cameras)), {"front": 0, "left": 6_000_000, "right": 12_000_000, "back": 18_000_000})


@dataclass(frozen=True, eq=False)
class Case:
    """A world with two samples, `STEP_S` apart."""

    world: World
    now: Sample
    later: Sample

    def views(self) -> Iterator[tuple[Camera, CameraTruth, Transform, float]]:
        """Each camera with its truth, its pose and its time in seconds."""
        for camera in self.now.frame.rig:
            seconds = (self.now.frame.image_stamps_ns[camera.name] - EPOCH_NS) * 1e-9
            yield camera, self.now.truth.cameras[camera.name], self.now.frame.world_from_camera[camera.name], seconds


@lru_cache
def world_of(kind: str, seed: int) -> World:
    return World.generate(kind, seed, LABELS, cameras=rig(), duration_s=8.0)


@pytest.fixture(scope="module", params=WORLDS, ids=lambda value: f"{value[0]}-{value[1]}")
def case(request: pytest.FixtureRequest) -> Case:
    world = world_of(*request.param)
    now = world.render(START_S, previous_s=START_S - STEP_S, flow_interval_s=STEP_S)
    return Case(world, now, world.render(START_S + STEP_S, previous_s=START_S, flow_interval_s=STEP_S))


def surface(camera: Camera, truth: CameraTruth, world_from_camera: Transform) -> np.ndarray:
    """Return what each pixel shows, (H, W, 3) in the world; NaN where that is nothing."""
    depth = np.where(np.isfinite(truth.depth), truth.depth, np.nan)
    return transform_points(world_from_camera, pixel_rays_of(camera).astype(float) * depth[..., None])


def landed(case: Case, move: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """How far (N,) each camera's points are, at the later time, from the surface that the later image shows where they
    fall; whether that is of the same thing (N,); and whether they are moving (N,)."""
    for camera, truth, pose, seconds in case.views():
        world_from_base = case.world.world_from_base(seconds)
        points = surface(camera, truth, pose)
        if move:
            points = points + truth.scene_flow @ world_from_base[:3, :3].T * STEP_S
        there = np.isfinite(points).all(axis=2)
        later, later_pose = case.later.truth.cameras[camera.name], case.later.frame.world_from_camera[camera.name]
        pixels, _ = project_distorted(camera, transform_points(inverse(later_pose), points[there]))
        with np.errstate(invalid="ignore"):
            seen = (np.abs(pixels - [(camera.width - 1) / 2, (camera.height - 1) / 2]) < [59.9, 39.9]).all(axis=1)
        column, row = np.rint(pixels[seen]).astype(int).T
        normals = later.normals[row, column] @ later_pose[:3, :3].T
        across = points[there][seen] - surface(camera, later, later_pose)[row, column]
        same = (later.instance[row, column] == truth.instance[there][seen]) & (
            later.semantic[row, column] == truth.semantic[there][seen]
        )
        distance = np.abs(np.einsum("ij,ij->i", across, normals))
        yield np.where(np.isfinite(distance), distance, np.inf), same, truth.motion_mask[there][seen] > 0


def test_depth_moved_by_flow_and_ego_motion_lands_on_the_next_image(case: Case) -> None:
    distance, same, moving = (np.concatenate(parts) for parts in zip(*landed(case, move=True), strict=True))
    assert len(distance) > 20_000 and np.median(distance) < 0.01 and same.mean() > 0.9
    assert np.percentile(distance[same], 90) < 0.01
    if moving.sum() > 50:
        assert np.median(distance[moving]) < 0.01 and same[moving].mean() > 0.8


def test_some_world_moves_and_lands_nowhere_without_its_flow() -> None:
    world, best = world_of(*WORLDS[0]), None
    for seconds in np.arange(0.0, 7.5, 1.5):
        sample = world.render(float(seconds), flow_interval_s=STEP_S)
        moving = sum(int((truth.motion_mask > 0).sum()) for truth in sample.truth.cameras.values())
        if moving > 300:
            best = Case(world, sample, world.render(float(seconds) + STEP_S, flow_interval_s=STEP_S))
            break
    assert best is not None, "nobody moves before the cameras of this street"
    with_flow, without = (
        np.concatenate([np.where(same, distance, 1.0)[moving] for distance, same, moving in landed(best, move)])
        for move in (True, False)
    )
    assert np.median(with_flow) < 0.01 < np.mean(without) and np.mean(with_flow) < 0.3 * np.mean(without)


def test_points_of_a_thing_keep_their_place_in_its_box_as_they_flow(case: Case) -> None:
    """Also: boxes hold all points of their things, at each image's own time."""
    truths = BoxTruth(case.world.scene, case.world.duration_s)
    rigid = {str(actor.instance) for actor in case.world.scene.actors if len(np.unique(actor.mesh.part)) == 1}
    checked = 0
    for camera, truth, pose, seconds in case.views():
        world_from_base = case.world.world_from_base(seconds)
        points = surface(camera, truth, pose)
        later = {b.track: b for b in truths.boxes(np.eye(4), seconds + STEP_S, range_m=1e4)}
        for box in truths.boxes(world_from_base, seconds):
            mine = truth.instance == int(box.track)
            if not mine.any():
                continue
            world_from_box = world_from_base @ box.frame_from_box
            inside = transform_points(inverse(world_from_box), points[mine])
            assert (np.abs(inside) <= np.array(box.size) / 2 + 0.002).all(), f"{box.label} {box.track}"
            assert set(truth.semantic[mine]) == {LABELS.id_of(box.label)}
            checked += 1
            flow = truth.scene_flow[mine] @ world_from_base[:3, :3].T
            if box.track in rigid:
                moved = points[mine] + flow * STEP_S
                assert np.allclose(transform_points(inverse(later[box.track].frame_from_box), moved), inside, atol=2e-3)
            elif not (truth.motion_mask[mine] > 0).any():
                assert np.abs(box.velocity).max() < 0.11
    detectable = [LABELS.id_of(name) for name in LABELS.subsets["detection"]]
    shown = sum(
        len(np.unique(t.instance[np.isin(t.semantic, detectable) & (t.depth < 50)])) for _, t, _, _ in case.views()
    )
    assert checked >= shown, "whatever is seen and near has a box"


def test_velocity_of_boxes_is_how_their_centres_move(case: Case) -> None:
    truths = BoxTruth(case.world.scene, case.world.duration_s)
    step = 0.01
    before, after = (
        {b.track: b for b in truths.boxes(np.eye(4), START_S + sign * step, range_m=1e4)} for sign in (-1, 1)
    )
    for box in truths.boxes(np.eye(4), START_S, range_m=1e4):
        centres = [other[box.track].frame_from_box[:3, 3] for other in (before, after)]
        assert (centres[1] - centres[0]) / (2 * step) == pytest.approx(box.velocity, abs=0.05)
        assert box.size == before[box.track].size == after[box.track].size
    assert case.now.truth.sweep is not None and case.now.truth.sweep.boxes is not None


def test_normals_equal_the_gradient_of_depth(case: Case) -> None:
    angles = []
    for camera, truth, _, _ in case.views():
        points, normals = surface(camera, truth, np.eye(4)), truth.normals
        seen = np.isfinite(points).all(axis=2)
        assert (np.isfinite(normals).all(axis=2) == seen).all()
        assert np.allclose(np.linalg.norm(normals[seen], axis=1), 1, atol=1e-4)
        assert np.einsum("ij,ij->i", normals[seen], pixel_rays_of(camera)[seen]).max() < 1e-3, "towards the camera"
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        with np.errstate(invalid="ignore"):
            gradient = np.cross(down, across)
            gradient /= np.linalg.norm(gradient, axis=2, keepdims=True)
        middle = normals[1:-1, 1:-1]
        flat = np.ones(middle.shape[:2], dtype=bool)
        inner, low, high = np.s_[1:-1], np.s_[:-2], np.s_[2:]
        for rows, columns in ((inner, low), (inner, high), (low, inner), (high, inner)):
            with np.errstate(invalid="ignore"):
                flat &= np.einsum("ijk,ijk->ij", normals[rows, columns], middle) > 0.99999
                offset = points[rows, columns] - points[1:-1, 1:-1]
                # Steps between parallel surfaces have no gradient.
                flat &= np.abs(np.einsum("ijk,ijk->ij", offset, middle)) < 1e-3 * points[1:-1, 1:-1, 2]
        cosine = np.einsum("ij,ij->i", gradient[flat], middle[flat])
        angles.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    angle = np.concatenate(angles)
    assert len(angle) > 10_000 and np.median(angle) < 0.1 and np.percentile(angle, 99) < 2.0


def test_poses_compose(case: Case) -> None:
    for sample in (case.now, case.later):
        frame = sample.frame
        for camera in frame.rig:
            seconds = (frame.image_stamps_ns[camera.name] - EPOCH_NS) * 1e-9
            expected = case.world.world_from_base(seconds) @ camera.base_from_camera
            assert np.allclose(frame.world_from_camera[camera.name], expected, atol=1e-9)
        for pose in (frame.world_from_base, *frame.world_from_camera.values()):
            assert pose is not None
            assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9) and np.allclose(
                pose[3], [0, 0, 0, 1]
            )
            assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    motion = case.later.truth.ego_motion
    assert motion is not None and motion.previous_stamp_ns == case.now.frame.stamp_ns
    assert np.allclose(
        case.now.frame.world_from_base @ motion.previous_base_from_base, case.later.frame.world_from_base, atol=1e-9
    )
    before = case.now.truth.ego_motion
    assert before is not None
    both = before.previous_base_from_base @ motion.previous_base_from_base
    first = case.world.world_from_base(START_S - STEP_S)
    assert np.allclose(first @ both, case.world.world_from_base(START_S + STEP_S), atol=1e-9)


def test_labels_instances_and_panoptic_ids_agree(case: Case) -> None:
    is_thing = np.array([label.thing for label in LABELS.labels] + [False] * (256 - len(LABELS)))
    actors = {actor.instance for actor in case.world.scene.actors}
    label_of = {thing.instance: thing.label for thing in [*case.world.scene.still, *case.world.scene.actors]}
    for camera, truth, _, _ in case.views():
        blind, nothing = np.isnan(truth.depth), np.isposinf(truth.depth)
        assert (blind == np.isnan(pixel_rays_of(camera)[..., 0])).all()
        assert (truth.semantic[blind] == UNKNOWN).all() and (truth.panoptic[blind] == -1).all()
        assert ((truth.semantic == LABELS.id_of("sky")) == nothing).all()
        assert (np.isnan(truth.scene_flow).any(axis=2) == (blind | nothing)).all()
        assert (truth.panoptic[~blind] // 1000 == truth.semantic[~blind]).all()
        assert ((truth.panoptic[~blind] % 1000 > 0) == is_thing[truth.semantic[~blind]]).all()
        assert ((truth.instance > 0) == is_thing[truth.semantic]).all()
        pairs = np.unique(np.stack([truth.instance[~blind], truth.panoptic[~blind]]), axis=1)
        things = pairs[:, pairs[0] > 0]
        assert len(np.unique(things[0])) == things.shape[1] == len(np.unique(things[1])), "one number for each"
        for instance, panoptic in things.T:
            assert label_of[int(instance)] == panoptic // 1000
        moving = np.unique(truth.instance[truth.motion_mask > 0])
        assert set(moving.tolist()) <= actors and set(np.unique(truth.motion_mask)) <= {0, 255}
        still = ~np.isin(truth.instance, list(actors)) & ~blind & ~nothing
        assert (truth.scene_flow[still] == 0).all()


def test_edges_are_the_borders_between_classes(case: Case) -> None:
    borders = 0
    for _, truth, _, _ in case.views():
        semantic = truth.semantic.astype(int)
        expected = np.zeros(semantic.shape, dtype=bool)
        for row, column in np.ndindex(*semantic.shape):
            for y, x in ((row + 1, column), (row, column + 1)):
                if y < semantic.shape[0] and x < semantic.shape[1]:
                    pair = semantic[row, column], semantic[y, x]
                    if pair[0] != pair[1] and UNKNOWN not in pair:
                        expected[row, column] = expected[y, x] = True
        assert (truth.edges == np.where(expected, 255, 0)).all()
        borders += int(expected.sum())
    assert borders > 100


@dataclass(frozen=True, eq=False)
class Target:
    """Everything there is at an instant, to cast rays at, with the labels (T,) of its triangles."""

    scene: o3d.t.geometry.RaycastingScene
    labels: np.ndarray

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far (N,) and which triangle (N,)."""
        rays = np.concatenate([np.broadcast_to(origins, directions.shape), directions], axis=-1).astype(np.float32)
        answer = self.scene.cast_rays(o3d.core.Tensor(np.ascontiguousarray(rays)))
        return answer["t_hit"].numpy(), answer["primitive_ids"].numpy()


def target_of(world: World, seconds: float) -> Target:
    things = [(thing.mesh, thing.label) for thing in world.scene.still]
    things += [(posed(actor.mesh, actor.poses(seconds)), actor.label) for actor in world.scene.actors]
    mesh = merged([mesh for mesh, _ in things])
    scene = o3d.t.geometry.RaycastingScene()
    index = np.arange(3 * len(mesh), dtype=np.uint32).reshape(-1, 3)
    scene.add_triangles(o3d.core.Tensor(mesh.corners.reshape(-1, 3)), o3d.core.Tensor(index))
    return Target(scene, np.repeat([label for _, label in things], [len(m) for m, _ in things]))


def test_depth_labels_and_occupancy_equal_rays_cast_one_by_one(case: Case) -> None:
    grid, base = DEFAULT_GRID, case.now.frame.world_from_base
    votes, free = np.zeros((*grid.shape, 256), np.int32), np.zeros(grid.shape, dtype=bool)
    reached = np.zeros(grid.shape, dtype=bool)  # by a straight line that nothing is in the way of
    centres = transform_points(base, grid.centres().reshape(-1, 3))
    for camera, truth, pose, seconds in case.views():
        target = target_of(case.world, seconds)
        rays = pixel_rays_of(camera).astype(float)
        sees = np.isfinite(rays).all(axis=2)
        depth, label = np.full(sees.shape, np.nan), np.full(sees.shape, UNKNOWN)
        depth[sees], triangle = target.cast(pose[:3, 3], rays[sees] @ pose[:3, :3].T)
        near = np.isfinite(depth) & (depth < 60)
        label[near] = target.labels[triangle[near[sees]]]
        assert (np.abs(depth[near] - truth.depth[near]) < 1e-3 * depth[near]).mean() > 0.999
        assert (label[near] == truth.semantic[near]).mean() > 0.998
        points = transform_points(inverse(base) @ pose, rays[near] * (depth[near, None] + BEHIND_M))
        voxel, inside = grid.indices(points)
        np.add.at(votes, (*voxel[inside].T, label[near][inside]), 1)
        pixels, ahead = project_distorted(camera, transform_points(inverse(pose), centres))
        with np.errstate(invalid="ignore"):
            in_view = np.flatnonzero((ahead > 0) & (np.abs(pixels - [59.5, 39.5]) < [60, 40]).all(axis=1))
        column, row = np.rint(pixels[in_view]).astype(int).T
        free.reshape(-1)[in_view] |= ahead[in_view] < depth[row, column] - grid.voxel_size
        share, _ = target.cast(pose[:3, 3], centres[in_view] - pose[:3, 3])
        reached.reshape(-1)[in_view] |= share > 1
    found, occupied = case.now.truth.occupancy, votes.any(axis=3)
    assert found is not None
    assert (found.occupied & occupied).sum() > 0.995 * (found.occupied | occupied).sum() > 100
    clear = occupied & (votes.max(axis=3) > 0.6 * votes.sum(axis=3)) & found.occupied
    assert (found.labels[clear] == votes.argmax(axis=3)[clear]).mean() > 0.99
    seen_through = found.labels == FREE
    assert (seen_through & free & ~occupied).sum() > 0.995 * (seen_through | free & ~occupied).sum() > 100
    assert reached[seen_through].mean() > 0.8, "a pixel stands for all of its width, but not for more"
    assert (found.observed == (occupied | free)).mean() > 0.999


def test_bev_layers_equal_rays_cast_down(case: Case) -> None:
    bev, base = case.now.truth.bev_map, case.now.frame.world_from_base
    assert bev is not None and set(bev.layers) == (
        {"road", "pavement", "crossing", "lane_marking"} if case.world.kind == "street" else {"floor"}
    )
    fine = (np.arange(64 * 5) + 0.5) * 0.1 - 16.0
    points = np.stack([*np.meshgrid(fine, fine, indexing="ij"), np.zeros((320, 320))], axis=-1).reshape(-1, 3)
    points = transform_points(base, points)
    points[:, 2] = 0.62
    down = np.broadcast_to([0.0, 0.0, -1.0], points.shape)
    heights: dict[str, np.ndarray] = {}
    for layer in ("", *bev.layers):  # what has no layer hides the ground where it is low, as a lawn is
        things = [t.mesh.corners for t in case.world.scene.still if t.layer == layer and not t.instance]
        corners = np.concatenate([*things, np.zeros((1, 3, 3), np.float32)])
        corners = corners[corners[..., 2].max(axis=1) < (0.6 if layer else 0.3)]
        scene = o3d.t.geometry.RaycastingScene()
        index = np.arange(3 * len(corners), dtype=np.uint32).reshape(-1, 3)
        scene.add_triangles(o3d.core.Tensor(np.ascontiguousarray(corners.reshape(-1, 3))), o3d.core.Tensor(index))
        heights[layer] = 0.62 - Target(scene, np.zeros(0)).cast(points, down)[0]
    painted = ("lane_marking", "crossing")
    for layer, answer in bev.layers.items():
        others = [height for name, height in heights.items() if name != layer and name not in painted]
        seen = heights[layer] > (-np.inf if layer in painted else np.max(others, axis=0))
        share = seen.reshape(64, 5, 64, 5).mean(axis=(1, 3))
        if layer in painted:
            around = cv2.dilate((share > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
            assert (answer[share > (0.2 if layer == "lane_marking" else 0.6)] == 1).all()
            assert layer == "crossing" or (answer[around == 0] == 0).all()
        else:  # the truth's samples are elsewhere by up to 7 cm
            clear = np.abs(share - 0.5) > 0.25
            assert (answer[clear] == (share > 0.5)[clear]).mean() > 0.998 and clear.mean() > 0.8
