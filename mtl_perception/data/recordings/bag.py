# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bag as a recording: the cameras' images with the poses of `/odom`, and the truth on `/ground_truth/...`.

The topics are those of `mtl_perception.data.sample_messages`, and so are those of a robot that publishes `/odom`, but
for the names of its cameras' topics, which can be given. A frame is an image of the reference camera with the nearest
images of the others, within half a period; what is true of an image has its stamp. The reference is the first camera in
`/tf_static` where one message there holds them all (as in bags of this suite), else `front`, else the first by name.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.transforms import Transform, interpolate
from mtl_perception.data.bags import BagReader
from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.bag_rig import (
    CameraTopics,
    all_messages,
    base_from,
    camera_topics,
    checked_topics,
    parents_of,
    rig_of,
)
from mtl_perception.data.recordings.recording import Recording
from mtl_perception.data.sample_messages import CAMERA_TRUTH, GROUND_TRUTH
from mtl_perception.messages.bev import from_bev_map
from mtl_perception.messages.detections import read_detections, with_velocities
from mtl_perception.messages.driving import from_cabin_joints, from_driving_context, from_steering
from mtl_perception.messages.images import depth_to_array, image_to_array, values_to_array
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.poses import StampedTransform, read_ego_motion, read_odometry, read_transform
from mtl_perception.messages.predictions import from_occupancy
from mtl_perception.messages.stamps import stamp_ns_from

_LONGEST_WINDOW_NS = 500_000_000  # images further apart show different scenes
_POSES_AROUND_NS = 200_000_000  # how far from an image a pose to interpolate from may be
_FOLLOWS_WITHIN = 3  # periods
_RIG_TRUTH = ("occupancy", "bev_map", "ego_motion", "steering", "driving_context")
_SWEEP_TRUTH = ("lidar", "detections", "detection_velocities")


def read(source: Path) -> Recording:
    """Open a bag: a folder with metadata.yaml, or a single .mcap or .db3 file.

    Raises:
        BagError: there is no bag, it is damaged, or it has no camera with images, camera_info and a place in
            `/tf_static`; names the file and what is missing.
    """
    return BagRecording(source)


class BagRecording(Recording):
    """The frames of a bag. Opening reads the index and the calibration only; it can be handed to other processes."""

    def __init__(
        self,
        path: str | Path,
        *,
        truth: Collection[str] | None = None,
        cameras: Mapping[str, CameraTopics] | None = None,
    ) -> None:
        """Open a bag, see `read`.

        Args:
            path: folder or file.
            truth: which truth to read: last parts of the topics below `/ground_truth` (`depth`, `occupancy`, `lidar`,
                ...); None: all that there is.
            cameras: by name, the reference camera first, the topics of each; None: those that the bag itself names, see
                `BagReader.cameras`.

        Raises:
            BagError: as `read`; or a topic of `cameras` is not in the bag.
        """
        self._path = Path(path)
        self.name = f"bag {self._path.name}"
        self._bag: BagReader | None = None
        self._opened_in = 0
        bag = self.reader()
        self._camera_topics = camera_topics(bag) if cameras is None else checked_topics(bag, cameras)
        static = [message.transforms for _, _, message in all_messages(bag, "/tf_static")]
        self._static = [[read_transform(transform, "/tf_static") for transform in told] for told in static]
        self.rig = rig_of(bag, self._camera_topics, self._static, keep_order=cameras is not None)
        self.dataset = next((str(m.data) for _, _, m in all_messages(bag, f"{GROUND_TRUTH}/dataset")), "")
        self.has_poses = "/odom" in bag.topics
        self._tells_motion = truth is None or "ego_motion" in truth
        self._recorded_ns = bag.stamps_ns(self._camera_topics[self.rig.names[0]].image)
        periods = [after - before for before, after in pairwise(self._recorded_ns)]
        self._period_ns = int(np.median(periods)) if periods else _LONGEST_WINDOW_NS
        self._topics = [topic for topic in self._frame_topics(truth) if topic in bag.topics]
        self._cabin_topics = [t for t in bag.topics if t.startswith("/cabin/") and t.endswith(("/image", "/joints"))]
        self._stamps: dict[int, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: every process opens its own."""
        return {**self.__dict__, "_bag": None}

    @property
    def truth_topics(self) -> tuple[str, ...]:
        """The topics with truth that are read."""
        return tuple(topic for topic in self._topics if topic.startswith(f"{GROUND_TRUTH}/"))

    @property
    def image_topics(self) -> Mapping[str, str]:
        """Per camera the topic of its images."""
        return {name: topics.image for name, topics in self._camera_topics.items()}

    @property
    def window_ns(self) -> int:
        """How far from a frame, in time, what belongs to it may be: half a period, and no more than half a second."""
        return min(self._period_ns // 2, _LONGEST_WINDOW_NS)

    def close(self) -> None:
        """Close the file; what is read afterwards opens it again."""
        bag, self._bag = self._bag, None
        if bag is not None:
            bag.__exit__(None, None, None)

    def reader(self) -> BagReader:
        """Return the bag itself, opened in this process."""
        if self._bag is None or self._opened_in != os.getpid():  # after a fork the file position would be shared
            self._bag, self._opened_in = BagReader(self._path).__enter__(), os.getpid()
        return self._bag

    def base_from(self, frame: str) -> Transform | None:
        """Return where a frame is on the robot (`base_from_frame`), by `/tf_static`; None where that does not say."""
        return base_from(self.rig.base_frame, frame, parents_of(self._static))

    def base_pose(self, index: int, stamp_ns: int) -> Transform | None:
        """Return the base's pose at a stamp near a frame (`odom_from_base`); None where it is not known."""
        poses = self._poses(index, [stamp_ns], [])
        return poses[0].target_from_source if poses else None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._recorded_ns)

    def stamp_ns(self, index: int) -> int:
        """Return the stamp of a frame, that of the reference camera."""
        if index not in self._stamps:
            topic, recorded_ns = self._camera_topics[self.rig.names[0]].image, self._recorded_ns[index]
            _, _, message = next(self.reader().messages([topic], recorded_ns, recorded_ns + 1))
            self._stamps[index] = stamp_ns_from(message.header.stamp)
        return self._stamps[index]

    def follows(self, index: int) -> bool:
        """Return whether a frame comes at most some periods after the one before it."""
        if index == 0:
            return False
        return self._recorded_ns[index] - self._recorded_ns[index - 1] <= _FOLLOWS_WITHIN * self._period_ns

    def odom_from_base(self, index: int) -> Transform | None:
        """Return the base's pose at a frame's stamp; None where the bag has none then."""
        return self.base_pose(index, self.stamp_ns(index))

    def sample_with(self, index: int, delays_ns: Mapping[str, int]) -> tuple[Sample, Mapping[str, Sequence[Any]]]:
        """Return a frame, and the messages of further topics from a period before it to a period after it.

        Args:
            index: of the frame.
            delays_ns: the topics, each with how much later than images of the same stamp its messages are recorded.

        Raises:
            IndexError: there is no such frame.
            BagError: a message cannot be read; names the bag, the topic and what is wrong.
        """
        sample, around = self.sample(index), {}
        for topic, delay_ns in delays_ns.items():
            middle_ns, reach_ns = self._recorded_ns[index] + delay_ns, 2 * self.window_ns
            span = self.reader().messages([topic], middle_ns - reach_ns, middle_ns + reach_ns + 1)
            around[topic] = [message for _, _, message in span]
        return sample, around

    def recording_delay_ns(self, topic: str) -> int:
        """Return how much later than images of the same stamp a topic's messages (with headers) are recorded."""
        delays = []
        for each in (topic, self._camera_topics[self.rig.names[0]].image):
            _, recorded_ns, message = next(self.reader().messages([each]))
            delays.append(recorded_ns - stamp_ns_from(message.header.stamp))
        return delays[0] - delays[1]

    def _read(self, index: int) -> Sample:
        around: dict[str, list[Any]] = defaultdict(list)
        recorded_ns, reference = self._recorded_ns[index], self._camera_topics[self.rig.names[0]].image
        first_ns, last_ns = recorded_ns - self.window_ns, recorded_ns + self.window_ns
        topics = {*self._topics, *self._cabin_topics}
        for topic, stamp_ns, message in self.reader().messages(topics, first_ns, last_ns + 1):
            around[topic].append(message)
            if topic == reference and stamp_ns == recorded_ns:
                self._stamps.setdefault(index, stamp_ns_from(message.header.stamp))
        try:
            frame = self._frame(index, around)
            return Sample(frame, self._truth(index, frame, around), cabin=self._cabin(around, frame.stamp_ns))
        except ValueError as error:
            raise BagError(f"bag {self._path}: {error}") from error

    def _frame(self, index: int, around: Mapping[str, Sequence[Any]]) -> RigFrame:
        stamp_ns = self.stamp_ns(index)
        images, stamps = {}, {}
        for name, topic in self.image_topics.items():
            message = _nearest(around[topic], stamp_ns)
            if message is not None:
                images[name], stamps[name] = image_to_array(message, topic), stamp_ns_from(message.header.stamp)
        known = [read_odometry(message, "/odom") for message in around["/odom"]]
        poses = self._poses(index, [stamp_ns, *stamps.values()], known)
        if not poses:
            return RigFrame(self.rig, stamp_ns, images, stamps, {}, None)
        base, *bases = (pose.target_from_source for pose in poses)
        cameras = {n: pose @ self.rig[n].base_from_camera for n, pose in zip(stamps, bases, strict=True)}
        return RigFrame(self.rig, stamp_ns, images, stamps, cameras, base, poses[0].target_frame)

    def _poses(self, index: int, stamps: list[int], known: list[StampedTransform]) -> list[StampedTransform]:
        """Return the base's poses at stamps around a frame; none where one of them is not known.

        `known` are poses that have been read already; where they do not suffice, the bag is asked for more.
        """
        if not self.has_poses:
            return []
        found = [pose_at(known, stamp) for stamp in stamps]
        if None in found:
            first_ns = self._recorded_ns[index] - self._period_ns // 2 - _POSES_AROUND_NS
            last_ns = self._recorded_ns[index] + self._period_ns // 2 + _POSES_AROUND_NS
            messages = self.reader().messages(["/odom"], first_ns, last_ns)
            known = [read_odometry(message, topic) for topic, _, message in messages]
            found = [pose_at(known, stamp) for stamp in stamps]
        poses = [pose for pose in found if pose is not None]
        return poses if len(poses) == len(stamps) else []

    def _truth(self, index: int, frame: RigFrame, around: Mapping[str, Sequence[Any]]) -> GroundTruth:
        cameras = {name: _camera_truth(around, name, stamp) for name, stamp in frame.image_stamps_ns.items()}
        rig = {name: _of(around, name, frame.stamp_ns) for name in _RIG_TRUTH}
        motion, context = rig["ego_motion"], rig["driving_context"]
        tasks = {} if context is None else from_driving_context(context, f"{GROUND_TRUTH}/driving_context")
        return GroundTruth(
            {name: truth for name, truth in cameras.items() if truth is not None},
            dataset=self.dataset,
            ego_motion=self._moved(index, motion),
            sweep=self._sweep(index, frame, around),
            occupancy=rig["occupancy"] and from_occupancy(rig["occupancy"], f"{GROUND_TRUTH}/occupancy"),
            bev_map=rig["bev_map"] and from_bev_map(rig["bev_map"], f"{GROUND_TRUTH}/bev_map"),
            steering=rig["steering"] and from_steering(rig["steering"]).angle,
            driving_context={task: max(classes, key=classes.__getitem__) for task, classes in tasks.items()},
        )

    def _moved(self, index: int, message: Any | None) -> EgoMotion | None:
        if not self._tells_motion or not self.follows(index):
            return None
        try:
            since_ns = self.stamp_ns(index - 1)
        except BagError:  # told where that frame itself is read; here only its stamp is lacking
            return None
        if message is None:
            return self.ego_motion(index)
        return read_ego_motion(message, since_ns, f"{GROUND_TRUTH}/ego_motion")

    def _sweep(self, index: int, frame: RigFrame, around: Mapping[str, Sequence[Any]]) -> Sweep | None:
        candidates = [message for name in _SWEEP_TRUTH for message in around[f"{GROUND_TRUTH}/{name}"]]
        nearest = _nearest(candidates, frame.stamp_ns)
        if nearest is None:
            return None
        stamp_ns = stamp_ns_from(nearest.header.stamp)
        lidar, detections, velocities = (_of(around, name, stamp_ns) for name in _SWEEP_TRUTH)
        poses = self._poses(index, [stamp_ns], [read_odometry(message) for message in around["/odom"]])
        points = None if lidar is None else read_point_cloud(lidar, f"{GROUND_TRUTH}/lidar")
        return Sweep(
            stamp_ns,
            poses[0].target_from_source if poses else None,
            points=None if points is None else xyz_of(points, f"{GROUND_TRUTH}/lidar"),
            intensity=None if points is None or "intensity" not in (points.dtype.names or ()) else points["intensity"],
            boxes=None if detections is None else _boxes(detections, velocities),
        )

    def _cabin(self, around: Mapping[str, Sequence[Any]], stamp_ns: int) -> CabinFrame | None:
        nearest = {topic: _nearest(around[topic], stamp_ns) for topic in self._cabin_topics}
        joints = nearest.pop("/cabin/joints", None)
        posture, gestures = (None, None) if joints is None else from_cabin_joints(joints, "/cabin/joints")
        images = {
            topic.removeprefix("/cabin/").removesuffix("/image"): image_to_array(message, topic)
            for topic, message in nearest.items()
            if message is not None
        }
        return CabinFrame(images, posture, gestures) if images or joints is not None else None

    def _frame_topics(self, truth: Collection[str] | None) -> Iterable[str]:
        yield from ("/odom", *self.image_topics.values())
        for name in (*_RIG_TRUTH, *_SWEEP_TRUTH):
            if truth is None or name in truth:
                yield f"{GROUND_TRUTH}/{name}"
        for field in CAMERA_TRUTH:
            if truth is None or field in truth:
                yield from (f"{GROUND_TRUTH}/{camera}/{field}" for camera in self._camera_topics)


def _nearest(messages: Sequence[Any], stamp_ns: int) -> Any | None:
    return min(messages, key=lambda message: abs(stamp_ns_from(message.header.stamp) - stamp_ns), default=None)


def _of(around: Mapping[str, Sequence[Any]], name: str, stamp_ns: int) -> Any | None:
    """Return the message of exactly that stamp on `/ground_truth/<name>`."""
    messages = around[f"{GROUND_TRUTH}/{name}"]
    return next((message for message in messages if stamp_ns_from(message.header.stamp) == stamp_ns), None)


def _camera_truth(around: Mapping[str, Sequence[Any]], name: str, stamp_ns: int) -> CameraTruth | None:
    found: dict[str, Any] = {}
    for field, encoding in CAMERA_TRUTH.items():
        message = _of(around, f"{name}/{field}", stamp_ns)
        if message is not None:
            topic = f"{GROUND_TRUTH}/{name}/{field}"
            millimetres = field == "depth" and message.encoding != encoding
            found[field] = depth_to_array(message, topic) if millimetres else values_to_array(message, encoding, topic)
    return CameraTruth(**found) if found else None


def _boxes(detections: Any, velocities: Any | None) -> tuple[Box, ...]:
    boxes = read_detections(detections, f"{GROUND_TRUTH}/detections")
    if velocities is None:
        return tuple(boxes)
    return tuple(with_velocities(boxes, velocities, f"{GROUND_TRUTH}/detection_velocities"))


def pose_at(
    poses: Sequence[StampedTransform], stamp_ns: int, largest_gap_ns: int | None = None
) -> StampedTransform | None:
    """Return the pose at a stamp: a told one, or one between two told ones that are no further apart than allowed.

    None outside of them.
    """
    before = max((p for p in poses if p.stamp_ns <= stamp_ns), key=lambda p: p.stamp_ns, default=None)
    after = min((p for p in poses if p.stamp_ns >= stamp_ns), key=lambda p: p.stamp_ns, default=None)
    if before is None or after is None or before.stamp_ns == after.stamp_ns:
        return before if after is not None else None
    if largest_gap_ns is not None and after.stamp_ns - before.stamp_ns > largest_gap_ns:
        return None
    fraction = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
    pose = interpolate(before.target_from_source, after.target_from_source, fraction)
    return replace(before, stamp_ns=stamp_ns, target_from_source=pose)
