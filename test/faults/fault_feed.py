# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A robot whose drivers publish all the time, and can be made to publish something else."""

import faulthandler
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_ros import StaticTransformBroadcaster

from mtl_perception.core import Camera
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.stamps import to_header

WAIT_S = 40.0  # only as long as something is wrong; the machine may be busy
WIDTH, HEIGHT = 64, 48

Change = Callable[[Any], Iterable[Any]]


def until(condition: Callable[[], Any], what: str | Callable[[], str], wait_s: float = WAIT_S) -> Any:
    """Wait until a condition holds and return what it returned; a hang fails with the stacks of all threads."""
    deadline = time.monotonic() + wait_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
            text = what() if callable(what) else what
            raise AssertionError(f"not within {wait_s:g} s: {text[:1000]}")
        time.sleep(0.01)
    return found


class Feed(Node):
    """Publishes images, CameraInfo and odometry of a robot that stands still, `rate_hz` times a second.

    The hooks `images`, `infos` (per camera) and `poses` turn each message into those that are sent instead: none, a
    changed one, several. `sent` counts what was published, per topic.
    """

    def __init__(self, context: Context, names: Iterable[str], compressed: Iterable[str] = ()) -> None:
        super().__init__("robot", context=context, enable_rosout=False, start_parameter_services=False)
        self.cameras = [a_camera(index, name) for index, name in enumerate(names)]
        self.compressed = set(compressed)
        self.rate_hz = 10.0
        self.now_ns: Callable[[], int] = time.time_ns
        self.images: dict[str, Change] = {}
        self.infos: dict[str, Change] = {}
        self.poses: Change | None = None
        self.sent: Counter[str] = Counter()
        self.ticks = 0
        self.failure = ""
        self._pixels = {camera.name: picture(index) for index, camera in enumerate(self.cameras)}
        self._jpegs = {name: jpeg(pixels) for name, pixels in self._pixels.items() if name in self.compressed}
        kinds = {camera.name: CompressedImage if camera.name in self.compressed else Image for camera in self.cameras}
        self.image_publishers = {name: self.create_publisher(kind, f"{name}/image", 50) for name, kind in kinds.items()}
        self.info_publishers = {name: self.create_publisher(CameraInfo, f"{name}/camera_info", 50) for name in kinds}
        self.pose_publisher = self.create_publisher(Odometry, "odom", 100)
        self._tf = StaticTransformBroadcaster(self)
        self._tf.sendTransform(
            [to_transform(StampedTransform(0, "base_link", c.frame_id, c.base_from_camera)) for c in self.cameras]
        )
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        until(self.is_heard, "a subscription to each topic")
        self._thread.start()

    def is_heard(self) -> bool:
        everyone = [*self.image_publishers.values(), *self.info_publishers.values(), self.pose_publisher]
        return all(publisher.get_subscription_count() for publisher in everyone)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(WAIT_S)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            yield

    @contextmanager
    def changing(
        self,
        images: Mapping[str, Change] | None = None,
        infos: Mapping[str, Change] | None = None,
        poses: Change | None = None,
        rate_hz: float | None = None,
    ) -> Iterator[None]:
        """Change what is sent, from one tick to another."""
        with self._lock:
            before = self.images, self.infos, self.poses, self.rate_hz
            self.images, self.infos = {**self.images, **(images or {})}, {**self.infos, **(infos or {})}
            self.poses, self.rate_hz = poses or self.poses, rate_hz or self.rate_hz
        try:
            yield
        finally:
            with self._lock:
                self.images, self.infos, self.poses, self.rate_hz = before

    def publish(self, publisher: Any, message: Any) -> None:
        """Publish one message more, and count it."""
        with self._lock:
            self.sent[publisher.topic_name] += 1
            publisher.publish(message)

    def image(self, name: str, stamp_ns: int) -> Any:
        header = to_header(stamp_ns, f"{name}_optical")
        if name in self.compressed:
            return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=self._jpegs[name])
        message = array_to_image(self._pixels[name], "rgb8", stamp_ns, f"{name}_optical")
        message.header = header
        return message

    def tick(self) -> None:
        """Publish one frame now."""
        stamp_ns = self.now_ns()
        self.ticks += 1
        offsets_ns = {camera.name: 5_000_000 * index for index, camera in enumerate(self.cameras)}
        for own_ns in sorted({stamp_ns + offset for offset in offsets_ns.values()}):
            pose = to_odometry(StampedTransform(own_ns, "odom", "base_link", np.eye(4)))
            self._send(self.pose_publisher, pose, self.poses)
        for camera in self.cameras:
            own_ns = stamp_ns + offsets_ns[camera.name]
            info = to_camera_info(camera, own_ns)
            self._send(self.info_publishers[camera.name], info, self.infos.get(camera.name))
            image = self.image(camera.name, own_ns)
            self._send(self.image_publishers[camera.name], image, self.images.get(camera.name))

    def _send(self, publisher: Any, message: Any, change: Change | None) -> None:
        for each in [message] if change is None else change(message):
            self.publish(publisher, each)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stopping.is_set():
                with self._lock:
                    self.tick()
                due = max(due + 1 / self.rate_hz, time.monotonic() - 0.2)
                self._stopping.wait(max(due - time.monotonic(), 0.001))
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            raise


def a_camera(index: int, name: str) -> Camera:
    """Return one camera of a ring of four."""
    K = np.array([[40.0, 0, WIDTH / 2], [0, 40.0, HEIGHT / 2], [0, 0, 1]])
    base_from_camera = np.eye(4)
    yaw = np.deg2rad(90.0 * index)
    base_from_forward = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    base_from_camera[:3, :3] = base_from_forward @ [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    base_from_camera[:3, 3] = (*(0.3 * base_from_forward[:2, 0]), 1.2)
    return Camera(name, WIDTH, HEIGHT, K, base_from_camera, frame_id=f"{name}_optical")


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
