# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bag through the same perception and mapping as in the nodes, without middleware, beside what the bag knows.

Reading, perceiving, mapping and scoring run at the same time, each in a thread of its own and each frame by frame in
the order of the bag, so that the result does not depend on how busy the machine is.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.core.prediction import MAPPED_TASKS
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.recordings.bag_rig import CameraTopics
from mtl_perception.data.world.truth.world_truth import OBJECTS_FILE, load_world_truth
from mtl_perception.drawing.mesh import Surface, from_above
from mtl_perception.evaluation.gallery import Gallery
from mtl_perception.evaluation.judged import judged
from mtl_perception.evaluation.kept_ids import LOOK_NS
from mtl_perception.evaluation.machine import Machine
from mtl_perception.evaluation.map_reference import MapReference
from mtl_perception.evaluation.open3d_reference import Open3dReference
from mtl_perception.evaluation.result import BagResult, Picture
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.stages import Stage, ahead
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.evaluation.truth.bag import EvaluationBag, TruthSample
from mtl_perception.evaluation.truth.mapping import TopicMapping
from mtl_perception.evaluation.truth_perceiver import TruthPerceiver
from mtl_perception.evaluation.world_reference import WorldReference
from mtl_perception.mapping import Mapper, MapperConfig, MappingError
from mtl_perception.mapping.fusion.views import as_published
from mtl_perception.mapping.surface.ply import mesh_bytes
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file

MAP, SCENE_GRAPH = "map", "scene_graph"

Advanced = Callable[[int, int], None]
"""Told after each frame how many are done, and of how many."""

_READ_AHEAD = 4  # frames that are kept while the network is busy
_DRIVING = "driving_context"


@dataclass(frozen=True)
class ReplaySettings:
    """What decides about the result. Can be pickled.

    Attributes:
        mapper: settings of the map.
        checkpoint: a file; None: the one of the package.
        device: as torch names it.
        options: of the scores.
        mapping: topics of the bag that hold the truth under other names.
        cameras: by name, the reference camera first, the topics of each; None: as the bag names them.
        threads: of torch; None: torch's own choice.
        perfect: no network, but the truth itself goes into the map, see `TruthPerceiver`.
        maps: the folder in which the map of each bag is saved, in one of the bag's name; None: they are not.
    """

    mapper: MapperConfig
    checkpoint: Path | None = None
    device: str = "cpu"
    options: ScoreOptions = field(default_factory=ScoreOptions)
    mapping: tuple[TopicMapping, ...] = ()
    cameras: Mapping[str, CameraTopics] | None = None
    threads: int | None = None
    perfect: bool = False
    maps: Path | None = None


def scores_of(settings: ReplaySettings, labels: LabelSpace) -> tuple[Score, ...]:
    """Return the scores that are asked for: all, or those of maps where perception is perfect."""
    scores = all_scores(labels, settings.options)
    return tuple(score for score in scores if not settings.perfect or score.task in (MAP, SCENE_GRAPH))


class Replay:
    """Evaluates one bag after the other with one network.

    Attributes:
        perceiver: the network, or what stands for it.
        scores: of what is asked for.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        """Load the network.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: it is none, or the map's settings do not fit its labels.
        """
        self._settings = settings
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.perceiver: Perceiver | TruthPerceiver
        if settings.perfect:
            self.perceiver = TruthPerceiver(LabelSpace.load(config_file("labels", "default")))
        else:
            self.perceiver = Perceiver.from_checkpoint(settings.checkpoint, device=settings.device)
        self.scores = scores_of(settings, self.perceiver.labels)

    def tasks(self, path: Path) -> tuple[str, ...]:
        """Return what the network computes when a bag is evaluated.

        Raises:
            ValueError, OSError: as `run`.
        """
        with closing(self._open(path)) as bag:
            return _computed(self.perceiver, bag)

    def run(self, path: Path, name: str, advanced: Advanced | None = None) -> BagResult:
        """Evaluate a bag and return the result under the name `name`.

        Frames that cannot be used are counted by reason, and left out.

        Raises:
            ValueError: it is no bag, or has nothing that could be evaluated; names file or topic.
            OSError: it cannot be read.
        """
        with closing(self._open(path)) as bag:
            world = _world_of(path, self.perceiver.labels)
            return _BagReplay(self._settings, self.perceiver, self.scores, bag, world, name).run(advanced)

    def _open(self, path: Path) -> EvaluationBag:
        scored = {task for score in self.scores for task in _network_tasks(score.task)}
        tasks = _truth_tasks(scored & set(self.perceiver.tasks))
        if self._settings.perfect:
            tasks |= {"panoptic"}
        return EvaluationBag(path, self._settings.mapping, tasks=tasks, topics=self._settings.cameras)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A frame with what the network says of it."""

    index: int
    truth: TruthSample
    prediction: Prediction


class _BagReplay:
    """What is gathered while one bag is replayed."""

    def __init__(
        self,
        settings: ReplaySettings,
        perceiver: Perceiver | TruthPerceiver,
        scores: Sequence[Score],
        bag: EvaluationBag,
        world: WorldReference | None,
        name: str,
    ) -> None:
        self._perceiver, self._scores, self._bag, self._name = perceiver, scores, bag, name
        self._maps = _maps(perceiver, bag)
        self._folder = None if settings.maps is None else settings.maps / name
        with_grid = world is not None or self._folder is not None
        self._mapper = Mapper(settings.mapper, perceiver.labels, with_grid=with_grid)
        self._world = world
        self._reference: MapReference | Open3dReference
        if settings.perfect:
            self._reference = Open3dReference(settings.mapper)
        else:
            self._reference = MapReference(settings.mapper, perceiver.labels)
        self._gallery = Gallery(scores, perceiver.labels)
        self._rows: dict[str, list[tuple[int, FrameStatistics]]] = {score.task: [] for score in scores}
        self._stamps: list[int] = []
        self._looked_ns = 0  # when it was last looked at the objects
        self._map_ply = b""
        self._dropped: Counter[str] = Counter()
        self._not_mapped: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, advanced: Advanced | None) -> BagResult:
        tasks = _computed(self._perceiver, self._bag)
        started = time.perf_counter()
        with Machine() as machine:
            with ExitStack() as stack:
                judging = stack.enter_context(Stage("judge", self._judge))
                mapping = stack.enter_context(Stage("map", self._map)) if self._maps else None
                for index, truth in ahead(self._samples(), _READ_AHEAD):
                    prediction = self._perceive(truth, tasks)
                    if prediction is not None:
                        seen = _Seen(len(self._stamps), truth, prediction)
                        self._stamps.append(prediction.stamp_ns)
                        judging.submit(seen)
                        if mapping is not None:
                            mapping.submit(seen)
                    if advanced is not None:
                        advanced(index + 1, len(self._bag))
            seconds = time.perf_counter() - started
            pictures = [*self._gallery.pictures(), *self._finish_map()]
        if not self._stamps:
            reasons = "; ".join(self._dropped) or "it is empty"
            raise ValueError(f"{self._bag.name}: no frame could be used: {reasons}")
        statistics = self._statistics()
        return BagResult(
            name=self._name,
            stamps_ns=np.array(self._stamps, dtype=np.int64),
            dropped=dict(sorted(self._dropped.items())),
            statistics=statistics,
            left_out={score.task: self._why_not(score.task) for score in self._scores if score.task not in statistics},
            truth=self._truth(statistics),
            network={
                "preset": self._perceiver.preset,
                "checkpoint": self._perceiver.checkpoint,
                "tasks": list(self._perceiver.tasks),
            },
            runtime=self._runtime(seconds, machine),
            pictures=tuple(pictures),
            map_ply=self._map_ply,
        )

    def _samples(self) -> Iterator[tuple[int, TruthSample]]:
        for index in range(len(self._bag)):
            began = time.perf_counter()
            try:
                sample = self._bag.sample(index)
            except ValueError as error:
                self._dropped[_reason(error)] += 1
                continue
            finally:
                self._seconds["read"] += time.perf_counter() - began
            yield index, sample

    def _perceive(self, truth: TruthSample, tasks: tuple[str, ...]) -> Prediction | None:
        sample = truth.sample
        try:
            if isinstance(self._perceiver, TruthPerceiver):
                return self._perceiver(sample)
            prediction = self._perceiver(sample.frame, tasks, cabin=sample.cabin)
        except ValueError as error:
            self._dropped[_reason(error)] += 1
            return None
        for stage, seconds in prediction.seconds.items():
            self._seconds[stage] += seconds
        return prediction

    def _judge(self, seen: _Seen) -> None:
        began = time.perf_counter()
        sample = seen.truth.sample
        both = judged(seen.prediction, sample.frame, sample.truth, seen.truth.sparse_depth)
        values = {}
        for score in self._scores:
            row = score.frame(both)
            if row is not None:
                self._rows[score.task].append((seen.index, row))
                values[score.task] = score.metrics(TaskStatistics.of([(0, row)]).row(0)).get(score.key, np.nan)
        self._gallery.consider(both, values)
        if self._maps:
            (self._world or self._reference).add(both)
        self._seconds["judge"] += time.perf_counter() - began

    def _map(self, seen: _Seen) -> None:
        began = time.perf_counter()
        try:
            self._mapper.fuse(as_published(seen.prediction))
        except MappingError as error:
            self._not_mapped[_reason(error)] += 1
        if self._world is not None and seen.prediction.stamp_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = seen.prediction.stamp_ns
            self._world.look(self._mapper.objects())
        self._seconds["map"] += time.perf_counter() - began

    def _finish_map(self) -> list[Picture]:
        if not self._maps or not self._stamps:
            return []
        if self._folder is not None:
            self._mapper.save(self._folder)
        mesh = self._mapper.mesh()
        if self._world is None:
            found = {MAP: self._reference.map_statistics(mesh)}
        else:
            found = {
                MAP: self._world.map_statistics(mesh),
                SCENE_GRAPH: self._world.graph_statistics(self._mapper.objects(), self._mapper.ground()),
            }
        for task, row in found.items():
            if row is not None:
                self._rows[task].append((len(self._stamps) - 1, row))
        if not len(mesh.triangles):
            return []
        self._map_ply = mesh_bytes(mesh)
        seen = from_above(Surface(mesh.vertices, mesh.triangles, mesh.colours))
        _, png = cv2.imencode(".png", cv2.cvtColor(seen, cv2.COLOR_RGB2BGR))
        return [Picture(MAP, "map", "", self._stamps[-1], float("nan"), png.tobytes())]

    def _statistics(self) -> dict[str, TaskStatistics]:
        result = {}
        for score in self._scores:
            rows = score.bag(self._rows[score.task]) if self._rows[score.task] else []
            if rows:
                result[score.task] = TaskStatistics.of(rows)
        return result

    def _truth(self, scored: Collection[str]) -> dict[str, str]:
        sources = self._bag.sources
        truth = {task: sources[task] for task in scored if task in sources}
        if MAP in scored:
            maker = "Open3D's own pipeline makes of" if isinstance(self._reference, Open3dReference) else "is made of"
            seen = f"the map that {maker} the true depth: {sources['depth']}"
            truth[MAP] = seen if self._world is None else "the world's surface, as far as it was seen"
        if SCENE_GRAPH in scored:
            truth[SCENE_GRAPH] = "the world's things, ground and rooms, as far as they were seen"
        return dict(sorted(truth.items()))

    def _why_not(self, task: str) -> str:
        if task == SCENE_GRAPH and self._maps and self._world is None:
            return "the bag has no truth of a whole world beside it"
        if task in (MAP, SCENE_GRAPH) and self._maps:
            refused = "".join(f"; {count} frames refused: {why}" for why, count in self._not_mapped.items())
            return f"{self._reference.why_not}{refused}"
        untrained = [t for t in _network_tasks(task) if t not in self._perceiver.tasks]
        if untrained:  # whose truth is not looked for, either
            return self._perceiver.tasks_left_out[untrained[0]]
        if ("depth" if task in (MAP, SCENE_GRAPH) else task) not in self._bag.sources:
            return "the bag has no truth for it"
        return "no frame has both a prediction and the truth"

    def _runtime(self, seconds: float, machine: Machine) -> dict[str, object]:
        frames = len(self._stamps)
        return {
            "frames": frames,
            "seconds": seconds,
            "frames_per_second": frames / seconds,
            "stage_ms": {stage: 1e3 * total / frames for stage, total in self._seconds.items()},
            "frames_not_mapped": dict(self._not_mapped),
            "threads": torch.get_num_threads(),
            **machine.figures,
            "unknown": machine.unknown,
        }


def _world_of(bag: Path, labels: LabelSpace) -> WorldReference | None:
    """Return what judges the map of a rendered world, whose truth lies beside its bag; None for other bags.

    Raises:
        ValueError: the truth is damaged, or has classes that the network does not have; names the file.
    """
    folder = bag if bag.is_dir() else bag.parent
    return WorldReference(load_world_truth(folder), labels) if (folder / OBJECTS_FILE).is_file() else None


def _maps(perceiver: Perceiver | TruthPerceiver, bag: EvaluationBag) -> bool:
    """Return whether there can be a map, and one to compare it with."""
    return "depth" in bag.sources and "depth" in perceiver.tasks


def _computed(perceiver: Perceiver | TruthPerceiver, bag: EvaluationBag) -> tuple[str, ...]:
    """Return what the network computes: what can be scored, and what a map needs."""
    wanted = {task for truth in bag.sources for task in _network_tasks(truth)}
    if _maps(perceiver, bag):
        wanted.update(MAPPED_TASKS)
    return tuple(task for task in perceiver.tasks if task in wanted)


def _network_tasks(task: str) -> tuple[str, ...]:
    """Return the network's tasks that a task of metrics.json is about."""
    if task == _DRIVING:
        return tuple(SCENE_CLASSES)
    return ("depth",) if task in (MAP, SCENE_GRAPH) else (task,)


def _truth_tasks(network_tasks: set[str]) -> set[str]:
    """Return the tasks of metrics.json whose truth is of use for a network."""
    truth = {_DRIVING if task in SCENE_CLASSES else task for task in network_tasks}
    # A map's reference leaves out what moves, and carries labels.
    return truth | {MAP, "semantic", "motion_mask"} if "depth" in truth else truth


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())
