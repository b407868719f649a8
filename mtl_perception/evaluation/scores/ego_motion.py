# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How near the estimated motion comes to the true one: frame to frame, over segments, over whole drives.

* `rpe`, `rpe_rotation_deg`: relative pose error from frame to frame (Sturm et al. 2012, "A Benchmark for the Evaluation
  of RGB-D SLAM Systems", section VI-A): root mean square of the translation's error, metres, and mean angle.
* `ate`: absolute trajectory error (section VI-B there): root mean square distance of the positions after a rigid
  alignment (Umeyama 1991, without scale), metres. A trajectory ends where a frame's motion is not known and another
  begins; each is aligned by itself.
* `kitti_translation_percent`, `kitti_rotation_deg_per_m`: mean errors of segments of 100, 200, ..., 800 m (Geiger et
  al. 2012, "Are we ready for Autonomous Driving?", section 3). Every frame begins segments, as the paper has it; the
  benchmark's own program takes every tenth. Not defined for shorter drives.
* `translation_error_percent`: median over frames that moved by more than 0.2 m of the translation's error as a share of
  it.

Only frames count whose motion is estimated and known since the same frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Histogram, Reliability, Score
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_SEGMENTS = np.arange(100.0, 801.0, 100.0)  # metres
_MOVED = 0.2  # metres: of a shorter motion, the error's share says little
_ERROR_EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 10.0, 41)])  # metres
_STD_EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 10.0, 17)])  # metres
_PATH = ("estimate", "truth", "previous_stamp_ns", "stamp_ns")
"""What `bag` makes trajectories of."""

Row = tuple[int, FrameStatistics]


class EgoMotionScore(Score):
    """Scores the motion of the base between frames, see above."""

    task: ClassVar[str] = "ego_motion"
    better: ClassVar[Mapping[str, Better]] = {
        "ate": "lower",
        "rpe": "lower",
        "rpe_rotation_deg": "lower",
        "translation_error_percent": "lower",
        "kitti_translation_percent": "lower",
        "kitti_rotation_deg_per_m": "lower",
    }
    key: ClassVar[str] = "rpe"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the error of the motion since the frame before, and both motions for `bag`."""
        estimate, truth = judged.prediction.ego_motion, judged.truth.ego_motion
        if estimate is None or truth is None or estimate.previous_stamp_ns != truth.previous_stamp_ns:
            return None
        estimated, true = estimate.previous_base_from_base, truth.previous_base_from_base
        translation, rotation = _errors(estimated[None], true[None])
        return FrameStatistics(
            sums={
                "frames": 1,
                "squared_translation": translation[0] ** 2,
                "rotation": rotation[0],
                **_no_trajectory(),
                "estimate": estimated,
                "truth": true,
                "previous_stamp_ns": truth.previous_stamp_ns,
                "stamp_ns": judged.prediction.stamp_ns,
            },
            ranked={
                "translation_error": translation,
                "moved": np.array([np.linalg.norm(true[:3, 3])]),
                "variance": np.array([np.trace(estimate.covariance[:3, :3])]),
            },
        )

    def bag(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows with what only whole trajectories tell, in place of the single motions."""
        finished: list[Row] = []
        for stretch in _stretches(rows):
            estimated, true = (_trajectory(stretch, name) for name in ("estimate", "truth"))
            for (number, row), more in zip(stretch, _trajectory_sums(estimated, true), strict=True):
                kept = {name: value for name, value in row.sums.items() if name not in _PATH}
                finished.append((number, FrameStatistics(kept | more, row.ranked)))
        return finished

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return errors in metres, degrees, percent, and degrees per metre."""
        moved = totals.ranked["moved"] > _MOVED
        shares = totals.ranked["translation_error"][moved] / totals.ranked["moved"][moved]
        return {
            "ate": math.sqrt(ratio(totals["squared_distance"], totals["positions"])),
            "rpe": math.sqrt(ratio(totals["squared_translation"], totals["frames"])),
            "rpe_rotation_deg": math.degrees(ratio(totals["rotation"], totals["frames"])),
            "translation_error_percent": 100.0 * float(np.median(shares)) if len(shares) else math.nan,
            "kitti_translation_percent": 100.0 * ratio(totals["segment_translation"], totals["segments"]),
            "kitti_rotation_deg_per_m": math.degrees(ratio(totals["segment_rotation"], totals["segments"])),
        }

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return the errors of translation from frame to frame; larger ones are in the last bin."""
        errors = np.minimum(totals.ranked["translation_error"], _ERROR_EDGES[-1])
        counts = np.histogram(errors, _ERROR_EDGES)[0].astype(np.int64)
        return [Histogram("Translation error from frame to frame", "m", _ERROR_EDGES, counts)]

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return the translation's stated standard deviation (root of the covariance's trace) beside its error."""
        variance, error = totals.ranked["variance"], totals.ranked["translation_error"]
        std = np.sqrt(np.maximum(variance, 0.0))
        place = np.clip(np.searchsorted(_STD_EDGES, std, side="right") - 1, 0, len(_STD_EDGES) - 2)
        bins = range(len(_STD_EDGES) - 1)
        return [
            Reliability(
                title="Translation from frame to frame",
                predicted_name="stated standard deviation (m)",
                observed_name="root mean square error (m)",
                predicted=np.array([_root_mean(variance[place == number]) for number in bins]),
                observed=np.array([_root_mean(error[place == number] ** 2) for number in bins]),
                counts=np.bincount(place, minlength=len(bins)).astype(np.int64),
            )
        ]


def _errors(estimated: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Return the translation (metres) and the angle (radians) of each inverse(true) @ estimated, poses (N, 4, 4).

    Both follow from differences, so that equal poses differ by exactly 0.
    """
    translation = np.linalg.norm(estimated[:, :3, 3] - true[:, :3, 3], axis=1)
    chord = np.linalg.norm(estimated[:, :3, :3] - true[:, :3, :3], axis=(1, 2))
    return translation, 2.0 * np.arcsin(np.minimum(chord / math.sqrt(8.0), 1.0))


def _stretches(rows: Sequence[Row]) -> list[list[Row]]:
    """Cut rows where one does not begin at the frame that the one before ended at."""
    stretches: list[list[Row]] = []
    for row in rows:
        if stretches and stretches[-1][-1][1].sums["stamp_ns"] == row[1].sums["previous_stamp_ns"]:
            stretches[-1].append(row)
        else:
            stretches.append([row])
    return stretches


def _trajectory(stretch: Sequence[Row], name: str) -> NDArray[np.float64]:
    """Return the poses (N + 1, 4, 4) that N motions lead through, in the frame of the first."""
    poses: list[Transform] = [np.eye(4)]
    for _, row in stretch:
        poses.append(poses[-1] @ np.asarray(row.sums[name]))
    return np.stack(poses)


def _no_trajectory() -> dict[str, float]:
    return {
        "positions": 0,
        "squared_distance": 0.0,
        "segments": 0,
        "segment_translation": 0.0,
        "segment_rotation": 0.0,
    }


def _trajectory_sums(estimated: NDArray[np.float64], true: NDArray[np.float64]) -> list[dict[str, float]]:
    """Return, for each motion between poses (N + 1, 4, 4), what the pose that it leads to adds."""
    squared = _squared_distances(estimated[:, :3, 3], true[:, :3, 3])
    sums = [_no_trajectory() for _ in range(len(true) - 1)]
    for number, row in enumerate(sums):
        first = number == 0  # the pose that the trajectory starts from counts, too, with the first motion
        row["positions"] = 2 if first else 1
        row["squared_distance"] = float(squared[number + 1] + (squared[0] if first else 0.0))
    ends, translation, rotation = _segments(estimated, true)
    for end, translation_error, rotation_error in zip(ends - 1, translation, rotation, strict=True):
        sums[end]["segments"] += 1
        sums[end]["segment_translation"] += float(translation_error)
        sums[end]["segment_rotation"] += float(rotation_error)
    return sums


def _squared_distances(estimated: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distances (N,) of positions (N, 3) after the estimated ones are aligned rigidly."""
    if np.array_equal(estimated, true):
        return np.zeros(len(true))  # whose alignment would only be off by rounding
    from_centre, true_from_centre = estimated - estimated.mean(axis=0), true - true.mean(axis=0)
    u, _, v = np.linalg.svd(true_from_centre.T @ from_centre)
    turned = np.diag([1.0, 1.0, np.linalg.det(u) * np.linalg.det(v)])
    residual = true_from_centre - from_centre @ (u @ turned @ v).T
    return np.square(residual).sum(axis=1)


def _segments(
    estimated: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return the end pose of each of KITTI's segments (S,) and its errors by its nominal length (per m, rad per m)."""
    steps = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1)
    driven = np.concatenate([[0.0], np.cumsum(steps)])
    ends = np.searchsorted(driven, driven[:, None] + _SEGMENTS, side="right")  # first pose beyond
    starts, length = np.nonzero(ends < len(true))
    ends = ends[starts, length]
    translation, rotation = _errors(*(_relative(poses[starts], poses[ends]) for poses in (estimated, true)))
    return ends, translation / _SEGMENTS[length], rotation / _SEGMENTS[length]


def _relative(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return inverse(first) @ second of poses (N, 4, 4)."""
    inverses = np.tile(np.eye(4), (len(first), 1, 1))
    inverses[:, :3, :3] = first[:, :3, :3].transpose(0, 2, 1)
    inverses[:, :3, 3:] = -inverses[:, :3, :3] @ first[:, :3, 3:]
    return inverses @ second


def _root_mean(values: NDArray[np.float64]) -> float:
    """Return the root of the mean, NaN of nothing; in whatever order the values are, the same to the last bit."""
    return math.sqrt(math.fsum(values) / len(values)) if len(values) else math.nan
