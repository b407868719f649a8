# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""BevMap, both ways, and as a grid to drive on."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from nav_msgs.msg import OccupancyGrid

from mtl_perception.core.prediction import BevMap
from mtl_perception.messages.raw_images import shown
from mtl_perception.messages.stamps import to_header, to_time
from mtl_perception_msgs.msg import BevMap as BevMapMessage

DRIVABLE_LAYERS = ("road", "crossing", "lane_marking", "floor")
"""The layers that a vehicle or a robot indoors may be on."""


def to_drivable_grid(bev_map: BevMap, stamp_ns: int, base_frame: str) -> OccupancyGrid:
    """Return the probability that one may not drive in a cell: 0 free, 100 not drivable, -1 unknown.

    A cell is as drivable as the most likely of its `DRIVABLE_LAYERS`; without such a layer all is unknown.
    """
    shapes = [layer.shape for layer in bev_map.layers.values()] or [(0, 0)]
    drivable = np.full(shapes[0], np.nan, np.float32)
    for name in DRIVABLE_LAYERS:
        if name in bev_map.layers:
            drivable = np.fmax(drivable, bev_map.layers[name])
    cells = np.where(np.isnan(drivable), -1.0, np.rint(100.0 * (1.0 - np.clip(drivable, 0.0, 1.0)))).astype(np.int8)
    message = OccupancyGrid(header=to_header(stamp_ns, base_frame))
    message.info.map_load_time = to_time(stamp_ns)
    message.info.resolution = float(bev_map.cell_size)
    message.info.width, message.info.height = shapes[0]
    x, y = (float(value) for value in bev_map.origin)
    message.info.origin = Pose(position=Point(x=x, y=y, z=0.0), orientation=Quaternion(w=1.0))
    message.data = array.array("b", cells.tobytes(order="F"))  # x fastest
    return message


def to_bev_map(bev_map: BevMap, stamp_ns: int, base_frame: str) -> BevMapMessage:
    """Return a BEV map as message; probabilities are rounded to 1/254, but not across 0.5, and NaN becomes the code for
    unknown.

    Raises:
        ValueError: the layers are not all of one size.
    """
    message = BevMapMessage(header=to_header(stamp_ns, base_frame), cell_size=float(bev_map.cell_size))
    message.origin_x, message.origin_y = (float(value) for value in bev_map.origin)
    message.layers = list(bev_map.layers)
    shapes = {layer.shape for layer in bev_map.layers.values()}
    if len(shapes) > 1:
        raise ValueError(f"BEV map: its layers are of different sizes: {', '.join(map(str, sorted(shapes)))}")
    message.size_x, message.size_y = shapes.pop() if shapes else (0, 0)
    blocks = []
    for layer in bev_map.layers.values():
        scaled = np.rint(np.clip(layer, 0.0, 1.0) * BevMapMessage.CERTAIN)
        half = BevMapMessage.CERTAIN // 2
        scaled = np.where(layer < 0.5, np.minimum(scaled, half - 1), scaled)  # what is thresholded stays what it is
        blocks.append(np.where(np.isnan(scaled), BevMapMessage.UNKNOWN, scaled).astype(np.uint8).tobytes(order="F"))
    message.values = array.array("B", b"".join(blocks))
    return message


def from_bev_map(message: Any, topic: str = "perception/bev_map_layers") -> BevMap:
    """Return the BEV map that a message carries; 0, 1 and unknown come back exactly.

    Raises:
        ValueError: there are not as many values as the sizes say, a layer is there twice, or the cells' place or size
            makes no sense; names `topic` and the values.
    """
    origin, cell_size = (float(message.origin_x), float(message.origin_y)), float(message.cell_size)
    if not np.isfinite(origin).all() or not 0 < cell_size < np.inf:
        raise ValueError(f"{topic}: cells of {cell_size} m from {origin} on cannot be")
    names, shape = [str(name) for name in message.layers], (int(message.size_x), int(message.size_y))
    values = np.frombuffer(message.values, dtype=np.uint8)
    if len(values) != len(names) * shape[0] * shape[1]:
        raise ValueError(
            f"{topic}: values has {len(values)} entries, {len(names)} layers of {shape[0]} x {shape[1]} expected"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"{topic}: layers are called the same: {', '.join(map(shown, names))}")
    layers = {}
    for name, block in zip(names, np.split(values, len(names)) if names else (), strict=True):
        probability = block.reshape(shape, order="F").astype(np.float32) / np.float32(BevMapMessage.CERTAIN)
        probability[block.reshape(shape, order="F") == BevMapMessage.UNKNOWN] = np.nan
        layers[name] = np.ascontiguousarray(probability)
    return BevMap(origin, cell_size, layers)
