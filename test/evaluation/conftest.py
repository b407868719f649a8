# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What tests of evaluation share.

Two small scores, one of sums and one of ranked findings, and results of bags that were scored with them. A made street
of boxes in which rays can be cast exactly, and a rig in it: a LiDAR on the roof, cameras below.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.result import BagResult, Picture
from mtl_perception.evaluation.score import Histogram, Reliability, Score, ScoreOptions
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals, ratio
from mtl_perception.resources import config_file

CLASSES = ("car", "road")


class MeanErrorScore(Score):
    """The mean of errors, over all and per class: sums."""

    task = "depth"
    better = {"error": "lower", "within": "higher"}
    key = "error"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        raise NotImplementedError

    @staticmethod
    def row(errors: Sequence[float]) -> FrameStatistics:
        values = np.asarray(errors, dtype=np.float64)
        bins = np.histogram(values, bins=[0, 1, 2, 3, 4])[0]
        halves = np.array([values[::2].sum(), values[1::2].sum()])
        counts = np.array([len(values[::2]), len(values[1::2])])
        sums = {"sum": values.sum(), "count": len(values), "good": int((values < 1).sum()), "bins": bins}
        return FrameStatistics(sums | {"class_sum": halves, "class_count": counts})

    def metrics(self, totals: Totals) -> dict[str, float]:
        return {
            "error": ratio(totals["sum"], totals["count"]),
            "within": ratio(totals["good"], totals["count"]),
            "count": float(totals["count"]),
            "undefined": float("nan"),
        }

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        both = zip(CLASSES, totals["class_sum"], totals["class_count"], strict=True)
        return {name: {"error": ratio(total, count)} for name, total, count in both}

    def histograms(self, totals: Totals) -> list[Histogram]:
        counts = np.asarray(totals["bins"]).astype(np.int64)
        return [Histogram("Errors", "m", np.arange(5.0), counts)]

    def reliability(self, totals: Totals) -> list[Reliability]:
        middle = np.array([0.5, 1.5, 2.5, np.nan])
        return [Reliability("Trust", "says, m", "is, m", middle, middle * 1.2, np.array([5, 3, 1, 0]))]


class PrecisionScore(Score):
    """Average precision of findings: ranked."""

    task = "detections"
    better = {"map": "higher"}
    key = "map"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        raise NotImplementedError

    @staticmethod
    def row(scores: Sequence[float], hits: Sequence[bool], objects: int) -> FrameStatistics:
        return FrameStatistics(
            {"objects": objects}, {"score": np.asarray(scores, float), "hit": np.asarray(hits, bool)}
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        order = np.argsort(-totals.ranked["score"], kind="stable")
        hits = totals.ranked["hit"][order]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        return {"map": ratio(float(precision[hits].sum()), totals["objects"])}


BagMaker = Callable[..., BagResult]


@pytest.fixture(scope="session")
def small_scores() -> tuple[Score, ...]:
    labels = LabelSpace.load(config_file("labels", "default"))
    return MeanErrorScore(labels, ScoreOptions()), PrecisionScore(labels, ScoreOptions())


@pytest.fixture(scope="session")
def small_bag() -> BagMaker:
    """Make the result of a bag with errors around `level`; the same arguments give the same result."""

    def make(
        name: str,
        level: float = 1.0,
        frames: int = 40,
        seed: int = 0,
        left_out: Mapping[str, str] | None = None,
        detections: bool = True,
        pictures: tuple[Picture, ...] = (),
    ) -> BagResult:
        rng = np.random.default_rng(seed)
        drift = 0.3 * np.sin(np.arange(frames) / 5)
        errors = [np.abs(level + drift[i] + 0.2 * rng.standard_normal(20)) for i in range(frames)]
        statistics = {"depth": TaskStatistics.of([(i, MeanErrorScore.row(row)) for i, row in enumerate(errors)])}
        if detections:
            found = [(i, PrecisionScore.row(rng.random(4), rng.random(4) < 0.6 / level, 4)) for i in range(frames)]
            statistics["detections"] = TaskStatistics.of(found)
        return BagResult(
            name=name,
            stamps_ns=(1_000_000_000 + 100_000_000 * np.arange(frames)).astype(np.int64),
            dropped={"no image": 2},
            statistics=statistics,
            left_out=left_out or {},
            truth={task: f"/ground_truth/{task}" for task in statistics},
            network={"preset": "nano", "checkpoint": "nano.safetensors", "tasks": ["depth", "detections"]},
            runtime={"seconds": 2.5, "frames_per_second": 16.0, "stage_ms": {"read": 3.25}, "energy": None},
            pictures=pictures,
        )

    return make


@pytest.fixture(scope="session")
def small_picture() -> Callable[[str, str, float], Picture]:
    def make(task: str, kind: str, value: float) -> Picture:
        image = np.full((60, 90, 3), (30, 140, 220), np.uint8)
        return Picture(task, kind, "front", 1_500_000_000, value, cv2.imencode(".png", image)[1].tobytes())

    return make


@dataclass(frozen=True)
class Boxes:
    """Boxes along the axes: corners (N, 3) each."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def hits(self, origin: NDArray, directions: NDArray) -> NDArray[np.float64]:
        """Return how far rays (M, 3) from one place go, in lengths of their directions; infinite where they leave."""
        distance = np.full(len(directions), np.inf)
        for low, high in zip(self.low, self.high, strict=True):
            with np.errstate(divide="ignore"):
                near, far = (low - origin) / directions, (high - origin) / directions
            enter = np.nanmax(np.minimum(near, far), axis=1)
            leave = np.nanmin(np.maximum(near, far), axis=1)
            hit = (enter <= leave) & (enter > 0)
            distance[hit] = np.minimum(distance[hit], enter[hit])
        return distance


LIDAR = np.array([0.0, 0.0, 1.9])


ELEVATIONS = {32: (-30.67, 10.67), 64: (-24.8, 2.0)}  # degrees, of Velodyne's HDL-32E and HDL-64E


def sweep(world: Boxes, lines: int = 64, columns: int = 1800) -> NDArray[np.float64]:
    """Return the points (N, 3) of a turning LiDAR within 100 m."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(*ELEVATIONS[lines], lines)),
        np.linspace(-np.pi, np.pi, columns, endpoint=False),
        indexing="ij",
    )
    directions = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1
    ).reshape(-1, 3)
    directions[np.abs(directions) < 1e-12] = 1e-12
    distance = world.hits(LIDAR, directions)
    return LIDAR + (directions * distance[:, None])[distance < 100.0]


def _reach(world: Boxes, place: NDArray, points: NDArray) -> NDArray[np.float64]:
    """Return how far one can look from a place towards points, in parts of their distance."""
    directions = points - place
    directions[np.abs(directions) < 1e-12] = 1e-12
    return world.hits(place, directions)


def seen(directions: NDArray, reach: NDArray) -> NDArray[np.bool_]:
    """Return which points nothing hides, within 2 mm."""
    return np.asarray(reach > 1.0 - 2e-3 / np.linalg.norm(directions, axis=1))


def sampled(world: Boxes, place: NDArray, points: NDArray, reach: NDArray, lines: int) -> NDArray[np.bool_]:
    """Return for which points the LiDAR sees what hides them from a place."""
    hider = place + (points - place) * reach[:, None]
    elevation = np.degrees(np.arctan2(hider[:, 2] - LIDAR[2], np.hypot(hider[:, 0], hider[:, 1])))
    lowest, highest = ELEVATIONS[lines]
    in_view = (elevation > lowest) & (elevation < highest)
    return seen(hider - LIDAR, _reach(world, LIDAR, hider)) & in_view


def street(seed: int) -> Boxes:
    """Return a road between houses, with cars, pedestrians and poles at random places."""
    generator = np.random.default_rng(seed)
    low, high = [[-120.0, -120.0, -1.0]], [[120.0, 120.0, 0.0]]

    def add(centre: NDArray, size: tuple[float, float, float]) -> None:
        half = np.array(size) / 2
        low.append([*(centre - half[:2]), 0.0])
        high.append([*(centre + half[:2]), size[2]])

    for x in range(-60, 61, 20):
        for side in (-14.0, 14.0):
            add(np.array([x + generator.uniform(-2, 2), side]), (generator.uniform(12, 19), 8.0, 9.0))
    for size, count in (((4.4, 1.8, 1.5), 8), ((0.6, 0.6, 1.75), 10), ((0.2, 0.2, 5.0), 8)):
        for _ in range(count):
            place = np.array([generator.uniform(4, 45) * generator.choice([-1, 1]), generator.uniform(-9, 9)])
            if np.abs(place)[0] > 5.0:
                add(place, size)
    return Boxes(np.array(low), np.array(high))


def camera(name: str = "front", yaw: float = 0.0, place: tuple[float, float, float] = (1.6, 0.0, 1.4)) -> Camera:
    """Return a camera as on a car: 800x450 pixels, 70 degrees wide."""
    K = np.array([[570.0, 0.0, 399.5], [0.0, 570.0, 224.5], [0.0, 0.0, 1.0]])
    base_from_body = transform_from(place, [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return Camera(name, 800, 450, K, base_from_body @ BODY_FROM_OPTICAL, frame_id=f"{name}_optical_frame")


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """The functions of the street; test folders are no packages, so they cannot be imported."""
    return SimpleNamespace(street=street, sweep=sweep, seen=seen, reach=_reach, sampled=sampled, camera=camera)
