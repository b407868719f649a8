# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Truth from topics that the user names: read, checked, and put into the frames that they belong to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import UNKNOWN, Camera
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.bag import BagRecording, pose_at
from mtl_perception.data.sample_messages import GROUND_TRUTH
from mtl_perception.evaluation.judged import SparseDepth
from mtl_perception.evaluation.projection import camera_from_base
from mtl_perception.evaluation.truth.depth_camera import depth_for
from mtl_perception.evaluation.truth.mapping import CAMERA_TASKS, RIG_TASKS, TopicMapping
from mtl_perception.messages.bev import from_bev_map
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.compressed_images import is_compressed
from mtl_perception.messages.detections import read_detections
from mtl_perception.messages.driving import from_steering
from mtl_perception.messages.images import depth_to_array, mono_to_array, values_to_array
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.poses import StampedTransform, read_odometry, read_pose_stamped
from mtl_perception.messages.predictions import from_occupancy
from mtl_perception.messages.stamps import stamp_ns_from

_DEPTH_SUFFIXES = ("/compressedDepth", "/compressed")
_LARGEST_GAP_NS = 1_000_000_000  # poses further apart are not interpolated between


@dataclass(frozen=True, eq=False)
class Told:
    """What mapped topics tell of one frame, beside what is in its sample: depth at single places, and LiDAR."""

    sparse_depth: Mapping[str, SparseDepth]
    lidar: Sweep | None


class MappedTopics:
    """The mapped topics of one bag.

    A message belongs to the image (or the frame) whose stamp is nearest, when that is no further away than half a
    period of the frames.

    Attributes:
        delays_ns: the topics to read around each frame, see `BagRecording.sample_with`.
        dataset: whose label ids `semantic` has; None where no mapped topic says so.
    """

    def __init__(self, recording: BagRecording, mappings: Sequence[TopicMapping]) -> None:
        """Look at the bag: types, cameras, frames.

        Raises:
            BagError: a topic is not in the bag, is empty or of a type that cannot tell this; a camera is unknown or
                ambiguous; a frame has no place on the robot; or label ids of two datasets are mixed. Names the topic.
        """
        self._recording = recording
        self._mappings = [replace(m, camera=self._camera_of(m)) if m.task in CAMERA_TASKS else m for m in mappings]
        self._depth_cameras = {m.topic: self._depth_camera(m) for m in self._mappings if m.task == "depth"}
        self._poses = {m.topic: self._read_poses(m) for m in self._mappings if m.task == "ego_motion"}
        self.dataset = self._one_dataset()
        topics = sorted({m.topic for m in self._mappings if m.task != "ego_motion"})
        self.delays_ns = {topic: recording.recording_delay_ns(topic) for topic in topics}

    @property
    def sources(self) -> dict[str, str]:
        """Per task where its truth comes from; `lidar` is its own."""
        found: dict[str, list[str]] = {}
        for mapping in self._mappings:
            found.setdefault(mapping.task, []).append(self._in_words(mapping))
        return {task: ", ".join(words) for task, words in found.items()}

    def replaced(self, task: str) -> frozenset[str]:
        """Return the topics of a task's truth that mapped ones stand in for."""
        cameras = [mapping.camera for mapping in self._mappings if mapping.task == task]
        return frozenset("/".join(filter(None, (GROUND_TRUTH, camera, task))) for camera in cameras)

    def apply(self, index: int, sample: Sample, around: Mapping[str, Sequence[Any]]) -> tuple[Sample, Told]:
        """Return a sample with what its frame's mapped topics tell instead of what it had.

        Raises:
            ValueError: a message is not what it should be; names topic, field and value.
        """
        frame, truth = sample.frame, sample.truth
        cameras, sparse = dict(truth.cameras), {}
        rig: dict[str, Any] = {}
        lidar: Sweep | None = None
        for mapping in self._mappings:
            topic, task, name = mapping.topic, mapping.task, mapping.camera
            if task == "ego_motion":
                rig["ego_motion"] = self._ego_motion(index, topic)
            elif task in CAMERA_TASKS:
                message = self._nearest(around[topic], frame.image_stamps_ns[name]) if name in frame.images else None
                if message is None:
                    continue
                value = self._camera_value(index, mapping, message, frame)
                if isinstance(value, SparseDepth):
                    sparse[name] = value
                elif value is not None:
                    cameras[name] = replace(cameras.get(name, CameraTruth()), **{task: value})
            else:
                message = self._nearest(around[topic], frame.stamp_ns)
                if message is None:
                    continue
                if task == "lidar":
                    lidar = self._lidar(index, topic, message)
                elif task == "detections":
                    rig["sweep"] = self._boxes(index, topic, message, frame, truth.sweep)
                else:
                    rig[task] = self._rig_value(task, topic, message)
        if lidar is not None and rig.get("sweep", truth.sweep) is None:
            rig["sweep"] = lidar
        dataset = truth.dataset if self.dataset is None else self.dataset
        changed: GroundTruth = replace(truth, cameras=cameras, dataset=dataset, **rig)
        return replace(sample, truth=changed), Told(sparse, lidar)

    def _nearest(self, messages: Sequence[Any], stamp_ns: int) -> Any | None:
        def distance(message: Any) -> int:
            return abs(stamp_ns_from(message.header.stamp) - stamp_ns)

        nearest = min(messages, key=distance, default=None)
        return None if nearest is None or distance(nearest) > self._recording.window_ns else nearest

    def _camera_value(
        self, index: int, mapping: TopicMapping, message: Any, frame: RigFrame
    ) -> NDArray | SparseDepth | None:
        camera, topic = frame.rig[mapping.camera], mapping.topic
        if mapping.task != "depth":
            image = _READ[mapping.task](message, topic)
            if image.shape[:2] != (camera.height, camera.width):
                raise ValueError(
                    f"{topic}: {mapping.task} is {image.shape[1]}x{image.shape[0]}, "
                    f"but the images of camera '{camera.name}' are {camera.width}x{camera.height}"
                )
            return image
        depth = depth_to_array(message, topic)
        depth_camera = self._depth_cameras[topic]
        if depth_camera.frame_id == camera.frame_id:
            return depth_for(camera, depth, depth_camera, np.eye(4))
        stamp_ns = stamp_ns_from(message.header.stamp)
        moved = camera_from_base(frame, camera.name, stamp_ns, self._recording.base_pose(index, stamp_ns))
        if moved is None:
            return None
        return depth_for(camera, depth, depth_camera, moved @ depth_camera.base_from_camera)

    def _lidar(self, index: int, topic: str, message: Any) -> Sweep:
        base_from_lidar = self._place(topic, str(message.header.frame_id))
        stamp_ns = stamp_ns_from(message.header.stamp)
        points = xyz_of(read_point_cloud(message, topic), topic)
        points = points[np.isfinite(points).all(axis=1)] @ base_from_lidar[:3, :3].T + base_from_lidar[:3, 3]
        return Sweep(stamp_ns, self._recording.base_pose(index, stamp_ns), points)

    def _boxes(self, index: int, topic: str, message: Any, frame: RigFrame, sweep: Sweep | None) -> Sweep:
        stamp_ns, frame_id = stamp_ns_from(message.header.stamp), str(message.header.frame_id)
        world_from_base = self._recording.base_pose(index, stamp_ns)
        if frame_id == frame.world_frame and world_from_base is not None:
            base_from_boxes = inverse(world_from_base)
        else:
            base_from_boxes = self._place(topic, frame_id)
        boxes = tuple(
            replace(box, frame_from_box=base_from_boxes @ box.frame_from_box) for box in read_detections(message, topic)
        )
        if sweep is not None and sweep.stamp_ns == stamp_ns:
            return replace(sweep, boxes=boxes)
        return Sweep(stamp_ns, world_from_base, boxes=boxes)

    def _rig_value(self, task: str, topic: str, message: Any) -> Any:
        if task == "steering":
            drive = getattr(message, "drive", None)
            return from_steering(message).angle if drive is None else float(drive.steering_angle)
        frame_id, base = str(message.header.frame_id), self._recording.rig.base_frame
        if frame_id != base:
            raise ValueError(f"{topic}: header.frame_id is '{frame_id}', {task} must be in the base frame '{base}'")
        return from_occupancy(message, topic) if task == "occupancy" else from_bev_map(message, topic)

    def _ego_motion(self, index: int, topic: str) -> EgoMotion | None:
        if not self._recording.follows(index):
            return None
        before_ns, now_ns = self._recording.stamp_ns(index - 1), self._recording.stamp_ns(index)
        before, now = (self._pose_at(topic, stamp) for stamp in (before_ns, now_ns))
        if before is None or now is None:
            return None
        moved = inverse(before.target_from_source) @ now.target_from_source
        return EgoMotion(before_ns, moved, np.zeros((6, 6)))

    def _pose_at(self, topic: str, stamp_ns: int) -> StampedTransform | None:
        poses = self._poses[topic]
        place = bisect_left(poses, stamp_ns, key=lambda pose: pose.stamp_ns)
        return pose_at(poses[max(place - 1, 0) : place + 1], stamp_ns, _LARGEST_GAP_NS)

    def _read_poses(self, mapping: TopicMapping) -> list[StampedTransform]:
        """Return the base's poses by a topic, in the order of stamps; of the frame that it is about, by Odometry."""
        self._checked(mapping)
        poses = []
        for topic, _, message in self._recording.reader().messages([mapping.topic]):
            if not hasattr(message, "child_frame_id"):
                poses.append(read_pose_stamped(message, self._recording.rig.base_frame, topic))
                continue
            pose = read_odometry(message, topic)
            base_from_child = self._place(topic, pose.source_frame) if pose.source_frame else np.eye(4)
            poses.append(replace(pose, target_from_source=pose.target_from_source @ inverse(base_from_child)))
        return sorted(poses, key=lambda pose: pose.stamp_ns)

    def _place(self, topic: str, frame_id: str) -> Transform:
        place = self._recording.base_from(frame_id)
        if place is None:
            base = self._recording.rig.base_frame
            raise BagError(
                f"{self._recording.name}: {topic} is in '{frame_id}', /tf_static does not lead there from {base}"
            )
        return place

    def _checked(self, mapping: TopicMapping) -> Any:
        """Return the first message of a topic that has the right type."""
        bag, topic = self._recording.reader(), mapping.topic
        if topic not in bag.topics:
            raise BagError(
                f"{self._recording.name} has no topic {topic} (for {mapping.task}), it has {', '.join(bag.topics)}"
            )
        expected, found = {**CAMERA_TASKS, **RIG_TASKS}[mapping.task], bag.topics[topic].type
        if found not in expected:
            raise BagError(f"{self._recording.name}: {topic} is {found}, {mapping.task} needs {' or '.join(expected)}")
        first = next(bag.messages([topic]), None)
        if first is None:
            raise BagError(f"{self._recording.name}: {topic} has no message")
        return first[2]

    def _camera_of(self, mapping: TopicMapping) -> str:
        """Return the camera that a topic is about: as said, by its frame, by its name, or the only one."""
        message, rig, topic = self._checked(mapping), self._recording.rig, mapping.topic
        known = ", ".join(rig.names)
        if mapping.camera:
            if mapping.camera not in rig.names:
                raise BagError(
                    f"{self._recording.name}: mapping of {topic}: no camera '{mapping.camera}', it has {known}"
                )
            return mapping.camera
        frame_id = str(message.header.frame_id)
        rules: list[list[str]] = [
            [camera.name for camera in rig if camera.frame_id == frame_id],
            [name for name in rig.names if name in topic.split("/")],
            [name for name, image in self._recording.image_topics.items() if _namespace(image) == _namespace(topic)],
            list(rig.names),
        ]
        for found in rules:
            if len(found) == 1:
                return found[0]
        raise BagError(
            f"{self._recording.name}: {topic} (frame '{frame_id}') could be about any of {known}: "
            f"say which, as in {topic}={mapping.task}:{rig.names[0]}"
        )

    def _depth_camera(self, mapping: TopicMapping) -> Camera:
        """Return how a depth topic's images are taken: by the camera_info beside it, or as its camera's images."""
        message, bag = self._checked(mapping), self._recording.reader()
        camera, topic = self._recording.rig[mapping.camera], mapping.topic
        for suffix in _DEPTH_SUFFIXES:
            topic = topic.removesuffix(suffix)
        frame_id = str(message.header.frame_id)
        info_topic = f"{topic.rpartition('/')[0]}/camera_info"
        info = next(bag.messages([info_topic]), None) if info_topic in bag.topics else None
        if info is None:
            if frame_id == camera.frame_id:
                return camera
            raise BagError(
                f"{self._recording.name}: {mapping.topic} is in '{frame_id}', not in that of camera '{camera.name}', "
                f"and there is no {info_topic} that says how it is taken"
            )
        mount = camera.base_from_camera if frame_id == camera.frame_id else self._place(mapping.topic, frame_id)
        return replace(camera_from_info(mapping.topic, info[2], mount, info_topic), frame_id=frame_id)

    def _one_dataset(self) -> str | None:
        """Return whose label ids `semantic` has; None where no mapped topic says so."""
        semantic = [m for m in self._mappings if m.task == "semantic"]
        if not semantic:
            return None
        told = {m.dataset: m.topic for m in semantic}
        for topic in self._recording.truth_topics:
            if topic.endswith("/semantic") and topic not in self.replaced("semantic"):
                told[self._recording.dataset] = topic
        if len(told) > 1:
            words = ", ".join(f"{topic}: {dataset or 'the own ids'}" for dataset, topic in sorted(told.items()))
            raise BagError(
                f"{self._recording.name}: semantic truth must have the label ids of one dataset, not of {words}"
            )
        return next(iter(told))

    def _in_words(self, mapping: TopicMapping) -> str:
        if mapping.task != "depth":
            return mapping.topic
        elsewhere = self._depth_cameras[mapping.topic].frame_id != self._recording.rig[mapping.camera].frame_id
        return f"{mapping.topic}, projected" if elsewhere else mapping.topic


def _labels(message: Any, topic: str) -> NDArray[np.uint8]:
    image = mono_to_array(message, topic)
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    known = image[image != np.iinfo(np.uint16).max]
    if known.size and known.max() > UNKNOWN:
        raise ValueError(f"{topic}: label id {known.max()} is above {UNKNOWN}")
    return np.asarray(np.where(image == np.iinfo(np.uint16).max, UNKNOWN, image), dtype=np.uint8)


def _instances(message: Any, topic: str) -> NDArray[np.int32]:
    if is_compressed(message) or message.encoding in ("mono8", "8UC1", "mono16", "16UC1"):
        return mono_to_array(message, topic).astype(np.int32)
    return values_to_array(message, "32SC1", topic)


def _mask(message: Any, topic: str) -> NDArray[np.uint8]:
    image = mono_to_array(message, topic)
    other = np.setdiff1d(image, [0, 1, 255])
    if len(other):
        raise ValueError(f"{topic}: a mask has 0 and 255 (or 0 and 1), it has the value {other[0]}")
    return np.asarray(np.where(image > 0, 255, 0), dtype=np.uint8)


def _floats(message: Any, topic: str) -> NDArray[np.float32]:
    return values_to_array(message, "32FC3", topic)


def _panoptic(message: Any, topic: str) -> NDArray[np.int32]:
    return values_to_array(message, "32SC1", topic)


def _namespace(topic: str) -> str:
    """Return the first part of a topic's name, which the topics of one device share."""
    return topic.lstrip("/").partition("/")[0]


_READ: Mapping[str, Callable[[Any, str], NDArray]] = {
    "semantic": _labels,
    "instance": _instances,
    "panoptic": _panoptic,
    "normals": _floats,
    "edges": _mask,
    "motion_mask": _mask,
    "scene_flow": _floats,
}
