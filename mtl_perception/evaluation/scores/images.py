# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted images beside true ones, camera by camera."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame


def image_pairs(judged: JudgedFrame, task: str) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the predicted and the true image (the field `task` of both) of each camera that has the two.

    Raises:
        ValueError: a true image has not the size of its camera; names the task, the camera and both sizes.
    """
    for camera in judged.cameras.values():
        truth = true_image(camera, task)
        if truth is None:
            continue
        predicted = camera.predicted(task)
        if predicted is not None:
            yield predicted, truth


def true_image(camera: JudgedCamera, task: str) -> NDArray | None:
    """Return what is true of a camera's image, or None.

    Raises:
        ValueError: it has not the size of the camera; names the task, the camera and both sizes.
    """
    truth: NDArray | None = getattr(camera.truth, task)
    size = camera.camera.height, camera.camera.width
    if truth is not None and truth.shape[:2] != size:
        raise ValueError(
            f"{task}: the truth of camera '{camera.camera.name}' has {truth.shape[1]} x {truth.shape[0]} pixels, "
            f"the camera {size[1]} x {size[0]}"
        )
    return truth


def chosen(image: NDArray, pixels: NDArray[np.int64]) -> NDArray:
    """Return the values (N,) of an image (H, W) or a row at flat, ascending places (N,) in it."""
    flat = image.ravel()
    return flat if len(pixels) == flat.size else flat.take(pixels)


def chosen_vectors(image: NDArray, pixels: NDArray[np.int64]) -> tuple[NDArray, NDArray, NDArray]:
    """Return the three components, (N,) each, of an image (H, W, 3) of vectors at flat, ascending places (N,) in it.

    Components that lie apart are several times as fast to compute with as rows of three.
    """
    x, y, z = (chosen(component, pixels) for component in cv2.split(image))
    return x, y, z
