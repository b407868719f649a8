# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception merge A B --out C`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mtl_perception.core.transforms import Transform
from mtl_perception.mapping import storage
from mtl_perception.mapping.errors import MapFormatError, MappingError
from mtl_perception.mapping.mapper import Mapper
from mtl_perception.mapping.reports import MergeReport

_REFUSED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "Merge the saved maps of two robots, also of two namespaces, into one graph without double objects. "
        "Exit code 2: the maps cannot be merged, and nothing is written."
    )
    parser.add_argument("first", type=Path, metavar="A", help="a saved map, whose world and ids the result has")
    parser.add_argument("second", type=Path, metavar="B", help="the saved map of another robot")
    parser.add_argument("--out", type=Path, required=True, metavar="C", help="the folder to write, new or a map")
    parser.add_argument(
        "--transform",
        type=float,
        nargs=4,
        metavar=("X", "Y", "Z", "YAW"),
        help="where B's world lies in A's, metres and radians (default: it is found from what both maps show)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Merge, and say what has come of it."""
    try:
        return _merge(arguments)
    except (MapFormatError, MappingError) as error:
        print(f"mtl_perception merge: refused: {error}", file=sys.stderr)
        return _REFUSED


def _merge(arguments: argparse.Namespace) -> int:
    storage.check_target(arguments.out)
    config, labels = storage.settings_of(arguments.first)
    mapper = Mapper(config, labels)
    try:
        _tell(f"reading {arguments.first}")
        mapper.load(arguments.first)
        how = "finding where it lies" if arguments.transform is None else "with the transform that is given"
        _tell(f"merging {arguments.second}, {how}")
        report = mapper.merge(arguments.second, _transform(arguments.transform))
        _tell(f"writing {arguments.out}")
        mapper.save(arguments.out)
        print(_in_words(report, arguments, mapper))
    finally:
        mapper.close()
    return 0


def _transform(values: list[float] | None) -> Transform | None:
    if values is None:
        return None
    x, y, z, yaw = values
    transform = np.eye(4)
    transform[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    transform[:3, 3] = x, y, z
    return transform


def _in_words(report: MergeReport, arguments: argparse.Namespace, mapper: Mapper) -> str:
    x, y, z = report.self_from_other[:3, 3].tolist()
    yaw = float(np.arctan2(report.self_from_other[1, 0], report.self_from_other[0, 0]))
    lines = [f"--transform {x:.3f} {y:.3f} {z:.3f} {yaw:.4f}" + (f"  {report.alignment}" if report.alignment else "")]
    known = sum(new in report.known_objects for new in report.objects.values())
    stats = mapper.stats
    lines.append(
        f"of {arguments.second}: {known} objects were known, {len(report.objects) - known} are new; "
        f"{report.shared_blocks} blocks were known, {report.new_blocks} are new; agents {' '.join(report.robots)}"
    )
    if report.cells_left_out:
        lines.append(f"{report.cells_left_out} cells of its 2D grid are beyond max_grid_cells; their places were kept")
    if report.unnumbered_things:
        lines.append(f"{report.unnumbered_things} things could not be told from others: all numbers are taken")
    lines.append(f"wrote {arguments.out}: {stats.blocks} blocks, {stats.objects} objects, {stats.rooms} rooms")
    return "\n".join(lines)


def _tell(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)
