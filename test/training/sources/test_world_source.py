# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered worlds as a source: what is kept is what is rendered, and truth stays true when mirrored and cut."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import FREE, Camera, LabelSpace, VoxelGrid, backproject, project
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.resources import config_file
from mtl_perception.training.samples import TrainingSample, training_sample
from mtl_perception.training.sources import WorldSource
from mtl_perception.training.sources.pairs import read_pair
from mtl_perception.training.sources.windows import Window, cut

LABELS = LabelSpace.load(config_file("labels", "default"))
SIZE = (160, 112)


def a_pair(source: WorldSource, index: int = 0) -> TrainingSample:
    """Return a pair as it is kept, neither cut nor with its ground forgotten."""
    return read_pair(source.path(index), source.layers)


@pytest.fixture
def sample(street: WorldSource) -> TrainingSample:
    """Return a frame of the street."""
    return a_pair(street)


def camera_of(sample: TrainingSample, row: int) -> Camera:
    return Camera("c", sample.depth.shape[2], sample.depth.shape[1], sample.K[row], sample.base_from_camera[row])


def points_in_base(sample: TrainingSample, row: int) -> np.ndarray:
    """Return what each pixel of a camera shows, (H, W, 3); NaN where that is nothing."""
    camera = camera_of(sample, row)
    depth = np.where(np.isfinite(sample.depth[row]), sample.depth[row], np.nan)
    return transform_points(camera.base_from_camera, backproject(camera, depth).reshape(-1, 3)).reshape(*depth.shape, 3)


def all_points(sample: TrainingSample) -> np.ndarray:
    return np.stack([points_in_base(sample, row) for row in range(len(sample.images))])


def assert_same(first: TrainingSample, second: TrainingSample) -> None:
    for field in fields(TrainingSample):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if field.name == "boxes" and one is not None:
            for column in fields(one):
                np.testing.assert_array_equal(getattr(one, column.name), getattr(other, column.name))
        elif one is not None:
            np.testing.assert_array_equal(one, other, err_msg=field.name)
        else:
            assert other is None, field.name


def test_what_is_kept_is_what_is_rendered(street: WorldSource) -> None:
    rendered = street.dataset[0]
    expected, kept = training_sample(rendered, True, LABELS, street.layers), a_pair(street)
    assert expected.normals is not None and expected.scene_flow is not None
    assert kept.normals is not None and kept.scene_flow is not None
    np.testing.assert_allclose(kept.normals, expected.normals, atol=0.5 / 127)
    np.testing.assert_allclose(kept.scene_flow, expected.scene_flow, rtol=1e-3, atol=1e-6)
    assert_same(kept, replace(expected, normals=kept.normals, scene_flow=kept.scene_flow))
    for row, name in enumerate(rendered.frame.rig.names):
        np.testing.assert_array_equal(kept.edges[row], rendered.truth.cameras[name].edges)  # type: ignore[index]
    assert 0.1 <= kept.seconds <= 0.3
    assert kept.bev_map is not None and np.isnan(kept.bev_map[2]).all()  # a layer that the world does not have


def test_pairs_depend_on_the_seed_alone(street: WorldSource, tmp_path: Path) -> None:
    alone = WorldSource(
        "street", 2, tmp_path, LABELS, street.grid, first_seed=2_999_999, difficult=0.0, image_size=SIZE
    )
    alone.keep(7, alone.dataset[7])  # the second pair of its second world, whatever was rendered before
    assert alone.folder.name == street.folder.name
    assert alone.path(7).read_bytes() == street.path(1).read_bytes()


def test_other_settings_are_kept_elsewhere(street: WorldSource, tmp_path: Path) -> None:
    finer = VoxelGrid(street.grid.origin, 0.25, (128, 128, 16))
    folders = {
        WorldSource("street", 1, tmp_path, LABELS, street.grid).folder,
        WorldSource("street", 1, tmp_path, LABELS, finer).folder,
        WorldSource("street", 1, tmp_path, LABELS, street.grid, difficult=0.1).folder,
        WorldSource("street", 1, tmp_path, LABELS, street.grid, cameras="mono").folder,
    }
    assert len(folders) == 4


def test_a_damaged_file_is_rendered_again(street: WorldSource) -> None:
    path = street.path(3)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        street.sample(3, SIZE, np.random.default_rng(0))
    assert path.read_bytes() == whole
    assert not list(street.folder.glob(".*"))  # nothing half-written


def test_a_sample_depends_on_index_size_and_generator_alone(street: WorldSource) -> None:
    first = street.sample(2, (96, 64), np.random.default_rng(5))
    street.sample(4, SIZE, np.random.default_rng(6))
    assert_same(street.sample(2, (96, 64), np.random.default_rng(5)), first)


def test_the_number_of_worlds_grows_at_the_start(street: WorldSource, tmp_path: Path) -> None:
    many = WorldSource("street", 50, tmp_path, LABELS, street.grid)
    counts = [many.available(progress) for progress in (0.0, 0.05, 0.1, 1.0)]
    assert counts == [30, 168, 300, 300]


def test_a_robot_may_have_the_first_camera_only(street: WorldSource, monkeypatch: pytest.MonkeyPatch) -> None:
    size = street.image_size
    everything = street.sample(0, size, np.random.default_rng(1))
    monkeypatch.setattr(street, "first_camera_only", True)
    alone = [street.sample(0, size, np.random.default_rng(seed)) for seed in range(12)]
    assert len(everything.images) == 4
    mapped = 0
    for sample in alone:
        assert sample.occupancy is None and sample.boxes is None
        mapped += sample.bev_map is not None
        for name, value in vars(sample).items():
            if name not in ("bev_map", "boxes", "occupancy") and isinstance(value, np.ndarray):
                assert value.shape == (1, *getattr(everything, name).shape[1:]), name
    assert 0 < mapped < len(alone)
    whole = a_pair(street)
    one = whole.of_camera(2)
    np.testing.assert_array_equal(one.images[0], whole.images[2])
    np.testing.assert_array_equal(one.previous_from_current[0], whole.previous_from_current[2])


def test_half_of_the_pairs_of_a_room_are_hand_held(room: WorldSource) -> None:
    room.sample(0, SIZE, np.random.default_rng(0))
    pairs = [a_pair(room, index) for index in range(room.PAIRS_PER_WORLD)]
    held = [pair for pair in pairs if not pair.ground_known]
    assert 0 < len(held) < len(pairs)
    for pair in held:
        assert pair.boxes is None and pair.bev_map is None and pair.occupancy is not None
        np.testing.assert_array_equal(pair.base_from_camera[0, :3, 3], 0)
        points = points_in_base(pair, 0)
        cells = np.floor((points - room.grid.origin) / room.grid.voxel_size)
        inside = ((cells >= 0) & (cells < room.grid.shape)).all(axis=-1)
        found = pair.occupancy[tuple(cells[inside].astype(int).T)]
        assert (found < FREE).mean() > 0.9


def test_scene_flow_of_hand_held_pairs_is_in_the_axes_of_the_camera_body(room: WorldSource) -> None:
    room.sample(0, SIZE, np.random.default_rng(0))
    compared = 0
    for index in range(room.PAIRS_PER_WORLD):
        pair, rendered = a_pair(room, index), room.dataset[index]
        (camera,) = rendered.frame.rig
        flow = rendered.truth.cameras[camera.name].scene_flow
        assert flow is not None and pair.scene_flow is not None
        in_camera = [
            f @ pose[:3, :3]
            for f, pose in ((flow, camera.base_from_camera), (pair.scene_flow[0], pair.base_from_camera[0]))
        ]
        np.testing.assert_allclose(in_camera[1], in_camera[0], atol=2e-3)
        compared += not pair.ground_known
    assert compared


def test_the_mirror_flips_points_normals_and_flow(sample: TrainingSample) -> None:
    mirrored = sample.mirrored()
    rotation = mirrored.base_from_camera[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    expected = all_points(sample)[:, :, ::-1] * [1, -1, 1]
    np.testing.assert_allclose(all_points(mirrored), expected, atol=1e-5)
    assert sample.normals is not None and mirrored.normals is not None
    for row in range(4):
        before = sample.normals[row] @ sample.base_from_camera[row, :3, :3].T
        after = mirrored.normals[row] @ mirrored.base_from_camera[row, :3, :3].T
        np.testing.assert_allclose(after, before[:, ::-1] * [1, -1, 1], atol=1e-5)
    assert sample.scene_flow is not None and mirrored.scene_flow is not None
    np.testing.assert_array_equal(mirrored.scene_flow, sample.scene_flow[:, :, ::-1] * np.float32([1, -1, 1]))
    for row in range(4):  # where things were in the image before is mirrored, too
        expected = [159, 0] + pixels_before(sample, row)[:, ::-1] * [-1, 1]
        np.testing.assert_allclose(pixels_before(mirrored, row), expected, atol=0.01)


def pixels_before(sample: TrainingSample, row: int) -> np.ndarray:
    """Return where the surfaces of an image were in the image before, (H, W, 2) pixels; NaN behind the camera."""
    assert sample.previous_from_current is not None and sample.scene_flow is not None
    before = points_in_base(sample, row) - sample.scene_flow[row] * sample.seconds
    previous_from_base = sample.previous_from_current[row] @ inverse(sample.base_from_camera[row])
    in_camera = transform_points(previous_from_base, before.reshape(-1, 3))
    in_camera[~(in_camera[:, 2] > 0.5)] = np.nan
    return project(camera_of(sample, row), in_camera)[0].reshape(before.shape[0], before.shape[1], 2)


def test_the_mirror_flips_grids_and_boxes(sample: TrainingSample, street: WorldSource) -> None:
    mirrored = sample.mirrored()
    assert share_of_road_on_road(sample, street.grid) > 0.9
    assert share_of_road_on_road(mirrored, street.grid) == pytest.approx(share_of_road_on_road(sample, street.grid))
    views = [(camera_of(mirrored, row), mirrored.depth[row], mirrored.semantic[row]) for row in range(4)]
    seen = occupancy_from_depth(street.grid, views).labels < FREE
    agreement = []
    for labels in (mirrored.occupancy, sample.occupancy):
        assert labels is not None
        agreement.append(((labels < FREE) == seen)[(labels < FREE) | seen].mean())
    assert agreement[0] > 0.9 > 0.6 > agreement[1]  # points on the border of two voxels may change sides
    np.testing.assert_array_equal(points_in_boxes(mirrored), points_in_boxes(sample))
    assert points_in_boxes(sample).max() > 50
    assert sample.boxes is not None and mirrored.boxes is not None
    np.testing.assert_array_equal(mirrored.boxes.velocity, sample.boxes.velocity * [1, -1])


def share_of_road_on_road(sample: TrainingSample, grid: VoxelGrid) -> float:
    assert sample.bev_map is not None
    points = all_points(sample)[sample.semantic == LABELS.names.index("road")]
    cells = np.floor((points[:, :2] - grid.origin[:2]) / grid.voxel_size)
    inside = ((cells >= 0) & (cells < grid.shape[:2])).all(axis=-1)
    return float(sample.bev_map[0][tuple(cells[inside].astype(int).T)].mean())


def points_in_boxes(sample: TrainingSample) -> np.ndarray:
    """Return how many pixels show a point inside of each box."""
    assert sample.boxes is not None
    points = all_points(sample)
    points = points[np.isfinite(points).all(axis=-1)]
    counts = []
    for centre, size, yaw in zip(sample.boxes.centre, sample.boxes.size, sample.boxes.yaw, strict=True):
        c, s = np.cos(yaw), np.sin(yaw)
        local = (points - centre) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        counts.append(np.count_nonzero((np.abs(local) < size / 2).all(axis=-1)))
    return np.array(counts)


def test_boxes_that_count_as_seen_are_seen(sample: TrainingSample) -> None:
    assert sample.boxes is not None and sample.boxes.seen.any() and not sample.boxes.seen.all()
    assert (points_in_boxes(sample)[sample.boxes.seen] > 0).mean() > 0.9


@pytest.mark.parametrize("window", [Window(0, 0, 160, 112), Window(13, 9, 130, 91)])
def test_a_window_shows_the_same_points_through_another_lens(sample: TrainingSample, window: Window) -> None:
    small = cut(sample, window, (120, 84))
    assert small.images.shape == (4, 84, 120, 3)
    points = all_points(sample)
    rows = window.y + ((np.arange(84) + 0.5) * window.height / 84).astype(int)
    columns = window.x + ((np.arange(120) + 0.5) * window.width / 120).astype(int)
    distance = np.linalg.norm(all_points(small) - points[:, rows][:, :, columns], axis=-1)
    along = np.where(np.isfinite(small.depth), small.depth, np.nan) * 1.5 / small.K[0, 0, 0] * window.width / 120
    assert np.nanmax(distance / along) < 1  # within a pixel of the rendered image
    assert small.edges is not None and small.instance is not None
    assert 0 < (small.edges == 255).mean() < 0.5
    np.testing.assert_array_equal(small.instance, sample.instance[:, rows][:, :, columns])  # type: ignore[index]
