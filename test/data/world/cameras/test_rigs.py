# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigs: what the presets see, what a user's own file may say, and what is said when it is wrong."""

import numpy as np
import pytest
import yaml

from mtl_perception.core.camera import Camera, project
from mtl_perception.data.world.cameras.lens import pixel_rays_of
from mtl_perception.data.world.cameras.rigs import load_rig, varied

FRONT = {"name": "front", "width": 200, "height": 100, "horizontal_fov_deg": 90.0, "position": [0.5, 0.1, 1.2]}


def written(tmp_path, *cameras, **more):
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump({"cameras": list(cameras), **more}))
    return str(path)


def looks_towards(camera: Camera):
    """Return the unit direction (3,) of the optical axis in the base frame."""
    return camera.base_from_camera[:3, 2]


def bearing(camera: Camera):
    x, y, _ = looks_towards(camera)
    return np.rad2deg(np.arctan2(y, x))


@pytest.mark.parametrize(
    ("name", "bearings"),
    [
        ("mono", {"front": 0}),
        ("stereo", {"left": 0, "right": 0}),
        ("surround4", {"front": 0, "left": 90, "right": -90, "back": 180}),
        (
            "surround6",
            {"front": 0, "front_left": 55, "front_right": -55, "back": 180, "back_left": 110, "back_right": -110},
        ),
    ],
)
def test_presets_look_where_their_names_say(name, bearings):
    layout = load_rig(name)
    assert layout.rig.names == tuple(bearings)
    assert layout.rig.base_frame == "base_link"
    for camera in layout.rig:
        assert (camera.width, camera.height) == (256, 192)
        assert camera.frame_id == f"{camera.name}_optical_frame"
        assert abs((bearing(camera) - bearings[camera.name] + 180) % 360 - 180) < 1e-6
        assert camera.base_from_camera[2, 1] < -0.99  # the image's down is the world's
    assert list(layout.exposure_offsets_ns) == list(bearings)
    assert next(iter(layout.exposure_offsets_ns.values())) == 0


def test_stereo_cameras_lie_side_by_side_and_are_exposed_at_once():
    layout = load_rig("stereo")
    left, right = layout.rig
    right_in_left = np.linalg.inv(left.base_from_camera) @ right.base_from_camera
    np.testing.assert_allclose(right_in_left[:3, 3], [0.3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(right_in_left[:3, :3], np.eye(3), atol=1e-12)
    assert set(layout.exposure_offsets_ns.values()) == {0}


@pytest.mark.parametrize("name", ["surround4", "surround6"])
def test_surround_rigs_see_all_round(name):
    rig = load_rig(name).rig
    for angle in np.arange(0, 360, 3):
        point = np.array([40 * np.cos(np.deg2rad(angle)), 40 * np.sin(np.deg2rad(angle)), 1.4, 1.0])
        seen = []
        for camera in rig:
            pixels, _ = project(camera, (np.linalg.inv(camera.base_from_camera) @ point)[None, :3])
            seen.append(bool(((pixels >= -0.5) & (pixels <= [camera.width - 0.5, camera.height - 0.5])).all()))
        assert any(seen), angle


def test_own_file_angles_follow_the_axes_of_the_body(tmp_path):
    path = written(tmp_path, FRONT, {**FRONT, "name": "aside", "yaw_deg": 90, "pitch_deg": 10, "roll_deg": 5})
    front, aside = load_rig(path).rig
    np.testing.assert_allclose(front.base_from_camera[:3, 3], [0.5, 0.1, 1.2])
    np.testing.assert_allclose(looks_towards(front), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(front.K, [[100, 0, 99.5], [0, 100, 49.5], [0, 0, 1]], atol=1e-9)
    down = np.sin(np.deg2rad(10))
    np.testing.assert_allclose(looks_towards(aside), [0, np.cos(np.deg2rad(10)), -down], atol=1e-12)
    assert aside.base_from_camera[2, 0] < -0.05  # rolled: the image's right side points down


def test_image_size_keeps_the_width_of_the_view_and_square_pixels(tmp_path):
    path = written(tmp_path, FRONT)
    whole, cut = load_rig(path).rig["front"], load_rig(path, (100, 40)).rig["front"]
    assert (cut.width, cut.height) == (100, 40)
    for camera in (whole, cut):
        left, right = (camera.K[0, 2] + 0.5) / camera.K[0, 0], (camera.width - 0.5 - camera.K[0, 2]) / camera.K[0, 0]
        np.testing.assert_allclose([left, right], 1.0)
        assert camera.K[0, 0] == pytest.approx(camera.K[1, 1])
    np.testing.assert_allclose(cut.K[1, 2], 19.5)


@pytest.mark.parametrize(
    ("model", "distortion", "fov"),
    [
        ("plumb_bob", [-0.28, 0.07, 0.0, 0.0], 90),
        ("rational_polynomial", [8.0, 4.0, 0.0, 0.0, 0.2, 8.3, 6.2, 1.1], 120),
        ("equidistant", [-0.02, 0.005, -0.003, 0.0004], 160),
    ],
)
def test_the_field_of_view_holds_through_the_lens(tmp_path, model, distortion, fov):
    camera = load_rig(
        written(tmp_path, {**FRONT, "distortion_model": model, "distortion": distortion, "horizontal_fov_deg": fov})
    ).rig["front"]
    middle = pixel_rays_of(camera)[camera.height // 2]
    outermost = np.rad2deg(np.arctan(middle[[0, -1], 0]))
    # The outermost pixels' middles are half a pixel inside the edge.
    assert np.all(np.abs(outermost) < fov / 2) and np.all(np.abs(outermost) > fov / 2 - 1.5)


def test_own_intrinsics_and_exposure_are_taken_as_they_are(tmp_path):
    K = [120.0, 0.5, 101.0, 0.0, 121.0, 48.0, 0.0, 0.0, 1.0]
    own = {key: value for key, value in FRONT.items() if key != "horizontal_fov_deg"}
    second = {**own, "name": "late", "K": K, "exposure_offset_ms": -7.5}
    layout = load_rig(written(tmp_path, FRONT, second, base_frame="robot"))
    np.testing.assert_array_equal(layout.rig["late"].K, np.reshape(K, (3, 3)))
    assert layout.exposure_offsets_ns == {"front": 0, "late": -7_500_000}
    assert layout.rig.base_frame == "robot"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": -3}, ["camera 'front'", "width", "-3"]),
        ({"heigth": 5}, ["camera 'front'", "heigth", "5"]),
        ({"position": [1.0, 2.0]}, ["camera 'front'", "position", "[1.0, 2.0]"]),
        ({"position": [1.0, 2.0, float("nan")]}, ["camera 'front'", "position.2", "nan"]),
        ({"horizontal_fov_deg": 190}, ["camera 'front'", "horizontal_fov_deg", "190"]),
        ({"horizontal_fov_deg": None}, ["camera 'front'", "horizontal_fov_deg", "K", "neither"]),
        ({"K": [100, 0, 1, 0, 100, 1, 0, 0, 1]}, ["camera 'front'", "horizontal_fov_deg", "K", "both"]),
        ({"K": [-100, 0, 1, 0, 100, 1, 0, 0, 1]}, ["camera 'front'", "K", "-100"]),
        ({"distortion_model": "wide"}, ["camera 'front'", "distortion_model", "wide"]),
        ({"distortion_model": "equidistant", "distortion": [0.1]}, ["camera 'front'", "1 coefficients", "equidistant"]),
        ({"distortion_model": "plumb_bob", "distortion": [-2.0, 0, 0, 0]}, ["camera 'front'", "fov", "90", "-2.0"]),
        ({"exposure_offset_ms": 5}, ["camera 'front'", "exposure_offset_ms", "5"]),
        ({"name": "a b"}, ["name", "'a b'"]),
    ],
)
def test_errors_name_file_camera_field_and_value(tmp_path, change, words):
    path = written(tmp_path, {**FRONT, **change})
    with pytest.raises(ValueError) as caught:
        load_rig(path)
    for word in [path, *words]:
        assert word in str(caught.value)


def test_other_wrong_files_are_named(tmp_path):
    for content, words in [
        ("cameras: []", ["cameras"]),
        ("cameras: [3]", ["camera 0", "3"]),
        ("[1, 2]", ["[1, 2]"]),
        ("a: [", ["rig.yaml"]),
        ("", ["None"]),
    ]:
        path = tmp_path / "rig.yaml"
        path.write_text(content)
        with pytest.raises(ValueError) as caught:
            load_rig(str(path))
        for word in [str(path), *words]:
            assert word in str(caught.value)
    with pytest.raises(ValueError, match=r"rig\.yaml.*repeated: front"):
        load_rig(written(tmp_path, FRONT, FRONT))
    nameless = {key: value for key, value in FRONT.items() if key != "name"}
    with pytest.raises(ValueError, match=r"camera 1: name: Field required$"):
        load_rig(written(tmp_path, FRONT, nameless))
    with pytest.raises(FileNotFoundError, match="surround4"):
        load_rig("surround5")


def test_varied_rigs_differ_plausibly_and_repeatably():
    layout = load_rig("surround4")
    again, same = (varied(layout, np.random.default_rng(5)) for _ in range(2))
    for one, other in zip(again.rig, same.rig, strict=True):
        np.testing.assert_array_equal(one.K, other.K)
        np.testing.assert_array_equal(one.base_from_camera, other.base_from_camera)
    focal, heights = [], []
    for seed in range(30):
        rig = varied(layout, np.random.default_rng(seed)).rig
        assert rig.names == layout.rig.names
        for camera, original in zip(rig, layout.rig, strict=True):
            assert abs((bearing(camera) - bearing(original) + 180) % 360 - 180) < 5
            assert abs(np.rad2deg(np.arcsin(looks_towards(camera)[2]))) < 12
            rotation = camera.base_from_camera[:3, :3]
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        focal.append(rig["front"].K[0, 0] / layout.rig["front"].K[0, 0])
        heights.append(rig["front"].base_from_camera[2, 3])
    assert 0.8 < min(focal) < 0.9 and 1.1 < max(focal) < 1.25
    assert 1.1 < min(heights) < 1.3 and 1.6 < max(heights) < 1.85
