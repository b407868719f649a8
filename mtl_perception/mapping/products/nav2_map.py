# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""2D grids of the map as the pair of files that nav2_map_server loads, in its mode `trinary`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtl_perception.mapping.ground.ground_grid import FREE, OCCUPIED, UNSEEN, GridMap

_ROWS = 256  # of a piece that is written
_GREY = {OCCUPIED: 0, FREE: 254, UNSEEN: 205}
# map_server takes (255 - grey) / 255 for the probability of an obstacle. Below 0.196 is free: at its saver's own 0.25,
# what is unknown would be free.
_YAML = """\
image: {image}
mode: trinary
resolution: {resolution!r}
origin: [{x!r}, {y!r}, 0.0]
negate: 0
occupied_thresh: 0.65
free_thresh: 0.196
"""


def write_nav2_map(yaml: Path, grid: GridMap) -> None:
    """Write a grid to `yaml` and, beside it, its image `.pgm`; a grid without cells becomes one unknown cell.

    Raises:
        OSError: a file cannot be written.
    """
    image = yaml.with_suffix(".pgm")
    data = grid.data if grid.data.size else np.full((1, 1), UNSEEN, np.int8)
    greys = np.zeros(256, np.uint8)
    for value, grey in _GREY.items():
        greys[np.int8(value).view(np.uint8)] = grey
    with image.open("wb") as file:
        file.write(f"P5\n# occupied 0, free 254, unknown 205\n{data.shape[1]} {data.shape[0]}\n255\n".encode("ascii"))
        for end in range(len(data), 0, -_ROWS):  # an image begins at the top, with the largest y
            rows = data[max(end - _ROWS, 0) : end]
            file.write(greys[rows[::-1].view(np.uint8)].tobytes())
    x, y = (float(value) for value in grid.origin)
    yaml.write_text(_YAML.format(image=image.name, resolution=float(grid.resolution), x=x, y=y))
