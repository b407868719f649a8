# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: bags of both kinds, and the folders of public data sets."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tf2_msgs.msg import TFMessage

from fuzzing import make
from fuzzing.file_case import file_case, folder_case
from fuzzing.harness import Case, Target
from fuzzing.hostile import contents, json_files, trees
from fuzzing.message_targets import CAMERA, POSE, STAMP_NS, is_rigid, prediction
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample
from mtl_perception.data.bags import BagReader, BagWriter, bag_cabin, bag_cameras
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.recordings.pickles import read_pickle
from mtl_perception.data.recordings.recording import read_depth, read_image
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.predictions import to_rig_prediction


def write_bag(path: Path, storage: str) -> None:
    """Write a bag of two frames of one camera, with poses and a message that is not installed everywhere."""
    with BagWriter(path, storage) as writer:
        mount = StampedTransform(STAMP_NS, "base_link", CAMERA.frame_id, CAMERA.base_from_camera)
        writer.write("/tf_static", TFMessage(transforms=[to_transform(mount)]), STAMP_NS)
        for stamp_ns in (STAMP_NS, STAMP_NS + 100_000_000):
            colour = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
            writer.write("/odom", to_odometry(StampedTransform(stamp_ns, "odom", "base_link", POSE)), stamp_ns)
            writer.write("/front/camera_info", to_camera_info(CAMERA, stamp_ns), stamp_ns)
            writer.write("/front/image", array_to_image(colour, "rgb8", stamp_ns, CAMERA.frame_id), stamp_ns)
        writer.write("/frame", to_rig_prediction(prediction()), STAMP_NS)


def _read_bag(path: Path) -> None:
    with BagReader(path) as bag:
        assert isinstance(bag.cameras, list) and bag.message_count >= 0
        for topic in bag.topics:
            assert bag.stamps_ns(topic) is not None
        for _ in bag.messages():
            pass
        for _ in bag.raw_messages(None, STAMP_NS, STAMP_NS + 1):
            pass
    assert isinstance(bag_cameras(path), list) and isinstance(bag_cabin(path), tuple)


def _bag_file(storage: str, suffix: str) -> Callable[[Path], Case]:
    def prepare(folder: Path) -> Case:
        write_bag(folder / "bag", storage)
        [file] = (folder / "bag").glob(f"*{suffix}")
        content = file.read_bytes()
        return file_case(folder / f"given{suffix}", contents(content, others=[b"", content[:8]]), _read_bag, [content])

    return prepare


def _bag_recording(folder: Path) -> Case:
    path = folder / "bag"
    write_bag(path, "mcap")
    [file] = [file.name for file in path.glob("*.mcap")]
    return folder_case(path, {file: contents((path / file).read_bytes(), edits=2)}, _open("bag"))


def _open(kind: str, **options: Any) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        recording = open_recording(kind, path, **options)
        for index in range(min(len(recording), 2)):
            try:
                sample: Sample = recording.sample(index)
            except ValueError as error:
                assert str(path) in str(error) or recording.name in str(error), str(error)
                return
            frame, truth = sample.frame, sample.truth
            assert isinstance(truth, GroundTruth) and frame.stamp_ns == recording.stamp_ns(index)
            for name, image in frame.images.items():
                camera = frame.rig[name]
                assert image.shape == (camera.height, camera.width, 3) and image.dtype == np.uint8
            assert all(isinstance(camera, CameraTruth) for camera in truth.cameras.values())
            assert frame.world_from_base is None or is_rigid(frame.world_from_base)

    return read


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


_COLOUR = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
_DEPTH = (1000 + np.arange(48, dtype=np.uint16)).reshape(6, 8)
_IDENTITY = b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"


def _made(folder: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """Write the files of a data set; return how each is fuzzed."""
    made: dict[str, Any] = {}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made[name] = json_files(json.loads(content)) if name.endswith(".json") else contents(content)
    return made


def _kitti_odometry(folder: Path) -> Case:
    calibration = b"".join(b"P%d: 5 0 4 0 0 5 3 0 0 0 1 0\n" % i for i in range(4))
    poses = b"1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 1.5\n"
    files = {"poses.txt": poses, "calib.txt": calibration}
    files |= {f"image_0/00000{n}.png": _png(_COLOUR[..., 0]) for n in range(2)}
    return folder_case(folder, _made(folder, files), _open("kitti"))


def _kitti_tracking(folder: Path) -> Case:
    row = b"5 0 4 0 0 5 3 0 0 0 1 0"
    calibration = b"".join(b"P%d: %s\n" % (i, row) for i in range(4)) + b"R_rect 1 0 0 0 1 0 0 0 1\n"
    calibration += b"Tr_velo_cam 0 -1 0 0 0 0 -1 0 1 0 0 0\nTr_imu_velo 1 0 0 0 0 1 0 0 0 0 1 0\n"
    oxts = b"49.0 8.4 112.0 0.01 0.02 0.3 0 0\n49.00001 8.4 112.0 0.01 0.02 0.3 0 0\n"
    labels = b"0 1 Car 0 0 -1.5 1 2 3 4 1.5 1.6 4.0 1.0 1.5 10.0 0.1\n"
    labels += b"0 -1 DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1 -1 -1 -10\n"
    files = {"calib/0000.txt": calibration, "oxts/0000.txt": oxts, "label_02/0000.txt": labels}
    for n in range(2):
        files |= {f"image_0{side}/0000/00000{n}.png": _png(_COLOUR) for side in (2, 3)}
        files[f"velodyne/0000/00000{n}.bin"] = np.ones((3, 4), np.float32).tobytes()
    return folder_case(folder, _made(folder, files), _open("kitti"))


def _camvid(folder: Path) -> Case:
    files = {}
    for n in (30, 60):
        files[f"train/Seq05VD_f000{n}.png"] = _png(_COLOUR)
        files[f"train_labels/Seq05VD_f000{n}.png"] = _png(_COLOUR[..., 0])
    return folder_case(folder, _made(folder, files), _open("camvid"))


def _nyu(folder: Path) -> Case:
    entry = {"rgb": "a/rgb_0.png", "depth": "a/depth_0.png", "cam_in": [5.0, 5.0, 4.0, 3.0], "depth_scale": 1000.0}
    files = {"list.json": json.dumps({"files": [entry]}).encode()}
    files |= {"rgb_0.png": _png(_COLOUR), "depth_0.png": _png(_DEPTH)}
    return folder_case(folder, _made(folder, files), _open("nyu"))


def _rgbd_scenes(folder: Path) -> Case:
    files = {"camera-intrinsics.txt": b"5 0 4\n0 5 3\n0 0 1\n"}
    for n in range(2):
        files |= {f"frame-00000{n}.color.png": _png(_COLOUR), f"frame-00000{n}.depth.png": _png(_DEPTH)}
        files[f"frame-00000{n}.pose.txt"] = _IDENTITY
    return folder_case(folder, _made(folder, files), _open("rgbd"))


def _rgbd_open3d(folder: Path) -> Case:
    intrinsics = {"width": 8, "height": 6, "intrinsic_matrix": [5, 0, 0, 0, 5, 0, 4, 3, 1]}
    files = {"trajectory.log": b"0 0 1\n" + _IDENTITY + b"1 1 2\n" + _IDENTITY}
    files["camera_primesense.json"] = json.dumps(intrinsics).encode()
    for n in range(2):
        files |= {f"color/0000{n}.png": _png(_COLOUR), f"depth/0000{n}.png": _png(_DEPTH)}
    return folder_case(folder, _made(folder, files), _open("rgbd"))


def _ddad(folder: Path) -> Case:
    pose = {"translation": {"x": 0.0, "y": 0.0, "z": 0.0}, "rotation": {"qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0}}
    camera = {"filename": "rgb/CAMERA_01/10.png", "width": 8, "height": 6, "pose": pose}
    scene = {
        "data": [{"key": "a", "id": {"name": "CAMERA_01"}, "datum": {"image": camera}}],
        "samples": [{"datum_keys": ["a"], "calibration_key": "c"}],
        "ontologies": {"bounding_box_3d": "o"},
    }
    intrinsics = {"fx": 5.0, "fy": 5.0, "cx": 4.0, "cy": 3.0, "skew": 0.0}
    calibration = {"names": ["CAMERA_01"], "intrinsics": [intrinsics], "extrinsics": [pose]}
    files = {
        "scene_a.json": json.dumps(scene).encode(),
        "calibration/c.json": json.dumps(calibration).encode(),
        "ontology/o.json": json.dumps({"items": [{"id": 1, "name": "Car"}]}).encode(),
        "rgb/CAMERA_01/10.png": _png(_COLOUR),
    }
    return folder_case(folder, _made(folder, files), _open("ddad"))


def _shift(folder: Path) -> Case:
    intrinsics = {"focal": [5.0, 5.0], "center": [4.0, 3.0], "skew": 0.0}
    frame = {"videoName": "v", "frameIndex": 0, "name": "x", "intrinsics": intrinsics, "labels": []}
    frame["extrinsics"] = {"location": [1.0, 2.0, 3.0], "rotation": [0.0, 0.0, 90.0]}
    document = {"frames": [frame], "config": {"imageSize": {"width": 8, "height": 6}}}
    files = {"front/det_3d.json": json.dumps(document).encode()}
    for what, suffix, pixels in (("img", "jpg", _COLOUR), ("depth", "png", _COLOUR), ("semseg", "png", _COLOUR)):
        archive = folder / f"{what}.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr(f"v/00000000_{what}_front.{suffix}", cv2.imencode(f".{suffix}", pixels)[1].tobytes())
        files[f"front/{what}.zip"] = archive.read_bytes()
        archive.unlink()
    return folder_case(folder, _made(folder, files), _open("shift"))


def _pickles(folder: Path) -> Case:
    document = {"data_list": [{"a": [1.5, np.eye(2), "x", (1, 2)]}], "metainfo": {"b": (1, 2), "c": b"\0"}}
    hostile = [pickle.dumps(pickle.PickleBuffer, 2), b"cos\nsystem\n(S'x'\ntR."]
    hostile.append(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.")
    valid = [pickle.dumps(document, protocol) for protocol in (2, 4)]
    return file_case(folder / "given.pkl", contents(*valid, others=hostile), lambda path: read_pickle(path), valid)


def _nuscenes(folder: Path) -> Case:
    channels = [f"CAM_{name}" for name in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK", "BACK_LEFT", "BACK_RIGHT")]
    matrix, K = np.eye(4).tolist(), [[5.0, 0.0, 4.0], [0.0, 5.0, 3.0], [0.0, 0.0, 1.0]]
    images = {
        channel: {"img_path": f"{channel}.png", "cam2img": K, "cam2ego": matrix, "timestamp": 5.0, "lidar2cam": matrix}
        for channel in channels
    }
    instance = {"bbox_3d": [1, 2, 0, 4, 2, 1.5, 0.1], "bbox_label_3d": 0, "velocity": [1.0, 0.0]}
    entry = {"images": images, "timestamp": 5.0, "ego2global": matrix, "instances": [instance]}
    entry["lidar_points"] = {"lidar_path": "sweep.bin", "lidar2ego": matrix}
    document = {"data_list": [entry], "metainfo": {"categories": {"car": 0}}}
    for channel in channels:
        (folder / f"{channel}.png").write_bytes(_png(np.zeros((900, 1600), np.uint8)))
    (folder / "sweep.bin").write_bytes(np.ones((3, 5), np.float32).tobytes())
    (folder / "infos.pkl").write_bytes(pickle.dumps(document))
    made = make.one_of(trees(document).map(pickle.dumps), contents(pickle.dumps(document)))

    def read(path: Path) -> None:  # the pictures are large: their own readers are fuzzed elsewhere
        recording = open_recording("nuscenes", path)
        assert len(recording) == 1 and is_rigid(recording.odom_from_base(0))
        recording._read = lambda index: recording._sweep(recording._entries[index])  # type: ignore[attr-defined]
        try:
            recording.sample(0)
        except ValueError as error:
            assert recording.name in str(error)

    return folder_case(folder, {"infos.pkl": made, "sweep.bin": contents(bytes(60))}, read)


def _pictures(folder: Path) -> Case:
    valid = [_png(_COLOUR), _png(_DEPTH), cv2.imencode(".jpg", _COLOUR)[1].tobytes()]

    def read(path: Path) -> None:
        refused: ValueError | None = None
        for reader in (read_image, read_depth):
            try:
                assert reader(path).size > 0
            except ValueError as error:
                assert str(path) in str(error)
                refused = error
            else:
                return
        if refused is not None:
            raise refused

    return file_case(folder / "given.png", contents(*valid), read, valid)


def _recording(name: str, inputs: int, prepare: Callable[[Path], Case], module: str = "") -> Target:
    return Target(f"recording_{name}", (f"data.recordings.{module or name}.read",), inputs, prepare)


TARGETS = (
    Target(
        "bag_mcap",
        tuple(f"data.bags.{name}" for name in ("BagReader", "bag_cameras", "bag_cabin"))
        + ("data.mcap_chunks.McapChunks", "data.message_types.types_of"),
        1000,
        _bag_file("mcap", ".mcap"),
    ),
    Target("bag_sqlite3", (), 600, _bag_file("sqlite3", ".db3")),
    Target("recording_bag", ("data.recordings.bag.read", "data.recordings.open_recording"), 300, _bag_recording),
    _recording("kitti_odometry", 1000, _kitti_odometry, "kitti"),
    _recording("kitti_tracking", 1000, _kitti_tracking, "kitti"),
    _recording("camvid", 700, _camvid),
    _recording("nyu", 1000, _nyu),
    _recording("rgbd_scenes", 1000, _rgbd_scenes, "rgbd"),
    _recording("rgbd_open3d", 1000, _rgbd_open3d, "rgbd"),
    _recording("ddad", 1000, _ddad),
    _recording("shift", 1000, _shift),
    _recording("nuscenes", 1000, _nuscenes),
    Target("pickles", ("data.recordings.pickles.read_pickle",), 3000, _pickles),
    Target(
        "pictures",
        (
            "data.recordings.recording.read_image",
            "data.recordings.recording.read_depth",
            "data.recordings.picture_files.read_pixels",
            "messages.compressed_images.decode_file",
        ),
        2000,
        _pictures,
    ),
)

