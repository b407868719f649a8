# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Real recordings: measured depth, LiDAR and boxes must lie where the images and the poses say, in samples and bags."""

import json
import pickle
import zipfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mtl_perception.core import UNKNOWN, Camera, LabelSpace, Sample, backproject, project
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.data.bags import BagReader
from mtl_perception.data.recordings import Recording, convert, open_recording
from mtl_perception.data.recordings.pickles import read_pickle
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.detections import Box, read_detections
from mtl_perception.messages.images import depth_to_array, image_to_array
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.poses import read_odometry, read_transform
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.resources import config_file


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
    assert image_to_array(content.messages["/front/image"][0]).shape == (370, 1226, 3)  # grey, as RGB
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


SOURCES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rgbd": ("rgbd", "rgbd_small/open3d_rgbd", {}),
    "nuscenes keyframe": ("nuscenes", "nuscenes/scene_0061_keyframe", {}),
    "nuscenes keyframes": ("nuscenes", "nuscenes/scene_0103_keyframes", {}),
    "ddad": ("ddad", "ddad", {}),
    "kitti odometry": ("kitti", "kitti/odometry_sequence", {"first": 10, "last": 13}),
    "kitti tracking": ("kitti", "kitti/tracking", {}),
    "camvid": ("camvid", "street_labels", {"split": "val"}),
    "nyu": ("nyu", "indoor/metric3d_demo/nyu_demo", {}),
    "shift": ("shift", "misc/shift_vis4d", {}),
}


@pytest.mark.recordings
@pytest.mark.parametrize("name", SOURCES)
def test_any_frame_can_be_read_and_its_poses_agree(recordings: Path, name: str) -> None:
    kind, folder, options = SOURCES[name]
    recording = open_recording(kind, recordings / folder, **options)
    last = len(recording) - 1
    late = recording.sample(last)
    early = recording.sample(0)
    for index, sample in ((0, early), (last, late)):
        frame = sample.frame
        assert frame.stamp_ns == recording.stamp_ns(index) == frame.image_stamps_ns[recording.rig.names[0]]
        assert frame.present == recording.rig.names
        pose = recording.odom_from_base(index)
        assert (pose is None) == (frame.world_from_base is None)
        if pose is not None:
            np.testing.assert_array_equal(frame.world_from_base, pose)
    assert early.frame.stamp_ns < late.frame.stamp_ns or last == 0
    assert early.truth.ego_motion is None
    if (motion := late.truth.ego_motion) is not None:
        before = recording.sample(last - 1).frame
        assert motion.previous_stamp_ns == before.stamp_ns
        assert before.world_from_base is not None and late.frame.world_from_base is not None
        moved = before.world_from_base @ motion.previous_base_from_base
        np.testing.assert_allclose(moved, late.frame.world_from_base, atol=1e-9)
    for index in (-1, len(recording)):
        with pytest.raises(IndexError, match=f"has no frame {index}, it has {len(recording)}"):
            recording.sample(index)


@pytest.mark.recordings
def test_each_source_gives_the_truth_that_it_has(recordings: Path) -> None:
    known = {}
    for name, (kind, folder, options) in SOURCES.items():
        known[name] = _known(open_recording(kind, recordings / folder, **options))
    assert known == {
        "rgbd": {"depth", "ego_motion"},
        "nuscenes keyframe": {"points", "boxes"},
        "nuscenes keyframes": {"boxes", "ego_motion"},
        "ddad": {"points", "boxes", "ego_motion"},
        "kitti odometry": {"ego_motion"},
        "kitti tracking": {"points", "boxes", "ego_motion"},
        "camvid": {"semantic"},
        "nyu": {"depth"},
        "shift": {"depth", "semantic", "points", "boxes"},
    }


def _known(recording: Recording) -> set[str]:
    truth = recording.sample(len(recording) - 1).truth
    known = {name for camera in truth.cameras.values() for name, value in vars(camera).items() if value is not None}
    known |= {name for name in ("points", "boxes") if getattr(truth.sweep, name, None) is not None}
    return known | ({"ego_motion"} if truth.ego_motion is not None else set())


@pytest.mark.recordings
def test_shift_agrees_between_lidar_depth_boxes_and_classes(recordings: Path) -> None:
    recording = open_recording("shift", recordings / "misc" / "shift_vis4d")
    sample = recording.sample(0)
    sweep, labels = sample.truth.sweep, LabelSpace.load(config_file("labels", "default"))
    assert sweep is not None and sweep.points is not None and sweep.boxes is not None
    candidates = labels.candidates("shift")
    for camera in recording.rig:
        truth = sample.truth.cameras[camera.name]
        assert truth.depth is not None and truth.semantic is not None
        pixels, depth = project(camera, transform_points(inverse(camera.base_from_camera), sweep.points))
        inside = (depth > 1) & (pixels >= 0).all(axis=1) & (pixels < [camera.width - 1, camera.height - 1]).all(axis=1)
        u, v = np.rint(pixels[inside]).astype(int).T
        assert np.median(np.abs(truth.depth[v, u] / depth[inside] - 1)) < 0.01
        sky = candidates[truth.semantic, labels.id_of("sky")]
        assert (np.isinf(truth.depth) == sky).mean() > 0.995
        road_depth = np.where(truth.semantic == 7, truth.depth, np.nan)
        road = transform_points(camera.base_from_camera, backproject(camera, road_depth).reshape(-1, 3))
        assert abs(np.median(road[np.hypot(road[:, 0], road[:, 1]) < 20, 2])) < 0.03
    front, truth = recording.rig["front"], sample.truth.cameras["front"]
    walker = next(box for box in sweep.boxes if box.track == "9591")
    pixels, depth = project(front, (inverse(front.base_from_camera) @ walker.frame_from_box)[None, :3, 3])
    (u, v), assigned = np.rint(pixels[0]).astype(int), walker.label
    assert truth.semantic is not None and truth.depth is not None
    assert labels.names[int(candidates[truth.semantic[v, u]].argmax())] == assigned == "pedestrian"
    assert abs(truth.depth[v, u] - depth[0]) < 0.4


@pytest.mark.recordings
def test_nyu_depth_shows_a_room(recordings: Path) -> None:
    recording = open_recording("nyu", recordings / "indoor" / "metric3d_demo" / "nyu_demo")
    for index in range(3):
        depth = recording.sample(index).truth.cameras["camera"].depth
        assert depth is not None
        assert 0.6 < np.isfinite(depth).mean() < 0.8 and 1 < np.nanmedian(depth) < 5
        assert not recording.follows(index)


def test_camvid_labels_and_clips(tmp_path: Path) -> None:
    _write_camvid(tmp_path, ["A1_00030", "A1_00060", "A1_00180", "Seq05VD_f00000"])
    recording = open_recording("camvid", tmp_path, split="val")
    assert [recording.follows(index) for index in range(4)] == [False, True, False, False]
    assert recording.stamp_ns(1) - recording.stamp_ns(0) == 1_000_000_000
    sample = recording.sample(2)
    assert sample.truth.dataset == "camvid" and sample.frame.world_from_base is None
    semantic = sample.truth.cameras["camera"].semantic
    assert semantic is not None and semantic[0].tolist() == [*range(11), UNKNOWN]
    with pytest.raises(ValueError, match=f"{tmp_path / 'train'} has no images"):
        open_recording("camvid", tmp_path)
    (tmp_path / "val_labels" / "A1_00060.png").unlink()
    with pytest.raises(ValueError, match=r"A1_00060.png is not a readable picture"):
        recording.sample(1)


def _write_camvid(folder: Path, names: list[str]) -> None:
    for part in ("val", "val_labels"):
        (folder / part).mkdir()
    for name in names:
        cv2.imwrite(str(folder / "val" / f"{name}.jpg"), np.full((8, 12, 3), 90, np.uint8))
        cv2.imwrite(str(folder / "val_labels" / f"{name}.png"), np.tile(np.arange(12, dtype=np.uint8), (8, 1)))


def test_labels_of_another_data_set_keep_their_name_in_the_bag(tmp_path: Path) -> None:
    _write_camvid(tmp_path, ["A1_00030"])
    bag = convert("camvid", tmp_path, tmp_path / "bag", split="val")
    with BagReader(bag) as reader:
        assert reader.cameras == ["camera"] and "/odom" not in reader.topics
        ((_, _, dataset),) = reader.messages(["/ground_truth/dataset"])
        assert dataset.data == "camvid"


def test_pairs_are_found_beside_their_list(tmp_path: Path) -> None:
    for part in ("rgb", "depth"):
        (tmp_path / "set" / part).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set" / "rgb" / "1.png"), np.zeros((4, 6), np.uint8))  # grey
    cv2.imwrite(str(tmp_path / "set" / "depth" / "1.png"), np.array([[0, 256, 65535, 512, 1, 2]] * 4, np.uint16))
    entry = {"rgb": "old/place/set/rgb/1.png", "depth": "old/place/set/depth/1.png", "cam_in": [5, 6, 2, 1]}
    entries = [{**entry, "depth_scale": 256.0}]
    (tmp_path / "set" / "list.json").write_text(json.dumps({"files": entries}))
    sample = open_recording("nyu", tmp_path / "set").sample(0)
    assert sample.frame.images["camera"].shape == (4, 6, 3)
    depth = sample.truth.cameras["camera"].depth
    np.testing.assert_allclose(depth[0], [np.nan, 1.0, np.nan, 2.0, 1 / 256, 2 / 256])  # type: ignore[index]
    entries.append({**entries[0], "cam_in": [9, 9, 2, 1]})
    (tmp_path / "set" / "list.json").write_text(json.dumps({"files": entries}))
    with pytest.raises(ValueError, match="has other intrinsics"):
        open_recording("nyu", tmp_path / "set")


def test_pairs_of_the_official_split_have_published_intrinsics(tmp_path: Path) -> None:
    (tmp_path / "bathroom").mkdir()
    cv2.imwrite(str(tmp_path / "bathroom" / "rgb_00045.jpg"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "bathroom" / "sync_depth_00045.png"), np.full((4, 6), 1500, np.uint16))
    recording = open_recording("nyu", tmp_path)
    assert recording.rig["camera"].K[0, 0] == pytest.approx(518.86, abs=0.01)
    np.testing.assert_allclose(recording.sample(0).truth.cameras["camera"].depth, 1.5)
    (tmp_path / "bathroom" / "rgb_00045.jpg").unlink()
    with pytest.raises(ValueError, match=r"sync_depth_00045.png has no rgb_00045.jpg or .png beside it"):
        open_recording("nyu", tmp_path)


def test_shift_reads_archives_and_mirrors_the_simulator(tmp_path: Path) -> None:
    sample = _made_up_shift(tmp_path)
    rig = sample.frame.rig
    assert rig.names == ("front", "left")
    # CARLA's y is to the right: the left camera sits 0.5 m left of and 0.5 m behind the front one, and looks left.
    np.testing.assert_allclose(rig["front"].base_from_camera[:3, 3], [0.5, 0.0, 1.6], atol=1e-9)
    np.testing.assert_allclose(rig["left"].base_from_camera[:3, 3], [0.0, 0.5, 1.6], atol=1e-9)
    np.testing.assert_allclose(rig["left"].base_from_camera[:3, 2], [0.0, 1.0, 0.0], atol=1e-9)
    truth = sample.truth.cameras["left"]
    assert truth.depth is not None and truth.semantic is not None
    assert truth.depth[0, 0] == pytest.approx(250.0, abs=0.1) and np.isinf(truth.depth[1, 1])
    assert truth.semantic[0, 0] == 7 and truth.semantic[1, 1] == 13
    np.testing.assert_array_equal(sample.frame.world_from_base, np.eye(4))


def _made_up_shift(folder: Path) -> Sample:
    depth, semantic = np.zeros((2, 4, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    depth[..., 0], semantic[..., 2] = 64, 7  # 64 * 65536 of 2^24 are a quarter of 1000 m
    depth[1, 1], semantic[1, 1, 2] = 255, 13
    for view, location, yaw in (("front", [10.5, 20.0, 1.6], 0.0), ("left_90", [10.0, 19.5, 1.6], -90.0)):
        (folder / view).mkdir()
        pictures = {"img": ("jpg", depth), "depth": ("png", depth), "semseg": ("png", semantic)}
        for what, (suffix, picture) in pictures.items():
            with zipfile.ZipFile(folder / view / f"{what}.zip", "w") as archive:
                data = cv2.imencode(f".{suffix}", picture)[1].tobytes()
                archive.writestr(f"abc/00000010_{what}_{view}.{suffix}", data)
        frame = {
            "videoName": "abc",
            "frameIndex": 10,
            "intrinsics": {"focal": [3.0, 3.0], "center": [2.0, 1.0], "skew": 0},
            "extrinsics": {"location": location, "rotation": [0.0, 0.0, yaw]},
            "labels": [],
        }
        content = {"config": {"imageSize": {"width": 4, "height": 2}}, "frames": [frame]}
        (folder / view / "det_3d.json").write_text(json.dumps(content))
    recording = open_recording("shift", folder)
    assert len(recording) == 1
    return recording.sample(0)


def test_what_cannot_be_converted_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind 'waymo' is not one of rgbd"):
        convert("waymo", tmp_path, tmp_path / "bag")
    with pytest.raises(ValueError, match="kind 'ddad' has no option 'first'"):
        convert("ddad", tmp_path, tmp_path / "bag", first=1)
    for kind in ("rgbd", "nuscenes", "ddad", "kitti", "camvid", "nyu", "shift"):
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
