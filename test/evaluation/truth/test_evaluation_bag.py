# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags with their truth, from whichever topics it comes."""

import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse, transform_from
from mtl_perception.core.voxels import Occupancy, VoxelGrid
from mtl_perception.data.bags import BagWriter
from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.bag_rig import CameraTopics
from mtl_perception.data.sample_messages import TopicMessage, sample_messages, static_messages
from mtl_perception.evaluation.truth import EvaluationBag, TopicMapping, read_mappings
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.detections import to_detections
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.poses import StampedTransform, to_pose, to_transform
from mtl_perception.messages.predictions import to_occupancy
from mtl_perception.messages.stamps import to_header

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
FRAMES = 4
WIDTH, HEIGHT = 16, 12
K = np.array([[12.0, 0, 7.5], [0, 12.0, 5.5], [0, 0, 1]])


def camera(name: str, left: float) -> Camera:
    return Camera(
        name, WIDTH, HEIGHT, K, transform_from([1.0, left, 1.0], [0, 0, 0, 1]) @ BODY_FROM_OPTICAL, frame_id=name
    )


RIG = Rig((camera("front", 0.0), camera("side", 0.5)))


def world_from_base(stamp_ns: int) -> Transform:
    return transform_from([(stamp_ns - START_NS) * 1e-9 * 3.0, 0.0, 0.0], [0, 0, 0, 1])


def sample(index: int) -> Sample:
    """Return a frame of a drive towards a wall at x = 30: `front` has all truth, `side` has none but LiDAR."""
    stamp_ns = START_NS + index * PERIOD_NS
    stamps = {"front": stamp_ns, "side": stamp_ns + 10_000_000}
    depth = np.full((HEIGHT, WIDTH), 29.0 - 0.3 * index, np.float32)
    labels = np.full((HEIGHT, WIDTH), 3, np.uint8)
    sweep_ns = stamp_ns + 20_000_000
    y, z = (axis.ravel() for axis in np.meshgrid(np.arange(-30, 30, 0.5), np.arange(-20.0, 20.0, 0.5)))
    points = np.stack([np.full(len(y), 30.0 - world_from_base(sweep_ns)[0, 3]), y, z], axis=-1)
    return Sample(
        RigFrame(
            RIG,
            stamp_ns,
            {name: np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8) for name in stamps},
            stamps,
            {name: world_from_base(stamp) @ RIG[name].base_from_camera for name, stamp in stamps.items()},
            world_from_base(stamp_ns),
        ),
        GroundTruth(
            {"front": CameraTruth(depth=depth, semantic=labels)},
            sweep=Sweep(sweep_ns, world_from_base(sweep_ns), points),
        ),
    )


def messages() -> list[TopicMessage]:
    samples = [sample(index) for index in range(FRAMES)]
    return static_messages(RIG, START_NS) + [entry for one in samples for entry in sample_messages(one)]


def write(path: Path, entries: Sequence[tuple[str, Any, int]]) -> Path:
    with BagWriter(path) as writer:
        for topic, message, stamp_ns in sorted(entries, key=lambda entry: entry[2]):
            writer.write(topic, message, stamp_ns)
    return path


def per_frame(topic: str, make: Callable[[int, int], Any], late_ns: int = 0) -> list[tuple[str, Any, int]]:
    """Return a message for each frame, made of its index and a stamp somewhat after the frame's."""
    stamps = [START_NS + index * PERIOD_NS + late_ns for index in range(FRAMES)]
    return [(topic, make(index, stamp), stamp) for index, stamp in enumerate(stamps)]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bags") / "drive", messages())


def test_lidar_gives_depth_where_a_camera_has_none(bag: Path) -> None:
    opened = EvaluationBag(bag)
    assert len(opened) == FRAMES
    found = opened.sample(2)
    assert list(found.sparse_depth) == ["side"]
    # The side camera's image is 0.21 s after the start, at x = 1 + 0.63: the wall is 28.37 m away.
    np.testing.assert_allclose(found.sparse_depth["side"].depth, 28.37, atol=1e-4)
    assert len(found.sparse_depth["side"].depth) > 500
    assert opened.sources == {
        "depth": "/ground_truth/front/depth; LiDAR /ground_truth/lidar, projected",
        "semantic": "/ground_truth/front/semantic",
        "ego_motion": "/odom",
    }
    opened.close()


def test_tasks_narrow_what_is_read(bag: Path) -> None:
    opened = EvaluationBag(bag, tasks={"semantic"})
    found = opened.sample(1)
    assert found.sparse_depth == {}
    assert found.sample.truth.sweep is None
    assert found.sample.truth.ego_motion is None
    truth = found.sample.truth.cameras["front"]
    assert truth.depth is None
    assert truth.semantic is not None
    assert opened.sources == {"semantic": "/ground_truth/front/semantic"}
    assert EvaluationBag(bag, tasks=()).sample(1).sample.truth.cameras == {}
    with pytest.raises(ValueError, match="there is no task 'depht'"):
        EvaluationBag(bag, tasks={"depht"})


def test_mapped_topics_are_nearest_within_half_a_period(tmp_path: Path) -> None:
    """Labels 30 ms after the images are theirs; in a bag where they come 60 ms after, there are none."""

    def labels(index: int, stamp_ns: int) -> Any:
        return array_to_image(np.full((HEIGHT, WIDTH), index, np.uint8), "mono8", stamp_ns, "side")

    for late_ms, expected in ((30, 2), (45, 2)):
        path = write(tmp_path / f"late{late_ms}", messages() + per_frame("/seg", labels, late_ms * 1_000_000))
        opened = EvaluationBag(path, read_mappings(["/seg=semantic"]))
        semantic = opened.sample(2).sample.truth.cameras["side"].semantic
        assert semantic is not None
        assert (semantic == expected).all()
        assert opened.sources["semantic"] == "/seg, /ground_truth/front/semantic"
    path = write(tmp_path / "later", messages() + per_frame("/seg", labels, 75_000_000)[:1])
    found = EvaluationBag(path, read_mappings(["/seg=semantic"])).sample(2).sample.truth.cameras
    assert "side" not in found


def test_what_is_recorded_late_belongs_to_its_stamp(tmp_path: Path) -> None:
    """Labels that a node has made of the images, and that are recorded 0.23 s after them."""
    entries = [*messages()]
    for index in (0, 2, 3):
        stamp_ns = START_NS + index * PERIOD_NS
        labels = array_to_image(np.full((HEIGHT, WIDTH), index, np.uint8), "mono8", stamp_ns, "side")
        entries.append(TopicMessage("/seg", labels, stamp_ns + 230_000_000))
    opened = EvaluationBag(write(tmp_path / "bag", entries), read_mappings(["/seg=semantic"]))
    found = [opened.sample(index).sample.truth.cameras.get("side", CameraTruth()).semantic for index in range(FRAMES)]
    assert [None if image is None else int(image[0, 0]) for image in found] == [0, None, 2, 3]


def test_label_ids_of_two_datasets_are_not_mixed(tmp_path: Path) -> None:
    image = array_to_image(np.zeros((HEIGHT, WIDTH), np.uint8), "mono8", START_NS, "side")
    path = write(tmp_path / "bag", [*messages(), ("/seg", image, START_NS)])
    with pytest.raises(BagError, match=r"/ground_truth/front/semantic: the own ids.*/seg: camvid|the label ids of one"):
        EvaluationBag(path, [TopicMapping("/seg", "semantic", "", "camvid")])
    both = [TopicMapping("/seg", "semantic", name, "camvid") for name in ("front", "side")]
    assert EvaluationBag(path, both).sample(0).sample.truth.dataset == "camvid"


def test_a_depth_camera_of_its_own_is_projected(tmp_path: Path) -> None:
    """Millimetres, half a metre left of `side`, which the static transforms tell; registered: the very pixels."""
    place = RIG["side"].base_from_camera @ transform_from([-0.5, 0.0, 0.0], [0, 0, 0, 1])
    static = TFMessage(transforms=[to_transform(StampedTransform(START_NS, "base_link", "tof", place))])
    tof = Camera("tof", 32, 24, np.array([[24.0, 0, 15.5], [0, 24.0, 11.5], [0, 0, 1]]), place, frame_id="tof")
    info = to_camera_info(tof, START_NS)

    def depth(frame: str, size: tuple[int, int]) -> Callable[[int, int], Any]:
        return lambda index, stamp: array_to_image(np.full(size, 4000 + index, np.uint16), "16UC1", stamp, frame)

    entries = [*messages(), ("/tf_static", static, START_NS), ("/tof/camera_info", info, START_NS)]
    entries += per_frame("/tof/image_raw", depth("tof", (24, 32)), 10_000_000)
    entries += per_frame("/registered/image", depth("side", (HEIGHT, WIDTH)), 10_000_000)
    path = write(tmp_path / "bag", entries)
    opened = EvaluationBag(path, read_mappings(["/tof/image_raw=depth:side"]))
    found = opened.sample(3)
    assert set(found.sparse_depth) == {"side"}
    np.testing.assert_allclose(found.sparse_depth["side"].depth, 4.003, atol=1e-6)
    assert opened.sources["depth"].startswith("/tof/image_raw, projected")
    registered = EvaluationBag(path, read_mappings(["/registered/image=depth"])).sample(3)
    dense = registered.sample.truth.cameras["side"].depth
    assert dense is not None
    np.testing.assert_allclose(dense, np.full((HEIGHT, WIDTH), 4.003), atol=1e-6)
    assert registered.sparse_depth == {}


def test_compressed_truth(tmp_path: Path) -> None:
    """Labels, instances and masks as PNG, depth as compressed_depth_image_transport sends it."""
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 12
    mask = np.where(labels > 5, 255, 0).astype(np.uint8)
    instances = labels.astype(np.uint16) * 300
    depth = cv2.imencode(".png", np.full((HEIGHT, WIDTH), 4000, np.uint16))[1].tobytes()
    files = {
        "/labels/compressed": ("mono8; png compressed ", cv2.imencode(".png", labels)[1].tobytes()),
        "/instances/compressed": ("mono16; png compressed ", cv2.imencode(".png", instances)[1].tobytes()),
        "/moving/compressed": ("mono8; png compressed ", cv2.imencode(".png", mask)[1].tobytes()),
        "/depth/compressedDepth": ("16UC1; compressedDepth png", bytes(12) + depth),
    }
    entries = [*messages()]
    for topic, (format_text, data) in files.items():
        content = array.array("B", data)
        entries += per_frame(
            topic,
            lambda _, stamp, text=format_text, content=content: CompressedImage(
                header=to_header(stamp, "side"), format=text, data=content
            ),
            10_000_000,
        )
    path = write(tmp_path / "bag", entries)
    tasks = ("semantic", "instance", "motion_mask", "depth")
    mappings = [f"{topic}={task}:side" for topic, task in zip(files, tasks, strict=True)]
    truth = EvaluationBag(path, read_mappings(mappings)).sample(2).sample.truth.cameras["side"]
    assert truth.semantic is not None and truth.depth is not None
    np.testing.assert_array_equal(truth.semantic, labels)
    np.testing.assert_array_equal(truth.instance, instances)
    np.testing.assert_array_equal(truth.motion_mask, mask)
    np.testing.assert_allclose(truth.depth, np.full((HEIGHT, WIDTH), 4.0), atol=1e-6)


def test_lidar_in_its_own_frame_and_poses_of_another_source(tmp_path: Path) -> None:
    """A LiDAR 1 m behind and 2 m above the base, upside down; poses that drive twice as fast as /odom says."""
    place = transform_from([-1.0, 0.0, 2.0], [1.0, 0.0, 0.0, 0.0])
    static = TFMessage(transforms=[to_transform(StampedTransform(START_NS, "base_link", "velodyne", place))])

    def cloud(index: int, stamp_ns: int) -> Any:
        y, z = (axis.ravel() for axis in np.meshgrid(np.arange(-8, 8, 0.2), np.arange(-8, 8, 0.2)))
        return to_point_cloud(np.stack([np.full(len(y), 11.0), y, z], axis=-1), stamp_ns, "velodyne")

    def pose(index: int, stamp_ns: int) -> Any:
        twice = to_pose(transform_from([2 * world_from_base(stamp_ns)[0, 3], 0.0, 0.0], [0, 0, 0, 1]))
        return PoseStamped(header=to_header(stamp_ns, "map"), pose=twice)

    bare = [entry for entry in messages() if not entry.topic.startswith("/ground_truth/")]
    entries = [*bare, ("/tf_static", static, START_NS), *per_frame("/scan", cloud), *per_frame("/truth/pose", pose)]
    path = write(tmp_path / "bag", entries)
    opened = EvaluationBag(path, read_mappings(["/scan=lidar", "/truth/pose=ego_motion"]))
    found = opened.sample(1)
    assert set(found.sparse_depth) == {"front", "side"}
    np.testing.assert_allclose(found.sparse_depth["front"].depth, 9.0, atol=1e-5)  # 10 m ahead of the base
    np.testing.assert_allclose(found.sparse_depth["side"].depth, 8.97, atol=1e-5)  # 10 ms later
    motion = found.sample.truth.ego_motion
    assert motion is not None
    np.testing.assert_allclose(motion.previous_base_from_base[:3, 3], [0.6, 0.0, 0.0], atol=1e-9)
    assert opened.sources == {"depth": "LiDAR /scan, projected", "ego_motion": "/truth/pose"}
    nowhere = write(tmp_path / "nowhere", [entry for entry in entries if entry[1] is not static])
    with pytest.raises(
        ValueError, match=r"nowhere: /scan is in 'velodyne', /tf_static does not lead there from base_link"
    ):
        EvaluationBag(nowhere, read_mappings(["/scan=lidar"])).sample(1)


def test_boxes_in_the_world_come_into_the_base_frame(tmp_path: Path) -> None:
    """A box that stands at x = 20 of `odom`, seen 0.2 s after the start, when the base is at 0.6."""
    box = Box(transform_from([20.0, 1.0, 0.5], [0, 0, 0, 1]), (4.0, 2.0, 1.5), "car", "7")
    entries = [*messages(), *per_frame("/boxes", lambda _, stamp: to_detections([box], stamp, "odom"))]
    opened = EvaluationBag(write(tmp_path / "bag", entries), read_mappings(["/boxes=detections"]))
    sweep = opened.sample(2).sample.truth.sweep
    assert sweep is not None
    assert sweep.boxes is not None
    np.testing.assert_allclose(sweep.boxes[0].frame_from_box[:3, 3], [19.4, 1.0, 0.5], atol=1e-9)
    assert set(opened.sample(2).sparse_depth) == {"side"}  # the LiDAR has another stamp, and is still there


def test_occupancy_of_another_frame_is_refused(tmp_path: Path) -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 1.0, (2, 2, 2))
    occupancy = Occupancy(grid, np.zeros((2, 2, 2), np.uint8), np.ones((2, 2, 2), np.float32))
    for frame_id in ("base_link", "odom"):
        entry = ("/grid", to_occupancy(occupancy, START_NS, frame_id), START_NS)
        path = write(tmp_path / frame_id, [*messages(), entry])
        opened = EvaluationBag(path, read_mappings(["/grid=occupancy"]))
        if frame_id == "base_link":
            found = opened.sample(0).sample.truth.occupancy
            assert found is not None
            np.testing.assert_array_equal(found.labels, occupancy.labels)
        else:
            with pytest.raises(
                ValueError, match=r"/grid: header\.frame_id is 'odom', occupancy must be in the base frame"
            ):
                opened.sample(0)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("/nothing=depth", r"bag has no topic /nothing \(for depth\), it has /front/camera_info"),
        ("/odom=depth", r"/odom is nav_msgs/msg/Odometry, depth needs sensor_msgs/msg/Image or"),
        ("/masks=motion_mask", r"/masks \(frame ''\) could be about any of front, side: say which, as in"),
        ("/masks=motion_mask:rear", r"mapping of /masks: no camera 'rear', it has front, side"),
        ("/masks=depth:side", r"/masks is in '', not in that of camera 'side', and there is no /camera_info"),
    ],
)
def test_mappings_that_do_not_fit_the_bag_are_refused(tmp_path: Path, argument: str, message: str) -> None:
    mask = array_to_image(np.zeros((HEIGHT, WIDTH), np.uint8), "mono8", START_NS, "")
    path = write(tmp_path / "bag", [*messages(), ("/masks", mask, START_NS)])
    with pytest.raises(BagError, match=message):
        EvaluationBag(path, read_mappings([argument]))


@pytest.mark.parametrize(
    ("image", "encoding", "task", "message"),
    [
        (np.full((HEIGHT, WIDTH), 7, np.uint8), "mono8", "motion_mask", "/t: a mask has 0 and 255.*the value 7"),
        (np.zeros((HEIGHT, WIDTH), np.float32), "32FC1", "panoptic", "/t: encoding '32FC1', expected 32SC1"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgb8", "depth", "/t: encoding 'rgb8'.*is not depth"),
        (np.zeros((6, 8), np.uint8), "mono8", "edges", "/t: edges is 8x6, but the images of camera 'front' are 16x12"),
        (np.full((HEIGHT, WIDTH), 300, np.uint16), "16UC1", "semantic", "/t: label id 300 is above 255"),
    ],
)
def test_values_that_cannot_be_are_refused(
    tmp_path: Path, image: np.ndarray, encoding: str, task: str, message: str
) -> None:
    entry = ("/t", array_to_image(image, encoding, START_NS, "front"), START_NS)
    opened = EvaluationBag(write(tmp_path / "bag", [*messages(), entry]), read_mappings([f"/t={task}:front"]))
    with pytest.raises(ValueError, match=message):
        opened.sample(0)


def test_bags_that_lack_something(tmp_path: Path) -> None:
    unposed = write(tmp_path / "unposed", [entry for entry in messages() if entry.topic != "/odom"])
    opened = EvaluationBag(unposed)
    found = opened.sample(0)
    assert found.sample.frame.world_from_base is None
    assert set(found.sparse_depth) == {"side"}  # 10 ms: taken to stand still
    assert "ego_motion" not in opened.sources
    homeless = write(tmp_path / "homeless", [entry for entry in messages() if entry.topic != "/tf_static"])
    with pytest.raises(BagError, match="homeless: /tf_static does not say where the camera 'front' is"):
        EvaluationBag(homeless)
    late = START_NS + PERIOD_NS + 10_000_000
    holed = write(tmp_path / "holed", [e for e in messages() if not (e.topic == "/side/image" and e.stamp_ns == late)])
    opened = EvaluationBag(holed)
    assert [set(opened.sample(index).sparse_depth) for index in range(3)] == [{"side"}, set(), {"side"}]
    assert opened.sample(1).sample.frame.missing == ("side",)


def test_a_robots_own_topic_names(tmp_path: Path) -> None:
    names = {"/front/image": "/cam0/image_raw", "/front/camera_info": "/cam0/info"}
    kept = [(names.get(e.topic, e.topic), e.message, e.stamp_ns) for e in messages() if not e.topic.startswith("/side")]
    path = write(tmp_path / "bag", kept)
    with pytest.raises(BagError, match="has no camera"):
        EvaluationBag(path)
    opened = EvaluationBag(path, topics={"front": CameraTopics("/cam0/image_raw", "/cam0/info")})
    assert opened.rig.names == ("front",)
    assert (opened.sample(2).sample.frame.images["front"] == 20).all()
    with pytest.raises(BagError, match=r"has no topic /cam1/image_raw \(of camera 'front'\)"):
        EvaluationBag(path, topics={"front": CameraTopics("/cam1/image_raw", "/cam0/info")})


@pytest.mark.parametrize("rectified", [False, True])
def test_images_that_are_rectified_already(tmp_path: Path, rectified: bool) -> None:
    path, kept = tmp_path / "bag", []
    for topic, message, stamp_ns in messages():
        if topic == "/front/camera_info":
            message.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
            message.p = [11.0, 0.0, 7.0, 0.0, 0.0, 11.0, 5.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        kept.append((topic, message, stamp_ns))
    topics = {"front": CameraTopics("/front/image", "/front/camera_info", rectified)}
    front = EvaluationBag(write(path, kept), topics=topics).rig["front"]
    assert front.is_rectified == rectified and front.K[0, 0] == (11.0 if rectified else 12.0)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused_by_name(bag: Path, tmp_path: Path, share: float) -> None:
    whole = (bag / "drive.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BagError, match=r"cut\.mcap"):
        EvaluationBag(tmp_path / "cut.mcap")


def test_damaged_chunks_are_refused_by_name(bag: Path, tmp_path: Path) -> None:
    whole = bytearray((bag / "drive.mcap").read_bytes())
    for place in range(2000, len(whole) // 2, 500):
        whole[place] ^= 0xFF
    (tmp_path / "dirty.mcap").write_bytes(whole)
    with pytest.raises(BagError, match=r"dirty\.mcap"):
        opened = EvaluationBag(tmp_path / "dirty.mcap")
        for index in range(len(opened)):
            opened.sample(index)


def test_poses_of_the_frame_are_those_of_the_base(bag: Path) -> None:
    frame = EvaluationBag(bag).sample(2).sample.frame
    base = frame.world_from_camera["side"] @ inverse(RIG["side"].base_from_camera)
    np.testing.assert_allclose(base[:3, 3], [0.63, 0.0, 0.0], atol=1e-9)
