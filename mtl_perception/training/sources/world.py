# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered worlds: all truth, several cameras. A frame pair is rendered when first asked for and kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from mtl_perception.core import CameraTruth, GroundTruth, LabelSpace, Rig, Sample, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, inverse
from mtl_perception.data.datasets import WorldDataset, mixed_conditions
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.resources import config_file
from mtl_perception.training.samples import TrainingSample, training_sample
from mtl_perception.training.sources.base import Size
from mtl_perception.training.sources.pairs import read_pair, write_pair
from mtl_perception.training.sources.windows import Window, cut, random_window

_FORMAT = "v1"
"""Of the files: another one when what they hold for the same settings changes."""
_NARROWEST = 0.75
"""A window's share of the image's sides: focal lengths up to 1/3 longer."""

_SINGLE_CAMERA_VOLUME = 0.4
"""Share of the frames of one camera that ask for the 3D half: it costs as much as several images."""


class WorldSource:
    """Pairs of frames of made-up worlds, each of another seed, with all of their truth.

    What is kept on disk is a function of the settings and the seeds alone, so that runs can share it.
    """

    PAIRS_PER_WORLD = 6

    def __init__(
        self,
        kind: str,
        worlds: int,
        cache: Path,
        labels: LabelSpace,
        grid: VoxelGrid,
        layers: Sequence[str] = (),
        *,
        cameras: str = "surround4",
        first_seed: int = 0,
        difficult: float = 0.4,
        gap_s: tuple[float, float] = (0.1, 0.3),
        image_size: Size = (240, 176),
        first_camera_only: bool = False,
    ) -> None:
        """Prepare the source; nothing is rendered yet.

        Args:
            kind: "street" or "indoor".
            worlds: how many, their seeds count up from `first_seed`.
            cache: folder of rendered pairs; each set of settings has a folder of its own there.
            labels: the label space of the truth.
            grid: of occupancy and BEV map.
            layers: of the BEV map, in the network's order.
            cameras: a rig of config/rigs, by name or path.
            first_seed: see `worlds`.
            difficult: share of the worlds with conditions drawn by `mixed_conditions`; the others are fair.
            gap_s: how much earlier the frame before is, drawn from this range.
            image_size: that is rendered.
            first_camera_only: samples are those of a robot that has only the first camera of the rig.
        """
        self.kind, self.worlds, self.labels, self.layers = kind, worlds, labels, tuple(layers)
        self.grid, self.first_seed, self.image_size = grid, first_seed, image_size
        self.first_camera_only = first_camera_only
        self.dataset = WorldDataset(
            labels,
            (kind,),
            first_seed=first_seed,
            worlds=worlds,
            samples_per_world=self.PAIRS_PER_WORLD,
            worlds_at_once=1,
            cameras=cameras,
            image_size=image_size,
            gap_s=gap_s,
            conditions=partial(_conditions, difficult),
            grid=grid,
        )
        settings = {
            "labels": [asdict(label) for label in labels.labels],
            "rig": config_file("rigs", cameras).read_text(),
            "difficult": difficult,
            "grid": asdict(grid),
            "pairs": [self.PAIRS_PER_WORLD, *gap_s],
        }
        digest = hashlib.sha256(json.dumps(settings, default=str, sort_keys=True).encode()).hexdigest()[:8]
        size = f"{image_size[0]}x{image_size[1]}"
        self.folder = cache / f"{kind}_{Path(cameras).stem}_{size}_{_FORMAT}_{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def available(self, progress: float) -> int:
        """Return the number of frame pairs: it grows over the first tenth, so that no run begins with a long wait."""
        share = min(1.0, 0.1 + 9.0 * progress)
        return max(1, math.ceil(share * self.worlds)) * self.PAIRS_PER_WORLD

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return a frame and the one before it; half of them through a longer lens."""
        sample = self._pair(index)
        if self.first_camera_only:
            sample = sample.of_camera(0)
        width, height = self.image_size
        window = Window(0, 0, width, height)
        if rng.random() < 0.5:
            window = random_window(width, height, rng.uniform(_NARROWEST, 1.0), rng)
        sample = cut(sample, window, size)
        if len(sample.images) == 1 and rng.random() > _SINGLE_CAMERA_VOLUME:
            sample = replace(sample, occupancy=None, bev_map=None, boxes=None)
        if self.kind == "street" and rng.random() < 0.3:
            return replace(sample, ground_known=False)  # a rig whose base frame is not on the ground
        return sample

    def path(self, index: int) -> Path:
        """Return the file of a pair."""
        world, pair = divmod(index, self.PAIRS_PER_WORLD)
        return self.folder / f"{self.first_seed + world:06d}_{pair}.npz"

    def keep(self, index: int, sample: Sample) -> None:
        """Write a pair as `dataset` renders it.

        Half of the pairs of a single camera indoors are those of a hand-held one, so that indoors is not recognised by
        a known ground.
        """
        world, pair = divmod(index, self.PAIRS_PER_WORLD)
        held = np.random.default_rng([self.first_seed + world, 77]).random(self.PAIRS_PER_WORLD)[pair] < 0.5
        held &= self.kind == "indoor" and len(sample.frame.rig) == 1
        kept = _hand_held(sample, self.grid) if held else sample
        layers = () if kept.truth.bev_map is None else tuple(kept.truth.bev_map.layers)
        write_pair(self.path(index), training_sample(kept, not held, self.labels, layers), layers)

    def _pair(self, index: int) -> TrainingSample:
        path = self.path(index)
        try:
            return read_pair(path, self.layers)
        except FileNotFoundError:
            self._render_world(index // self.PAIRS_PER_WORLD)
        except ValueError as error:
            warnings.warn(f"{error}: it is rendered again", stacklevel=2)
            self.keep(index, self.dataset[index])
        return read_pair(path, self.layers)

    def _render_world(self, world: int) -> None:
        """Render all pairs of a world at once: building it costs more than a pair does."""
        for index in range(world * self.PAIRS_PER_WORLD, (world + 1) * self.PAIRS_PER_WORLD):
            if not self.path(index).is_file():
                self.keep(index, self.dataset[index])


def _conditions(difficult: float, generator: np.random.Generator) -> Conditions:
    return Conditions() if generator.random() < 1.0 - difficult else mixed_conditions(generator)


def _hand_held(sample: Sample, grid: VoxelGrid) -> Sample:
    """Return a sample of one camera whose base is the camera's body, with what can be told of it there."""
    (camera,) = sample.frame.rig
    truth = sample.truth.cameras[camera.name]
    assert truth.depth is not None and truth.scene_flow is not None
    moved = replace(camera, base_from_camera=BODY_FROM_OPTICAL)
    body_from_base = (BODY_FROM_OPTICAL @ inverse(camera.base_from_camera))[:3, :3]
    known: CameraTruth = replace(truth, scene_flow=truth.scene_flow @ body_from_base.T.astype(np.float32))
    occupancy = occupancy_from_depth(grid, [(moved, truth.depth, truth.semantic)])
    return replace(
        sample,
        frame=replace(sample.frame, rig=Rig((moved,))),
        truth=GroundTruth({camera.name: known}, sample.truth.dataset, occupancy=occupancy),
    )
