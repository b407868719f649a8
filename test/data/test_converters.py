# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Real recordings converted: measured depth, LiDAR and boxes must lie where the images and the poses say."""

import pickle
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mtl_perception.core import Camera, backproject, project
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.data.bags import BagReader
from mtl_perception.data.converters import convert
from mtl_perception.data.converters.pickles import read_pickle
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.detections import Box, read_detections
from mtl_perception.messages.images import depth_to_array, image_to_array
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.poses import read_odometry, read_transform
from mtl_perception.messages.stamps import stamp_ns_from


class Content:
    """All messages of a bag by topic, and what its frames are."""

    def __init__(self, path: Path) -> None:
        self.messages: dict[str, list[Any]] = defaultdict(list)
        with BagReader(path) as bag:
            self.names = bag.cameras
            for topic, stamp_ns, message in bag.messages():
                if topic.endswith("/image") and not topic.startswith("/ground_truth"):
                    last = self.messages["/odom"][-1]
                    assert stamp_ns_from(last.header.stamp) == stamp_ns, "the pose comes before the image"
                self.messages[topic].append(message)
        self.odometry = [read_odometry(message) for message in self.messages["/odom"]]
        self.odom_from_base: dict[int, Transform] = {o.stamp_ns: o.target_from_source for o in self.odometry}
        (static,) = self.messages["/tf_static"]
        mounts = {t.source_frame: t.target_from_source for t in map(read_transform, static.transforms)}
        self.cameras: dict[str, Camera] = {}
        for name in self.names:
            info = self.messages[f"/{name}/camera_info"][0]
            self.cameras[name] = camera_from_info(name, info, mounts[info.header.frame_id])

    def odom_from_camera(self, name: str, index: int) -> Transform:
        stamp_ns = stamp_ns_from(self.messages[f"/{name}/image"][index].header.stamp)
        return self.odom_from_base[stamp_ns] @ self.cameras[name].base_from_camera

    def lidar(self, index: int) -> tuple[Transform, np.ndarray]:
        cloud = self.messages["/ground_truth/lidar"][index]
        return self.odom_from_base[stamp_ns_from(cloud.header.stamp)], xyz_of(read_point_cloud(cloud))

    def boxes(self, index: int) -> list[Box]:
        return read_detections(self.messages["/ground_truth/detections"][index])


@pytest.mark.recordings
def test_rgbd_frames_agree_with_each_other_and_stand_upright(recordings: Path, tmp_path: Path) -> None:
    bag = convert("rgbd", recordings / "rgbd_room", tmp_path / "bag", first=700, last=730)
    content = Content(bag)
    camera = content.cameras["camera"]
    assert len(content.messages["/camera/image"]) == 16
    assert content.odometry[1].stamp_ns - content.odometry[0].stamp_ns == pytest.approx(1e9 / 15, abs=2)
    first, last = (depth_to_array(content.messages["/ground_truth/camera/depth"][i]) for i in (0, -1))
    points = backproject(camera, first).reshape(-1, 3)
    last_from_first = inverse(content.odom_from_camera("camera", -1)) @ content.odom_from_camera("camera", 0)
    pixels, depth = project(camera, transform_points(last_from_first, points))
    inside = np.isfinite(pixels).all(axis=1) & (pixels >= 0).all(axis=1) & (pixels < [639, 479]).all(axis=1)
    u, v = np.rint(pixels[inside]).astype(int).T
    assert np.nanmedian(np.abs(last[v, u] - depth[inside])) < 0.03
    # The camera is held by hand, neither on its head nor on its side.
    ups = np.array([-content.odom_from_camera("camera", i)[2, 1] for i in range(16)])
    assert (ups > 0.7).all()


@pytest.mark.recordings
@pytest.mark.parametrize("source", ["open3d_rgbd", "rgbd_nvblox_3dmatch/3dmatch/seq-01"])
def test_other_rgbd_layouts(recordings: Path, tmp_path: Path, source: str) -> None:
    content = Content(convert("rgbd", recordings / "rgbd_small" / source, tmp_path / "bag", storage="sqlite3"))
    assert len(content.messages["/camera/image"]) == len(content.messages["/ground_truth/camera/depth"]) == 5
    assert image_to_array(content.messages["/camera/image"][0]).shape == (480, 640, 3)


@pytest.mark.recordings
def test_nuscenes_lidar_lies_on_the_ground_and_in_the_boxes(recordings: Path, tmp_path: Path) -> None:
    content = Content(convert("nuscenes", recordings / "nuscenes" / "scene_0061_keyframe", tmp_path / "bag"))
    assert content.names[0] == "front"
    assert len(content.names) == 6
    assert len(content.odom_from_base) == 7  # six cameras and the LiDAR, each with its own stamp
    _, points = content.lidar(0)
    near = points[(np.abs(points[:, 0]) < 10) & (np.abs(points[:, 1]) < 5)]
    assert abs(np.median(near[:, 2])) < 0.15
    truck = max((box for box in content.boxes(0) if box.label == "truck"), key=lambda box: box.size[0])
    local = np.abs(transform_points(inverse(truck.frame_from_box), points))
    assert (local < np.array(truck.size) / 2 * 1.05).all(axis=1).sum() > 200


@pytest.mark.recordings
def test_nuscenes_keyframes_move_as_the_vehicle_did(recordings: Path, tmp_path: Path) -> None:
    content = Content(convert("nuscenes", recordings / "nuscenes" / "scene_0103_keyframes", tmp_path / "bag"))
    assert [len(content.messages[f"/{name}/image"]) for name in content.names] == [2] * 6
    speeds = [
        np.linalg.norm(after.target_from_source[:3, 3] - before.target_from_source[:3, 3])
        / ((after.stamp_ns - before.stamp_ns) * 1e-9)
        for before, after in pairwise(content.odometry)
    ]
    assert np.median(speeds) == pytest.approx(8.6, abs=0.5)  # the CAN bus says 8.56 m/s
    assert np.abs([o.target_from_source[2, 3] for o in content.odometry]).max() < 0.1
    np.testing.assert_allclose(content.odom_from_camera("front", 0)[:3, 3], [1.72, 0.0, 1.49], atol=0.05)
    velocities = read_point_cloud(content.messages["/ground_truth/detection_velocities"][0])
    assert len(velocities) == len(content.boxes(0)) == 23


@pytest.mark.recordings
def test_ddad_lidar_falls_into_the_boxes_of_cars(recordings: Path, tmp_path: Path) -> None:
    content = Content(convert("ddad", recordings / "ddad", tmp_path / "bag"))
    assert content.names == ["front", "front_left", "front_right"]
    stamps = [stamp_ns_from(message.header.stamp) for message in content.messages["/ground_truth/lidar"]]
    np.testing.assert_allclose(np.diff(stamps), 1e8, rtol=0.01)
    _, points = content.lidar(0)
    filled = 0
    for box in content.boxes(0):
        local = np.abs(transform_points(inverse(box.frame_from_box), points))
        filled += (local < np.array(box.size) / 2).all(axis=1).any()
    assert filled > 0.5 * len(content.boxes(0))
    moving = np.array(read_point_cloud(content.messages["/ground_truth/detection_velocities"][0]).tolist())[:, 3:]
    assert 10 < np.nanmax(np.linalg.norm(moving, axis=1)) < 25


@pytest.mark.recordings
def test_kitti_odometry_is_level_and_as_long_as_recorded(recordings: Path, tmp_path: Path) -> None:
    content = Content(convert("kitti", recordings / "kitti" / "odometry_sequence", tmp_path / "bag", last=20))
    assert len(content.messages["/front/image"]) == 21
    assert content.messages["/front/image"][0].encoding == "mono8"
    way = np.array([o.target_from_source[:3, 3] for o in content.odometry])
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).mean() == pytest.approx(1.2, abs=0.05)
    assert np.abs(way[:, 2]).max() < 0.3
    np.testing.assert_allclose(content.odometry[0].target_from_source, np.eye(4), atol=1e-6)


@pytest.mark.recordings
def test_kitti_tracking_agrees_between_stereo_and_lidar(recordings: Path, tmp_path: Path) -> None:
    content = Content(convert("kitti", recordings / "kitti" / "tracking", tmp_path / "bag"))
    left, right = content.cameras["left"], content.cameras["right"]
    baseline = (inverse(left.base_from_camera) @ right.base_from_camera)[:3, 3]
    np.testing.assert_allclose(baseline, [0.53, 0.0, 0.0], atol=0.01)
    odom_from_base, points = content.lidar(0)
    pictures = [image_to_array(content.messages[f"/{name}/image"][0]) for name in ("left", "right")]
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    disparity = cv2.StereoSGBM_create(0, 128, 5, P1=200, P2=800).compute(*grey).astype(np.float32) / 16
    local = transform_points(inverse(content.odom_from_camera("left", 0)) @ odom_from_base, points)
    pixels, depth = project(left, local)
    inside = (depth > 5) & (pixels >= 130).all(axis=1) & (pixels < [left.width - 5, left.height - 5]).all(axis=1)
    u, v = np.rint(pixels[inside]).astype(int).T
    measured = disparity[v, u]
    expected = left.K[0, 0] * baseline[0] / depth[inside]
    assert np.median(np.abs(measured - expected)[measured > 0]) < 1.5
    near = next(box for box in content.boxes(0) if box.track == "1")
    inside_box = np.abs(transform_points(inverse(near.frame_from_box), points)) < np.array(near.size) / 2
    assert inside_box.all(axis=1).sum() > 300


def test_a_rendered_world_carries_all_of_its_truth(tmp_path: Path) -> None:
    bag = convert("world", "street", tmp_path / "bag", seed=1, seconds=0.2, cameras=2, image_size=(64, 48))
    content = Content(bag)
    assert content.names == ["front", "left"]
    for topic in ("depth", "semantic", "motion_mask"):
        assert len(content.messages[f"/ground_truth/front/{topic}"]) == 2
    assert len(content.messages["/ground_truth/occupancy"]) == 2


def test_what_cannot_be_converted_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind 'waymo' is not one of rgbd"):
        convert("waymo", tmp_path, tmp_path / "bag")
    with pytest.raises(ValueError, match="kind 'ddad' has no option 'first'"):
        convert("ddad", tmp_path, tmp_path / "bag", first=1)
    for kind in ("rgbd", "nuscenes", "ddad", "kitti"):
        with pytest.raises(ValueError, match=str(tmp_path)):
            convert(kind, tmp_path, tmp_path / "bag")
    assert list(tmp_path.iterdir()) == []


def test_pickles_that_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(ValueError, match=r"evil.pkl is not a pickle of plain data: it asks for"):
        read_pickle(tmp_path / "evil.pkl")
    assert not (tmp_path / "touched").exists()
    plain = {"a": [1, 2.5, "x", None], "b": np.arange(3.0), "c": np.float64(2.0)}
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(plain))
    read = read_pickle(tmp_path / "plain.pkl")
    assert read["a"] == plain["a"]
    np.testing.assert_array_equal(read["b"], plain["b"])
