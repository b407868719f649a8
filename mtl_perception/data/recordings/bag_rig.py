# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cameras of a bag: their topics, calibrations and places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_perception.core.camera import Rig
from mtl_perception.core.transforms import Transform
from mtl_perception.data.bags import BagReader
from mtl_perception.data.errors import BagError
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.poses import StampedTransform


@dataclass(frozen=True)
class CameraTopics:
    """Where a camera's data is in a bag: sensor_msgs/Image or CompressedImage, and sensor_msgs/CameraInfo.

    `rectified` says that the images are undistorted already, though the CameraInfo has coefficients.
    """

    image: str
    info: str
    rectified: bool = False


def camera_topics(bag: BagReader) -> dict[str, CameraTopics]:
    """Return the topics of a bag's cameras, found by their names.

    Raises:
        BagError: there is no camera.
    """
    names = bag.cameras
    if not names:
        raise BagError(f"bag {bag.path} has no camera: no <camera>/image with a <camera>/camera_info")
    plain = {name: f"/{name}/image" for name in names}
    images = {name: topic if topic in bag.topics else f"{topic}/compressed" for name, topic in plain.items()}
    return {name: CameraTopics(image, f"/{name}/camera_info") for name, image in images.items()}


def checked_topics(bag: BagReader, cameras: Mapping[str, CameraTopics]) -> dict[str, CameraTopics]:
    """Return the topics as they are.

    Raises:
        BagError: there is none, or one is not in the bag; names it.
    """
    if not cameras:
        raise BagError(f"bag {bag.path}: no camera is named")
    for name, topics in cameras.items():
        for topic in (topics.image, topics.info):
            if topic not in bag.topics:
                there = ", ".join(bag.topics)
                raise BagError(f"bag {bag.path} has no topic {topic} (of camera '{name}'), it has {there}")
    return dict(cameras)


def rig_of(
    bag: BagReader,
    topics: Mapping[str, CameraTopics],
    static: Sequence[Sequence[StampedTransform]],
    *,
    keep_order: bool,
) -> Rig:
    """Return the cameras with their places; the base frame is that of `/odom`, else what holds the first camera.

    Raises:
        BagError: calibration or place of a camera is missing; names it.
    """
    names = list(topics)
    infos = {name: next(all_messages(bag, topics[name].info), None) for name in names}
    parents = parents_of(static)
    frames = {name: str(info[2].header.frame_id) for name, info in infos.items() if info is not None}
    for name in names:
        if name not in frames:
            raise BagError(f"bag {bag.path}: {topics[name].info} has no message")
        if frames[name] not in parents:
            raise BagError(f"bag {bag.path}: /tf_static does not say where the camera '{name}' is")
    for transforms in () if keep_order else static:
        order = [transform.source_frame for transform in transforms]
        if set(frames.values()) <= set(order):
            names = sorted(names, key=lambda name: order.index(frames[name]))
            break
    odometry = next(all_messages(bag, "/odom"), None)
    base = parents[frames[names[0]]].target_frame if odometry is None else str(odometry[2].child_frame_id)
    cameras = []
    for name in names:
        info = infos[name]
        assert info is not None  # it has a frame
        mount = base_from(base, frames[name], parents)
        if mount is None:
            raise BagError(f"bag {bag.path}: /tf_static does not lead from {base} to {frames[name]}")
        own = topics[name]
        cameras.append(camera_from_info(name, info[2], mount, own.info, rectified=own.rectified))
    return Rig(tuple(cameras), base)


def parents_of(static: Sequence[Sequence[StampedTransform]]) -> dict[str, StampedTransform]:
    """Return per frame the transform that leads to it."""
    return {transform.source_frame: transform for transforms in static for transform in transforms}


def base_from(base: str, frame: str, parents: Mapping[str, StampedTransform]) -> Transform | None:
    """Return the transform `base_from_frame` along a chain of static transforms; None where there is no such chain."""
    result = np.eye(4)
    for _ in range(len(parents) + 1):
        if frame == base:
            return result
        if frame not in parents:
            return None
        result = parents[frame].target_from_source @ result
        frame = parents[frame].target_frame
    return None  # a circle


def all_messages(bag: BagReader, topic: str) -> Iterator[tuple[str, int, Any]]:
    """Yield topic, stamp and message of all messages on a topic, which need not be there."""
    return bag.messages([topic]) if topic in bag.topics else iter(())
