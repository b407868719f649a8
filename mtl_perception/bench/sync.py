# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `sync` suite: our synchroniser beside message_filters' ApproximateTimeSynchronizer, on the same streams.

Both get the same messages of seven topics in the same order, with queues of 30 and the same slop, in turn, round by
round; CPU time counts, that of feeding the filters included. Their sets are compared in a run of its own, in which time
is that of the stream. A claim counts against the real message_filters only: the results say which one it was.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import message_filters
from builtin_interfaces.msg import Time
from message_filters import ApproximateTimeSynchronizer, SimpleFilter
from sensor_msgs.msg import Image

from mtl_perception.bench.results import Result
from mtl_perception.bench.sync_streams import Stream
from mtl_perception.messages.stamps import seconds_of, stamp_ns_from
from mtl_perception.ros.synchronizer import RigSet, RigSynchronizer

SUITE = "sync"
QUEUE_SIZE = 30

_SLOP_S = 0.05  # these three are those of the node by default
_TIMEOUT_S = 0.3
_CHECK_NS = 20_000_000
_ENDLESS_S = 1e6  # for timing: streams are fed faster than they were recorded


@dataclass(frozen=True)
class Reference:
    """Which message_filters was imported.

    Attributes:
        name: with its version, where that can be found, else with the first digits of its SHA-256.
        is_real: whether it is that of a distribution, not the one of the folder standalone/.
        path: its file.
    """

    name: str
    is_real: bool
    path: str


@dataclass(frozen=True)
class _Set:
    """A set that came out: stamp by topic; when it came out, and when its reference image had come in, ns."""

    stamps: dict[int, int]
    out_ns: int
    reference_in_ns: int

    @property
    def gap_ns(self) -> int:
        """The largest distance to the reference image's stamp."""
        return max(abs(stamp - self.stamps[0]) for stamp in self.stamps.values())


def installed_reference() -> Reference:
    """Return which message_filters is imported here."""
    path = Path(message_filters.__file__)
    if importlib.util.find_spec("message_filters.stamps") is not None:  # only the stand-in has this module
        return Reference("stand-in for message_filters: no claim", False, str(path))
    manifests = [parent / "share" / "message_filters" / "package.xml" for parent in path.parents]
    manifest = next((found for found in manifests if found.is_file()), None)
    if manifest is not None:
        version = ElementTree.parse(manifest).findtext("version", "of an unknown version")
    else:
        version = f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return Reference(f"message_filters {version}", True, str(path))


def run_suite(
    streams: Sequence[Stream],
    reference: Reference,
    *,
    rounds: int,
    advanced: Callable[[str], None] = lambda what: None,
) -> list[Result]:
    """Feed every stream to both synchronisers.

    Args:
        streams: see `sync_streams`.
        reference: see `installed_reference`.
        rounds: in which both take turns; a time is their median.
        advanced: gets what has been done, in words, once a stream and round.
    """
    results = []
    for stream in streams:
        fed = _messages(stream)
        makers = {"ours": _ours, "theirs": _theirs}
        seconds: dict[str, list[float]] = {name: [] for name in makers}
        for _ in range(rounds):
            for name, make in makers.items():
                seconds[name].append(_timed(stream, fed, make))
            advanced(stream.name)
        results.append(
            Result(
                SUITE,
                f"{stream.name}_time_per_message",
                1e6 * median(seconds["ours"]) / len(fed),
                "us",
                reference.name,
                1e6 * median(seconds["theirs"]) / len(fed),
            )
        )
        results += _compared(stream, _our_sets(stream, fed), _their_sets(stream, fed), reference.name)
    return results


def _messages(stream: Stream) -> list[Any]:
    """Return a message for every arrival; small ones, as synchronisers look at stamps only."""
    made = []
    for arrival in stream.arrivals:
        sec, nanosec = seconds_of(arrival.stamp_ns)
        message = Image()
        message.header.stamp = Time(sec=sec, nanosec=nanosec)
        made.append(message)
    return made


def _ours(filters: Sequence[SimpleFilter], done: Callable[..., None]) -> RigSynchronizer:
    return _rig_synchronizer(filters, done, _ENDLESS_S, time.monotonic_ns)


def _rig_synchronizer(
    filters: Sequence[SimpleFilter],
    done: Callable[..., None],
    timeout_s: float,
    steady_ns: Callable[[], int],
) -> RigSynchronizer:
    synchronizer = RigSynchronizer(
        {str(index): source for index, source in enumerate(filters[:-1])},
        companions={str(len(filters) - 1): filters[-1]},
        slop_s=_SLOP_S,
        timeout_s=timeout_s,
        queue_size=QUEUE_SIZE,
        steady_ns=steady_ns,
    )
    synchronizer.registerCallback(done)
    return synchronizer


def _theirs(filters: Sequence[SimpleFilter], done: Callable[..., None]) -> ApproximateTimeSynchronizer:
    synchronizer = ApproximateTimeSynchronizer(filters, QUEUE_SIZE, _SLOP_S)
    synchronizer.registerCallback(done)
    return synchronizer


def _timed(stream: Stream, messages: Sequence[Any], make: Callable[..., Any]) -> float:
    """Return the CPU time in which a new synchroniser takes all messages."""
    filters = [SimpleFilter() for _ in stream.topics]
    sets: list[Any] = []
    synchronizer = make(filters, lambda *made: sets.append(made))
    calls = [(filters[a.topic].signalMessage, message) for a, message in zip(stream.arrivals, messages, strict=True)]
    started = time.thread_time()
    for call, message in calls:
        call(message)
    spent = time.thread_time() - started
    del synchronizer
    return spent


def _our_sets(stream: Stream, messages: Sequence[Any]) -> list[_Set]:
    """Return what ours makes in the time of the stream, checked as often as the node does."""
    filters = [SimpleFilter() for _ in stream.topics]
    now_ns = stream.arrivals[0].at_ns
    came: dict[int, int] = {}
    sets: list[_Set] = []

    def take(made: RigSet) -> None:
        members = {**made.messages, **made.companions}
        stamps = {int(topic): stamp_ns_from(message.header.stamp) for topic, message in members.items()}
        sets.append(_Set(stamps, now_ns, came[made.stamp_ns]))

    synchronizer = _rig_synchronizer(filters, take, _TIMEOUT_S, lambda: now_ns)
    for arrival, message in zip(stream.arrivals, messages, strict=True):
        # While nothing waits, checking does nothing.
        while now_ns + _CHECK_NS < arrival.at_ns and any(synchronizer.waiting.values()):
            now_ns += _CHECK_NS
            synchronizer.check()
        now_ns = arrival.at_ns
        if arrival.topic == 0:
            came.setdefault(arrival.stamp_ns, now_ns)
        filters[arrival.topic].signalMessage(message)
    return sets


def _their_sets(stream: Stream, messages: Sequence[Any]) -> list[_Set]:
    filters = [SimpleFilter() for _ in stream.topics]
    now_ns = 0
    came: dict[int, int] = {}
    sets: list[_Set] = []

    def take(*made: Any) -> None:
        stamps = {topic: stamp_ns_from(message.header.stamp) for topic, message in enumerate(made)}
        sets.append(_Set(stamps, now_ns, came[stamps[0]]))

    synchronizer = _theirs(filters, take)
    for arrival, message in zip(stream.arrivals, messages, strict=True):
        now_ns = arrival.at_ns
        if arrival.topic == 0:
            came.setdefault(arrival.stamp_ns, now_ns)
        filters[arrival.topic].signalMessage(message)
    del synchronizer
    return sets


def _compared(stream: Stream, ours: list[_Set], theirs: list[_Set], reference: str) -> list[Result]:
    """Return the figures of both, without those that are 0 of theirs: there is no ratio to it."""
    complete = [made for made in ours if len(made.stamps) == len(stream.topics)]
    by_stamp = {made.stamps[0]: made for made in complete}
    pairs = [(by_stamp[made.stamps[0]], made) for made in theirs if made.stamps[0] in by_stamp]
    as_good = sum(mine.gap_ns <= its.gap_ns for mine, its in pairs)
    pose = len(stream.topics) - 1
    figures = {
        "sets": (len(ours), "", len(theirs)),
        "complete_sets": (len(complete), "", len(theirs)),
        "same_sets": (sum(mine.stamps == its.stamps for mine, its in pairs), "", len(theirs)),
        "same_images": (sum(_images(mine, pose) == _images(its, pose) for mine, its in pairs), "", len(theirs)),
        "same_or_nearer_sets": (as_good, "", len(theirs)),
        "sets_out_of_order": (_out_of_order(ours), "", _out_of_order(theirs)),
        "mean_gap": (_mean_ms(made.gap_ns for made in complete), "ms", _mean_ms(made.gap_ns for made in theirs)),
        "worst_gap": (_worst_ms(complete), "ms", _worst_ms(theirs)),
        "mean_wait": (_mean_ms(_wait_ns(m) for m, _ in pairs), "ms", _mean_ms(_wait_ns(i) for _, i in pairs)),
    }
    return [
        Result(SUITE, f"{stream.name}_{name}", float(value), unit, reference, float(its))
        for name, (value, unit, its) in figures.items()
        if its
    ]


def _images(made: _Set, pose: int) -> dict[int, int]:
    return {topic: stamp for topic, stamp in made.stamps.items() if topic != pose}


def _out_of_order(sets: list[_Set]) -> int:
    return sum(later.stamps[0] < earlier.stamps[0] for earlier, later in pairwise(sets))


def _wait_ns(made: _Set) -> int:
    return made.out_ns - made.reference_in_ns


def _mean_ms(values_ns: Any) -> float:
    values = list(values_ns)
    return 1e-6 * fmean(values) if values else 0.0


def _worst_ms(sets: list[_Set]) -> float:
    return 1e-6 * max((made.gap_ns for made in sets), default=0)
