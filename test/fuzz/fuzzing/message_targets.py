# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages but images: calibration, poses, detections, clouds, predictions, what the evaluation and the driver tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from vision_msgs.msg import LabelInfo, VisionClass

from fuzzing import make
from fuzzing.harness import Case, Target
from fuzzing.hostile import contents, messages
from mtl_perception.core import BevMap, Camera, CameraPrediction, Detection, Occupancy, Prediction, VoxelGrid
from mtl_perception.core.ground_truth import Box
from mtl_perception.core.prediction import Steering
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.data.bags import BagReader, BagWriter
from mtl_perception.messages.bev import from_bev_map, to_bev_map
from mtl_perception.messages.cameras import camera_from_info, to_camera_info
from mtl_perception.messages.detections import read_detections, to_box_velocities, to_detections, with_velocities
from mtl_perception.messages.driving import (
    from_cabin_joints,
    from_driving_context,
    from_steering,
    to_cabin_joints,
    to_driving_context,
    to_steering,
)
from mtl_perception.messages.evaluation import from_evaluation_metrics, to_evaluation_metrics
from mtl_perception.messages.labels import read_label_info
from mtl_perception.messages.points import read_point_cloud, to_point_cloud, xyz_of
from mtl_perception.messages.poses import (
    read_ego_motion,
    read_odometry,
    read_pose_stamped,
    read_transform,
    transform_from_pose,
)
from mtl_perception.messages.predictions import from_occupancy, from_rig_prediction, to_occupancy, to_rig_prediction
from mtl_perception.messages.scene_flow import from_scene_flow, to_scene_flow
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.messages.trajectories import read_trajectory
from mtl_perception.ros.player import header_stamp_ns

TOPIC = "robot/some_topic"
STAMP_NS = 5_000_000_007
POSE = transform_from([1.0, -2.0, 0.5], [0.1, 0.2, 0.3, np.sqrt(1 - 0.14)])
CAMERA = Camera("front", 8, 6, np.array([[5.0, 0, 4], [0, 5, 3], [0, 0, 1]]), BODY_FROM_OPTICAL, frame_id="optical")


def prediction() -> Prediction:
    """Return a prediction with everything that a RigPrediction carries, and scene flow."""
    random = np.random.default_rng(1)
    front = CameraPrediction(
        CAMERA,
        STAMP_NS,
        POSE,
        random.integers(0, 256, (6, 8, 3), dtype=np.uint8),
        depth=random.uniform(1, 9, (6, 8)).astype(np.float32),
        depth_std=random.uniform(0, 1, (6, 8)).astype(np.float32),
        semantic=random.integers(0, 16, (6, 8), dtype=np.uint8),
        motion_mask=np.zeros((6, 8), np.uint8),
        panoptic=random.integers(-1, 15999, (6, 8), dtype=np.int32),
        scene_flow=random.normal(size=(6, 8, 3)).astype(np.float32),
    )
    boxes = (Detection(11, 0.7, (1.0, 2.0, 0.1), (4.0, 1.8, 1.5), 3.1, (0.3, 0.1)),)
    tasks = ("depth", "semantic", "detections")
    return Prediction(
        STAMP_NS, {"front": front}, "base_link", "odom", POSE, missing=("left",), detections=boxes, tasks=tasks
    )


def is_rigid(transform: np.ndarray) -> bool:
    """Tell whether a 4x4 matrix is a finite rigid transform."""
    rotation = transform[:3, :3]
    near = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) and np.linalg.det(rotation) > 0
    return bool(transform.shape == (4, 4) and np.isfinite(transform).all() and near)


def _pose(kind: Callable[[], Any]) -> Any:
    message = kind()
    if isinstance(message, Pose):
        part = message
    elif isinstance(message, Odometry):
        part = message.pose.pose
        message.child_frame_id = "base_link"
    elif isinstance(message, TransformStamped):
        message.child_frame_id, message.transform.rotation.w = "base_link", 1.0
        message.header.frame_id = "odom"
        return message
    else:
        part = message.pose
    part.position.x, part.orientation.w = 1.5, 1.0
    if hasattr(message, "header"):
        message.header.frame_id, message.header.stamp.sec = "odom", 5
    return message


def _poses(_: Path) -> Case:
    readers: dict[type, Callable[[Any], Any]] = {
        Pose: lambda message: transform_from_pose(message, TOPIC),
        Odometry: lambda message: read_odometry(message, TOPIC).target_from_source,
        PoseStamped: lambda message: read_pose_stamped(message, "base_link", TOPIC).target_from_source,
        TransformStamped: lambda message: read_transform(message, TOPIC).target_from_source,
    }

    def read(value: tuple[type, Any]) -> None:
        kind, message = value
        assert is_rigid(readers[kind](message))

    inputs = make.one_of(*[make.tuples(make.just(kind), messages(_pose(kind))) for kind in readers])
    return Case(inputs, read, TOPIC, valid=[(kind, _pose(kind)) for kind in readers])


def _ego_motion(_: Path) -> Case:
    message = _pose(Odometry)
    message.twist.twist.linear.x, message.twist.twist.angular.z = 3.0, 0.1

    def read(value: tuple[Any, int]) -> None:
        motion = read_ego_motion(*value, TOPIC)
        assert is_rigid(motion.previous_base_from_base)
        assert motion.covariance.shape == (6, 6)
        assert np.isfinite(motion.covariance).all()

    stamps = make.sampled_from((0, 4_900_000_000, 5_000_000_000, 6 * 10**9, -(10**18), 2**63))
    return Case(make.tuples(messages(message), stamps), read, TOPIC, valid=[(message, 4_900_000_000)])


def _trajectory(_: Path) -> Case:
    message = PathMessage()
    message.header.frame_id = "odom"
    message.poses = [_pose(PoseStamped) for _ in range(3)]
    for number, pose in enumerate(message.poses):
        pose.header.stamp.sec = 5 + number

    def read(message: Any) -> None:
        poses = read_trajectory(message, "odom", TOPIC)
        stamps = [stamp for stamp, _ in poses]
        assert stamps == sorted(set(stamps))
        assert all(is_rigid(pose) for _, pose in poses)

    return Case(messages(message, words={"frame_id": ("odom", "map")}), read, TOPIC, valid=[message])


def _calibration(_: Path) -> Case:
    plain, lens, cut = (to_camera_info(CAMERA, STAMP_NS) for _ in range(3))
    lens.distortion_model, lens.d = "rational_polynomial", [0.1, -0.1, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0]
    cut.roi.x_offset, cut.roi.width, cut.roi.height, cut.binning_x, cut.binning_y = 2, 4, 4, 2, 2
    models = ("plumb_bob", "rational_polynomial", "equidistant", "fisheye", "none", "radtan", "", "PLUMB_BOB")

    def read(value: tuple[CameraInfo, bool]) -> None:
        message, rectified = value
        camera = camera_from_info("front", message, POSE, TOPIC, rectified=rectified)
        assert camera.width > 0 and camera.height > 0 and np.isfinite(camera.K).all()
        assert camera.is_rectified or np.isfinite(camera.distortion).all()

    return Case(
        make.tuples(messages(plain, lens, cut, words={"distortion_model": models}), make.sampled_from((False, True))),
        read,
        TOPIC,
        valid=[(plain, False), (plain, True), (lens, False), (cut, False)],
    )


def _boxes() -> list[Box]:
    return [
        Box(POSE, (4.0, 1.8, 1.5), "car", "7", 0.7, np.array([1.0, 0.0, 0.0])),
        Box(np.eye(4), (0.5, 0.5, 1.8), "pedestrian", "8", 0.4),
    ]


def _detections(_: Path) -> Case:
    boxes = to_detections(_boxes(), STAMP_NS, "base_link")
    velocities = to_box_velocities(_boxes(), STAMP_NS, "base_link")

    def read(value: tuple[Any, Any]) -> None:
        found = read_detections(value[0], TOPIC)
        assert all(is_rigid(box.frame_from_box) and np.isfinite(box.size).all() for box in found)
        found = with_velocities(found, value[1], TOPIC)
        assert all(box.velocity is None or box.velocity.shape == (3,) for box in found)

    return Case(make.tuples(messages(boxes), messages(velocities)), read, TOPIC, valid=[(boxes, velocities)])


def _driving(_: Path) -> Case:
    context = {"weather": {"sunny": 0.9, "rain": 0.1}, "emotion": {"calm": 1.0}}
    posture, gestures = np.zeros((26, 3)), np.ones((42, 3))
    valid = (
        ("context", to_driving_context(context, STAMP_NS, "base_link")),
        ("joints", to_cabin_joints(posture, gestures, STAMP_NS, "cabin")),
        ("steering", to_steering(Steering(0.1, 0.02), STAMP_NS, "base_link")),
    )

    def read(value: tuple[str, Any]) -> None:
        what, message = value
        if what == "context":
            found = from_driving_context(message, TOPIC)
            assert all(isinstance(p, float) for classes in found.values() for p in classes.values())
        elif what == "steering":
            assert isinstance(from_steering(message).angle, float)
        else:
            for joints, count in zip(from_cabin_joints(message, TOPIC), (26, 42), strict=True):
                assert joints is None or joints.shape == (count, 3)

    return Case(make.one_of(*[make.tuples(make.just(w), messages(m)) for w, m in valid]), read, TOPIC, valid=valid)


def _bev(_: Path) -> Case:
    layers = {"road": np.full((3, 4), 0.7, np.float32), "floor": np.full((3, 4), np.nan, np.float32)}
    message = to_bev_map(BevMap((-1.0, -2.0), 0.5, layers), STAMP_NS, "base_link")

    def read(message: Any) -> None:
        found = from_bev_map(message, TOPIC)
        assert all(layer.dtype == np.float32 and layer.ndim == 2 for layer in found.layers.values())
        assert found.cell_size > 0 and np.isfinite([*found.origin, found.cell_size]).all()

    return Case(messages(message), read, TOPIC, valid=[message])


def _occupancy(_: Path) -> Case:
    shape = (3, 4, 2)
    random = np.random.default_rng(0)
    labels, probability = random.integers(0, 256, shape, np.uint8), random.random(shape).astype(np.float32)
    message = to_occupancy(Occupancy(VoxelGrid((-1.0, -1.0, 0.0), 0.5, shape), labels, probability), STAMP_NS, "base")

    def read(message: Any) -> None:
        found = from_occupancy(message, TOPIC)
        assert found.labels.shape == found.probability.shape == found.grid.shape
        assert np.isfinite([*found.grid.origin, found.grid.voxel_size]).all()

    return Case(messages(message), read, TOPIC, valid=[message])


def _cloud(_: Path) -> Case:
    xyz = np.arange(12.0).reshape(4, 3)
    plain = to_point_cloud(xyz, STAMP_NS, "lidar", fields={"intensity": np.ones(4, np.float32)})
    rows = to_point_cloud(xyz, STAMP_NS, "lidar")
    rows.width, rows.height, rows.row_step = 2, 2, 2 * rows.point_step

    def read(message: Any) -> None:
        points = read_point_cloud(message, TOPIC)
        assert points.ndim == 1 and len(points) == message.width * message.height
        assert xyz_of(points, TOPIC).shape == (len(points), 3)

    words = {"name": ("x", "y", "z", "rgb"), "offset": (0, 4, 8, 12, 13, 2**31), "datatype": tuple(range(10))}
    return Case(messages(plain, rows, words=words), read, TOPIC, valid=[plain, rows])


def _scene_flow(_: Path) -> Case:
    message = to_scene_flow(prediction())
    sizes = {"front": (6, 8), "left": (2, 2)}

    def read(message: Any) -> None:
        images = from_scene_flow(message, sizes, TOPIC)
        assert {name: image.shape for name, image in images.items()} == {"front": (6, 8, 3), "left": (2, 2, 3)}

    words = {"name": ("x", "y", "z", "vx", "camera", "u", "v"), "datatype": tuple(range(10))}
    return Case(messages(message, words=words), read, TOPIC, valid=[message])


def _rig_prediction(_: Path) -> Case:
    message = to_rig_prediction(prediction())
    encodings = ("rgb8", "bgr8", "mono8", "16UC1", "32FC1", "32SC1", "64FC4", "nv12", "bayer_rggb8", "yuyv")

    def read(message: Any) -> None:
        found = from_rig_prediction(message, TOPIC)
        assert found.world_from_base is None or is_rigid(found.world_from_base)
        for camera in found.cameras.values():
            size = (camera.camera.height, camera.camera.width)
            assert camera.colour.shape == (*size, 3)
            for image in (camera.depth, camera.depth_std, camera.semantic, camera.motion_mask, camera.panoptic):
                assert image is None or image.shape == size
            assert camera.depth is None or camera.depth.dtype == np.float32

    words = {"encoding": encodings, "tasks": ("detections", "depth"), "width": (8, 6), "height": (8, 6)}
    return Case(messages(message, words=words), read, TOPIC, valid=[message])


def _evaluation(_: Path) -> Case:
    message = to_evaluation_metrics({"depth": {"abs_rel": 0.1, "rmse": 2.0}, "map": {"f1": 0.5}}, 7, STAMP_NS)

    def read(message: Any) -> None:
        for values in from_evaluation_metrics(message).values():
            assert all(isinstance(value, float) for value in values.values())

    return Case(messages(message), read, valid=[message])


def _labels(_: Path) -> Case:
    message = LabelInfo(class_map=[VisionClass(class_id=i, class_name=name) for i, name in enumerate(("road", "sky"))])

    def read(message: Any) -> None:
        assert all(isinstance(k, int) and isinstance(v, str) for k, v in read_label_info(message).items())

    return Case(messages(message), read, valid=[message])


def _stamps(_: Path) -> Case:
    message = _pose(PoseStamped)
    data = bytes(serialize_message(message))

    def read(value: Any) -> None:
        found = header_stamp_ns(value) if isinstance(value, bytes) else stamp_ns_from(value.header.stamp)
        assert isinstance(found, int)

    return Case(make.one_of(messages(message), contents(data, others=[b"", data[:3], data[:8]])), read, valid=[data])


SERIALISED: Sequence[tuple[str, Callable[[], Any], Callable[[Any], object]]] = (
    ("/odom", lambda: _pose(Odometry), lambda m: read_odometry(m, TOPIC)),
    ("/info", lambda: to_camera_info(CAMERA, STAMP_NS), lambda m: camera_from_info("front", m, POSE, TOPIC)),
    ("/boxes", lambda: to_detections(_boxes(), STAMP_NS, "base"), lambda m: read_detections(m, TOPIC)),
    ("/cloud", lambda: to_scene_flow(prediction()), lambda m: read_point_cloud(m, TOPIC)),
    ("/frame", lambda: to_rig_prediction(prediction()), lambda m: from_rig_prediction(m, TOPIC)),
    (
        "/bev",
        lambda: to_bev_map(BevMap((0.0, 0.0), 0.5, {"road": np.ones((2, 2), np.float32)}), STAMP_NS, "base"),
        lambda m: from_bev_map(m, TOPIC),
    ),
    (
        "/context",
        lambda: to_driving_context({"weather": {"sunny": 1.0}}, STAMP_NS, "base"),
        lambda m: from_driving_context(m, TOPIC),
    ),
)


def _serialised(folder: Path) -> Case:
    """Serialised messages of a bag, changed byte by byte, as its reader and then the message's own make of them."""
    path = folder / "serialised"
    with BagWriter(path) as writer:
        for topic, message_of, _ in SERIALISED:
            writer.write(topic, message_of(), STAMP_NS)
    bag = BagReader(path).__enter__()
    raw = {topic: (kind, data) for topic, kind, _, data in bag.raw_messages()}
    readers = {topic: reader for topic, _, reader in SERIALISED}

    def read(value: tuple[str, bytes]) -> None:
        topic, data = value
        bag.raw_messages = lambda *_: iter([(topic, raw[topic][0], STAMP_NS, data)])  # type: ignore[method-assign]
        for found, _, message in bag.messages():
            try:
                readers[found](message)
            except ValueError as error:
                raise ValueError(f"{path} {topic}: {error}") from error

    inputs = make.one_of(*[make.tuples(make.just(t), contents(data)) for t, (_, data) in raw.items()])
    return Case(inputs, read, str(path), valid=[(t, data) for t, (_, data) in raw.items()])


def _in(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"messages.{module}.{name}" for name in names)


TARGETS = (
    Target(
        "poses",
        _in("poses", "transform_from_pose", "read_odometry", "read_pose_stamped", "read_transform"),
        8000,
        _poses,
    ),
    Target("ego_motion", _in("poses", "read_ego_motion"), 3000, _ego_motion),
    Target("trajectory", _in("trajectories", "read_trajectory"), 3000, _trajectory),
    Target("calibration", _in("cameras", "camera_from_info"), 7000, _calibration),
    Target("detections", _in("detections", "read_detections", "with_velocities"), 4000, _detections),
    Target(
        "driving", _in("driving", "from_driving_context", "from_steering", "from_cabin_joints"), 4000, _driving
    ),
    Target("bev_map", _in("bev", "from_bev_map"), 4000, _bev),
    Target("occupancy", _in("predictions", "from_occupancy"), 4000, _occupancy),
    Target("point_cloud", _in("points", "read_point_cloud", "xyz_of"), 7000, _cloud),
    Target("scene_flow", _in("scene_flow", "from_scene_flow"), 4000, _scene_flow),
    Target("rig_prediction", _in("predictions", "from_rig_prediction"), 7000, _rig_prediction),
    Target("evaluation_metrics", _in("evaluation", "from_evaluation_metrics"), 1000, _evaluation),
    Target("label_info", _in("labels", "read_label_info"), 1000, _labels),
    Target("stamps", (*_in("stamps", "stamp_ns_from"), "ros.player.header_stamp_ns"), 3000, _stamps),
    Target("serialised_messages", ("data.bags.BagReader.messages",), 7000, _serialised),
)

