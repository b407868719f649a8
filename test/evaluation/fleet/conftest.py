# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small bags, and what is common to the tests of fleets."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.data.bags import BagWriter
from mtl_perception.evaluation.fleet import Progress
from mtl_perception.messages.images import array_to_image

sys.path.insert(0, str(Path(__file__).parent))  # where the processes of the workers find `bag_mean_work`, too

FRAMES = 6


class Told(Progress):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, int, int]] = []
        self.events: list[tuple[str, ...]] = []

    def advanced(self, name: str, done: int, known: int) -> None:
        self.frames.append((name, done, known))

    def finished(self, name: str) -> None:
        self.events.append(("finished", name))

    def retried(self, name: str, reason: str) -> None:
        self.events.append(("retried", name, reason))

    def failed(self, name: str, reason: str) -> None:
        self.events.append(("failed", name, reason))

    def lost(self, reason: str) -> None:
        self.events.append(("lost", reason))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag with a few images."""
    folder = tmp_path_factory.mktemp("original") / "bag"
    generator = np.random.default_rng(1)
    with BagWriter(folder) as writer:
        for stamp in range(FRAMES):
            image = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            writer.write("/front/image", array_to_image(image, "rgb8", stamp, "front"), stamp)
    return folder


@pytest.fixture
def copies(bag: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Make a folder with so many copies of the bag: bag_00, bag_01, ..."""

    def make(count: int) -> Path:
        for number in range(count):
            shutil.copytree(bag, tmp_path / "bags" / f"bag_{number:02d}")
        return tmp_path / "bags"

    return make


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """The folder that tells the work which bag is to fail and how, see `bag_mean_work`."""
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder
