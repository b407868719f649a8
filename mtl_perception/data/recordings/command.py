# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception convert KIND SOURCE BAG`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtl_perception.data.bags import STORAGES
from mtl_perception.data.recordings import KINDS, convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    kinds = "\n".join(f"  {kind:9} {text}" for kind, text in KINDS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"Write a rosbag2 recording from a recording of another kind.\n\nkinds:\n{kinds}"
    parser.add_argument("kind", choices=tuple(KINDS), metavar="KIND", help="see above")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the recording's folder")
    parser.add_argument("bag", type=Path, metavar="BAG", help="the folder to write; it must not exist")
    parser.add_argument("--storage", choices=STORAGES, default="mcap", help="the file format (default: %(default)s)")
    parser.add_argument("--first", type=int, help="rgbd, kitti: the first frame's id")
    parser.add_argument("--last", type=int, help="rgbd, kitti: the last frame's id")
    parser.add_argument("--split", choices=("train", "val", "test"), help="camvid: which images (default: train)")


def run(arguments: argparse.Namespace) -> int:
    """Convert and say what was written."""
    names = ("first", "last", "split")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    bag = convert(arguments.kind, arguments.source, arguments.bag, storage=arguments.storage, **options)
    print(f"wrote {bag}")
    return 0
