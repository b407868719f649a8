# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""2D grids as files, read as nav2_map_server reads them (map_io.cpp, trinary)."""

import cv2
import numpy as np
import yaml

from mtl_perception.mapping import GridMap
from mtl_perception.mapping.products.nav2_map import write_nav2_map


def loaded(path):
    """The cells and the origin that map_server publishes."""
    entry = yaml.safe_load(path.read_text())
    assert entry["mode"] == "trinary" and entry["negate"] == 0
    image = cv2.imread(str(path.parent / entry["image"]), cv2.IMREAD_UNCHANGED)
    occupancy = 1.0 - image[::-1] / 255.0
    data = np.full(image.shape, -1, np.int8)
    data[occupancy > entry["occupied_thresh"]] = 100
    data[occupancy < entry["free_thresh"]] = 0
    return GridMap(tuple(entry["origin"][:2]), entry["resolution"], data)


def test_map_server_reads_the_same_grid(tmp_path):
    data = np.random.default_rng(0).choice(np.array([-1, 0, 100], np.int8), (600, 37))  # more rows than a piece has
    write_nav2_map(tmp_path / "grid.yaml", GridMap((-12.3, 4.0), 0.1, data))
    read = loaded(tmp_path / "grid.yaml")
    assert np.array_equal(read.data, data) and read.origin == (-12.3, 4.0) and read.resolution == 0.1


def test_an_empty_grid_is_one_unknown_cell(tmp_path):
    write_nav2_map(tmp_path / "grid.yaml", GridMap((0.0, 0.0), 0.1, np.zeros((0, 0), np.int8)))
    assert loaded(tmp_path / "grid.yaml").data.tolist() == [[-1]]
