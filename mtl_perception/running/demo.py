# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception demo`: from a recording to a map in one command; without one it renders a street."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.running.settings import UpSettings
from mtl_perception.running.up import cameras_of, run_graph

STREET: dict[str, Any] = {"seed": 4242, "seconds": 8.0, "rate_hz": 5.0, "cameras": 4}
"""The street of the demo; its seed is none that the shipped network was trained on."""

_STREET_CAMERAS = 3  # a rig with so many cameras is a vehicle's
_STREET_EXTENT_M = 15.0  # nobody walks farther in a room


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--bag", type=Path, help="run on this recording (default: a street that is rendered first)")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo_out"), help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the whole suite on a bag, every frame of it, and say where the results are.

    Raises:
        ValueError, OSError: the bag cannot be read, or the street not be written.
    """
    # A demo is not to meet somebody else's robot; who wants that sets the variable.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    bag = arguments.bag if arguments.bag is not None else rendered_street(arguments.out)
    scene = scene_of(bag)
    print(f"running on {bag}; map settings for a {scene}", flush=True)
    return run_graph(
        UpSettings(bag=bag, cameras=cameras_of(bag, None), scene=scene, out=arguments.out, log_level="warn")
    ).exit_code


def rendered_street(folder: Path) -> Path:
    """Return the demo's bag below the folder; it is rendered when it is not there yet.

    Raises:
        OSError: it cannot be written.
    """
    bag = folder / "street_seed{seed}_{seconds:g}s_{rate_hz:g}hz_{cameras}cameras".format(**STREET)
    if not bag.exists():
        from mtl_perception.data.converters import convert

        print("rendering a street", flush=True)
        convert("world", "street", bag, **STREET)
    return bag


def scene_of(bag: Path) -> str:
    """Tell from the number of cameras and from the way driven whether a bag shows a street or a room.

    Raises:
        BagError: the bag cannot be read.
    """
    from mtl_perception.data.bags import BagReader
    from mtl_perception.messages.poses import read_odometry

    with BagReader(bag) as reader:
        if len(reader.cameras) >= _STREET_CAMERAS:
            return "street"
        if "/odom" not in reader.topics:
            return "room"
        poses = [read_odometry(message, topic) for topic, _, message in reader.messages(["/odom"])]
    places = np.array([pose.target_from_source[:2, 3] for pose in poses])
    return "street" if np.ptp(places, axis=0).max() > _STREET_EXTENT_M else "room"
