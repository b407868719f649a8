# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Windows of images at another size, with the intrinsics that go with them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera
from mtl_perception.training.samples import TrainingSample, class_borders
from mtl_perception.training.sources.base import Size


class Window(NamedTuple):
    """A part of an image, in whole pixels."""

    x: int
    y: int
    width: int
    height: int


def random_window(width: int, height: int, fraction: float, rng: np.random.Generator) -> Window:
    """Return a random window with the image's shape and `fraction` of its sides."""
    w, h = round(width * fraction), round(height * fraction)
    return Window(int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h)


def smooth(image: NDArray[np.uint8], window: Window, size: Size) -> NDArray[np.uint8]:
    """Return a window of a picture (H, W, 3) at a size; averaged where it shrinks."""
    part = _part(image, window)
    if part.shape[1::-1] == size:
        return part
    shrinks = window.width >= size[0] and window.height >= size[1]
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).astype(np.uint8)


def nearest(values: NDArray, window: Window, size: Size) -> NDArray:
    """Return a window of images (N, H, W, ...) at a size, each pixel the value at the nearest pixel centre."""
    if (window.width, window.height) == size:
        return values[:, window.y : window.y + window.height, window.x : window.x + window.width]
    rows = window.y + ((np.arange(size[1]) + 0.5) * (window.height / size[1])).astype(np.intp)
    columns = window.x + ((np.arange(size[0]) + 0.5) * (window.width / size[0])).astype(np.intp)
    return values.take(rows, axis=1).take(columns, axis=2)


def window_intrinsics(K: NDArray[np.float64], window: Window, size: Size) -> NDArray[np.float64]:
    """Return the intrinsics (3, 3) of a window at a size."""
    moved = K.copy()
    moved[0, 2] -= window.x
    moved[1, 2] -= window.y
    return Camera("window", window.width, window.height, moved, np.eye(4)).resized(*size).K


def cut(sample: TrainingSample, window: Window, size: Size) -> TrainingSample:
    """Return the same window of all images of a sample, and of the frame before, at a size.

    Occupancy, BEV map and boxes stay as they are. Edges are those between the classes at the new size, which are thin
    at any size.
    """
    count, height, width = sample.depth.shape
    if window == (0, 0, width, height) and (width, height) == size:
        return sample
    semantic = nearest(sample.semantic, window, size)
    previous = sample.previous_images
    return replace(
        sample,
        images=np.stack([smooth(image, window, size) for image in sample.images]),
        K=np.stack([window_intrinsics(sample.K[i], window, size) for i in range(count)]),
        depth=nearest(sample.depth, window, size),
        semantic=semantic,
        motion_mask=nearest(sample.motion_mask, window, size),
        previous_images=None if previous is None else np.stack([smooth(image, window, size) for image in previous]),
        normals=None if sample.normals is None else nearest(sample.normals, window, size),
        edges=None if sample.edges is None else class_borders(semantic),
        instance=None if sample.instance is None else nearest(sample.instance, window, size),
        scene_flow=None if sample.scene_flow is None else nearest(sample.scene_flow, window, size),
    )


def _part(image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    return image[window.y : window.y + window.height, window.x : window.x + window.width]
