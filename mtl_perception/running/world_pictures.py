# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `world-pictures` command: what worlds of several seeds look like, with their truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import track

from mtl_perception.core import LabelSpace
from mtl_perception.data.world import World
from mtl_perception.drawing.images import framed, save_image, stacked
from mtl_perception.resources import config_file
from mtl_perception.running.truth_pictures import sheet_row, truth_picture

KINDS = ("street", "indoor")
_IMAGE_SIZE = (320, 240)
_ROW_TILE = 200
_TRUTH_TILE = 240
_SECONDS = 6.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `world-pictures` command."""
    parser.add_argument("out", type=Path, metavar="DIR", help="the folder to write to")
    parser.add_argument("--kind", choices=KINDS, action="append", help="(default: both)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="how many (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Write, per kind, a sheet with a line a seed, and a picture with all that is known of the first seed's frame.

    Raises:
        ValueError, OSError: a seed is negative, or a file cannot be written.
    """
    arguments.out.mkdir(parents=True, exist_ok=True)
    labels = LabelSpace.load(config_file("labels", "default"))
    for kind in arguments.kind or KINDS:
        rows = []
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for seed in track(seeds, description=kind, transient=True):
            first = seed == arguments.first_seed
            world = World.generate(kind, seed, labels, image_size=_IMAGE_SIZE, cabin=first and kind == "street")
            sample = world.render(_SECONDS, previous_s=_SECONDS - 0.1)
            rows.append(sheet_row(sample, labels, f"{kind}, seed {seed}", _ROW_TILE, world.rig.names))
            if first:
                save_image(framed(truth_picture(sample, labels, _TRUTH_TILE)), arguments.out / f"{kind}_truth.jpg")
        save_image(framed(stacked(rows)), arguments.out / f"{kind}.jpg")
    print(f"written to {arguments.out}")
    return 0
