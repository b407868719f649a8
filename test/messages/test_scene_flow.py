# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow as points in the base frame, and back to the very same images."""

from dataclasses import replace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2

from mtl_perception.core import Camera, CameraPrediction, Prediction
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.messages.points import read_point_cloud, to_point_cloud, xyz_of
from mtl_perception.messages.scene_flow import from_scene_flow, to_scene_flow

K = np.array([[4.0, 0, 3], [0, 4, 2], [0, 0, 1]])
SIZES = {"front": (5, 7), "left": (5, 7)}


def prediction() -> Prediction:
    generator = np.random.default_rng(0)
    mount = BODY_FROM_OPTICAL.copy()
    mount[:3, 3] = 1.0, 0.0, 0.5
    cameras = {}
    for name, (height, width) in SIZES.items():
        depth = generator.uniform(1.0, 9.0, (height, width)).astype(np.float32)
        flow = generator.normal(size=(height, width, 3)).astype(np.float32)
        depth[0], flow[0] = np.nan, np.nan
        colour = np.zeros((height, width, 3), np.uint8)
        camera = Camera(name, width, height, K, mount)
        cameras[name] = CameraPrediction(camera, 10, None, colour, depth=depth, scene_flow=flow)
    return Prediction(10, cameras, "base_link", "", None, tasks=("depth", "scene_flow"))


def sent(message: PointCloud2) -> PointCloud2:
    return deserialize_message(serialize_message(message), PointCloud2)


def test_images_come_back_bit_by_bit() -> None:
    made = prediction()
    read = from_scene_flow(sent(to_scene_flow(made)), SIZES)
    for name, camera in made.cameras.items():
        np.testing.assert_array_equal(read[name], camera.scene_flow)


def test_a_point_is_where_its_pixel_shows_it_in_the_base_frame() -> None:
    made = prediction()
    message = to_scene_flow(made)
    points = read_point_cloud(message)
    assert (message.header.frame_id, len(points)) == ("base_link", 2 * 4 * 7)
    (row,) = np.flatnonzero((points["camera"] == 1) & (points["u"] == 3) & (points["v"] == 2))
    depth = made.cameras["left"].depth
    assert depth is not None
    # The pixel at the principal point looks straight ahead: x forward of the camera at (1, 0, 0.5).
    np.testing.assert_allclose(xyz_of(points)[row], [1.0 + depth[2, 3], 0.0, 0.5], rtol=1e-6)


def test_a_camera_is_where_it_was_at_its_own_stamp() -> None:
    made = prediction()
    world_from_base = transform_from([5.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    moved = transform_from([5.2, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])  # 0.2 m on when the image was taken
    cameras = {
        name: replace(camera, world_from_camera=moved @ camera.camera.base_from_camera)
        for name, camera in made.cameras.items()
    }
    posed = replace(made, cameras=cameras, world_from_base=world_from_base, world_frame="odom")
    before, after = (xyz_of(read_point_cloud(to_scene_flow(p))) for p in (made, posed))
    np.testing.assert_allclose(after - before, np.tile([0.2, 0.0, 0.0], (len(before), 1)), atol=1e-5)


def test_without_depth_or_flow_there_is_what_there_is() -> None:
    made = prediction()
    flat = {name: replace(camera, depth=None) for name, camera in made.cameras.items()}
    message = sent(to_scene_flow(replace(made, cameras=flat)))
    assert not message.is_dense
    np.testing.assert_array_equal(from_scene_flow(message, SIZES)["left"], made.cameras["left"].scene_flow)
    still = {name: replace(camera, scene_flow=None) for name, camera in made.cameras.items()}
    read = from_scene_flow(sent(to_scene_flow(replace(made, cameras=still))), SIZES)
    assert all(np.isnan(image).all() for image in read.values())


def test_what_does_not_fit_is_refused_by_name() -> None:
    message = to_scene_flow(prediction())
    with pytest.raises(ValueError, match="flow: a point is of camera 1, there are 1"):
        from_scene_flow(message, {"front": (5, 7)}, "flow")
    with pytest.raises(ValueError, match=r"camera 'left' lies outside of its 6x5"):
        from_scene_flow(message, {"front": (5, 7), "left": (5, 6)})
    with pytest.raises(ValueError, match="there is no field 'vx'"):
        from_scene_flow(to_point_cloud(np.zeros((1, 3)), 1, "base_link"), SIZES)
