# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that costs next to nothing, to measure others by: it goes to and fro on a way that was rendered before."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator

import rclpy
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from tf2_ros import StaticTransformBroadcaster

from mtl_perception.bench.describe import image_size, positive, positive_number
from mtl_perception.core.transforms import inverse
from mtl_perception.data.world.frames import WorldSettings
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.stamps import to_time
from mtl_perception.ros import qos

RIG = "surround6"
WORLD_FRAME = "odom"

_PACE_S = 0.02  # of the world from frame to frame: so slow that it is no jump where frames are left out


class Robot(Node):
    """Sends the images of six cameras with their CameraInfo, odometry at the stamp of each, and where cameras sit."""

    def __init__(self, context: Context, frames: int, rate_hz: float, size: tuple[int, int]) -> None:
        """Render `frames` frames of a street, (width, height) `size`, of which `rate_hz` are sent a second."""
        super().__init__("robot", context=context, enable_rosout=False, start_parameter_services=False)
        world = WorldSettings("street", cameras=RIG, image_size=size).build()
        self._rate_hz = rate_hz
        self._offsets_ns = world.layout.exposure_offsets_ns
        self._looks = [world.look(number * _PACE_S) for number in range(frames)]
        names = world.rig.names
        self._images = {name: self.create_publisher(Image, f"{name}/image", qos.output()) for name in names}
        self._infos = {name: self.create_publisher(CameraInfo, f"{name}/camera_info", qos.output()) for name in names}
        self._odometry = self.create_publisher(Odometry, "odom", qos.output(depth=100))
        self._static = StaticTransformBroadcaster(self)
        self._static.sendTransform(
            [
                to_transform(StampedTransform(0, world.rig.base_frame, camera.frame_id, camera.base_from_camera))
                for camera in world.rig
            ]
        )

    def drive(self, ended: threading.Event) -> None:
        """Send frame after frame, stamped by the node's clock, until `ended`."""
        due = time.monotonic()
        for number in to_and_fro(len(self._looks)):
            if ended.wait(max(0.0, due - time.monotonic())):
                return
            self._send(number, int(self.get_clock().now().nanoseconds))
            due += 1 / self._rate_hz

    def _send(self, number: int, stamp_ns: int) -> None:
        look = self._looks[number]
        base_frame = look.rig.base_frame
        # Exposed before they are sent, the last one now.
        stamp_ns -= max(self._offsets_ns.values())
        for camera in sorted(look.rig, key=lambda camera: self._offsets_ns[camera.name]):
            exposed_ns = stamp_ns + self._offsets_ns[camera.name]
            world_from_base = look.world_from_camera[camera.name] @ inverse(camera.base_from_camera)
            pose = StampedTransform(exposed_ns, WORLD_FRAME, base_frame, world_from_base)
            self._odometry.publish(to_odometry(pose))
            info = to_camera_info(camera, exposed_ns)
            info.header.stamp = to_time(exposed_ns)
            self._infos[camera.name].publish(info)
            image = array_to_image(look.images[camera.name], "rgb8", exposed_ns, camera.frame_id)
            self._images[camera.name].publish(image)


def to_and_fro(count: int) -> Iterator[int]:
    """Yield 0, 1, ... count - 1, count - 2, ... 1, 0, 1, ... without end."""
    while True:
        yield from range(count)
        yield from range(count - 2, 0, -1)


def main() -> int:
    """Drive until SIGINT or SIGTERM; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=positive, required=True)
    parser.add_argument("--rate", type=positive_number, required=True)
    parser.add_argument("--size", type=image_size, required=True)
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    context, ended = Context(), threading.Event()
    rclpy.init(args=sys.argv, context=context, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: ended.set())
    robot = Robot(context, arguments.frames, arguments.rate, arguments.size)
    robot.drive(ended)
    robot.destroy_node()
    rclpy.try_shutdown(context=context)
    return 0
