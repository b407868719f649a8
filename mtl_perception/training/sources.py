# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where training samples come from: recordings in memory, and rendered worlds that are kept on disk once rendered."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera, LabelSpace, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, inverse
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.data.world import World
from mtl_perception.training.config import SourceConfig
from mtl_perception.training.samples import UNKNOWN_MOTION, Sample

Size = tuple[int, int]
"""Width and height in pixels."""
Window = tuple[float, float, float, float]
"""x, y, width and height in pixels."""


class Source(Protocol):
    """A set of frames that samples can be drawn from."""

    def available(self, progress: float) -> int:
        """Return how many frames may be drawn when a fraction `progress` of the run is done."""

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> Sample:
        """Return frame `index` at `size`, randomly cropped where that keeps its truth true."""


def make_source(config: SourceConfig, data: Path, cache: Path, labels: LabelSpace, grid: VoxelGrid) -> Source:
    """Build the source that a configuration names.

    Raises:
        FileNotFoundError: a recording is not there.
    """
    if config.kind == "camvid":
        return CamVidSource(data / config.folder)
    if config.kind == "rgbd":
        return RgbdSource(data / config.folder, config.last_id, grid)
    return WorldSource(config.kind, config.worlds, cache, labels, grid)


class CamVidSource:
    """Labelled street photographs (the layout of `street_labels`: train/*.jpg, train_labels/*.png)."""

    def __init__(self, folder: Path) -> None:
        """Read all images into memory."""
        paths = sorted((folder / "train").glob("*.jpg"))
        if not paths:
            raise FileNotFoundError(f"no training images in {folder / 'train'}")
        self.images = [_read_rgb(path) for path in paths]
        self.labels = [_read(folder / "train_labels" / f"{p.stem}.png", cv2.IMREAD_UNCHANGED) for p in paths]

    def available(self, progress: float) -> int:
        """Return the number of images, whatever the progress."""
        return len(self.images)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> Sample:
        """Return an image. Its camera is not known: a plausible one is drawn, so that geometry tells no class."""
        image, labels = self.images[index], self.labels[index]
        height, width = image.shape[:2]
        focal = width * rng.uniform(0.7, 1.4)
        K = np.array([[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1.0]])
        window = _crop_window(width, height, rng.uniform(0.55, 1.0), rng)
        K = _cropped_K(K, window, size)
        semantic = _crop(labels, window, size, cv2.INTER_NEAREST)[None]
        # CamVid's sky (0) is where no depth will ever be measured: the one thing that it says about depth.
        depth = np.where(semantic == 0, np.inf, np.nan).astype(np.float32)
        return Sample(
            images=_crop(image, window, size, cv2.INTER_AREA)[None],
            K=K[None],
            base_from_camera=_street_mount(rng)[None],
            ground_known=bool(rng.random() < 0.5),
            depth=depth,
            semantic=semantic,
            dataset="camvid",
            motion_mask=np.full(semantic.shape, UNKNOWN_MOTION, np.uint8),
        )


class RgbdSource:
    """A hand-held RGB-D recording of a static room (7-Scenes layout): depth, indoors, nothing moves."""

    def __init__(self, folder: Path, last_id: int, grid: VoxelGrid) -> None:
        """Read the frames with ids below `last_id` into memory at half size."""
        self.grid = grid
        self.K = np.loadtxt(folder / "camera-intrinsics.txt")
        paths = [p for p in sorted(folder.glob("frame-*.color.jpg")) if int(p.name[6:12]) < last_id]
        if not paths:
            raise FileNotFoundError(f"no frames below id {last_id} in {folder}")
        self.images = [cv2.resize(_read_rgb(p), (320, 240), interpolation=cv2.INTER_AREA) for p in paths]
        stems = [str(p)[: -len(".color.jpg")] for p in paths]
        self.depth = [_read_depth(f"{stem}.depth.png") for stem in stems]
        self.world_from_camera = [np.loadtxt(f"{stem}.pose.txt") for stem in stems]
        self.K = Camera("rgbd", 640, 480, self.K, np.eye(4)).resized(320, 240).K

    def available(self, progress: float) -> int:
        """Return the number of frames, whatever the progress."""
        return len(self.images)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> Sample:
        """Return a frame with the one before it (one to three frames back)."""
        before = max(0, index - int(rng.integers(1, 4)))
        image, depth = self.images[index], self.depth[index]
        height, width = depth.shape
        window = _crop_window(width, height, rng.uniform(0.65, 1.0), rng)
        depth_crop = _crop(depth, window, size, cv2.INTER_NEAREST)
        K = _cropped_K(self.K, window, size)
        view = Camera("rgbd", size[0], size[1], K, BODY_FROM_OPTICAL)
        labels = None
        if rng.random() < 0.25:  # the occupancy decoder costs as much as several images, so not every frame asks for it
            labels = occupancy_from_depth(self.grid, [(view, depth_crop, None)]).labels
        has_previous = before != index and rng.random() < 0.4
        return Sample(
            images=_crop(image, window, size, cv2.INTER_AREA)[None],
            K=K[None],
            base_from_camera=BODY_FROM_OPTICAL[None],
            ground_known=False,
            depth=depth_crop[None],
            semantic=np.zeros((1, size[1], size[0]), np.uint8),  # not labelled, but it is indoors
            dataset="indoor",
            motion_mask=np.zeros((1, size[1], size[0]), np.uint8),
            occupancy=labels,
            previous_images=_crop(self.images[before], window, size, cv2.INTER_AREA)[None] if has_previous else None,
            previous_from_current=(inverse(self.world_from_camera[before]) @ self.world_from_camera[index])[None]
            if has_previous
            else None,
        )


class WorldSource:
    """Rendered worlds: all truth, several cameras. A frame pair is rendered when first asked for and kept on disk."""

    PAIRS_PER_WORLD = 6
    SIZE = (240, 176)

    def __init__(
        self, kind: str, worlds: int, cache: Path, labels: LabelSpace, grid: VoxelGrid, first_seed: int = 0
    ) -> None:
        """Prepare the source; nothing is rendered yet."""
        self.kind, self.worlds, self.labels, self.grid, self.first_seed = kind, worlds, labels, grid, first_seed
        self.folder = cache / kind
        self.folder.mkdir(parents=True, exist_ok=True)

    def available(self, progress: float) -> int:
        """Return the number of frame pairs: it grows over the first quarter, so that no run begins with a long wait."""
        worlds = max(1, min(self.worlds, math.ceil(4 * progress * self.worlds)))
        return worlds * self.PAIRS_PER_WORLD

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> Sample:
        """Return a frame and the one before it, 0.1 to 0.3 s earlier."""
        seed = self.first_seed + index // self.PAIRS_PER_WORLD
        path = self.folder / f"{seed:06d}_{index % self.PAIRS_PER_WORLD}.npz"
        if not path.is_file():
            self._render_world(seed)
        with np.load(path) as file:
            stored = {key: file[key] for key in file.files}
        sample = _resized(_from_stored(stored), size)
        if self.kind == "street" and rng.random() < 0.3:
            return replace(sample, ground_known=False)  # a rig whose base frame is not on the ground
        return sample

    def _render_world(self, seed: int) -> None:
        world = World.generate(self.kind, seed, self.labels, self.SIZE)
        rng = np.random.default_rng([seed, 77])
        for pair in range(self.PAIRS_PER_WORLD):
            gap = rng.uniform(0.1, 0.3)
            seconds = rng.uniform(gap, world.duration_s)
            stored = _render_pair(world, seconds - gap, seconds, self.grid, rng)
            path = self.folder / f"{seed:06d}_{pair}.npz"
            temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
            np.savez(temporary, **stored)  # type: ignore[arg-type]
            temporary.replace(path)


def _render_pair(
    world: World, before_s: float, now_s: float, grid: VoxelGrid, rng: np.random.Generator
) -> dict[str, NDArray]:
    """Render two frames and keep what a sample needs."""
    before, now = world.render(before_s), world.render(now_s)
    names = now.frame.present
    cameras = [world.rig[name] for name in names]
    on_ground = world.kind == "street"
    if world.kind == "room" and rng.random() < 0.5:
        # The same view from a robot that stands on the floor, so that indoors is not recognised by an unknown ground.
        cameras = [replace(c, base_from_camera=_floor_mount(now.frame.world_from_camera[c.name])) for c in cameras]
        on_ground = True
    sky = world.labels.id_of("sky")
    semantic = np.stack([now.truth[name].semantic for name in names])
    depth = np.where(semantic == sky, np.inf, np.stack([now.truth[name].depth for name in names])).astype(np.float32)
    pairs = [(before.frame.world_from_camera[name], now.frame.world_from_camera[name]) for name in names]
    return {
        "images": np.stack([now.frame.images[name] for name in names]),
        "previous_images": np.stack([before.frame.images[name] for name in names]),
        "K": np.stack([camera.K for camera in cameras]),
        "base_from_camera": np.stack([camera.base_from_camera for camera in cameras]),
        "ground_known": np.array(on_ground),
        "depth": depth,
        "semantic": semantic,
        "motion_mask": np.stack([now.truth[name].motion_mask for name in names]),
        "occupancy": occupancy_from_depth(grid, zip(cameras, depth, semantic, strict=True)).labels,
        "previous_from_current": np.stack([inverse(earlier) @ later for earlier, later in pairs]),
    }


def _from_stored(stored: dict[str, NDArray]) -> Sample:
    return Sample(
        images=stored["images"],
        K=stored["K"],
        base_from_camera=stored["base_from_camera"],
        ground_known=bool(stored["ground_known"]),
        depth=stored["depth"],
        semantic=stored["semantic"],
        dataset="",
        motion_mask=stored["motion_mask"],
        occupancy=stored["occupancy"],
        previous_images=stored["previous_images"],
        previous_from_current=stored["previous_from_current"],
    )


def _resized(sample: Sample, size: Size) -> Sample:
    """Return a sample at another size, its intrinsics with it."""
    count, height, width = sample.depth.shape
    if (width, height) == size:
        return sample
    whole = (0.0, 0.0, float(width), float(height))
    each = range(count)
    previous = sample.previous_images
    return replace(
        sample,
        images=np.stack([_crop(sample.images[i], whole, size, cv2.INTER_AREA) for i in each]),
        K=np.stack([_cropped_K(sample.K[i], whole, size) for i in each]),
        depth=np.stack([_crop(sample.depth[i], whole, size, cv2.INTER_NEAREST) for i in each]),
        semantic=np.stack([_crop(sample.semantic[i], whole, size, cv2.INTER_NEAREST) for i in each]),
        motion_mask=np.stack([_crop(sample.motion_mask[i], whole, size, cv2.INTER_NEAREST) for i in each]),
        previous_images=None
        if previous is None
        else np.stack([_crop(previous[i], whole, size, cv2.INTER_AREA) for i in each]),
    )


def _crop_window(width: int, height: int, fraction: float, rng: np.random.Generator) -> Window:
    """Return x, y, width and height of a random window with the image's shape and `fraction` of its sides."""
    w, h = round(width * fraction), round(height * fraction)
    return float(rng.integers(0, width - w + 1)), float(rng.integers(0, height - h + 1)), float(w), float(h)


def _crop(image: NDArray, window: Window, size: Size, interpolation: int) -> NDArray:
    x, y, w, h = (int(value) for value in window)
    return cv2.resize(image[y : y + h, x : x + w], size, interpolation=interpolation)


def _cropped_K(K: NDArray[np.float64], window: Window, size: Size) -> NDArray[np.float64]:
    x, y, w, h = window
    moved = K.copy()
    moved[0, 2] -= x
    moved[1, 2] -= y
    return Camera("crop", int(w), int(h), moved, np.eye(4)).resized(*size).K


def _street_mount(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw where a car's camera may sit: height, pitch, roll."""
    pitch, roll = rng.normal(0.0, 0.03, 2)
    c, s = np.cos(pitch), np.sin(pitch)
    pitched = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1.0]])
    c, s = np.cos(roll), np.sin(roll)
    rolled = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])
    mount = pitched @ rolled @ BODY_FROM_OPTICAL
    mount[2, 3] = rng.uniform(1.1, 1.8)
    return mount


def _floor_mount(world_from_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return base_from_camera for a base on the floor (z = 0) below the camera, heading where it looks."""
    forward = world_from_camera[:3, 2]
    heading = np.arctan2(forward[1], forward[0])
    c, s = np.cos(heading), np.sin(heading)
    world_from_base = np.eye(4)
    world_from_base[:2, :2] = [[c, -s], [s, c]]
    world_from_base[:2, 3] = world_from_camera[:2, 3]
    return inverse(world_from_base) @ world_from_camera


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8)


def _read_depth(path: str) -> NDArray[np.float32]:
    """Read a 16-bit depth image in millimetres at half size; 0 and 65535 mean none."""
    millimetres = _read(Path(path), cv2.IMREAD_UNCHANGED)
    if millimetres.dtype != np.uint16:
        raise ValueError(f"{path} is not a 16-bit depth image")
    depth = cv2.resize(millimetres, (320, 240), interpolation=cv2.INTER_NEAREST).astype(np.float32) / 1000.0
    return np.where((depth > 0) & (depth < 65.0), depth, np.nan).astype(np.float32)


def _read(path: Path, flags: int) -> NDArray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ValueError(f"{path} is not an image")
    return image
