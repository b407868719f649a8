# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What was predicted for a camera's image beside what is true, and where the two differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera, CameraTruth, LabelSpace
from mtl_perception.drawing.colours import (
    DEPTH_COLOURS,
    FASTEST_M_S,
    depth_colours,
    depth_limits,
    flow_colours,
    normal_colours,
    semantic_colours,
)
from mtl_perception.drawing.images import INK, Image, beside, colour_bar, legend, paper, stacked, titled, write
from mtl_perception.evaluation.judged import JudgedCamera
from mtl_perception.evaluation.score import ScoreOptions

TILE_WIDTH = 447
"""Two tiles beside each other are 900 pixels wide."""

_UNKNOWN = (196, 198, 204)
_HIT, _MISSED, _FALSE = (64, 168, 96), (220, 58, 52), (64, 120, 232)
_OUTCOMES = (("found", _HIT), ("missed", _MISSED), ("false alarm", _FALSE))
_WRONG = (226, 46, 58)
_MOST_RELATIVE = 0.3
_MOST_DEGREES = 60.0
_MOST_M_S = 5.0
_EDGE_TOLERANCE = 0.0075  # of the diagonal, the one of the edges' benchmark
_DOT_RADIUS = 2
_PANOPTIC_BASE = 1000


@dataclass(frozen=True, eq=False)
class Comparison:
    """One camera's prediction beside the truth.

    Attributes:
        wrong: how wrong it is, in a measure of the task's own.
        draw: makes the picture. Nothing is drawn before.
    """

    wrong: float
    draw: Callable[[], Image]


class CameraViews:
    """Compares the images of one camera, for all tasks that have images."""

    tasks = ("depth", "semantic", "panoptic", "edges", "normals", "motion_mask", "scene_flow")

    def __init__(self, labels: LabelSpace, options: ScoreOptions) -> None:
        """Draw labels in their colours, and what the options let be scored."""
        self._labels, self._options = labels, options

    def compare(self, task: str, camera: JudgedCamera, dataset: str) -> Comparison | None:
        """Compare a camera's images of a task; None where the prediction or the truth lacks.

        Args:
            task: one of `tasks`.
            camera: with prediction and truth.
            dataset: whose labels the truth has.
        """
        if task == "depth" and camera.truth.depth is None:
            return self._sparse_depth(camera)
        predicted, truth = camera.predicted(task), getattr(camera.truth, task)
        if predicted is None or truth is None:
            return None
        if task == "edges":  # lines are thin: look for the strongest pixel around
            predicted, truth = (_widened(image) for image in (predicted, truth))
        predicted, truth = _sampled(predicted), _sampled(truth)
        if task == "semantic":
            return self._semantic(camera, predicted, truth, dataset)
        compare: dict[str, Callable[[JudgedCamera, Any, Any], Comparison]] = {
            "depth": self._depth,
            "panoptic": self._panoptic,
            "edges": _edges,
            "normals": _normals,
            "motion_mask": _motion_mask,
            "scene_flow": _scene_flow,
        }
        return compare[task](camera, predicted, truth)

    def _depth(self, camera: JudgedCamera, predicted: NDArray, truth: NDArray) -> Comparison:
        scored = (truth >= self._options.min_depth) & (truth <= self._options.max_depth)
        error = self._relative_error(predicted, np.where(scored, truth, np.nan))

        def draw() -> Image:
            low, high = depth_limits([np.where(scored, truth, np.nan)])
            finite = np.where(np.isfinite(truth), truth, np.nan)
            panels = depth_colours(predicted, low, high), depth_colours(finite, low, high)
            return _sheet(camera, *panels, _signed(error), _depth_bars(low, high))

        return Comparison(_mean(np.abs(error)), draw)

    def _sparse_depth(self, camera: JudgedCamera) -> Comparison | None:
        sparse = camera.sparse_depth
        predicted = camera.predicted("depth")
        if sparse is None or predicted is None:
            return None
        scored = (sparse.depth >= self._options.min_depth) & (sparse.depth <= self._options.max_depth)
        pixels, truth = sparse.pixels[scored], sparse.depth[scored]
        there = camera.predicted_at("depth", pixels)
        assert there is not None
        error = self._relative_error(there, truth)

        def draw() -> Image:
            low, high = depth_limits([truth])
            paled = _paled(_colour(camera))
            dots = depth_colours(truth[:, None], low, high)[:, 0]
            wrong = _signed(error[:, None])[:, 0]
            scale = paled.shape[1] / camera.camera.width
            return _sheet(
                camera,
                depth_colours(_sampled(predicted), low, high),
                _dotted(paled, pixels, dots, scale),
                _dotted(paled // 2, pixels, wrong, scale),
                _depth_bars(low, high),
            )

        return Comparison(_mean(np.abs(error)), draw)

    def _relative_error(self, predicted: NDArray, truth: NDArray) -> NDArray[np.float32]:
        """Return (prediction - truth) / truth, as it is scored; NaN where the truth is."""
        if self._options.median_scaling:
            both = (predicted > 0) & np.isfinite(truth)
            if both.any():
                predicted = predicted * (np.median(truth[both]) / np.median(predicted[both]))
        limited = np.clip(
            np.where(np.isnan(predicted), self._options.max_depth, predicted),
            self._options.min_depth,
            self._options.max_depth,
        )
        return np.asarray((limited - truth) / truth, dtype=np.float32)

    def _semantic(self, camera: JudgedCamera, predicted: NDArray, truth: NDArray, dataset: str) -> Comparison:
        if dataset:
            may_be = self._labels.candidates(dataset)
            known = np.asarray(may_be.any(axis=1))[truth]
            named = np.where(predicted < len(self._labels), predicted, 0)
            right = may_be[truth, named] & (predicted < len(self._labels))
            shown = np.where(known, may_be.argmax(axis=1)[truth], 255).astype(np.uint8)
        else:
            known, right, shown = truth < len(self._labels), predicted == truth, truth
        wrong = known & ~right

        def draw() -> Image:
            colour = _colour(camera)
            panels = semantic_colours(predicted, colour, self._labels), semantic_colours(shown, colour, self._labels)
            error = _marked(colour, {_UNKNOWN: ~known, _WRONG: wrong})
            return _sheet(camera, *panels, error, self._names(predicted, shown), "wrong (red), unknown (grey)")

        return Comparison(_share(wrong, known), draw)

    def _panoptic(self, camera: JudgedCamera, predicted: NDArray, truth: NDArray) -> Comparison:
        known = truth >= 0
        wrong = known & ~_in_matched_segments(predicted, truth)

        def draw() -> Image:
            colour = _colour(camera)
            panels = self._segments(predicted, colour), self._segments(truth, colour)
            error = _marked(colour, {_UNKNOWN: ~known, _WRONG: wrong})
            names = self._names(*((image // _PANOPTIC_BASE) % 256 for image in (predicted, truth)))
            return _sheet(camera, *panels, error, names, "not matched (red), unknown (grey)")

        return Comparison(_share(wrong, known), draw)

    def _segments(self, panoptic: NDArray[np.int32], colour: Image) -> Image:
        """Colour segments by their labels, things in shades of them, with white borders between segments."""
        label = np.where(panoptic < 0, 255, panoptic // _PANOPTIC_BASE).astype(np.uint8)
        shade = 0.62 + 0.38 * ((panoptic % _PANOPTIC_BASE) * 0.618 % 1)
        colours = semantic_colours(label, colour, self._labels, opacity=0.8)
        things = (panoptic >= 0) & (panoptic % _PANOPTIC_BASE > 0)
        colours = np.where(things[..., None], colours * shade[..., None], colours).astype(np.uint8)
        border = np.zeros(panoptic.shape, dtype=bool)
        border[:, 1:] |= panoptic[:, 1:] != panoptic[:, :-1]
        border[1:] |= panoptic[1:] != panoptic[:-1]
        colours[border] = 255
        return colours

    def _names(self, *label_images: NDArray) -> Image:
        present = sorted(set().union(*(np.unique(image).tolist() for image in label_images)))
        shown = [self._labels.labels[i] for i in present if 0 <= i < len(self._labels)]
        return legend([(label.name, label.colour) for label in shown], 2 * TILE_WIDTH)


def _edges(camera: JudgedCamera, predicted: NDArray, truth: NDArray) -> Comparison:
    """Mark borders as found where one of the other image is near."""
    found, true = predicted > 0, truth > 0
    reach = max(1, round(_EDGE_TOLERANCE * float(np.hypot(*truth.shape))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    near_true, near_found = (cv2.dilate(mask.astype(np.uint8), disc) > 0 for mask in (true, found))
    return _masks(camera, found, true, hit=(found & near_true), missed=true & ~near_found, false=found & ~near_true)


def _motion_mask(camera: JudgedCamera, predicted: NDArray, truth: NDArray) -> Comparison:
    found, true = predicted > 0, truth > 0
    return _masks(camera, found, true, hit=found & true, missed=true & ~found, false=found & ~true)


def _masks(
    camera: JudgedCamera, found: NDArray, true: NDArray, *, hit: NDArray, missed: NDArray, false: NDArray
) -> Comparison:
    def draw() -> Image:
        colour = _colour(camera)
        panels = _marked(colour, {INK: found}), _marked(colour, {INK: true})
        error = _marked(colour, {_HIT: hit, _MISSED: missed, _FALSE: false})
        return _sheet(camera, *panels, error, legend(_OUTCOMES, 2 * TILE_WIDTH), "found, missed, false")

    counted = hit | missed | false
    return Comparison(_share(missed | false, counted), draw)


def _normals(camera: JudgedCamera, predicted: NDArray, truth: NDArray) -> Comparison:
    cosine = np.clip(np.sum(predicted * truth, axis=-1), -1, 1)
    degrees = np.degrees(np.arccos(cosine))
    known = np.isfinite(truth[..., 0])
    degrees = np.where(known & np.isnan(degrees), 180.0, degrees)

    def draw() -> Image:
        panels = (_without_gaps(normal_colours(predicted), predicted), _without_gaps(normal_colours(truth), truth))
        bar = beside([paper(1, TILE_WIDTH), colour_bar(_SEQUENTIAL, 0, _MOST_DEGREES, "deg", TILE_WIDTH)])
        return _sheet(camera, *panels, _ramp(degrees, 0, _MOST_DEGREES, _SEQUENTIAL), bar, "error, degrees")

    return Comparison(_mean(degrees), draw)


def _scene_flow(camera: JudgedCamera, predicted: NDArray, truth: NDArray) -> Comparison:
    error = np.linalg.norm(predicted - truth, axis=-1)
    known = np.isfinite(truth[..., 0])
    error = np.where(known & np.isnan(error), _MOST_M_S, error)

    def draw() -> Image:
        panels = (_without_gaps(flow_colours(predicted), predicted), _without_gaps(flow_colours(truth), truth))
        meaning = paper(44, TILE_WIDTH)
        write(meaning, f"hue: direction over ground; full colour: {FASTEST_M_S:g} m/s", (4, 20), scale=0.45)
        bar = beside([meaning, colour_bar(_SEQUENTIAL, 0, _MOST_M_S, "m/s", TILE_WIDTH)])
        return _sheet(camera, *panels, _ramp(error, 0, _MOST_M_S, _SEQUENTIAL), bar, "error, m/s")

    return Comparison(_mean(error), draw)


def _sheet(
    camera: JudgedCamera, predicted: Image, truth: Image, error: Image, below: Image, difference: str = "relative error"
) -> Image:
    above = beside([titled(_colour(camera), "image"), titled(predicted, "prediction")])
    return stacked([above, beside([titled(truth, "truth"), titled(error, difference)]), below])


def _colour(camera: JudgedCamera) -> Image:
    """Return the camera's image, made from what the network saw of it, as large as a tile."""
    height, width = _tile_shape((camera.camera.height, camera.camera.width))
    seen: Any = camera.prediction.colour.astype(np.float32)
    small = JudgedCamera(_shrunk(camera.camera, width, height), replace(camera.prediction, colour=seen), CameraTruth())
    image = small.predicted("colour")
    assert image is not None
    return np.nan_to_num(image, nan=60.0).clip(0, 255).astype(np.uint8)


def _shrunk(camera: Camera, width: int, height: int) -> Camera:
    """Return the camera at another size, with its distortion."""
    small = camera.resized(width, height)
    return replace(small, distortion_model=camera.distortion_model, distortion=camera.distortion)


def _tile_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    return max(1, round(shape[0] * TILE_WIDTH / shape[1])), TILE_WIDTH


def _sampled(image: NDArray) -> NDArray:
    """Return every so-manieth pixel, so that the image is as wide as a tile."""
    height, width = _tile_shape(image.shape)
    rows = ((np.arange(height) + 0.5) * image.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * image.shape[1] / width).astype(np.int64)
    return image[rows[:, None], columns]


def _widened(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Widen lines so far that sampling does not interrupt them."""
    step = max(1, round(mask.shape[1] / TILE_WIDTH))
    return np.asarray(cv2.dilate(mask, np.ones((step, step), np.uint8)), dtype=np.uint8)


def _paled(colour: Image) -> Image:
    grey = colour.mean(axis=-1, keepdims=True)
    return np.broadcast_to(0.45 * grey + 20, colour.shape).astype(np.uint8)


def _marked(colour: Image, marks: dict[tuple[int, int, int], NDArray]) -> Image:
    """Return the image, grey and light, with masks in strong colours over it."""
    grey = 0.4 * colour.mean(axis=-1, keepdims=True) + 145
    image = np.broadcast_to(grey, colour.shape).astype(np.uint8).copy()
    for mark, mask in marks.items():
        image[mask] = mark
    return image


def _dotted(image: Image, pixels: NDArray, colours: NDArray[np.uint8], scale: float) -> Image:
    image = image.copy()
    places = np.rint((pixels + 0.5) * scale - 0.5).astype(int)
    for (x, y), colour in zip(places.tolist(), colours.tolist(), strict=True):
        cv2.circle(image, (x, y), _DOT_RADIUS, colour, -1, cv2.LINE_AA)
    return image


def _in_matched_segments(predicted: NDArray, truth: NDArray) -> NDArray[np.bool_]:
    """Return which pixels are of a predicted and a true segment of one label that share more than half their union."""
    known = truth >= 0
    (ids, found), (true_ids, true) = (_numbered(np.where(known, image, -1)) for image in (predicted, truth))
    shared = np.bincount((true * len(ids) + found).ravel(), minlength=len(true_ids) * len(ids)).reshape(-1, len(ids))
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    same = (ids >= 0) & (ids // _PANOPTIC_BASE == true_ids[:, None] // _PANOPTIC_BASE)
    return (same & (2 * shared > union))[true, found]


def _numbered(panoptic: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids that occur, -1 for unknown, and for each pixel the place of its own among them."""
    shifted = np.maximum(panoptic, -1).astype(np.int64) + 1
    occurs = np.bincount(shifted.ravel()) > 0
    place: NDArray[np.int64] = np.cumsum(occurs) - 1
    return np.flatnonzero(occurs) - 1, place[shifted]


def _ramp(values: NDArray, low: float, high: float, colours: NDArray[np.uint8]) -> Image:
    known = np.isfinite(values)
    steps = np.clip((np.where(known, values, low) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return np.where(known[..., None], colours[steps], np.array(_UNKNOWN, np.uint8))


def _signed(relative_error: NDArray) -> Image:
    """Return blue where the prediction is too near, red where it is too far."""
    return _ramp(relative_error, -_MOST_RELATIVE, _MOST_RELATIVE, _DIVERGING)


def _without_gaps(colours: Image, vectors: NDArray) -> Image:
    return np.where(np.isfinite(vectors[..., :1]), colours, np.array(_UNKNOWN, np.uint8))


def _depth_bars(low: float, high: float) -> Image:
    bars = (
        colour_bar(DEPTH_COLOURS, low, high, "m", TILE_WIDTH),
        colour_bar(_DIVERGING, -100 * _MOST_RELATIVE, 100 * _MOST_RELATIVE, "%", TILE_WIDTH),
    )
    return beside(bars)


def _gradient(*stops: tuple[int, int, int]) -> NDArray[np.uint8]:
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, np.arange(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=-1).astype(np.uint8)


_DIVERGING = _gradient((24, 72, 160), (96, 156, 214), (246, 246, 244), (228, 120, 92), (164, 20, 40))
_SEQUENTIAL = _gradient((248, 248, 244), (254, 208, 130), (236, 108, 60), (176, 24, 44), (84, 0, 30))


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("-inf")


def _share(part: NDArray, whole: NDArray) -> float:
    count = np.count_nonzero(whole)
    return np.count_nonzero(part) / count if count else float("-inf")
