# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `bench` command."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mtl_perception.bench import drive, evaluation, mapping, network, self_checks, soak, sync, transport, world
from mtl_perception.bench.describe import comma_separated, image_size, positive, positive_number, report_console
from mtl_perception.bench.results import Result, write_results
from mtl_perception.bench.sync_streams import bag_stream, rig_stream
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.world.command import write_world
from mtl_perception.data.world.frames import WorldSettings
from mtl_perception.network import NetworkConfig
from mtl_perception.resources import config_file
from mtl_perception.scenes import SCENES

SUITES = (
    network.SUITE,
    world.SUITE,
    evaluation.SUITE,
    mapping.SUITE,
    drive.SUITE,
    transport.SUITE,
    sync.SUITE,
    self_checks.SUITE,
    soak.SUITE,
)
SIZES = {
    network.SUITE: (640, 480),
    world.SUITE: (224, 128),
    evaluation.SUITE: (256, 192),
    mapping.SUITE: (160, 120),
    drive.SUITE: (160, 120),
    transport.SUITE: (640, 480),
    sync.SUITE: (0, 0),
    self_checks.SUITE: (160, 120),
    soak.SUITE: (96, 72),
}
"""Of the images, pixels; of none where only stamps count."""
_MINUTES = {drive.SUITE: 30.0, soak.SUITE: 10.0}
_STREET_S = 8.0
_ROOM_S = 20.0
_STREAM_S = 60.0  # long enough that queues of 30 fill up with what finds no partner
_SEEDS = (1, 2, 3)
_RIGS = {world.SUITE: "surround4", self_checks.SUITE: "mono"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `bench` command."""
    parser.add_argument("--suite", choices=SUITES, default=network.SUITE, help="what to measure (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="the file to write (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="size of the images (default: 640x480; world: 224x128; a rendered bag: 256x192; "
        "mapping, drive, self-checks: 160x120)",
    )
    of_network = parser.add_argument_group("network")
    of_network.add_argument(
        "--presets",
        type=comma_separated,
        default=("maestro", "full"),
        metavar="A,B",
        help="files of config/networks, by name or path (default: maestro,full)",
    )
    of_network.add_argument("--cameras", type=positive, default=6, metavar="N", help="images (default: %(default)s)")
    of_network.add_argument(
        "--repeats", type=positive, default=5, metavar="N", help="timed rounds (default: %(default)s)"
    )
    of_network.add_argument("--threads", type=positive, metavar="N", help="of torch (default: torch's own choice)")
    of_transport = parser.add_argument_group("transport, sync")
    of_transport.add_argument(
        "--rounds", type=positive, default=50, metavar="N", help="in which all take turns (default: %(default)s)"
    )
    of_evaluation = parser.add_argument_group("evaluation, sync, self-checks")
    of_evaluation.add_argument(
        "--bag",
        type=Path,
        help="to replay, with ground truth (default: a rendered street; self-checks: a rendered room); "
        "sync: whose stamps are taken, too",
    )
    of_evaluation.add_argument(
        "--scene", choices=tuple(SCENES), default="street", help="map settings (default: %(default)s)"
    )
    of_recording = parser.add_argument_group("self-checks")
    of_recording.add_argument(
        "--recording",
        nargs=2,
        metavar=("KIND", "SOURCE"),
        help="instead of a bag: what `convert` reads, with depth images and poses",
    )
    of_recording.add_argument("--first", type=int, metavar="ID", help="rgbd: the first frame's id")
    of_recording.add_argument("--last", type=int, metavar="ID", help="rgbd: the last frame's id")
    of_mapping = parser.add_argument_group("mapping")
    of_mapping.add_argument(
        "--small-map", type=positive, default=1000, metavar="N", help="blocks of a small map (default: %(default)s)"
    )
    of_mapping.add_argument(
        "--large-map", type=positive, default=20000, metavar="N", help="blocks of a large map (default: %(default)s)"
    )
    of_drive = parser.add_argument_group("drive, soak")
    of_drive.add_argument("--minutes", type=positive_number, metavar="T", help="how long (default: drive 30, soak 10)")
    of_drive.add_argument(
        "--speed", type=positive_number, default=1.5, metavar="V", help="drive: m/s (default: %(default)s)"
    )
    of_world = parser.add_argument_group("world")
    of_world.add_argument(
        "--kinds", type=comma_separated, default=("street", "indoor"), metavar="A,B", help="(default: street,indoor)"
    )
    of_world.add_argument("--worlds", type=positive, default=6, metavar="N", help="of each kind (default: %(default)s)")
    of_world.add_argument("--frames", type=positive, default=10, metavar="N", help="of each (default: %(default)s)")
    of_world.add_argument(
        "--rig", help="of config/rigs, by name or path (default: surround4; self-checks, in a rendered room: mono)"
    )
    of_world.add_argument(
        "--workers", type=positive, default=2, metavar="N", help="processes at the same time (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, and write the file; return 0, or 1 when something grew in the soak suite."""
    console = report_console()
    size = arguments.size or SIZES[arguments.suite]
    measure = _MEASURES[arguments.suite]
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        results = measure(arguments, size, progress)
    write_results(arguments.out, results, torch.get_num_threads())
    _print(console, results)
    console.print(f"written to {arguments.out}", highlight=False, soft_wrap=True)
    grown = soak.problems(result for result in results if result.suite == soak.SUITE)
    for problem in grown:
        console.print(f"it grows: {problem}", highlight=False, soft_wrap=True)
    return 1 if grown else 0


def _network_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    # All of them first, so that a wrong name does not cost the measurement before it.
    configs = [NetworkConfig.load(config_file("networks", preset)) for preset in arguments.presets]
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    return network.run_suite(
        configs,
        cameras=arguments.cameras,
        size=size,
        repeats=arguments.repeats,
        advanced=_bar(progress, len(configs) * (1 + arguments.repeats)),
    )


def _world_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    return world.run_suite(
        arguments.kinds,
        worlds=arguments.worlds,
        frames=arguments.frames,
        cameras=arguments.rig or _RIGS[world.SUITE],
        size=size,
        processes=arguments.workers,
        advanced=_bar(progress, len(arguments.kinds) * arguments.worlds),
    )


def _evaluation_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    advanced = _bar(progress, evaluation.STEPS)
    with tempfile.TemporaryDirectory(prefix="mtl_perception_") as folder:
        bag = arguments.bag
        if bag is None:
            bag = Path(folder) / "street"
            write_world(WorldSettings("street", seconds=_STREET_S, image_size=size), bag)
            advanced("rendered a street")
        return evaluation.run_suite(bag, scene=arguments.scene, threads=arguments.threads, advanced=advanced)


def _mapping_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    blocks = (arguments.small_map, arguments.large_map)
    return mapping.run_suite(size, blocks, advanced=_bar(progress, mapping.STEPS))


def _drive_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    minutes, speed = arguments.minutes or _MINUTES[drive.SUITE], arguments.speed
    return drive.run_suite(size, minutes, speed, advanced=_bar(progress, drive.frames_of(minutes, speed)))


def _transport_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    bridge = transport.installed_bridge()
    if bridge is None:
        progress.console.print("the real cv_bridge is not installed, or does not work here: it is left out")
    advanced = _bar(progress, transport.STEPS)
    return transport.run_suite(size, repeats=arguments.rounds, bridge=bridge, advanced=advanced)


def _sync_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    reference = sync.installed_reference()
    what = "the real one" if reference.is_real else "the stand-in for it: nothing can be claimed"
    progress.console.print(f"message_filters is {what}, {reference.path}", highlight=False, soft_wrap=True)
    streams = [rig_stream(_STREAM_S), *(rig_stream(_STREAM_S, seed=seed) for seed in _SEEDS)]
    if arguments.bag is not None:
        streams.append(bag_stream(arguments.bag))
    advanced = _bar(progress, len(streams) * arguments.rounds)
    return sync.run_suite(streams, reference, rounds=arguments.rounds, advanced=advanced)


def _self_check_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    if arguments.bag is not None and arguments.recording is not None:
        raise ValueError("--bag and --recording: only one of them can be taken")
    with tempfile.TemporaryDirectory(prefix="mtl_perception_") as folder:
        kind, source = arguments.recording or ("bag", arguments.bag)
        if source is None:
            source = Path(folder) / "room"
            rig = arguments.rig or _RIGS[self_checks.SUITE]
            write_world(WorldSettings("indoor", seconds=_ROOM_S, cameras=rig, image_size=size), source)
        chosen = {name: getattr(arguments, name) for name in ("first", "last") if getattr(arguments, name) is not None}
        recording = open_recording(kind, source, **chosen)
        return self_checks.run_suite(recording, advanced=_bar(progress, len(recording)))


def _soak_results(arguments: argparse.Namespace, size: tuple[int, int], progress: Progress) -> list[Result]:
    minutes = arguments.minutes or _MINUTES[soak.SUITE]
    results, record = soak.run_suite(size, minutes, advanced=_bar(progress, soak.SAMPLES))
    _print_soak(progress.console, record)
    return results


_MEASURES: dict[str, Callable[[argparse.Namespace, tuple[int, int], Progress], list[Result]]] = {
    network.SUITE: _network_results,
    world.SUITE: _world_results,
    evaluation.SUITE: _evaluation_results,
    mapping.SUITE: _mapping_results,
    drive.SUITE: _drive_results,
    transport.SUITE: _transport_results,
    sync.SUITE: _sync_results,
    self_checks.SUITE: _self_check_results,
    soak.SUITE: _soak_results,
}


def _bar(progress: Progress, total: int) -> Callable[[str], None]:
    bar = progress.add_task("", total=total)

    def advanced(what: str) -> None:
        progress.update(bar, description=what, advance=1)

    return advanced


def _print(console: Console, results: list[Result]) -> None:
    table = Table(box=box.SIMPLE)
    for column in ("name", "ours", "reference", "its value", "ratio"):
        table.add_column(column, justify="left" if column in ("name", "reference") else "right")
    for result in results:
        ours, theirs = f"{result.value:.3f} {result.unit}", f"{result.reference_value:.3f} {result.unit}"
        table.add_row(result.name, ours, result.reference, theirs, f"{result.ratio:.3f}")
    console.print(table)


def _print_soak(console: Console, record: soak.Record) -> None:
    table = Table(box=box.SIMPLE)
    table.add_column("until")
    for name in soak.NODES:
        for column in (f"{name}: memory", "age p50 / p99", "used + dropped"):
            table.add_column(column, justify="right")
    table.add_column("others had", justify="right")
    for row in soak.table(record):
        table.add_row(*row)
    console.print(table)
    begin = record.windows()[0][0]
    for name, samples in record.memory_mb.items():
        console.print(f"{name}: {soak.slope_mb_per_hour(samples, begin):+.1f} MB an hour", highlight=False)
    for (node, reason), times in sorted(record.dropped.items()):
        console.print(f"{node}: {len(times)} frames dropped: {reason}", highlight=False, soft_wrap=True)
