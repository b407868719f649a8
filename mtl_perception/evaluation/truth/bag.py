# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bag with all that it knows to be true, for evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_perception.core.ground_truth import Sample
from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.bag import BagRecording
from mtl_perception.data.recordings.bag_rig import CameraTopics
from mtl_perception.data.sample_messages import GROUND_TRUTH
from mtl_perception.evaluation.judged import SparseDepth
from mtl_perception.evaluation.projection import sparse_depths
from mtl_perception.evaluation.truth.mapped import MappedTopics
from mtl_perception.evaluation.truth.mapping import TopicMapping

TRUTH_OF: Mapping[str, tuple[str, ...]] = {
    "depth": ("depth", "lidar"),
    "semantic": ("semantic",),
    "panoptic": ("panoptic",),
    "edges": ("edges",),
    "normals": ("normals",),
    "motion_mask": ("motion_mask",),
    "scene_flow": ("scene_flow",),
    "ego_motion": ("ego_motion",),
    "occupancy": ("occupancy",),
    "bev_map": ("bev_map",),
    "detections": ("detections", "detection_velocities", "lidar", "instance"),
    "steering": ("steering",),
    "driving_context": ("driving_context",),
    "map": ("depth", "lidar", "semantic", "motion_mask"),
}
"""Per task of metrics.json the truth that its score looks at. Boxes are scored that have pixels, or LiDAR points."""


@dataclass(frozen=True, eq=False)
class TruthSample:
    """A frame with what is true of it, and the depth that is known at single places of cameras without depth images."""

    sample: Sample
    sparse_depth: Mapping[str, SparseDepth]


class EvaluationBag:
    """The frames of a bag with their truth. Truth comes, the first that there is, from

    * topics that a mapping names (see `MappedTopics`),
    * `/ground_truth/...` (see `BagRecording`),
    * for depth, where a camera has no depth image: the LiDAR's points that the camera sees (see `sparse_depths`),
    * for ego motion, the poses of `/odom`.

    Attributes:
        name: for messages.
        rig: the cameras.
    """

    def __init__(
        self,
        path: Path,
        mapping: Sequence[TopicMapping] = (),
        tasks: Collection[str] | None = None,
        topics: Mapping[str, CameraTopics] | None = None,
    ) -> None:
        """Open a bag; reads its index, the calibration and, where mapped, the poses.

        Args:
            path: folder or file.
            mapping: see `read_mappings`.
            tasks: whose truth is wanted, by their names in metrics.json; nothing else is read. None: all.
            topics: of the cameras, by name, the reference camera first; None: as the bag names them.

        Raises:
            BagError: there is no bag, it is damaged, or lacks a topic or a transform; names file and topic.
            ValueError: there is no such task.
        """
        self._tasks = frozenset(TRUTH_OF if tasks is None else tasks)
        unknown = sorted(self._tasks - TRUTH_OF.keys())
        if unknown:
            raise ValueError(f"there is no task '{unknown[0]}', tasks are {', '.join(TRUTH_OF)}")
        wanted = {field for task in self._tasks for field in TRUTH_OF[task]}
        self._recording = BagRecording(path, truth=None if tasks is None else wanted, cameras=topics)
        self.name, self.rig = self._recording.name, self._recording.rig
        self._mapped = MappedTopics(
            self._recording, [m for m in mapping if tasks is None or m.task in wanted or m.task == "instance"]
        )
        self._sparse = "depth" in wanted

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._recording)

    @property
    def sources(self) -> dict[str, str]:
        """Per task of metrics.json that there is truth for, where it comes from, in words."""
        mapped, read = self._mapped.sources, self._recording.truth_topics
        found: dict[str, str] = {}
        for task in TRUTH_OF:
            replaced = self._mapped.replaced(task)
            own = [topic for topic in read if topic.rpartition("/")[2] == task and topic not in replaced]
            words = [mapped[task]] if task in mapped else []
            if own:
                words.append(_in_words(own, self.rig.names))
            if words:
                found[task] = ", ".join(words)
        lidar = mapped.get("lidar", f"{GROUND_TRUTH}/lidar" if f"{GROUND_TRUTH}/lidar" in read else "")
        if lidar and self._sparse:
            beside = f"{found['depth']}; " if "depth" in found else ""
            found["depth"] = f"{beside}LiDAR {lidar}, projected"
        if "ego_motion" not in found and self._recording.has_poses and len(self) > 1:
            found["ego_motion"] = "/odom"
        return {task: words for task, words in found.items() if task in self._tasks}

    def sample(self, index: int) -> TruthSample:
        """Return frame `index` (0 to len - 1) with its truth.

        Raises:
            IndexError: there is no such frame.
            BagError: a message is not what it should be, or cannot be read; names the bag, the topic and the value.
        """
        recorded, around = self._recording.sample_with(index, self._mapped.delays_ns)
        try:
            sample, told = self._mapped.apply(index, recorded, around)
        except BagError:
            raise
        except ValueError as error:
            raise BagError(f"{self.name}: {error}") from error
        sweep = told.lidar or recorded.truth.sweep  # boxes that are mapped may be of another stamp
        sparse = dict(told.sparse_depth)
        if self._sparse and sweep is not None:
            dense = {name for name, truth in sample.truth.cameras.items() if truth.depth is not None}
            wanted = [name for name in sample.frame.present if name not in dense and name not in sparse]
            sparse |= sparse_depths(sample.frame, sweep, wanted)
        return TruthSample(sample, sparse)

    def close(self) -> None:
        """Close the file."""
        self._recording.close()


def _in_words(topics: Sequence[str], cameras: Sequence[str]) -> str:
    """Join topics of several cameras into one: `/ground_truth/<camera>/depth`."""
    for topic in topics:
        _, _, camera, *rest = topic.split("/")
        if camera in cameras and len(topics) > 1:
            return f"{GROUND_TRUTH}/<camera>/{'/'.join(rest)}"
    return topics[0]
