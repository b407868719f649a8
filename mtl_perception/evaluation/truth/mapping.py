# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which topic of a bag tells the truth about what: `TOPIC=TASK[:CAMERA]`, or a file that lists such entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mtl_perception.core.outside_files import read_yaml

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

CAMERA_TASKS: Mapping[str, tuple[str, ...]] = {
    "depth": (IMAGE, COMPRESSED),
    "semantic": (IMAGE, COMPRESSED),
    "instance": (IMAGE, COMPRESSED),
    "panoptic": (IMAGE,),
    "normals": (IMAGE,),
    "edges": (IMAGE, COMPRESSED),
    "motion_mask": (IMAGE, COMPRESSED),
    "scene_flow": (IMAGE,),
}
"""What can be told of one camera's image, with the types of messages that can tell it."""

RIG_TASKS: Mapping[str, tuple[str, ...]] = {
    "occupancy": ("mtl_perception_msgs/msg/SemanticOccupancy",),
    "bev_map": ("mtl_perception_msgs/msg/BevMap",),
    "detections": ("vision_msgs/msg/Detection3DArray",),
    "ego_motion": ("nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"),
    "steering": ("mtl_perception_msgs/msg/Steering", "ackermann_msgs/msg/AckermannDriveStamped"),
    "lidar": ("sensor_msgs/msg/PointCloud2",),
}
"""What can be told of the whole rig, likewise."""


@dataclass(frozen=True)
class TopicMapping:
    """A topic that tells the truth about something.

    Attributes:
        topic: its name in the bag.
        task: one of CAMERA_TASKS or RIG_TASKS. `lidar` gives sparse depth; `ego_motion` is taken from the poses that an
            Odometry or PoseStamped topic tells.
        camera: of which camera's image, for CAMERA_TASKS; "": the one that its messages or its name point to.
        dataset: for `semantic`, whose label ids they are (a dataset of the label space); "": the suite's own.
    """

    topic: str
    task: str
    camera: str = ""
    dataset: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked without a bag.

        Raises:
            ValueError: there is no such task, or it has no camera or no dataset; names the topic and the value.
        """
        where = f"mapping of '{self.topic}'"
        if not self.topic:
            raise ValueError("mapping: the topic has no name")
        if self.task not in CAMERA_TASKS and self.task not in RIG_TASKS:
            known = ", ".join([*CAMERA_TASKS, *RIG_TASKS])
            raise ValueError(f"{where}: '{self.task}' is not one of {known}")
        if self.camera and self.task not in CAMERA_TASKS:
            raise ValueError(f"{where}: {self.task} is about the whole rig, not about the camera '{self.camera}'")
        if self.dataset and self.task != "semantic":
            raise ValueError(f"{where}: {self.task} has no dataset '{self.dataset}', only semantic has")


def read_mappings(arguments: Sequence[str]) -> tuple[TopicMapping, ...]:
    """Read what a user gives after `--map`: each argument is `TOPIC=TASK[:CAMERA]`, or the name of a YAML file.

    The file is a list of entries `{topic: /a, task: semantic, camera: front, dataset: camvid}`, of which topic and task
    are needed.

    Raises:
        ValueError: an argument or an entry is neither, or one thing is mapped twice; names it.
        OSError: a file cannot be read.
    """
    mappings: list[TopicMapping] = []
    for argument in arguments:
        topic, equals, task = argument.partition("=")
        if equals:
            name, _, camera = task.partition(":")
            mappings.append(TopicMapping(topic if topic.startswith("/") else f"/{topic}", name, camera))
        elif Path(argument).suffix in (".yaml", ".yml"):
            mappings += _from_file(Path(argument))
        else:
            raise ValueError(f"'{argument}' is neither TOPIC=TASK[:CAMERA] nor a .yaml file")
    for index, mapping in enumerate(mappings):
        for other in mappings[:index]:
            if (mapping.topic, mapping.task, mapping.camera) == (other.topic, other.task, other.camera):
                raise ValueError(f"mapping of '{mapping.topic}': {mapping.task} is given twice")
    return tuple(mappings)


def _from_file(path: Path) -> list[TopicMapping]:
    entries = read_yaml(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list of entries with topic and task")
    return [_entry(path, number, entry) for number, entry in enumerate(entries, start=1)]


def _entry(path: Path, number: int, entry: Any) -> TopicMapping:
    known = {field.name for field in fields(TopicMapping)}
    if not isinstance(entry, dict) or None in (entry.get("topic"), entry.get("task")):
        raise ValueError(f"{path}, entry {number}: topic and task are needed, it is {entry!r:.200}")
    unknown = sorted(str(key) for key in entry.keys() - known)
    if unknown:
        raise ValueError(f"{path}, entry {number}: '{unknown[0]}' is not one of {', '.join(sorted(known))}")
    try:
        return TopicMapping(**{key: str(value) for key, value in entry.items() if value is not None})
    except ValueError as error:
        raise ValueError(f"{path}, entry {number}: {error}") from error
