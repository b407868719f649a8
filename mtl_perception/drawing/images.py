# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small drawing tools for the pictures: text, tiles, colour bars, legends. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (250, 250, 248)
INK: Colour = (40, 44, 52)
FAINT: Colour = (150, 154, 160)
GAP = 6

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINE = 26


def paper(height: int, width: int) -> Image:
    """Return an empty sheet."""
    return np.full((height, width, 3), PAPER, dtype=np.uint8)


def write(image: Image, text: str, at: tuple[int, int], colour: Colour = INK, scale: float = 0.5) -> None:
    """Write text into an image, its lower left corner at pixel (x, y)."""
    cv2.putText(image, text, at, _FONT, scale, colour, 1, cv2.LINE_AA)


def text_width(text: str, scale: float = 0.5) -> int:
    """Return how many pixels wide a text is."""
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def titled(image: Image, title: str) -> Image:
    """Return the image below a line with its title."""
    sheet = paper(image.shape[0] + _LINE, image.shape[1])
    write(sheet, title, (4, _LINE - 8))
    sheet[_LINE:] = image
    return sheet


def resized(image: NDArray[np.uint8], width: int, smooth: bool = True) -> NDArray[np.uint8]:
    """Return the image at another width, its proportions kept; `smooth=False` for labels and masks."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    shrinks = width < image.shape[1]
    how = (cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC) if smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


def tiled(images: Sequence[Image], columns: int) -> Image:
    """Return the images in rows of `columns`, each row as high as its highest image."""
    rows = [beside(images[start : start + columns]) for start in range(0, len(images), columns)]
    return stacked(rows)


def beside(images: Sequence[Image]) -> Image:
    """Return the images from left to right, aligned at the top."""
    height = max(image.shape[0] for image in images)
    sheet = paper(height, sum(image.shape[1] for image in images) + GAP * (len(images) - 1))
    x = 0
    for image in images:
        sheet[: image.shape[0], x : x + image.shape[1]] = image
        x += image.shape[1] + GAP
    return sheet


def stacked(images: Sequence[Image]) -> Image:
    """Return the images from top to bottom, aligned at the left."""
    width = max(image.shape[1] for image in images)
    sheet = paper(sum(image.shape[0] for image in images) + GAP * (len(images) - 1), width)
    y = 0
    for image in images:
        sheet[y : y + image.shape[0], : image.shape[1]] = image
        y += image.shape[0] + GAP
    return sheet


def framed(image: Image, margin: int = 12) -> Image:
    """Return the image with a margin of paper around it."""
    sheet = paper(image.shape[0] + 2 * margin, image.shape[1] + 2 * margin)
    sheet[margin:-margin, margin:-margin] = image
    return sheet


def legend(entries: Sequence[tuple[str, Colour]], width: int) -> Image:
    """Return names beside squares of their colours, in as many lines as `width` asks for."""
    lines: list[list[tuple[str, Colour, int]]] = [[]]
    x = 0
    for name, colour in entries:
        needed = 22 + text_width(name) + 18
        if x + needed > width and lines[-1]:
            lines.append([])
            x = 0
        lines[-1].append((name, colour, x))
        x += needed
    sheet = paper(_LINE * len(lines), width)
    for row, line in enumerate(lines):
        for name, colour, left in line:
            top = row * _LINE + 6
            cv2.rectangle(sheet, (left, top), (left + 14, top + 14), colour, -1)
            cv2.rectangle(sheet, (left, top), (left + 14, top + 14), INK, 1)
            write(sheet, name, (left + 20, top + 12))
    return sheet


def colour_bar(colours: NDArray[np.uint8], low: float, high: float, unit: str, width: int) -> Image:
    """Return a horizontal bar of `colours` (256, 3) from `low` to `high` with round tick values."""
    sheet = paper(44, width)
    left, right = 10, width - 46
    bar = colours[np.linspace(0, 255, right - left).astype(int)]
    sheet[6:20, left:right] = bar[None]
    step = round_step((high - low) / 6)
    tick = np.ceil(low / step - 1e-6) * step
    while tick <= high + 1e-6:
        x = left + round((tick - low) / (high - low) * (right - left - 1))
        cv2.line(sheet, (x, 20), (x, 24), INK, 1)
        label = f"{tick + 0.0:g}"  # no "-0"
        write(sheet, label, (x - text_width(label, 0.42) // 2, 38), scale=0.42)
        tick += step
    write(sheet, unit, (right + 12, 18))
    return sheet


def round_step(step: float) -> float:
    """Return the next larger of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999))


def save_image(image: Image, path: Path) -> None:
    """Write the image, as PNG or JPEG by the path's ending; the file appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    how = [cv2.IMWRITE_PNG_COMPRESSION, 7] if path.suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 88]
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), how)
    if not done:
        raise OSError(f"{path}: an image of shape {image.shape} cannot be written as {path.suffix}")
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(encoded.tobytes())
    os.replace(temporary, path)
