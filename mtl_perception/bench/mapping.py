# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `mapping` suite: what a step costs in a small and in a large map, and whether memory grows on a long drive.

A camera drives along a street canyon without end whose depth is worked out exactly. Measured are the step itself, the
changes of the scene graph, and the sizes of all messages as the mapping node publishes them by default. Of the 2D grid
mostly updates are sent, and seldom all of it: the size of those whole grids is told for each metre of the way. Beside
it, what Open3D takes to mesh all of the map's voxels, which is how a map is meshed that does not keep track of its
changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from rclpy.serialization import serialize_message

from mtl_perception.bench.results import Result
from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Prediction
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.mapping import Mapper, MapperConfig, MapStats
from mtl_perception.messages.graph_markers import SceneGraphMarkers
from mtl_perception.messages.grid_updates import OccupancyGridMessages
from mtl_perception.messages.mesh import MeshMarkers
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.scene_graph import changes_message
from mtl_perception.resources import config_file
from mtl_perception.scenes import SCENES

SUITE = "mapping"
STEPS = 5
"""How often `advanced` is called."""

_TIMED = 30  # frames
_SPEED = 10.0  # m/s
_PACE_M = 0.5  # from a timed frame to the next
_DRIVE_M = 2.0  # from frame to frame between
_HEIGHT_M = 1.5  # of the camera
_ROAD_M = 3.5  # from its middle; the rest is pavement
_WALLS_M, _NICHES_M, _NICHE_LENGTH_M = 8.0, 9.0, 6.0  # from the middle of the street
_ROOFS_M = 10.0
_GRID_HZ = 1.0  # as the node by default; each frame is one of those that it publishes after
_FRAME = "odom"


class Canyon:
    """A road with pavements between buildings with niches, a sign all over the back of each, without end."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Take a camera whose images are (width, height) pixels, looking along the street."""
        width, height = size
        self.labels = LabelSpace.load(config_file("labels", "default"))
        K = np.array([[0.6 * width, 0, width / 2 - 0.5], [0, 0.6 * width, height / 2 - 0.5], [0, 0, 1]])
        self._camera = Camera("front", width, height, K, np.eye(4))
        self._left = np.broadcast_to(-(np.arange(width) - K[0, 2]) / K[0, 0], (height, width))
        self._up = np.broadcast_to(-(np.arange(height)[:, None] - K[1, 2]) / K[1, 1], (height, width))

    def look(self, x: float) -> Prediction:
        """Return what is seen `x` metres down the street."""
        with np.errstate(divide="ignore"):
            ground = np.where(self._up < 0, -_HEIGHT_M / self._up, np.inf)
            wall, niche = _WALLS_M / np.abs(self._left), _NICHES_M / np.abs(self._left)
        wall = np.where((x + wall) // _NICHE_LENGTH_M % 2 == 0, wall, niche)
        with np.errstate(invalid="ignore"):
            wall[_HEIGHT_M + wall * self._up > _ROOFS_M] = np.inf
            on_road = np.abs(self._left) * ground < _ROAD_M
        depth = np.minimum(ground, wall)
        road, pavement, building, sign = map(self.labels.id_of, ("road", "pavement", "building", "sign"))
        lower, upper = np.where(on_road, road, pavement), np.where(wall == niche, sign, building)
        semantic = np.where(ground < wall, lower, upper).astype(np.uint8)
        world_from_base = np.eye(4)
        world_from_base[0, 3] = x
        world_from_camera = world_from_base @ BODY_FROM_OPTICAL
        world_from_camera[2, 3] = _HEIGHT_M
        stamp_ns = round(x / _SPEED * 1e9)
        look = CameraPrediction(
            camera=self._camera,
            stamp_ns=stamp_ns,
            world_from_camera=world_from_camera,
            colour=self.labels.palette[semantic],
            depth=np.where(np.isfinite(depth), depth, np.nan).astype(np.float32),
            semantic=semantic,
        )
        return Prediction(stamp_ns, {"front": look}, "base_link", "odom", world_from_base, tasks=("depth", "semantic"))


def run_suite(
    size: tuple[int, int], blocks: tuple[int, int], *, advanced: Callable[[str], None] = lambda what: None
) -> list[Result]:
    """Drive until two maps have so many blocks, and measure both in turn: what else the machine does meets both alike.

    Args:
        size: (width, height) of the images, pixels.
        blocks: of a small and of a large map. Memory is compared between the frame at which as many blocks have left it
            as the small map has, and the end.
        advanced: gets what has been measured, in words, `STEPS` times.
    """
    canyon = Canyon(size)
    small, large = blocks
    in_large = _Drive(canyon)
    in_large.until(lambda stats: stats.archived_blocks >= small)
    memory_before = resident_mb()
    advanced("the window is full")
    in_large.until(lambda stats: stats.blocks >= large)
    memory_after = resident_mb()
    advanced(f"{large} blocks")
    in_small = _Drive(canyon)
    in_small.until(lambda stats: stats.blocks >= small)
    advanced(f"{small} blocks")
    large_medians, small_medians = _measured_in_turn(in_large, in_small)
    advanced("steps")
    large_extraction_ms, small_extraction_ms = in_large.extraction_ms(), in_small.extraction_ms()
    advanced("Open3D")
    in_large.mapper.close()
    in_small.mapper.close()
    at_small = f"at {small} blocks"
    return [
        *(
            Result(SUITE, f"{name}_at_{large}_blocks", large_medians[name], unit, at_small, small_medians[name])
            for name, unit in MEASURED.items()
        ),
        Result(
            SUITE,
            f"whole_occupancy_grids_at_{large}_blocks",
            in_large.whole_grids_kb_per_m(),
            "kB/m",
            at_small,
            in_small.whole_grids_kb_per_m(),
        ),
        Result(SUITE, f"open3d_extraction_at_{large}_blocks", large_extraction_ms, "ms", at_small, small_extraction_ms),
        Result(SUITE, f"memory_at_{large}_blocks", memory_after, "MB", "when the window was full", memory_before),
    ]


MEASURED = {
    "step": "ms",
    "scene_graph_changes": "ms",
    "mesh_message": "kB",
    "scene_graph_changes_message": "kB",
    "scene_graph_markers_message": "kB",
    "points_message": "kB",
    "occupancy_grid_message": "kB",
}
"""What is measured of a frame, and its unit: CPU time of fusing and meshing it, and of finding and writing what it has
changed in the scene graph; sizes of the messages after it. Of the 2D grid these are the updates of the last whole
grid, and the next whole grid where one is due."""


class _Drive:
    """A mapper on its way down the canyon, with those who watch it."""

    def __init__(self, canyon: Canyon) -> None:
        self.mapper = mapper = Mapper(MapperConfig(**SCENES["street"]), canyon.labels)
        self._canyon, self._x = canyon, 0.0
        self._mesh, self._markers = MeshMarkers(_FRAME), SceneGraphMarkers()
        self._follower, self._watcher = mapper.follow_scene_graph(), mapper.follow_scene_graph()
        self._grid, self._grids_sent, self._whole_grids_kb = OccupancyGridMessages(), 0, 0.0

    def until(self, reached: Callable[[MapStats], bool]) -> None:
        """Drive on."""
        while not reached(self.mapper.stats):
            self._x += _DRIVE_M
            frame = self._canyon.look(self._x)
            self.mapper.integrate(frame)
            self._send_grid(frame.stamp_ns)

    def whole_grids_kb_per_m(self) -> float:
        """Return the size of all whole 2D grids so far for each metre of the way."""
        return self._whole_grids_kb / self._x

    def extraction_ms(self) -> float:
        """Return the CPU time in which Open3D meshes all voxels."""
        grid = self.mapper.to_open3d()
        started = time.process_time()
        grid.extract_triangle_mesh(self.mapper.config.min_weight)
        return 1e3 * (time.process_time() - started)

    def step(self) -> dict[str, float]:
        """Drive on; return `MEASURED`."""
        self._x += _PACE_M
        frame, mapper = self._canyon.look(self._x), self.mapper
        stamp_ns = frame.stamp_ns
        started = time.process_time()
        update = mapper.integrate(frame)
        stepped = time.process_time()
        changes = changes_message(mapper.scene_graph_changes(self._follower), stamp_ns, _FRAME)
        found = time.process_time()
        xyz, rgb, label = mapper.points(mapper.config.max_depth)
        messages = {
            "mesh": self._mesh.update(update.changed_blocks, update.removed_blocks, stamp_ns),
            "scene_graph_changes": changes,
            "scene_graph_markers": self._markers.update(mapper.scene_graph_changes(self._watcher), stamp_ns, _FRAME),
            "points": serialize_message(to_point_cloud(xyz, stamp_ns, _FRAME, rgb=rgb, fields={"label": label})),
        }
        sizes = {f"{name}_message": 1e-3 * len(message or b"") for name, message in messages.items()}
        sizes["occupancy_grid_message"] = self._send_grid(stamp_ns)
        return sizes | {"step": 1e3 * (stepped - started), "scene_graph_changes": 1e3 * (found - stepped)}

    def _send_grid(self, stamp_ns: int) -> float:
        """Return the size of all messages that make copies of the 2D grid as the grid is now, kB."""
        self._grids_sent += 1
        seconds = self._grids_sent / _GRID_HZ
        sent = self._grid.next(self.mapper, seconds, stamp_ns, _FRAME)
        whole_kb = 0.0 if sent.whole is None else 1e-3 * len(serialize_message(sent.whole))
        self._whole_grids_kb += whole_kb
        return whole_kb + 1e-3 * sum(len(serialize_message(update)) for update in sent.updates)


def _measured_in_turn(*drives: _Drive) -> list[dict[str, float]]:
    """Return the medians of `MEASURED` of each drive."""
    for drive in drives:
        drive.step()  # those who watch are told of all that was before
    found = [[drive.step() for drive in drives] for _ in range(_TIMED)]
    return [
        {name: median(each[name] for each in of_drive) for name in MEASURED} for of_drive in zip(*found, strict=True)
    ]


def resident_mb() -> float:
    """Return the memory of this process that is in use, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
