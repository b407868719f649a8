# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Colours for what perception says of an image or of the ground: one function a kind of value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import BevMap, LabelSpace
from mtl_perception.drawing.images import INK, Colour, Image, resized

MOTION_COLOUR = (255, 60, 30)
INVALID_COLOUR = (60, 60, 60)

# Near is warm, far is cold.
DEPTH_COLOURS: NDArray[np.uint8] = np.asarray(
    cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO), dtype=np.uint8
)[::-1, 0, ::-1]
LAYER_COLOURS: Mapping[str, Colour] = {
    "road": (150, 120, 150),
    "floor": (190, 160, 130),
    "pavement": (225, 190, 220),
    "crossing": (240, 200, 60),
    "lane_marking": (255, 255, 255),
}
FASTEST_M_S = 10.0
"""Flow of this speed has a full colour."""


def depth_limits(depths: Iterable[NDArray[np.float32]]) -> tuple[float, float]:
    """Return the depths in metres between which nearly all valid ones lie, for a common colour scale."""
    valid = np.concatenate([depth[np.isfinite(depth)].ravel() for depth in depths])
    if valid.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(valid, [1, 98])
    return float(low), float(max(high, low + 0.1))


def depth_colours(depth: NDArray[np.float32], low: float, high: float) -> Image:
    """Return the colours (H, W, 3) of a depth image in metres; grey where it is invalid."""
    valid = np.isfinite(depth)
    steps = np.clip((np.where(valid, depth, low) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return np.where(valid[..., None], DEPTH_COLOURS[steps], np.array(INVALID_COLOUR, dtype=np.uint8))


def semantic_colours(semantic: NDArray[np.uint8], colour: Image, labels: LabelSpace, opacity: float = 0.65) -> Image:
    """Return the labels' colours over the image; unknown pixels show the image alone."""
    blended = opacity * labels.palette[semantic] + (1 - opacity) * colour
    known = (semantic < len(labels))[..., None]
    return np.asarray(np.where(known, blended, colour), dtype=np.uint8)


def motion_colours(mask: NDArray[np.uint8], colour: Image) -> Image:
    """Return the image, darker, with what moves in a bright colour."""
    moving = (mask > 0)[..., None]
    highlighted = 0.35 * colour + 0.65 * np.array(MOTION_COLOUR)
    return np.asarray(np.where(moving, highlighted, 0.7 * colour), dtype=np.uint8)


def normal_colours(normals: NDArray[np.float32]) -> Image:
    """Return normals in the camera's frame as colours: red to the right, green up, blue towards the camera."""
    return np.nan_to_num((normals * [1, -1, -1] + 1) * 127.5).astype(np.uint8)


def panoptic_colours(panoptic: NDArray[np.int32]) -> Image:
    """Return a colour of its own for every segment."""
    hashed = panoptic.astype(np.uint32) * np.uint32(2654435761)
    return np.stack([(hashed >> np.uint32(shift)) & np.uint32(255) for shift in (8, 16, 24)], axis=-1).astype(np.uint8)


def flow_colours(flow: NDArray[np.float32]) -> Image:
    """Return the direction over ground as hue and the speed as saturation."""
    known = np.nan_to_num(flow)
    hue = (np.degrees(np.arctan2(known[..., 1], known[..., 0])) / 2 % 180).astype(np.uint8)
    speed = np.clip(np.linalg.norm(known, axis=-1) / FASTEST_M_S, 0, 1)
    hsv = np.stack([hue, (speed * 255).astype(np.uint8), np.full(hue.shape, 255, np.uint8)], axis=-1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def bev_from_above(bev: BevMap, width: int) -> Image:
    """Return the layers over each other; x of the base frame points up in the picture, y to the left."""
    shape = next(iter(bev.layers.values())).shape
    colours = np.full((*shape, 3), 235, np.uint8)
    for name, layer in bev.layers.items():
        colours[layer > 0.5] = LAYER_COLOURS.get(name, INK)
    turned = np.ascontiguousarray(colours[::-1, ::-1])
    return resized(turned, width, smooth=False)
