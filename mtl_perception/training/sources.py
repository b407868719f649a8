# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where training samples come from: recordings in memory, and rendered worlds that are kept on disk once rendered."""

from __future__ import annotations

import math
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera, LabelSpace, Rig, Sample, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, inverse
from mtl_perception.data.datasets import WorldDataset
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.training.config import SourceConfig
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingSample, training_sample

Size = tuple[int, int]
"""Width and height in pixels."""
Window = tuple[float, float, float, float]
"""x, y, width and height in pixels."""


class Source(Protocol):
    """A set of frames that samples can be drawn from."""

    def available(self, progress: float) -> int:
        """Return how many frames may be drawn when a fraction `progress` of the run is done."""

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return frame `index` at `size`, randomly cropped where that keeps its truth true."""


def make_source(config: SourceConfig, data: Path, cache: Path, labels: LabelSpace, grid: VoxelGrid) -> Source:
    """Build the source that a configuration names.

    Raises:
        ValueError: a recording is not there, or not what it should be; names its folder.
    """
    if config.kind == "camvid":
        return CamVidSource(data / config.folder)
    if config.kind == "rgbd":
        return RgbdSource(data / config.folder, config.last_id, grid)
    return WorldSource(config.kind, config.worlds, cache, labels, grid, config.cameras)


class CamVidSource:
    """Labelled street photographs (the layout of `street_labels`: train/*.jpg, train_labels/*.png)."""

    def __init__(self, folder: Path) -> None:
        """Read all images into memory.

        Raises:
            ValueError: there are none.
        """
        recording = open_recording("camvid", folder, split="train")
        (camera,) = recording.rig.names
        self.images, self.labels = [], []
        for index in range(len(recording)):
            sample = recording.sample(index)
            self.images.append(sample.frame.images[camera])
            self.labels.append(_known(sample.truth.cameras[camera].semantic))

    def available(self, progress: float) -> int:
        """Return the number of images, whatever the progress."""
        return len(self.images)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
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
        return TrainingSample(
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
        """Read the frames with ids below `last_id` into memory at half size.

        Raises:
            ValueError: there are none.
        """
        self.grid = grid
        recording = open_recording("rgbd", folder, last=last_id - 1)
        (camera,) = recording.rig.cameras
        size = camera.width // 2, camera.height // 2
        self.K = camera.resized(*size).K
        self.images, self.depth, self.world_from_camera = [], [], []
        for index in range(len(recording)):
            sample = recording.sample(index)
            image, depth = sample.frame.images[camera.name], _known(sample.truth.cameras[camera.name].depth)
            self.images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8))
            self.depth.append(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST).astype(np.float32))
            self.world_from_camera.append(sample.frame.world_from_camera[camera.name])

    def available(self, progress: float) -> int:
        """Return the number of frames, whatever the progress."""
        return len(self.images)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
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
        return TrainingSample(
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
        self,
        kind: str,
        worlds: int,
        cache: Path,
        labels: LabelSpace,
        grid: VoxelGrid,
        cameras: str = "surround4",
        first_seed: int = 0,
    ) -> None:
        """Prepare the source; nothing is rendered yet."""
        self.kind, self.worlds, self.grid, self.first_seed = kind, worlds, grid, first_seed
        self.dataset = WorldDataset(
            labels,
            (kind,),
            first_seed=first_seed,
            worlds=worlds,
            samples_per_world=self.PAIRS_PER_WORLD,
            worlds_at_once=1,
            cameras=cameras,
            image_size=self.SIZE,
            conditions=_fair,
            grid=grid,
        )
        self.folder = cache / f"{kind}_{Path(cameras).stem}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def available(self, progress: float) -> int:
        """Return the number of frame pairs: it grows over the first quarter, so that no run begins with a long wait."""
        worlds = max(1, min(self.worlds, math.ceil(4 * progress * self.worlds)))
        return worlds * self.PAIRS_PER_WORLD

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return a frame and the one before it, 0.1 to 0.3 s earlier."""
        path = self._path(index)
        if not path.is_file():
            self._render_world(index // self.PAIRS_PER_WORLD)
        with np.load(path) as file:
            sample = _from_stored({key: file[key] for key in file.files})
        sample = _resized(sample, size)
        if self.kind == "street" and rng.random() < 0.3:
            return replace(sample, ground_known=False)  # a rig whose base frame is not on the ground
        return sample

    def _path(self, index: int) -> Path:
        world, pair = divmod(index, self.PAIRS_PER_WORLD)
        return self.folder / f"{self.first_seed + world:06d}_{pair}.npz"

    def _render_world(self, world: int) -> None:
        """Render all pairs of a world at once: building it costs more than a pair does."""
        rng = np.random.default_rng([self.first_seed + world, 77])
        for index in range(world * self.PAIRS_PER_WORLD, (world + 1) * self.PAIRS_PER_WORLD):
            sample = self.dataset[index]
            if self.kind == "indoor" and len(sample.frame.rig) == 1 and rng.random() < 0.5:
                # The same view from a hand-held camera, so that indoors is not recognised by a known ground.
                stored = training_sample(_hand_held(sample, self.grid), ground_known=False)
            else:
                stored = training_sample(sample, ground_known=True)
            path = self._path(index)
            temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
            np.savez(temporary, **_stored(stored))  # type: ignore[arg-type]
            temporary.replace(path)


def _fair(_: np.random.Generator) -> Conditions:
    return Conditions()


def _hand_held(sample: Sample, grid: VoxelGrid) -> Sample:
    """Return a sample of one camera whose base is the camera's body. Of what depends on the base, only the occupancy is
    kept true: it is all of that that is trained on."""
    (camera,) = sample.frame.rig
    truth = sample.truth.cameras[camera.name]
    moved = replace(camera, base_from_camera=BODY_FROM_OPTICAL)
    occupancy = occupancy_from_depth(grid, [(moved, _known(truth.depth), truth.semantic)])
    return replace(
        sample,
        frame=replace(sample.frame, rig=Rig((moved,))),
        truth=replace(sample.truth, occupancy=occupancy),
    )


def _stored(sample: TrainingSample) -> dict[str, NDArray]:
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def _from_stored(stored: dict[str, NDArray]) -> TrainingSample:
    scalars = {"ground_known": bool(stored["ground_known"]), "dataset": str(stored["dataset"])}
    return TrainingSample(**{**stored, **scalars})  # type: ignore[arg-type]


def _resized(sample: TrainingSample, size: Size) -> TrainingSample:
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


def _known(image: NDArray | None) -> NDArray:
    assert image is not None  # the reader says that it is there
    return image
