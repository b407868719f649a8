# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what is true of a frame: per camera, and from above."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Box, CabinFrame, Camera, CameraTruth, LabelSpace, Sample
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.drawing.colours import (
    bev_from_above,
    depth_colours,
    flow_colours,
    normal_colours,
    panoptic_colours,
    semantic_colours,
)
from mtl_perception.drawing.images import Image, beside, paper, resized, stacked, titled, write
from mtl_perception.drawing.occupancy import occupancy_from_above

_EDGES = np.array([(i, j) for i in range(8) for j in range(i + 1, 8) if bin(i ^ j).count("1") == 1])
_LEAST_PIXELS = 6


def truth_picture(sample: Sample, labels: LabelSpace, tile: int = 256) -> Image:
    """Return a sheet with all that is known of a sample: a column a camera, then what is seen from above.

    What is not known is left out. `tile` is the width of a camera's images in pixels.
    """
    columns = [_camera_column(sample, name, labels, tile) for name in sample.frame.present]
    rows = [beside(columns)]
    above = _above(sample, labels, tile)
    if above:
        rows.append(beside(above))
    if sample.cabin is not None:
        rows.append(beside(_cabin(sample.cabin, tile)))
    return stacked([*rows, _text(sample, rows[0].shape[1])])


def sheet_row(sample: Sample, labels: LabelSpace, title: str, tile: int, cameras: Sequence[str]) -> Image:
    """Return one line: some cameras' images, then the first one's labels and depth, then the BEV map from above."""
    first = cameras[0]
    truth, image = sample.truth.cameras[first], sample.frame.images[first]
    assert truth.semantic is not None and truth.depth is not None and sample.truth.bev_map is not None
    height = resized(image, tile).shape[0]
    depth = np.where(np.isfinite(truth.depth), truth.depth, np.nan)
    tiles = [image_with_boxes(sample, name, tile) for name in cameras]
    tiles.append(resized(semantic_colours(truth.semantic, image, labels), tile, smooth=False))
    tiles.append(resized(depth_colours(depth, 0.5, _farthest(truth.depth)), tile, smooth=False))
    tiles.append(bev_from_above(sample.truth.bev_map, height))
    return titled(beside(tiles), title)


def image_with_boxes(sample: Sample, camera: str, tile: int) -> Image:
    """Return a camera's image, `tile` pixels wide, with the boxes of the things that it shows."""
    view, image = sample.frame.rig[camera], sample.frame.images[camera]
    scaled = resized(image, tile).copy()
    sweep = sample.truth.sweep
    if sweep is not None and sweep.boxes and sweep.world_from_base is not None and view.is_rectified:
        camera_from_base = inverse(sample.frame.world_from_camera[camera]) @ sweep.world_from_base
        for box in _shown(sweep.boxes, sample.truth.cameras.get(camera)):
            _draw_box(scaled, view.resized(tile, scaled.shape[0]), camera_from_base @ box.frame_from_box, box)
    return scaled


def _camera_column(sample: Sample, name: str, labels: LabelSpace, tile: int) -> Image:
    image, truth = sample.frame.images[name], sample.truth.cameras.get(name, CameraTruth())
    parts = [titled(image_with_boxes(sample, name, tile), name)]
    views: dict[str, Callable[[NDArray], Image]] = {
        "depth": lambda depth: depth_colours(np.where(np.isfinite(depth), depth, np.nan), 0.5, _farthest(depth)),
        "semantic": lambda semantic: semantic_colours(semantic, image, labels),
        "panoptic": panoptic_colours,
        "normals": normal_colours,
        "edges": lambda edges: np.repeat(edges[..., None], 3, axis=2),
        "motion_mask": lambda mask: np.repeat(mask[..., None], 3, axis=2),
        "scene_flow": flow_colours,
    }
    for what, draw in views.items():
        values = getattr(truth, what)
        if values is not None and not (what == "semantic" and sample.truth.dataset):
            parts.append(titled(resized(draw(values), tile, smooth=False), what))
    return stacked(parts)


def _above(sample: Sample, labels: LabelSpace, tile: int) -> list[Image]:
    pictures = []
    if sample.truth.bev_map is not None:
        pictures.append(titled(bev_from_above(sample.truth.bev_map, tile), "BEV map"))
    if sample.truth.occupancy is not None:
        pictures.append(titled(occupancy_from_above(sample.truth.occupancy, labels, tile), "occupancy"))
    return pictures


def _cabin(cabin: CabinFrame, tile: int) -> list[Image]:
    return [titled(resized(image, tile), f"cabin: {name}") for name, image in cabin.images.items()]


def _text(sample: Sample, width: int) -> Image:
    truth = sample.truth
    lines = [f"{task}: {name}" for task, name in truth.driving_context.items()]
    if truth.steering is not None:
        lines.append(f"steering: {np.degrees(truth.steering):.1f} deg")
    if truth.ego_motion is not None:
        lines.append(f"ego motion: {np.linalg.norm(truth.ego_motion.previous_base_from_base[:3, 3]):.2f} m")
    sheet = paper(26, width)
    write(sheet, "   ".join(lines), (4, 18), scale=0.42)
    return sheet


def _shown(boxes: Sequence[Box], truth: CameraTruth | None) -> list[Box]:
    """Return the boxes of the things that an image shows; all, where it is not known what it shows."""
    if truth is None or truth.instance is None:
        return list(boxes)
    numbers, counts = np.unique(truth.instance, return_counts=True)
    shown = {str(number) for number, count in zip(numbers, counts, strict=True) if count >= _LEAST_PIXELS}
    return [box for box in boxes if box.track in shown]


def _draw_box(image: Image, camera: Camera, camera_from_box: NDArray, box: Box) -> None:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * box.size
    points = transform_points(camera_from_box, corners)
    for i, j in _EDGES:
        ends = points[[i, j]]
        if (ends[:, 2] > 0.2).all():
            pixels = ends / ends[:, 2:] @ camera.K.T
            start, end = (tuple(int(v) for v in np.clip(np.rint(pixel[:2]), -9999, 9999)) for pixel in pixels)
            cv2.line(image, start, end, (255, 230, 60), 1, cv2.LINE_AA)


def _farthest(depth: NDArray[np.float32]) -> float:
    finite = depth[np.isfinite(depth)]
    return float(np.clip(np.percentile(finite, 95), 3.0, 60.0)) if len(finite) else 10.0
