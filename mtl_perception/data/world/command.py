# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception world OUT`: a made-up world as a bag, with the truth about it."""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mtl_perception.core.camera import Rig
from mtl_perception.data.bags import STORAGES, BagWriter
from mtl_perception.data.processes import Workers, available_cores
from mtl_perception.data.world.cameras.rigs import load_rig
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.frames import FrameRenderer, FrameTask, WorldSettings
from mtl_perception.data.world.world import KINDS

INFO_FILE = "world.json"
_DEFAULT = "(default: %(default)s)"
_FRAMES_A_PROCESS = 10  # for fewer it takes longer to build the world once more than to render them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    default = WorldSettings("street")
    parser.description = (
        "Render a made-up world to a rosbag2 recording with its ground truth on /ground_truth/...; beside it in the "
        "folder are world.json, world.ply (the labelled mesh) and world_objects.json (objects, regions, places)."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write; it must not exist")
    parser.add_argument("--kind", choices=KINDS, default=default.kind, help=f"what to show {_DEFAULT}")
    parser.add_argument("--seed", type=int, default=default.seed, help=f"which street or interior {_DEFAULT}")
    parser.add_argument("--seconds", type=float, default=default.seconds, help=f"for how long {_DEFAULT}")
    parser.add_argument(
        "--rate", type=float, default=default.rate_hz, metavar="HZ", help=f"frames per second {_DEFAULT}"
    )
    parser.add_argument(
        "--cameras",
        default=default.cameras,
        metavar="RIG",
        help=f"mono, stereo, surround4, surround6 or a YAML file {_DEFAULT}",
    )
    parser.add_argument("--image-size", type=_size, metavar="WxH", help="of all cameras (default: the rig's own)")
    parser.add_argument("--cabin", action="store_true", help="show the driver, too")
    parser.add_argument(
        "--labels", default=default.labels, help=f"the classes: a name in config/labels or a YAML file {_DEFAULT}"
    )
    parser.add_argument("--storage", choices=STORAGES, default="mcap", help=f"the file format {_DEFAULT}")
    parser.add_argument("--workers", type=_positive, metavar="N", help="processes that render (default: all cores)")
    _add_conditions(parser.add_argument_group("what makes seeing hard"))
    mesh = parser.add_argument_group("a mesh of your own (--kind mesh)")
    mesh.add_argument("--mesh", type=Path, metavar="FILE", help="PLY, OBJ, GLB or STL; metres, z up")
    mesh.add_argument(
        "--mesh-label",
        default=default.mesh_label,
        metavar="CLASS",
        help=f"the class of a mesh without labels {_DEFAULT}",
    )
    mesh.add_argument(
        "--trajectory", type=Path, metavar="FILE", help="TUM file: t x y z qx qy qz qw (default: a way is found)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Render the bag and say what was written.

    Raises:
        ValueError, OSError: an argument or a file is wrong, or something cannot be read or written.
    """
    settings = WorldSettings(
        kind=arguments.kind,
        seed=arguments.seed,
        seconds=arguments.seconds,
        rate_hz=arguments.rate,
        cameras=arguments.cameras,
        image_size=arguments.image_size,
        conditions=Conditions(
            night=arguments.night,
            fog_visibility_m=arguments.fog,
            noise=arguments.noise,
            exposure_changes=arguments.exposure_changes,
            motion_blur_s=arguments.motion_blur,
            lens_dirt=arguments.lens_dirt,
        ),
        cabin=arguments.cabin,
        mesh=arguments.mesh,
        mesh_label=arguments.mesh_label,
        trajectory=arguments.trajectory,
        labels=arguments.labels,
    )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left behind
    try:
        info = write_world(settings, arguments.out, storage=arguments.storage, processes=arguments.workers)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"wrote {arguments.out}: {info['images']} images in {info['elapsed_s']} s")
    return 0


def write_world(
    settings: WorldSettings, bag: Path, *, storage: str = "mcap", processes: int | None = None
) -> dict[str, Any]:
    """Write a world's frames to a bag, its truth beside it, and return what world.json says.

    The bag's messages do not depend on the number of processes. After an error or an interruption nothing is left.

    Args:
        settings: the world.
        bag: the folder to write.
        storage: "mcap" or "sqlite3".
        processes: how many render; None: as many as there are cores, but none for a few frames only.

    Raises:
        BagError: the bag exists already.
        ValueError, OSError: a file is wrong or cannot be read or written, or a process has died.
    """
    writer = BagWriter(bag, storage)
    rig = load_rig(settings.cameras, settings.image_size).rig
    if processes is None:
        processes = min(available_cores(), settings.frames // _FRAMES_A_PROCESS + 1)
    began = time.monotonic()
    with writer:
        seconds = _write_frames(settings, writer, processes)
        measured = {
            # Of all processes together, from the time that each took for its frames.
            "images_per_second": round(len(rig.cameras) * settings.frames * processes / seconds, 2),
            "processes": processes,
            "elapsed_s": round(time.monotonic() - began, 2),
        }
        info = _described(settings, rig) | measured
        (writer.folder / INFO_FILE).write_text(json.dumps(info, indent=1) + "\n")
    return info


def _write_frames(settings: WorldSettings, writer: BagWriter, processes: int) -> float:
    """Write all frames and the world's truth; return how many seconds the frames took, added up over processes."""
    tasks: list[FrameTask | Path] = [FrameTask(n, n - 1 if n else None) for n in range(settings.frames)]
    tasks.append(writer.folder)
    seconds = 0.0
    name = f"{settings.kind} {settings.seed}"
    with (
        Workers(partial(FrameRenderer, settings), processes) as workers,
        tqdm(total=settings.frames, desc=name, unit="frame", disable=None) as progress,
    ):
        results = workers.in_order(tasks)
        for frame in itertools.islice(results, settings.frames):
            for topic, message_type, data, stamp_ns in frame.messages:
                writer.write_raw(topic, message_type, data, stamp_ns)
            seconds += frame.seconds
            progress.update()
        next(results)  # the truth is written
    return seconds


def _described(settings: WorldSettings, rig: Rig) -> dict[str, Any]:
    return {
        "kind": settings.kind,
        "seed": settings.seed,
        "cameras": list(rig.names),
        "image_size": {camera.name: [camera.width, camera.height] for camera in rig},
        "frames": settings.frames,
        "images": settings.frames * len(rig.cameras),
        "seconds": settings.seconds,
        "rate_hz": settings.rate_hz,
        "conditions": asdict(settings.conditions),
        "cabin": settings.cabin,
        "labels": settings.labels,
        "mesh": None if settings.mesh is None else str(settings.mesh),
        "trajectory": None if settings.trajectory is None else str(settings.trajectory),
    }


def _add_conditions(group: Any) -> None:
    default = Conditions()
    group.add_argument("--night", action="store_true", help="street lamps and headlights; indoors some lamps are off")
    group.add_argument("--fog", type=float, metavar="M", help="metres after which fog hides 63 %% (default: no fog)")
    for name, metavar, value, text in (
        ("--noise", "F", default.noise, "factor on the cameras' noise"),
        ("--exposure-changes", "F", default.exposure_changes, "standard deviation of the exposure's logarithm"),
        ("--motion-blur", "S", default.motion_blur_s, "for how long the shutter is open"),
        ("--lens-dirt", "F", default.lens_dirt, "share of the lens that is dirty, 0 to 1"),
    ):
        group.add_argument(name, type=float, metavar=metavar, default=value, help=f"{text} {_DEFAULT}")


def _size(text: str) -> tuple[int, int]:
    width, separator, height = text.lower().partition("x")
    if not separator or not width.isdigit() or not height.isdigit() or "0" in (width, height):
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT")
    return int(width), int(height)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)
