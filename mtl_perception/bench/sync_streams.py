# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Streams of stamps that synchronisers are compared on: of a rig, disturbed, and of a recorded bag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_perception.data.bags import BagReader
from mtl_perception.data.world.cameras.rigs import load_rig
from mtl_perception.messages.stamps import NANOSECONDS, stamp_ns_from

TOPICS = 7
"""Of every stream."""

_START_NS = 1_000 * NANOSECONDS
_RATE_HZ = 10.0
_TRANSPORT_NS = 5_000_000  # from a stamp to its arrival, at least

# How messages are disturbed. Shares are of all messages.
_STAMPS_NS = 2e6  # standard deviation of a camera's stamps
_QUEUEING_NS = 10e6  # mean of what transport takes more, exponentially distributed
_LOST, _LATE, _TWICE = 0.03, 0.05, 0.02
_LATE_NS = (100e6, 300e6)  # by which a late one comes late: after newer ones of its topic
_TWICE_NS = (0.0, 20e6)


class Arrival(NamedTuple):
    """A message that arrives: when, on which topic, and of which stamp; nanoseconds."""

    at_ns: int
    topic: int
    stamp_ns: int


@dataclass(frozen=True)
class Stream:
    """Messages of several topics, the first of which is that of the reference camera, in the order of their arrival."""

    name: str
    topics: tuple[str, ...]
    arrivals: tuple[Arrival, ...]


def rig_stream(seconds: float, *, seed: int | None = None) -> Stream:
    """Return what a rendered robot with six cameras at 10 Hz sends, with its odometry at the stamp of every image.

    Args:
        seconds: how long.
        seed: how messages are disturbed: stamps jitter, messages get lost, come late, twice and out of order; None: not
            at all.
    """
    layout = load_rig("surround6")
    names = layout.rig.names
    random = None if seed is None else np.random.default_rng(seed)
    offsets = [_START_NS + layout.exposure_offsets_ns[name] for name in names]
    sent: list[tuple[int, int]] = []
    for frame in range(round(seconds * _RATE_HZ)):
        stamps = [offset + round(frame / _RATE_HZ * NANOSECONDS) for offset in offsets]
        if random is not None:
            stamps = [stamp + round(random.normal(0.0, _STAMPS_NS)) for stamp in stamps]
        sent += [(stamp, topic) for topic, stamp in enumerate(stamps)]
        sent += [(stamp, len(names)) for stamp in stamps]
    arrivals = [Arrival(stamp + _TRANSPORT_NS, topic, stamp) for stamp, topic in sent]
    if random is not None:
        arrivals = [late for arrival in arrivals for late in _disturbed(arrival, random)]
    name = "rig" if seed is None else f"rig_disturbed_{seed}"
    return Stream(name, (*names, "odom"), tuple(sorted(arrivals)))


def bag_stream(path: str | Path) -> Stream:
    """Return what arrived when a bag was recorded: the images of its cameras, and odometry, as far as there are any.

    Of a bag without cameras those topics are taken that have stamps, of `/tf` each child frame as a topic of its own,
    the slowest first: a set needs one of each. Of more than seven topics the last are left out; of fewer, the fastest
    is taken several times, as if several sensors were triggered together.

    Raises:
        BagError: there is no bag at `path`, or it is damaged.
        ValueError: it has no two topics with stamps.
    """
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    with BagReader(path) as bag:
        images = [topic for camera in bag.cameras for topic in _image_topics(camera) if topic in bag.topics]
        wanted = [*images, *(["/odom"] if "/odom" in bag.topics else [])] if images else None
        for topic, at_ns, message in bag.messages(wanted):
            for name, stamp_ns in _stamps(topic, message):
                found[name].append((at_ns, stamp_ns))
    moving = {name: stamps for name, stamps in found.items() if len(stamps) > 1}
    if len(moving) < 2:
        raise ValueError(f"bag {path}: there are no two topics with stamps")
    slowest_first = sorted(moving, key=lambda name: len(moving[name]))
    names = [name for name in wanted or slowest_first if name in moving]
    names = (names + [slowest_first[-1]] * TOPICS)[:TOPICS]
    arrivals = [Arrival(at, index, stamp) for index, name in enumerate(names) for at, stamp in moving[name]]
    return Stream("bag", tuple(names), tuple(sorted(arrivals, key=lambda arrival: arrival.at_ns)))


def _disturbed(arrival: Arrival, random: np.random.Generator) -> Iterator[Arrival]:
    """Yield a message never, once or twice."""
    lost, late, twice = random.random(3) < (_LOST, _LATE, _TWICE)
    if lost:
        return
    at_ns = arrival.at_ns + random.exponential(_QUEUEING_NS) + late * random.uniform(*_LATE_NS)
    yield arrival._replace(at_ns=round(at_ns))
    if twice:
        yield arrival._replace(at_ns=round(at_ns + random.uniform(*_TWICE_NS)))


def _image_topics(camera: str) -> tuple[str, str]:
    return f"/{camera}/image", f"/{camera}/image/compressed"


def _stamps(topic: str, message: Any) -> Iterator[tuple[str, int]]:
    """Yield what a message is of and its stamp; nothing without one."""
    if hasattr(message, "header"):
        yield topic, stamp_ns_from(message.header.stamp)
    elif hasattr(message, "transforms") and not topic.endswith("_static"):
        for transform in message.transforms:
            yield f"{topic} {transform.child_frame_id}", stamp_ns_from(transform.header.stamp)
