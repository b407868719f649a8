# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which world to show and how, and its frames as serialised messages: what processes render for bags and live nodes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from rclpy.serialization import serialize_message

from mtl_perception.core.ground_truth import Sample
from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.bags import type_name
from mtl_perception.data.sample_messages import sample_messages, static_messages
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.truth.world_truth import save_world_truth
from mtl_perception.data.world.world import KINDS, World
from mtl_perception.resources import config_file

_SHORTEST_WORLD_S = 20.0  # so that a shorter recording shows the beginning of the same world


@dataclass(frozen=True)
class WorldSettings:
    """A world and how it is shown.

    Attributes:
        kind: "street", "indoor" or "mesh".
        seed: which street or interior; for a mesh, that of the noise.
        seconds: for how long.
        rate_hz: frames per second.
        cameras: a rig of config/rigs, or a YAML file.
        image_size: width and height in pixels instead of the rig's own.
        conditions: how hard it is to see.
        cabin: whether the driver is shown, too.
        mesh: the file of a mesh, for that kind only.
        mesh_label: the class of what the mesh itself says no class of.
        trajectory: the robot's way through the mesh, a TUM file; None: one is found.
        labels: the classes, a name in config/labels or a YAML file.

    Raises:
        ValueError: a value is out of its range, or a mesh is missing or not wanted.
    """

    kind: str
    seed: int = 0
    seconds: float = 20.0
    rate_hz: float = 10.0
    cameras: str = "surround4"
    image_size: tuple[int, int] | None = None
    conditions: Conditions = field(default_factory=Conditions)
    cabin: bool = False
    mesh: Path | None = None
    mesh_label: str = "building"
    trajectory: Path | None = None
    labels: str = "default"

    def __post_init__(self) -> None:
        """Check what does not need the world."""
        if self.kind not in KINDS:
            raise ValueError(f"world kind '{self.kind}' is not one of {', '.join(KINDS)}")
        if not (self.seconds > 0 and self.rate_hz > 0):
            raise ValueError(f"seconds {self.seconds} and rate {self.rate_hz} Hz must be positive")
        if (self.kind == "mesh") != (self.mesh is not None):
            raise ValueError("the kind mesh, and no other, needs the file of a mesh")
        if self.trajectory is not None and self.kind != "mesh":
            raise ValueError(f"a {self.kind} has a way of its own: a trajectory belongs to a mesh")
        if self.cabin and self.kind == "mesh":
            raise ValueError("a mesh has no cabin")

    @property
    def frames(self) -> int:
        """How many frames there are, the first at second 0."""
        return max(1, math.ceil(self.seconds * self.rate_hz - 1e-6))

    def build(self) -> World:
        """Build the world.

        Raises:
            ValueError, OSError: a file is wrong or cannot be read, or the world is shorter than `seconds`.
            KeyError: the label space lacks a class that the world shows.
        """
        labels = LabelSpace.load(config_file("labels", self.labels))
        if self.mesh is not None:
            world = World.from_mesh(
                self.mesh,
                labels,
                label=self.mesh_label,
                trajectory=self.trajectory,
                seed=self.seed,
                cameras=self.cameras,
                image_size=self.image_size,
                duration_s=self.seconds,
                conditions=self.conditions,
            )
        else:
            world = World.generate(
                self.kind,
                self.seed,
                labels,
                cameras=self.cameras,
                image_size=self.image_size,
                duration_s=max(self.seconds, _SHORTEST_WORLD_S),
                conditions=self.conditions,
                cabin=self.cabin,
            )
        if (self.frames - 1) / self.rate_hz > world.duration_s:
            raise ValueError(f"the way through the world takes {world.duration_s:g} s, not {self.seconds:g} s")
        return world


class FrameTask(NamedTuple):
    """A frame to render: `number / rate_hz` seconds into the world.

    Attributes:
        number: of the frame, from 0.
        previous: the number of the frame before, for the ego motion; None: there is none, and what is told once comes
            with this one.
        stamp_ns: the stamp that the frame gets; None: the world's own.
    """

    number: int
    previous: int | None
    stamp_ns: int | None = None


class RawMessage(NamedTuple):
    """A serialised message: its topic and type, its bytes and its stamp in nanoseconds."""

    topic: str
    type: str
    data: bytes
    stamp_ns: int


class RenderedFrame(NamedTuple):
    """A frame's messages in the order of stamps, and how many seconds it took to make them."""

    messages: list[RawMessage]
    seconds: float


class FrameRenderer:
    """Renders frames of a world; a `Path` as task saves the world's truth to that folder instead."""

    def __init__(self, settings: WorldSettings) -> None:
        """Build the world, see `WorldSettings.build`."""
        self._settings = settings
        self._world = settings.build()

    def __call__(self, task: FrameTask | Path) -> RenderedFrame:
        """Return a frame; one without messages for a folder.

        Raises:
            OSError: the world's truth cannot be written.
        """
        began = time.perf_counter()
        if isinstance(task, Path):
            save_world_truth(self._world.truth, task)
            return RenderedFrame([], time.perf_counter() - began)
        rate = self._settings.rate_hz
        sample = self._world.render(
            task.number / rate,
            previous_s=None if task.previous is None else task.previous / rate,
            flow_interval_s=1.0 / rate,
        )
        if task.stamp_ns is not None:
            sample = shifted(sample, task.stamp_ns - sample.frame.stamp_ns)
        messages = sample_messages(sample)
        if task.previous is None:
            messages = static_messages(sample.frame.rig, messages[0].stamp_ns) + messages
        raw = [
            RawMessage(topic, type_name(message), serialize_message(message), stamp_ns)
            for topic, message, stamp_ns in messages
        ]
        return RenderedFrame(raw, time.perf_counter() - began)


def shifted(sample: Sample, by_ns: int) -> Sample:
    """Return a sample of another time: all of its stamps are `by_ns` later."""
    frame, truth = sample.frame, sample.truth
    stamps = {name: stamp + by_ns for name, stamp in frame.image_stamps_ns.items()}
    sweep, motion = truth.sweep, truth.ego_motion
    truth = replace(
        truth,
        sweep=None if sweep is None else replace(sweep, stamp_ns=sweep.stamp_ns + by_ns),
        ego_motion=None if motion is None else replace(motion, previous_stamp_ns=motion.previous_stamp_ns + by_ns),
    )
    frame = replace(frame, stamp_ns=frame.stamp_ns + by_ns, image_stamps_ns=stamps)
    return replace(sample, frame=frame, truth=truth)
