# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether depth and motion explain what a camera sees: an earlier image, warped by both, must look like this one.

This is the photometric consistency by which networks learn depth without ground truth (Zhou et al., "Unsupervised
Learning of Depth and Ego-Motion from Video", 2017, section 3.2), here as a test. Images are compared by the normalised
correlation of what a band-pass filter leaves of them, so that exposure and gain do not matter. The same is done with
all depths scaled, and without any depth (infinitely far): right depth fits best as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera, CameraPrediction
from mtl_perception.core.transforms import Transform, inverse

SCALES = (0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0)
"""The factors by which all depths are scaled to see whether they then fit better."""

_AS_IT_IS = SCALES.index(1.0)
_WIDTH = 320  # pixels: larger images are made smaller by a whole number
_CELL = 8  # pixels: at most one point is taken of each cell
_MIN_CONTRAST = 3.0  # grey levels a pixel: a point must have so much, or noise would be compared
_MAX_DEPTH_STEP = 0.05  # relative, across four pixels: no points on the rims of things, where depth is never exact
_MIN_STEADY = 0.2  # of what has a depth
_MIN_PARALLAX = 3.0  # pixels that a point has moved by because it is near
_MAX_PARALLAX = 80.0  # pixels: what moved more has changed its looks
_MIN_POINTS = 60
_MAX_POINTS = 500
_MIN_DEPTH = 1e-3  # metres: what is nearer to the earlier camera, or behind it, is not compared
_MAX_AGE_NS = 2_000_000_000


@dataclass(frozen=True, eq=False)
class View:
    """What is kept of an image to compare later ones with; some 300 KB.

    Attributes:
        stamp_ns: of the image.
        world_from_camera: the pose at the stamp.
        camera: of `band`'s size.
        band: float32 (H, W), what the band-pass filter left, grey levels.
    """

    stamp_ns: int
    world_from_camera: Transform
    camera: Camera
    band: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Match:
    """How well an earlier image, warped by depth and motion, looks like a later one; 1 is the same, 0 unlike.

    Attributes:
        correlations: with the depth scaled by each of SCALES.
        without_depth: with everything infinitely far, so that only rotation counts.
        points: that were compared.
    """

    correlations: NDArray[np.float64]
    without_depth: float
    points: int


def view_of(prediction: CameraPrediction) -> View | None:
    """Return what later images are compared with; None without a pose."""
    if prediction.world_from_camera is None:
        return None
    camera = prediction.camera
    step = max(1, round(camera.width / _WIDTH))
    small = camera.resized(camera.width // step, camera.height // step)
    grey = cv2.cvtColor(prediction.colour, cv2.COLOR_RGB2GRAY)
    if step > 1:
        grey = cv2.resize(grey, (small.width, small.height), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.8)
    band = blurred - cv2.GaussianBlur(blurred, (0, 0), 2.5)
    return View(prediction.stamp_ns, prediction.world_from_camera, small, band)


def is_comparable(earlier: View, later: View) -> bool:
    """Return whether one view is a little older than the other, and of the same camera."""
    age_ns = later.stamp_ns - earlier.stamp_ns
    return 0 < age_ns <= _MAX_AGE_NS and earlier.band.shape == later.band.shape


def match(earlier: View, later: View, prediction: CameraPrediction) -> Match | None:
    """Compare two views of a camera by the depth that is predicted for the later one.

    Returns:
        None where nothing can be said: no depth, too little texture, or too little motion.
    """
    if prediction.depth is None:
        return None
    rows, columns, depth = _points(later, prediction)
    if len(depth) < _MIN_POINTS:
        return None
    earlier_from_later = inverse(earlier.world_from_camera) @ later.world_from_camera
    pixels = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float64)
    far = earlier.camera.K @ earlier_from_later[:3, :3] @ np.linalg.inv(later.camera.K) @ pixels  # (3, N)
    near = earlier.camera.K @ earlier_from_later[:3, 3]
    nearness = np.array([*(1.0 / scale for scale in SCALES), 0.0])[:, None] / depth  # the last one: infinitely far
    with np.errstate(all="ignore"):  # what is behind the camera, or far outside of its image, is left out below
        z = far[2] + nearness * near[2]
        z[z < _MIN_DEPTH] = np.nan
        x = ((far[0] + nearness * near[0]) / z).astype(np.float32)
        y = ((far[1] + nearness * near[1]) / z).astype(np.float32)
    parallax = np.hypot(x[_AS_IT_IS] - x[-1], y[_AS_IT_IS] - y[-1])
    telling = (parallax >= _MIN_PARALLAX) & (parallax <= _MAX_PARALLAX)
    if telling.sum() < _MIN_POINTS:
        return None
    x, y = x[:, telling], y[:, telling]
    height, width = earlier.band.shape
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    if inside[_AS_IT_IS].sum() < _MIN_POINTS:
        return None
    seen = later.band[rows[telling], columns[telling]]
    before = cv2.remap(earlier.band, x, y, cv2.INTER_LINEAR)
    correlations = np.array([_correlation(seen[i], row[i]) for row, i in zip(before, inside, strict=True)])
    return Match(correlations[:-1], float(correlations[-1]), int(inside[_AS_IT_IS].sum()))


def _points(view: View, prediction: CameraPrediction) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return rows and columns of the points with most contrast, one a cell, of what stands still, and their depth."""
    assert prediction.depth is not None  # seen to by `match`
    height, width = view.band.shape
    at_rows = (np.arange(height) + 0.5) * prediction.depth.shape[0] / height
    at_columns = (np.arange(width) + 0.5) * prediction.depth.shape[1] / width
    at = np.ix_(at_rows.astype(np.intp), at_columns.astype(np.intp))
    depth = prediction.depth[at]
    contrast = cv2.magnitude(
        cv2.Sobel(view.band, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(view.band, cv2.CV_32F, 0, 1, scale=1 / 8)
    )
    still = depth > 0
    if prediction.motion_mask is not None:
        still &= prediction.motion_mask[at] == 0
    steady = np.zeros(depth.shape, np.bool_)
    with np.errstate(invalid="ignore"):
        limit = _MAX_DEPTH_STEP * depth[2:-2, 2:-2]
        steady[2:-2, 2:-2] = (
            still[2:-2, 2:-2]
            & (np.abs(depth[2:-2, 4:] - depth[2:-2, :-4]) < limit)
            & (np.abs(depth[4:, 2:-2] - depth[:-4, 2:-2]) < limit)
        )
    # Depth that is steady nowhere is none to trust, and is looked at all the same.
    contrast[~(steady if steady.sum() > _MIN_STEADY * still.sum() else still)] = 0.0
    rows, columns = height // _CELL, width // _CELL
    squares = contrast[: rows * _CELL, : columns * _CELL].reshape(rows, _CELL, columns, _CELL).swapaxes(1, 2)
    cells = squares.reshape(rows, columns, _CELL * _CELL)
    strongest = cells.argmax(axis=2)
    most = cells.max(axis=2)
    enough = most >= _MIN_CONTRAST
    if enough.sum() > _MAX_POINTS:
        enough = most >= np.partition(most, -_MAX_POINTS, axis=None)[-_MAX_POINTS]
    row, column = np.nonzero(enough)
    inner = strongest[row, column]
    row, column = row * _CELL + inner // _CELL, column * _CELL + inner % _CELL
    return row, column, depth[row, column].astype(np.float64)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if len(first) < _MIN_POINTS // 2:
        return 0.0
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale > 0 else 0.0
