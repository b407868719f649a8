# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception demo`: from a recording to a map in one command; without one it renders a world."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mtl_perception.core.outside_files import read_json
from mtl_perception.data.errors import BagError
from mtl_perception.running.settings import UpSettings
from mtl_perception.running.up import cameras_of, run_graph

SCENES = {"street": "surround4", "indoor": "mono"}
"""What there is to see, and the rig that sees it: the shipped network knows interiors from single cameras best."""
SEED = 4253
"""Of the demo's worlds: none that the shipped network was trained on."""
SECONDS = 8.0
RATE_HZ = 5.0

_STREET_CAMERAS = 3  # a rig with so many cameras is a vehicle's
_WORLD_BYTES = 1 << 20
_STREET_EXTENT_M = 15.0  # nobody walks farther in a room


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--bag", type=Path, help="run on this recording (default: a world that is rendered first)")
    source.add_argument(
        "--scene", choices=tuple(SCENES), default="street", help="what to render (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo_out"), help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the whole suite on a bag, every frame of it, and say where the results are.

    Raises:
        ValueError, OSError: the bag cannot be read, or the world not be written.
    """
    bag = arguments.bag if arguments.bag is not None else rendered_world(arguments.scene, arguments.out)
    scene = scene_of(bag)
    print(f"running on {bag}; map settings: {scene}", flush=True)
    return run_graph(
        UpSettings(bag=bag, cameras=cameras_of(bag, None), scene=scene, out=arguments.out, log_level="warn")
    ).exit_code


def rendered_world(scene: str, folder: Path) -> Path:
    """Return the demo's bag below the folder; it is rendered when it is not there yet.

    Raises:
        OSError: it cannot be written.
    """
    bag = folder / f"{scene}_seed{SEED}_{SECONDS:g}s_{RATE_HZ:g}hz"
    if not bag.exists():
        from mtl_perception.data.world.command import write_world
        from mtl_perception.data.world.frames import WorldSettings

        print(f"rendering {'a street' if scene == 'street' else 'an interior'}", flush=True)
        write_world(WorldSettings(scene, seed=SEED, seconds=SECONDS, rate_hz=RATE_HZ, cameras=SCENES[scene]), bag)
    return bag


def scene_of(bag: Path) -> str:
    """Tell whether a bag shows a street or an interior.

    A rendered world says so; of other bags, the number of cameras and the way driven tell.

    Raises:
        BagError: the bag cannot be read.
    """
    world = bag / "world.json"
    if world.is_file():
        content = read_json(world, _WORLD_BYTES)
        if not isinstance(content, dict) or "kind" not in content:
            raise BagError(f"{world} does not say what kind of world the bag shows")
        return "indoor" if content["kind"] == "indoor" else "street"

    from mtl_perception.data.bags import BagReader
    from mtl_perception.messages.poses import read_odometry

    with BagReader(bag) as reader:
        if len(reader.cameras) >= _STREET_CAMERAS:
            return "street"
        if "/odom" not in reader.topics:
            return "indoor"
        poses = [read_odometry(message, topic) for topic, _, message in reader.messages(["/odom"])]
    places = np.array([pose.target_from_source[:2, 3] for pose in poses])
    return "street" if np.ptp(places, axis=0).max() > _STREET_EXTENT_M else "indoor"
