# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of made-up worlds that no training sees: some consecutive frames of each, rendered once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mtl_perception.core import CabinFrame, LabelSpace, RigFrame, Sample, VoxelGrid
from mtl_perception.data import world as world_package
from mtl_perception.data.world.world import KINDS, World
from mtl_perception.resources import config_file
from mtl_perception.training.validation.clip_files import FORMAT, read_clip, write_clip

FIRST_UNSEEN_SEED = 1_000_000
"""Trainings count their seeds up from 0."""
DURATION_S = 20.0
PERIOD_S = 0.1
SCORED_FRAMES = 3
EARLIER_S = {"street": tuple(PERIOD_S * number for number in range(17, 2, -1)), "indoor": (0.5, 0.3)}
"""Per kind how long before the last frame others were taken: so that slow robots have moved since, too; and on streets,
where tasks look at 16 frames, so that with the one before it the first scored frame has all of them. They do not depend
on what is judged: a task has the same figures alone and beside others."""


@dataclass(frozen=True)
class ClipPlan:
    """Which frames of which world.

    Attributes:
        kind: of the world.
        rig: a rig of config/rigs, or a YAML file.
        seed: of the world, and of when the clip begins.
        cabin: whether the driver is shown.
        image_size: width and height in pixels instead of the rig's own.
    """

    kind: str
    rig: str
    seed: int
    cabin: bool = False
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check the kind.

        Raises:
            ValueError: there is no such world that could be made up.
        """
        if self.kind not in KINDS[:2]:
            raise ValueError(f"world kind '{self.kind}' is not one of {', '.join(KINDS[:2])}")


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in the order of time.

    Attributes:
        early: frames before those that are scored, without truth.
        early_cabin: per such frame, the driver; None where there is none.
        samples: frames with their truth, 0.1 s apart.
    """

    early: tuple[RigFrame, ...]
    early_cabin: tuple[CabinFrame | None, ...]
    samples: tuple[Sample, ...]

    @property
    def frames(self) -> tuple[RigFrame, ...]:
        """All frames."""
        return (*self.early, *(sample.frame for sample in self.samples))


def held_out(
    kinds: Sequence[str], rigs: Sequence[str], worlds: int, *, driving: bool, image_size: tuple[int, int] | None = None
) -> list[ClipPlan]:
    """Return a clip of each of `worlds` worlds of each kind for each rig, whose seeds no training has.

    The rigs have worlds of their own, so that intervals over worlds are those of independent findings. With `driving`,
    streets have drivers.
    """
    plans = []
    for kind in kinds:
        street = kind == "street"
        for number in range(worlds * len(rigs)):
            rig = rigs[number % len(rigs)]
            seed = FIRST_UNSEEN_SEED + number
            plans.append(ClipPlan(kind, rig, seed, driving and street, image_size))
    return plans


def render_clip(plan: ClipPlan, labels: LabelSpace, grid: VoxelGrid) -> Clip:
    """Render a clip under fair conditions; the same arguments give the same bytes.

    Raises:
        ValueError, FileNotFoundError, KeyError: as `World.generate`.
    """
    world = World.generate(
        plan.kind,
        plan.seed,
        labels,
        cameras=plan.rig,
        image_size=plan.image_size,
        duration_s=DURATION_S,
        cabin=plan.cabin,
    )
    earlier = EARLIER_S[plan.kind]
    generator = np.random.default_rng([KINDS.index(plan.kind), plan.seed])
    last = round(float(generator.uniform(earlier[0], DURATION_S)), 3)
    early = [last - seconds for seconds in earlier]
    scored = [last - PERIOD_S * number for number in range(SCORED_FRAMES - 1, -1, -1)]
    before = [early[-1], *scored]
    return Clip(
        early=tuple(world.look(seconds) for seconds in early),
        early_cabin=tuple(None if world.cabin is None else world.cabin.frame(seconds)[0] for seconds in early),
        samples=tuple(
            world.render(now, previous_s=then, flow_interval_s=then - now, grid=grid)
            for then, now in zip(before, scored, strict=False)
        ),
    )


class ClipStore:
    """Clips, rendered when they are first asked for and read from a folder afterwards."""

    def __init__(self, folder: Path, labels: LabelSpace, grid: VoxelGrid) -> None:
        """Keep the clips in `folder`, with the truth in these labels and on this grid."""
        self.folder, self.labels, self.grid = folder, labels, grid

    def clip(self, plan: ClipPlan) -> Clip:
        """Return a clip.

        Raises:
            OSError: the folder cannot be read or written.
            ValueError, KeyError: as `render_clip`.
        """
        path = self.path(plan)
        if path.exists():
            try:
                return read_clip(path, Clip)
            except ValueError:
                path.unlink()  # written by a process that was killed, or by another version
        clip = render_clip(plan, self.labels, self.grid)
        write_clip(path, clip)
        return clip

    def path(self, plan: ClipPlan) -> Path:
        """Return the clip's file, whose name changes with everything that its content depends on."""
        rig = config_file("rigs", plan.rig).read_text()
        facts = [FORMAT, _renderer_digest(), asdict(plan), rig, self.labels.to_dict(), asdict(self.grid)]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{plan.kind}_{Path(plan.rig).stem}_{plan.seed}_{digest[:16]}.npz"


@lru_cache(maxsize=1)
def _renderer_digest() -> str:
    """Return a digest of the code that makes worlds."""
    folder = Path(world_package.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), Path(__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
