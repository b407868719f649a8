# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of the driver: images of the cabin's cameras and joints, made into a `CabinFrame`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from message_filters import SimpleFilter, Subscriber
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from mtl_perception.core import CabinFrame
from mtl_perception.messages.driving import from_cabin_joints
from mtl_perception.messages.images import image_to_array
from mtl_perception.messages.raw_images import ImageError
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import Level, Status, TopicMonitor
from mtl_perception_msgs.msg import CabinJoints

_JOINTS = "cabin joints"


@dataclass(frozen=True)
class CabinTopics:
    """Where the images of one camera of the cabin come from."""

    name: str
    image_topic: str
    compressed: bool = False


class CabinInput:
    """Subscribes to the cabin's cameras and the driver's joints; a `RigSynchronizer` picks those of each frame.

    Attributes:
        filters: what the synchroniser is to have as companions of a frame.
    """

    def __init__(self, node: Node, cameras: Sequence[CabinTopics], joints_topic: str, *, lossless: bool) -> None:
        """Subscribe.

        Args:
            node: has the subscriptions.
            cameras: of the cabin; may be empty.
            joints_topic: of `CabinJoints`; empty: none.
            lossless: subscribe reliably, to a player that waits for each frame.
        """
        self._node = node
        self._names = {f"cabin camera {camera.name}": camera.name for camera in cameras}
        kinds = [(CompressedImage if camera.compressed else Image, camera.image_topic) for camera in cameras]
        wanted: dict[str, tuple[Any, str]] = dict(zip(self._names, kinds, strict=True))
        if joints_topic:
            wanted[_JOINTS] = (CabinJoints, joints_topic)
        self._subscribers = {
            name: Subscriber(
                node,
                kind,
                topic,
                qos_profile=qos.sensor_input(lossless=lossless),
                qos_overriding_options=qos.overridable(),
            )
            for name, (kind, topic) in wanted.items()
        }
        self._monitors = {
            name: TopicMonitor(node, subscriber.sub, paced=lossless) for name, subscriber in self._subscribers.items()
        }
        for name, subscriber in self._subscribers.items():
            subscriber.registerCallback(self._monitors[name].arrived)
        self.filters: Mapping[str, SimpleFilter] = dict(self._subscribers)
        self._unusable: dict[str, str] = {}  # per companion, what is wrong with its newest message
        self.refused: Counter[tuple[str, str]] = Counter()  # (companion, reason) -> how many messages

    def close(self) -> None:
        """Unsubscribe."""
        for subscriber in self._subscribers.values():
            self._node.destroy_subscription(subscriber.sub)

    def frame(self, companions: Mapping[str, Any]) -> CabinFrame | None:
        """Make a frame of the messages of a set; what cannot be used is left out. None where nothing is left."""
        images, unusable = {}, {}
        posture = gestures = None
        for key in self._subscribers:
            if key not in companions:
                continue
            topic = self._monitors[key].topic
            try:
                if key == _JOINTS:
                    posture, gestures = from_cabin_joints(companions[key], f"topic '{topic}'")
                else:
                    images[self._names[key]] = image_to_array(companions[key], f"topic '{topic}'")
            except ValueError as error:
                unusable[key] = str(error)
                self.refused[key, error.reason if isinstance(error, ImageError) else "unusable joints"] += 1
        self._unusable = unusable
        if not images and posture is None and gestures is None:
            return None
        return CabinFrame(images, posture, gestures)

    def status(self) -> Status:
        """Return what diagnostics say about the cabin."""
        monitors = list(self._monitors.values())
        problems = [*filter(None, (monitor.problem() for monitor in monitors)), *self._unusable.values()]
        values: dict[str, object] = {
            monitor.topic: f"{monitor.rate_hz:.1f} Hz, {monitor.count} messages" for monitor in monitors
        }
        values |= {f"refused, {name}: {reason}": count for (name, reason), count in sorted(self.refused.items())}
        message = "; ".join(problems) if problems else f"{len(monitors)} topics arrive"
        return Status("cabin", Level.ERROR if problems else Level.OK, message, values)
