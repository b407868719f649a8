# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic occupancy seen from above, with the base's axes and a metric grid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import FREE, UNOBSERVED, LabelSpace, Occupancy, VoxelGrid
from mtl_perception.drawing.images import (
    FAINT,
    INK,
    Image,
    beside,
    legend,
    paper,
    round_step,
    stacked,
    text_width,
    write,
)

FREE_COLOUR = (226, 232, 228)
UNOBSERVED_COLOUR = (178, 182, 188)
_MARGIN = 30


def occupancy_from_above(occupancy: Occupancy, labels: LabelSpace, width: int = 640) -> Image:
    """Return the topmost voxel of each column in its label's colour, the higher the brighter.

    The base's x axis points up in the picture and its y axis to the left, as on a map seen by someone who looks
    along x. Columns without an occupied voxel are pale where something in them was seen to be free, grey elsewhere.
    """
    grid = occupancy.grid
    columns = _column_colours(occupancy, labels)
    scale = max(1, width // grid.shape[1])
    # Array rows run with x, columns with y; both axes turn round so that +x is up and +y is left.
    top = np.ascontiguousarray(columns[::-1, ::-1].repeat(scale, axis=0).repeat(scale, axis=1))
    _draw_grid(top, grid, scale)
    _draw_robot(top, grid, scale)
    sheet = paper(top.shape[0] + _MARGIN, top.shape[1] + _MARGIN)
    sheet[: top.shape[0], _MARGIN:] = top
    _write_ticks(sheet, grid, scale, top.shape[0])
    return stacked([sheet, beside([paper(1, _MARGIN), _legend(occupancy, labels, top.shape[1])])])


def _column_colours(occupancy: Occupancy, labels: LabelSpace) -> NDArray[np.uint8]:
    """Colours (X, Y, 3) of the columns."""
    occupied = np.asarray(occupancy.occupied)
    any_occupied = np.asarray(occupied.any(axis=2))
    levels = occupancy.grid.shape[2]
    highest = levels - 1 - np.argmax(occupied[:, :, ::-1], axis=2)
    label = np.take_along_axis(occupancy.labels, highest[..., None], axis=2)[..., 0]
    brightness = 0.75 + 0.5 * highest / max(1, levels - 1)
    colours = np.clip(labels.palette[label] * brightness[..., None], 0, 255)
    seen = np.asarray((occupancy.labels == FREE).any(axis=2))
    empty = np.where(seen[..., None], FREE_COLOUR, UNOBSERVED_COLOUR)
    return np.asarray(np.where(any_occupied[..., None], colours, empty), dtype=np.uint8)


def _pixel(grid: VoxelGrid, scale: int, x: float, y: float) -> tuple[int, int]:
    """Where a point of the base frame is in the picture (column, row)."""
    per_metre = scale / grid.voxel_size
    column = grid.shape[1] * scale - (y - grid.origin[1]) * per_metre
    row = grid.shape[0] * scale - (x - grid.origin[0]) * per_metre
    return round(column), round(row)


def _ticks(grid: VoxelGrid, axis: int) -> NDArray[np.float64]:
    low, high = grid.origin[axis], grid.origin[axis] + grid.shape[axis] * grid.voxel_size
    step = round_step((high - low) / 8)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _draw_grid(image: Image, grid: VoxelGrid, scale: int) -> None:
    lines = image.copy()
    for x in _ticks(grid, 0):
        row = _pixel(grid, scale, x, 0)[1]
        cv2.line(lines, (0, row), (image.shape[1], row), FAINT, 1)
    for y in _ticks(grid, 1):
        column = _pixel(grid, scale, 0, y)[0]
        cv2.line(lines, (column, 0), (column, image.shape[0]), FAINT, 1)
    cv2.addWeighted(lines, 0.55, image, 0.45, 0, dst=image)


def _draw_robot(image: Image, grid: VoxelGrid, scale: int) -> None:
    length = round_step(grid.shape[0] * grid.voxel_size / 16)
    origin = _pixel(grid, scale, 0, 0)
    for end, colour, name in (((length, 0), (214, 39, 40), "x"), ((0, length), (44, 160, 44), "y")):
        tip = _pixel(grid, scale, *end)
        cv2.arrowedLine(image, origin, tip, (255, 255, 255), 5, cv2.LINE_AA, tipLength=0.25)
        cv2.arrowedLine(image, origin, tip, colour, 2, cv2.LINE_AA, tipLength=0.25)
        write(image, name, (tip[0] + 8, tip[1] + 2) if name == "x" else (tip[0], tip[1] - 10), (255, 255, 255))
    cv2.circle(image, origin, 5, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(image, origin, 5, INK, 1, cv2.LINE_AA)


def _write_ticks(sheet: Image, grid: VoxelGrid, scale: int, bottom: int) -> None:
    for x in _ticks(grid, 0):
        row = _pixel(grid, scale, x, 0)[1]
        if 8 < row < bottom:
            write(sheet, f"{x:g}", (_MARGIN - 6 - text_width(f"{x:g}", 0.4), row + 4), scale=0.4)
    for y in _ticks(grid, 1):
        label = f"{y:g}"
        column = _MARGIN + _pixel(grid, scale, 0, y)[0] - text_width(label, 0.4) // 2
        if _MARGIN <= column < sheet.shape[1] - 24:
            write(sheet, label, (column, bottom + 16), scale=0.4)
    write(sheet, "m", (8, bottom + 18), scale=0.45)


def _legend(occupancy: Occupancy, labels: LabelSpace, width: int) -> Image:
    present = np.unique(occupancy.labels)
    entries = [(labels.labels[i].name, labels.labels[i].colour) for i in present if i < len(labels)]
    if FREE in present:
        entries.append(("free", FREE_COLOUR))
    if UNOBSERVED in present:
        entries.append(("unobserved", UNOBSERVED_COLOUR))
    return legend(entries, width)
