# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drivers without a street: rendered and encoded in one go, a file of features each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mtl_perception.core import LabelSpace
from mtl_perception.data.world.cabin.cabin import Cabin
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file
from mtl_perception.training.driving.config import DriversConfig
from mtl_perception.training.driving.features import (
    ClipFeatures,
    class_numbers,
    encode_all,
    encoder_key,
    joints_of,
)

_SECONDS = 120.0  # of a drive, of which the moments are
_STREAM = 41  # of random numbers: no street's driver is one of these
_Task = tuple[int, Path]


def cached_drivers(
    perceiver: Perceiver,
    config: DriversConfig,
    shape: tuple[int, int],
    folder: Path,
    *,
    checkpoint: Path,
    processes: int = 1,
) -> list[ClipFeatures]:
    """Return what an encoder makes of the drivers, shown by a progress bar; an interrupted call goes on.

    Images are not kept: another encoder's features cost the rendering again, a twentieth of a second a moment.

    Args:
        perceiver: of the checkpoint.
        config: the drivers.
        shape: (height, width) of the outside images that they come beside.
        folder: where features are kept, found by the encoder's weights and the settings.
        checkpoint: from which other processes load the perceiver.
        processes: how many render and encode; 1: this one.

    Raises:
        OSError: a file cannot be written.
    """
    key = encoder_key(perceiver.network, f"drivers, {config.moments} moments, {shape}")
    place = folder / f"driver_features_{key}"
    place.mkdir(parents=True, exist_ok=True)
    seeds = range(config.first_seed, config.first_seed + config.drivers)
    paths = {seed: place / f"{seed:07d}.npz" for seed in seeds}
    missing = [(seed, path) for seed, path in paths.items() if not path.is_file()]
    bar = tqdm(total=len(paths), initial=len(paths) - len(missing), desc="drivers", unit="driver", disable=None)
    here = partial(_DriverEncoder, perceiver, config.moments, shape)
    in_others = partial(_DriverEncoder.of_checkpoint, checkpoint, config.moments, shape)
    encode_all(missing, here, in_others, processes, bar)
    return [ClipFeatures.load(path) for path in paths.values()]


def driver_features(perceiver: Perceiver, seed: int, moments: int, shape: tuple[int, int]) -> ClipFeatures:
    """Return some moments of the drive of a seed's driver: features of the cabin, and none of outside cameras."""
    generator = np.random.default_rng([_STREAM, seed])
    # The images do not depend on the label space.
    cabin = Cabin(generator, LabelSpace.load(config_file("labels", "default")))
    times = np.sort(generator.uniform(0.0, _SECONDS, moments))
    frames, classes = zip(*(cabin.frame(float(time)) for time in times), strict=True)
    maps = perceiver.encode_cabins(frames, shape).half().cpu().numpy()
    return ClipFeatures(
        np.zeros((moments, 0, *maps.shape[2:]), np.float16),
        maps,
        *joints_of(frames),
        np.full((moments, 6), np.nan, np.float32),
        times,
        np.full(moments, np.nan, np.float32),
        class_numbers(classes),
    )


class _DriverEncoder:
    """Makes the file of a driver."""

    def __init__(self, perceiver: Perceiver, moments: int, shape: tuple[int, int]) -> None:
        self._perceiver, self._moments, self._shape = perceiver, moments, shape

    @classmethod
    def of_checkpoint(cls, checkpoint: Path, moments: int, shape: tuple[int, int]) -> _DriverEncoder:
        torch.set_num_threads(1)
        return cls(Perceiver.from_checkpoint(checkpoint), moments, shape)

    def __call__(self, task: _Task) -> Path:
        seed, path = task
        driver_features(self._perceiver, seed, self._moments, self._shape).save(path)
        return path
