# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `mapping` suite: what a step costs in a small and in a large map, and whether memory grows on a long drive.

A camera drives along a street canyon without end whose depth is worked out exactly. Beside it, what Open3D takes to
mesh all of the map's voxels, which is how a map is meshed that does not keep track of its changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from mtl_perception.bench.results import Result
from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Prediction
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.mapping import Mapper, MapperConfig, MapStats
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
_WALLS_M, _NICHES_M, _NICHE_LENGTH_M = 8.0, 9.0, 6.0  # from the middle of the street
_ROOFS_M = 10.0


class Canyon:
    """A street between buildings with niches, as long as one drives."""

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
        depth = np.minimum(ground, wall)
        semantic = np.where(ground < wall, self.labels.id_of("road"), self.labels.id_of("building")).astype(np.uint8)
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
    """Drive until the map has so many blocks, and measure at both numbers.

    Args:
        size: (width, height) of the images, pixels.
        blocks: of a small and of a large map. Memory is compared between the frame at which as many blocks have left it
            as the small map has, and the end.
        advanced: gets what has been measured, in words, `STEPS` times.
    """
    canyon = Canyon(size)
    mapper = Mapper(MapperConfig(**SCENES["street"]), canyon.labels, with_grid=False)
    small, large = blocks
    drive = _Drive(mapper, canyon)
    drive.until(lambda stats: stats.blocks >= small)
    small_step_ms, small_extraction_ms = drive.step_ms(), drive.extraction_ms()
    advanced(f"{small} blocks")
    drive.until(lambda stats: stats.archived_blocks >= small)
    memory_before = _resident_mb()
    advanced("the window is full")
    drive.until(lambda stats: stats.blocks >= large)
    memory_after = _resident_mb()
    advanced(f"{large} blocks")
    large_step_ms = drive.step_ms()
    advanced("steps")
    large_extraction_ms = drive.extraction_ms()
    mapper.close()
    advanced("Open3D")
    at_small = f"at {small} blocks"
    return [
        Result(SUITE, f"step_at_{large}_blocks", large_step_ms, "ms", at_small, small_step_ms),
        Result(SUITE, f"open3d_extraction_at_{large}_blocks", large_extraction_ms, "ms", at_small, small_extraction_ms),
        Result(SUITE, f"memory_at_{large}_blocks", memory_after, "MB", "when the window was full", memory_before),
    ]


class _Drive:
    """A mapper on its way down the canyon."""

    def __init__(self, mapper: Mapper, canyon: Canyon) -> None:
        self._mapper, self._canyon, self._x = mapper, canyon, 0.0

    def until(self, reached: Callable[[MapStats], bool]) -> None:
        """Drive on."""
        while not reached(self._mapper.stats):
            self._step(_DRIVE_M)

    def step_ms(self) -> float:
        """Return the median CPU time of a frame, fused and meshed."""
        return median(self._step(_PACE_M) for _ in range(_TIMED))

    def extraction_ms(self) -> float:
        """Return the CPU time in which Open3D meshes all voxels."""
        grid = self._mapper.to_open3d()
        started = time.process_time()
        grid.extract_triangle_mesh(self._mapper.config.min_weight)
        return 1e3 * (time.process_time() - started)

    def _step(self, metres: float) -> float:
        self._x += metres
        frame = self._canyon.look(self._x)
        started = time.process_time()
        self._mapper.integrate(frame)
        return 1e3 * (time.process_time() - started)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
