# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions beside the truth as both arrive: what the evaluation node does on its thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.sample_messages import GROUND_TRUTH
from mtl_perception.evaluation.gallery import Gallery
from mtl_perception.evaluation.judged import SparseDepth, judged
from mtl_perception.evaluation.projection import sparse_depths
from mtl_perception.evaluation.result import BagResult
from mtl_perception.evaluation.run import RunResult, write_run
from mtl_perception.evaluation.running_scores import RunningScores
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.truth.bag import TRUTH_OF
from mtl_perception.messages.poses import read_odometry
from mtl_perception.messages.predictions import from_rig_prediction
from mtl_perception.messages.stamps import NANOSECONDS
from mtl_perception.ros.evaluation_frames import FrameReader, Surroundings
from mtl_perception.ros.evaluation_queue import FrameQueue, Waiting
from mtl_perception.ros.evaluation_topics import FRAME, TRUTH
from mtl_perception.ros.live_runtime import LiveRuntime
from mtl_perception.ros.message_store import MessageStore
from mtl_perception.ros.pose_history import PoseHistory
from mtl_perception_msgs.msg import Progress, RigPrediction

DATASET = f"{TRUTH}/dataset"
MAX_BYTES = 1 << 30
"""What is kept of messages whose frames wait: 1 GiB."""
FULL = "max_frames have been scored"

_KEPT_NS = NANOSECONDS  # what is so much older than the newest judged frame belongs to no later one
_MAP = "map"
_DRIVING = "driving_context"
_PERCEPTION = "perception"
_LEFT_OUT = "left out: "


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of the network: as in `BagResult.network`, and per other task why it does not do it."""

    preset: str = ""
    checkpoint: str = ""
    tasks: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def network_facts(status: Mapping[str, str]) -> NetworkFacts:
    """Return what the values of perception's diagnostic status `network` say."""
    return NetworkFacts(
        status.get("preset", ""),
        status.get("checkpoint", ""),
        tuple(task for task in status.get("tasks published", "").split(", ") if task),
        tuple((key.removeprefix(_LEFT_OUT), why) for key, why in status.items() if key.startswith(_LEFT_OUT)),
    )


@dataclass(frozen=True)
class LiveSettings:
    """What decides about a live evaluation.

    Attributes:
        info_topics: per camera where its calibration comes from, the reference camera first.
        odom_topic: where the true poses come from.
        options: of the scores.
        max_frames: so many frames are scored at most.
        timeout_s: how long a frame waits for what belongs to it.
        pictures: whether to draw some frames for a report.
        rectified: the cameras whose images are undistorted already, though their CameraInfo has coefficients.
    """

    info_topics: Mapping[str, str]
    odom_topic: str
    options: ScoreOptions
    max_frames: int
    timeout_s: float
    pictures: bool
    rectified: frozenset[str] = frozenset()


class LiveEvaluation:
    """Scores frames as soon as all that belongs to them has come. For one thread.

    Attributes:
        dropped: how many frames could not be scored, by reason; also those that perception has not used.
        network: what predicts; set it as soon as it is known.
        runtime: of the nodes.
    """

    def __init__(
        self,
        settings: LiveSettings,
        labels: LabelSpace,
        is_published: Callable[[str], bool],
        on_predicted: Callable[[Prediction], None],
    ) -> None:
        """Begin without a frame.

        Args:
            settings: see there.
            labels: of the predictions.
            is_published: whether somebody publishes a topic, so that waiting for it makes sense.
            on_predicted: called when all of a frame's prediction has come, and what came before it is done with.
        """
        self._settings, self._labels = settings, labels
        self._on_predicted = on_predicted
        self._store = MessageStore(MAX_BYTES)
        self._reader = FrameReader(self._store, labels, settings.info_topics, settings.rectified)
        self._reference = next(iter(settings.info_topics.values()))
        self.queue = FrameQueue(self._store, is_published, dict(settings.info_topics), settings.timeout_s)
        self._poses = PoseHistory()
        self._dataset = ""
        self._heard: set[str] = set()
        self.network = NetworkFacts()
        self.reset()

    def reset(self) -> None:
        """Forget the scores; what waits goes on waiting."""
        self.scores: Sequence[Score] = all_scores(self._labels, self._settings.options)
        self._running = RunningScores(self.scores)
        self._gallery = Gallery(self.scores, self._labels)
        self._stamps: list[int] = []
        self._sparse_heard = False
        self._seconds = 0.0
        self._began_s = time.monotonic()
        self.runtime = LiveRuntime()
        self.dropped: Counter[str] = Counter()

    @property
    def frames(self) -> int:
        """How many frames have been scored."""
        return len(self._stamps)

    @property
    def newest_ns(self) -> int:
        """The stamp of the newest frame that was scored, 0 without one."""
        return max(self._stamps, default=0)

    @property
    def trouble(self) -> str:
        """What is wrong, in a line, or ""."""
        if self.dropped[FULL]:
            return f"{FULL} ({self._settings.max_frames}): save and reset, or raise it"
        if self._store.lost:
            return f"{self._store.lost} messages had to go before their frames were predicted"
        unusable = self.dropped.total() - sum(n for why, n in self.dropped.items() if why.startswith(_PERCEPTION))
        return f"{unusable} frames could not be scored: {self.dropped.most_common(1)[0][0]}" if unusable else ""

    def facts(self) -> dict[str, object]:
        """Return what diagnostics are to show."""
        return {
            "scored": self.frames,
            "waiting": len(self.queue),
            **{f"dropped: {reason}": count for reason, count in self.dropped.items()},
            **{f"given up waiting for {topic}": count for topic, count in self.queue.incomplete.items()},
        }

    def note(self, progress: Progress) -> None:
        """Take notice of what a node reports with a frame: when it was done, or why perception has not used it."""
        self.runtime.note(progress)
        if not progress.used and progress.node == _PERCEPTION:
            self.dropped[f"{_PERCEPTION}: {progress.category or progress.reason}"] += 1

    def take(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Take a serialised message and score what can be scored now."""
        if topic == FRAME:
            self.queue.add(from_rig_prediction(deserialize_message(data, RigPrediction), topic), time.monotonic())
        elif topic == self._settings.odom_topic:
            pose = read_odometry(deserialize_message(data, Odometry), topic)
            self._poses.insert(pose.stamp_ns, pose.target_from_source)
        elif topic == DATASET:
            self._dataset = str(deserialize_message(data, String).data)
        else:
            self._store.add(topic, stamp_ns, data)
            if topic == self._reference:
                self.queue.add_reference(stamp_ns)
            if topic.startswith(TRUTH):
                self._heard.add(topic)
        self.advance()

    def advance(self, *, at_once: bool = False) -> None:
        """Score the frames that are ready, or `at_once` all that wait."""
        # First: whoever waits for this frame can send the next one while this one is scored.
        for waiting in self.queue.newly_predicted(time.monotonic()):
            self._on_predicted(waiting.prediction)
        while (ready := self.queue.pop(time.monotonic(), at_once=at_once)) is not None:
            self._judge(ready)

    def restart(self) -> None:
        """Score what waits; then time begins anew (a bag that loops), and the scores go on."""
        self.advance(at_once=True)
        self._store.clear()
        self.queue.clear()
        self._poses = PoseHistory()

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the metrics so far, by task."""
        return self._running.metrics()

    def save(self, folder: Path, name: str) -> Path:
        """Score what waits and write the report of a recording called `name`; return its file.

        Raises:
            ValueError: no frame has been scored, or the name cannot be that of a folder.
            OSError: a file cannot be written.
        """
        self.advance(at_once=True)
        if not self._stamps:
            reasons = "; ".join(f"{count} dropped: {reason}" for reason, count in self.dropped.items())
            raise ValueError(f"no frame has been scored{': ' if reasons else ''}{reasons}")
        options = self._settings.options
        settings = {
            "live": True,
            "min_depth": options.min_depth,
            "max_depth": options.max_depth,
            "median_scaling": options.median_scaling,
        }
        write_run(RunResult((self.result(name),), {}, {}, tuple(self.scores), settings), folder)
        return folder / "report.html"

    def result(self, name: str) -> BagResult:
        """Return what all frames so far give together."""
        statistics = self._running.statistics()
        sources = self._sources()
        return BagResult(
            name=name,
            stamps_ns=np.array(self._stamps, dtype=np.int64),
            dropped=dict(sorted(self.dropped.items())),
            statistics=statistics,
            left_out={s.task: self._why_not(s.task, sources) for s in self.scores if s.task not in statistics},
            truth={task: sources[task] for task in sorted(statistics) if task in sources},
            network={
                "preset": self.network.preset,
                "checkpoint": self.network.checkpoint,
                "tasks": list(self.network.tasks),
            },
            runtime={
                "frames": self.frames,
                "seconds": time.monotonic() - self._began_s,
                "stage_ms": {"judge": 1e3 * self._seconds / max(self.frames, 1)},
                "incomplete": dict(sorted(self.queue.incomplete.items())),
                **self.runtime.told(),
            },
            pictures=tuple(self._gallery.pictures()) if self._settings.pictures else (),
        )

    def _judge(self, waiting: Waiting) -> None:
        carried = waiting.prediction
        began = time.perf_counter()
        try:
            if self.frames >= self._settings.max_frames:
                raise ValueError(FULL)
            prediction = self._reader.prediction(carried, waiting.previous_ns)
            frame = self._reader.frame(prediction)
            around = Surroundings(
                self.queue.previous_ns(carried.stamp_ns), self.queue.window_ns, self._dataset, self._poses
            )
            truth = self._reader.truth(prediction, around)
            sparse: dict[str, SparseDepth] = {}
            if truth.sweep is not None:
                dense = {name for name, known in truth.cameras.items() if known.depth is not None}
                sparse = sparse_depths(frame, truth.sweep, [name for name in frame.present if name not in dense])
            both = judged(prediction, frame, truth, sparse)
            values = self._running.add(self.frames, both)
            if self._settings.pictures:
                self._gallery.consider(both, values)
        except ValueError as error:
            self.dropped[" ".join(str(error).split())] += 1
        else:
            self._sparse_heard |= bool(sparse)
            self._stamps.append(carried.stamp_ns)
        self._store.forget_before(carried.stamp_ns - _KEPT_NS)
        self._seconds += time.perf_counter() - began

    def _sources(self) -> dict[str, str]:
        """Return, per task that truth has come for, where it came from."""
        found = {}
        for task in TRUTH_OF:
            topics = sorted(topic for topic in self._heard if topic.rpartition("/")[2] == task)
            if topics:
                of_cameras = len(topics) > 1
                found[task] = f"{GROUND_TRUTH}/<camera>/{task}" if of_cameras else f"/{topics[0]}"
        if self._sparse_heard:
            beside = f"{found['depth']}; " if "depth" in found else ""
            found["depth"] = f"{beside}LiDAR {GROUND_TRUTH}/lidar, projected"
        if self._poses.newest_ns is not None:
            found.setdefault("ego_motion", f"/{self._settings.odom_topic.lstrip('/')}")
        return found

    def _why_not(self, task: str, sources: Mapping[str, str]) -> str:
        if task == _MAP:
            return "maps are scored by the command evaluate only"
        own = tuple(SCENE_CLASSES) if task == _DRIVING else (task,)
        of_network = next((why for name, why in self.network.left_out if name in own), "")
        if of_network or task in sources:
            return of_network or "no frame has both a prediction and the truth"
        return "no truth for it has come"
