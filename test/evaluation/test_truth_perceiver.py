# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The truth in place of a network: what it says of frames, and the maps that it gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.core import LabelSpace, pixel_rays
from mtl_perception.core.ground_truth import GroundTruth
from mtl_perception.core.transforms import transform_points
from mtl_perception.data.world import World
from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import WorldSettings
from mtl_perception.evaluation.truth_perceiver import TruthPerceiver
from mtl_perception.mapping import Mapper, storage
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))


@pytest.fixture(scope="module")
def sample():
    world = World.generate("street", 3, LABELS, cameras="surround4", image_size=(160, 120), duration_s=5.0)
    return world.render(4.0, previous_s=3.9)


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "room"
    settings = WorldSettings("indoor", seed=5, seconds=2.0, rate_hz=3.0, cameras="stereo", image_size=(160, 120))
    write_world(settings, path, processes=1)
    return path


def test_it_says_what_is_true(sample):
    prediction = TruthPerceiver(LABELS)(sample)
    assert list(prediction.cameras) == list(sample.frame.present)
    for name, camera in prediction.cameras.items():
        truth = sample.truth.cameras[name]
        surface = np.isfinite(truth.depth)
        assert np.array_equal(np.isfinite(camera.depth), surface)
        assert np.array_equal(camera.depth[surface], truth.depth[surface]) and np.isinf(truth.depth).any()
        for field in ("semantic", "panoptic", "motion_mask"):
            assert np.array_equal(getattr(camera, field), getattr(truth, field))
        assert np.array_equal(camera.world_from_camera, sample.frame.world_from_camera[name])


def test_a_distorted_camera_is_rectified_with_its_truth(sample):
    """Points of the world that its rectified depth shows lie where those of the straight camera's depth do."""
    name = sample.frame.present[0]
    straight = sample.frame.rig[name]
    bent = replace(straight, distortion_model="plumb_bob", distortion=np.array([0.02, 0.0, 0.0, 0.0, 0.0]))
    rig = replace(sample.frame.rig, cameras=(bent, *sample.frame.rig.cameras[1:]))
    camera = TruthPerceiver(LABELS)(replace(sample, frame=replace(sample.frame, rig=rig))).cameras[name]
    assert camera.camera.is_rectified
    known = np.isfinite(camera.depth)
    rays = pixel_rays(camera.camera)
    middle = (slice(50, 70), slice(70, 90))  # where the lens bends least
    shown = transform_points(camera.world_from_camera, (rays * camera.depth[..., None])[middle][known[middle]])
    true = transform_points(
        sample.frame.world_from_camera[name],
        (pixel_rays(straight) * sample.truth.cameras[name].depth[..., None])[middle][known[middle]],
    )
    assert np.median(np.linalg.norm(shown - true, axis=1)) < 0.05
    assert not np.array_equal(camera.semantic, sample.truth.cameras[name].semantic)


def test_labels_of_another_label_space_are_not_told(sample):
    foreign = replace(sample, truth=replace(sample.truth, dataset="camvid"))
    camera = next(iter(TruthPerceiver(LABELS)(foreign).cameras.values()))
    assert camera.semantic is None and camera.panoptic is None and camera.depth is not None


def test_a_frame_without_depth_is_refused(sample):
    with pytest.raises(ValueError, match="no camera has a true depth image"):
        TruthPerceiver(LABELS)(replace(sample, truth=GroundTruth()))


def test_evaluate_judges_the_map_of_the_truth(bag, tmp_path):
    config = tmp_path / "map.yaml"
    config.write_text("/**: {ros__parameters: {voxel_size: 0.1}}")
    command = ["evaluate", str(bag), "--perfect", "--scene", "indoor", "--config", str(config)]
    assert cli.main([*command, "--save-maps", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(found["metrics"]) == {"map", "scene_graph"}
    assert found["metrics"]["map"]["precision"] > 0.75 and found["metrics"]["map"]["label_accuracy"] > 0.9
    assert {"place_precision", "room_purity"} <= set(found["metrics"]["scene_graph"])
    assert found["checkpoint"]["name"] == "truth"
    (folder,) = (tmp_path / "out" / "maps").iterdir()
    mapper = Mapper(*storage.settings_of(folder))
    mapper.load(folder)
    assert len(mapper.mesh().triangles) > 1000 and mapper.stats.places > 10
    mapper.close()


def test_a_recording_is_judged_by_what_open3d_makes_of_it(bag, tmp_path):
    """Without a world beside it, as a recording has none."""
    for name in ("world.json", "world.ply", "world_objects.json"):
        (bag / name).rename(tmp_path / name)
    try:
        assert cli.main(["evaluate", str(bag), "--perfect", "--scene", "indoor", "--out", str(tmp_path / "out")]) == 0
    finally:
        for name in ("world.json", "world.ply", "world_objects.json"):
            (tmp_path / name).rename(bag / name)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["metrics"]["map"]["recall"] > 0.95 and found["metrics"]["map"]["completeness"] < 0.05
    assert "Open3D" in found["truth"]["map"][0]
