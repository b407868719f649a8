# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings and rendered worlds as torch data sets of samples.

A sample is a `mtl_perception.core.Sample`, which torch cannot stack: give `batch_size=None` to a DataLoader, or a
`collate_fn` of your own.

    dataset = WorldDataset(labels, kinds=("street", "indoor"), worlds=100)
    for sample in DataLoader(dataset, batch_size=None, num_workers=4):
        ...
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mtl_perception.core import LabelSpace, Sample, VoxelGrid
from mtl_perception.data.occupancy import DEFAULT_GRID
from mtl_perception.data.recordings import Recording
from mtl_perception.data.world import World
from mtl_perception.data.world.cameras.rigs import RigLayout
from mtl_perception.data.world.conditions import Conditions


class RecordingDataset(Dataset[Sample]):
    """The frames of a recording, each with an earlier one where there is one."""

    def __init__(self, recording: Recording, previous: int = 1) -> None:
        """Read from `recording`.

        Args:
            recording: any; frames are read when they are asked for.
            previous: how many frames earlier `Sample.previous` is, to which the ego motion refers, too; 0: no previous
                frame, and the ego motion since the frame before.

        Raises:
            ValueError: `previous` is negative.
        """
        if previous < 0:
            raise ValueError(f"previous is {previous}, it must not be negative")
        self.recording, self.previous = recording, previous

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.recording)

    def __getitem__(self, index: int) -> Sample:
        """Return a frame.

        Raises:
            IndexError: there is no such frame.
        """
        sample = self.recording.sample(index)
        if self.previous == 0:
            return sample
        truth = replace(sample.truth, ego_motion=self.recording.ego_motion(index, self.previous))
        before = self.recording.before(index, self.previous)
        return replace(sample, truth=truth, previous=None if before is None else self.recording.sample(before).frame)


def mixed_conditions(generator: np.random.Generator) -> Conditions:
    """Draw conditions for training: half of the worlds are fair, the others have one or more difficulties."""
    if generator.random() < 0.5:
        return Conditions()
    return Conditions(
        night=bool(generator.random() < 0.3),
        fog_visibility_m=float(np.exp(generator.uniform(np.log(30), np.log(300))))
        if generator.random() < 0.3
        else None,
        noise=float(generator.uniform(1.0, 3.0)),
        exposure_changes=float(generator.uniform(0.0, 0.3)),
        motion_blur_s=float(generator.uniform(0.0, 0.02)) if generator.random() < 0.5 else 0.0,
        lens_dirt=float(generator.uniform(0.0, 0.15)) if generator.random() < 0.3 else 0.0,
    )


class WorldDataset(Dataset[Sample]):
    """Frames of made-up worlds with all of their truth, rendered when they are asked for; nothing is kept on disk.

    Item k is a function of the arguments and k alone, whatever process renders it. Neighbouring items are of
    `worlds_at_once` different worlds: a DataLoader deals items out in turn, so each of its workers builds only its own
    worlds when `worlds_at_once` is a multiple of the number of workers.
    """

    def __init__(
        self,
        labels: LabelSpace,
        kinds: Sequence[str] = ("street", "indoor"),
        *,
        first_seed: int = 0,
        worlds: int = 64,
        samples_per_world: int = 8,
        worlds_at_once: int = 4,
        cameras: str | RigLayout = "surround4",
        image_size: tuple[int, int] | None = (224, 128),
        vary_rig: bool = True,
        duration_s: float = 20.0,
        conditions: Callable[[np.random.Generator], Conditions] = mixed_conditions,
        cabin: bool = False,
        gap_s: tuple[float, float] | None = (0.1, 0.3),
        grid: VoxelGrid = DEFAULT_GRID,
    ) -> None:
        """Prepare; nothing is rendered yet.

        Args:
            labels: the label space of the truth.
            kinds: "street", "indoor" or both, in turn.
            first_seed: of the first world of each kind; the following ones count up.
            worlds: how many, of all kinds together.
            samples_per_world: how many frames of each, spread over its duration.
            worlds_at_once: how many worlds neighbouring items alternate between, see above.
            cameras, image_size, vary_rig, duration_s, cabin: as for `World.generate`.
            conditions: draws those of a world.
            gap_s: `Sample.previous` is so much earlier, drawn from this range; the ego motion refers to it, and scene
                flow is the mean velocity since then. None: no previous frame.
            grid: of the occupancy and the BEV map.

        Raises:
            ValueError: a number is not positive, or the gap does not fit into the duration.
        """
        for name, value in (
            ("worlds", worlds),
            ("samples_per_world", samples_per_world),
            ("worlds_at_once", worlds_at_once),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}, it must be at least 1")
        if gap_s is not None and not 0 < gap_s[0] <= gap_s[1] < duration_s:
            raise ValueError(f"gap_s is {gap_s}, expected 0 < from <= to < {duration_s} (duration_s)")
        if not kinds:
            raise ValueError("kinds is empty")
        self.labels, self.kinds, self.first_seed, self.worlds = labels, tuple(kinds), first_seed, worlds
        self.samples_per_world, self.worlds_at_once, self.grid = samples_per_world, worlds_at_once, grid
        self.gap_s, self.duration_s, self.conditions = gap_s, duration_s, conditions
        self._options: dict[str, Any] = {
            "cameras": cameras,
            "image_size": image_size,
            "duration_s": duration_s,
            "vary_rig": vary_rig,
            "cabin": cabin,
        }
        self._built: OrderedDict[int, World] = OrderedDict()  # the latest ones, of the process that built them
        self._built_in = 0

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.worlds * self.samples_per_world

    def __getitem__(self, index: int) -> Sample:
        """Render a frame.

        Raises:
            IndexError: there is no such item.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no item {index}, there are {len(self)}")
        number, view = self._place(index)
        kind, seed = self._kind_and_seed(number)
        generator = np.random.default_rng([self.kinds.index(kind), seed, view, 1])
        world = self._world(number)
        if self.gap_s is None:
            now = self.duration_s * (view + generator.random()) / self.samples_per_world
            return world.render(now, grid=self.grid)
        gap = generator.uniform(*self.gap_s)
        now = gap + (self.duration_s - gap) * (view + generator.random()) / self.samples_per_world
        before = world.look(now - gap)
        return replace(world.render(now, previous_s=now - gap, flow_interval_s=-gap, grid=self.grid), previous=before)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: everything but the worlds, which it builds itself."""
        return {**self.__dict__, "_built": OrderedDict()}

    def _place(self, index: int) -> tuple[int, int]:
        """Return the number of the world and of the view in it."""
        group, within = divmod(index, self.worlds_at_once * self.samples_per_world)
        first = group * self.worlds_at_once
        together = min(self.worlds_at_once, self.worlds - first)
        return first + within % together, within // together

    def _kind_and_seed(self, number: int) -> tuple[str, int]:
        later, kind = divmod(number, len(self.kinds))
        return self.kinds[kind], self.first_seed + later

    def _world(self, number: int) -> World:
        if self._built_in != os.getpid():  # a forked process has none of the ray caster's threads
            self._built, self._built_in = OrderedDict(), os.getpid()
        if number not in self._built:
            kind, seed = self._kind_and_seed(number)
            conditions = self.conditions(np.random.default_rng([self.kinds.index(kind), seed, 0]))
            self._built[number] = World.generate(kind, seed, self.labels, conditions=conditions, **self._options)
        self._built.move_to_end(number)
        while len(self._built) > self.worlds_at_once:
            self._built.popitem(last=False)
        return self._built[number]
