# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images and calibrations as they come over DDS, made into frames: what changes, and what is refused and counted."""

import time

import cv2
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_ros import Buffer

from mtl_perception.core import Camera
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_transform
from mtl_perception.messages.stamps import to_header
from mtl_perception.ros.camera_topics import CameraTopics
from mtl_perception.ros.diagnostics import Level
from mtl_perception.ros.process import Spinning
from mtl_perception.ros.rig_input import DroppedFrameError, RigInput
from mtl_perception.ros.transforms import Transforms

PERIOD_NS = 100_000_000
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
WAIT_S = 20.0


def a_camera(name: str, width: int = 16, height: int = 12, focal: float = 10.0, **lens) -> Camera:
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(name, width, height, K, np.eye(4), frame_id=f"{name}_optical", **lens)


class Rig:
    """Cameras that publish, and the input that listens to them."""

    def __init__(self, context, cameras: list[CameraTopics], pose_timeout_s: float) -> None:
        self.node, self.sets, self.stamp_ns = Node("rig", context=context), [], 0
        buffer = Buffer(node=self.node)
        for camera in cameras:
            mount = StampedTransform(0, "base_link", f"{camera.name}_optical", np.eye(4))
            buffer.set_transform_static(to_transform(mount), "test")
        qos = QoSProfile(depth=10)
        self.infos = {c.name: self.node.create_publisher(CameraInfo, c.info_topic, qos) for c in cameras}
        self.images = {
            c.name: self.node.create_publisher(CompressedImage if c.compressed else Image, c.image_topic, qos)
            for c in cameras
        }
        self.input = RigInput(
            self.node,
            cameras,
            base_frame="base_link",
            transforms=Transforms(buffer),
            poses=None,
            companions={},
            on_set=self.sets.append,
            on_reference_dropped=lambda *_: None,
            slop_s=0.02,
            sync_timeout_s=5.0,
            pose_timeout_s=pose_timeout_s,
            min_cameras=1,
            lossless=True,
        )
        self.spinning = Spinning(context, [self.node])
        publishers = [*self.infos.values(), *self.images.values()]
        self.until(lambda: all(publisher.get_subscription_count() for publisher in publishers))

    def until(self, condition) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def send(self, **images):
        """Publish an image, an Image or CompressedImage of any kind, of each camera; return their frame."""
        self.stamp_ns += PERIOD_NS
        for name, image in images.items():
            message = array_to_image(image, "rgb8", 0, "") if isinstance(image, np.ndarray) else image
            message.header = to_header(self.stamp_ns, f"{name}_optical")
            self.images[name].publish(message)
        self.until(lambda: self.sets and self.sets[-1].stamp_ns == self.stamp_ns)
        return self.input.frame(self.sets[-1], give_up=lambda: False)

    def tell(self, camera: Camera, after_ns: int = 0) -> None:
        """Publish a CameraInfo of the stamp that the next image will have, or a later one."""
        monitor = self.input._info_monitors[camera.name]
        count = monitor.count
        self.infos[camera.name].publish(to_camera_info(camera, self.stamp_ns + PERIOD_NS + after_ns))
        self.until(lambda: monitor.count > count)

    def image_status(self):
        return next(status for status in self.input.statuses() if status.name == "images")

    def close(self) -> None:
        self.spinning.stop()
        self.input.close()
        self.node.destroy_node()


@pytest.fixture
def rig(ros_context):
    made = []

    def make(*cameras: CameraTopics, pose_timeout_s: float = 0.2) -> Rig:
        made.append(Rig(ros_context, list(cameras), pose_timeout_s))
        return made[-1]

    yield make
    for each in made:
        each.close()


def topics(name: str, **options) -> CameraTopics:
    return CameraTopics(name, f"{name}/image", f"{name}/camera_info", **options)


def test_an_image_is_the_messages_memory_and_has_its_cameras_calibration(rig) -> None:
    one = rig(topics("front"))
    one.tell(a_camera("front"))
    frame = one.send(front=PICTURE)
    np.testing.assert_array_equal(frame.images["front"], PICTURE)
    assert np.shares_memory(frame.images["front"], np.frombuffer(one.sets[-1].messages["front"].data, np.uint8))
    assert frame.rig["front"].has_lens_of(a_camera("front"))
    assert one.image_status().level == Level.OK


def test_a_calibration_that_changes_mid_run_holds_from_its_own_image_on(rig) -> None:
    one = rig(topics("front"), pose_timeout_s=WAIT_S)
    for focal, size in ((10.0, (16, 12)), (10.0, (16, 12)), (12.0, (16, 12)), (20.0, (32, 24)), (10.0, (16, 12))):
        one.tell(a_camera("front", *size, focal))
        frame = one.send(front=cv2.resize(PICTURE, size))
        assert frame.rig["front"].has_lens_of(a_camera("front", *size, focal))


def test_a_change_that_arrives_after_its_image_holds_for_it_all_the_same(rig) -> None:
    one = rig(topics("front"), pose_timeout_s=WAIT_S)
    for _ in range(3):
        one.tell(a_camera("front"))
        one.send(front=PICTURE)
    changed = a_camera("front", 32, 24, 25.0)
    late = one.node.create_timer(0.3, lambda: one.infos["front"].publish(to_camera_info(changed, one.stamp_ns)))
    frame = one.send(front=cv2.resize(PICTURE, (32, 24)))
    late.cancel()
    assert frame.rig["front"].has_lens_of(changed)


def test_images_go_on_with_the_newest_calibration_when_no_more_come(rig) -> None:
    one = rig(topics("front"))
    for _ in range(3):
        one.tell(a_camera("front"))
        one.send(front=PICTURE)
    for _ in range(3):
        assert one.send(front=PICTURE).rig["front"].has_lens_of(a_camera("front"))


def test_what_cannot_be_used_is_named_and_counted_and_the_others_go_on(rig) -> None:
    two = rig(topics("front"), topics("left", compressed=True))
    jpeg = cv2.imencode(".jpg", PICTURE)[1].tobytes()

    def compressed(data: bytes) -> CompressedImage:
        message = CompressedImage(format="rgb8; jpeg compressed bgr8")
        message.data.frombytes(data)
        return message

    for name in ("front", "left"):
        two.tell(a_camera(name))
    assert set(two.send(front=PICTURE, left=compressed(jpeg)).images) == {"front", "left"}

    cut, halved = compressed(jpeg[: len(jpeg) // 2]), array_to_image(PICTURE[:6], "rgb8", 0, "")
    for _ in range(2):
        frame = two.send(front=PICTURE, left=cut)
        assert set(frame.images) == {"front"} and frame.rig.names == ("front", "left")
    status = two.image_status()
    assert status.level == Level.ERROR and status.values == {"refused, left: truncated data": 2}
    assert "topic '/left/image': " in status.message and "16x12" in status.message

    assert set(two.send(front=halved, left=compressed(jpeg)).images) == {"left"}
    assert "topic '/front/image': size 16x6, but '/front/camera_info' says 16x12" in two.image_status().message
    with pytest.raises(DroppedFrameError, match=r"/front/image.*/left/image"):
        two.send(front=halved, left=cut)
    two.tell(a_camera("front"), after_ns=-PERIOD_NS)
    zero = to_camera_info(a_camera("front"), two.stamp_ns + PERIOD_NS)
    zero.k = [0.0] * 9
    two.infos["front"].publish(zero)
    two.until(lambda: two.input._infos["front"].newest.k[0] == 0)
    assert set(two.send(front=PICTURE, left=compressed(jpeg)).images) == {"left"}
    assert "topic '/front/camera_info': k is all zero" in two.image_status().message

    two.tell(a_camera("front"))
    assert set(two.send(front=PICTURE, left=compressed(jpeg)).images) == {"front", "left"}
    status = two.image_status()
    assert (status.level, status.message) == (Level.OK, "all images can be used")
    assert status.values == {
        "refused, front: unusable CameraInfo": 1,
        "refused, front: wrong size": 2,
        "refused, left: truncated data": 3,
    }


def test_a_calibration_of_which_no_image_could_be_used_is_no_part_of_the_rig(rig) -> None:
    two = rig(topics("front"), topics("left"))
    two.tell(a_camera("front"))
    two.tell(a_camera("left", 60_000, 1))
    frame = two.send(front=PICTURE, left=PICTURE)
    assert frame.rig.names == ("front",)


def test_images_that_are_rectified_already_are_told_from_those_that_sound_so(rig) -> None:
    lens = {"distortion_model": "plumb_bob", "distortion": np.array([-0.3, 0.1, 0.0, 0.0, 0.0])}
    plain = CameraTopics("front", "front/image_rect_color", "front/camera_info")
    rectified = CameraTopics("left", "left/image_rect", "left/camera_info", rectified=True)
    two = rig(plain, rectified)
    for name in ("front", "left"):
        two.tell(a_camera(name, **lens))
    frame = two.send(front=PICTURE, left=PICTURE)
    assert not frame.rig["front"].is_rectified and frame.rig["left"].is_rectified
    status = two.image_status()
    assert status.level == Level.WARN
    assert status.message == (
        "topic '/front/image_rect_color' sounds rectified, but is being rectified: set front.rectified if it is"
    )
