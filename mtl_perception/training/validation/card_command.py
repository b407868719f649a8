# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `card` command: writes a checkpoint's model card, with pictures of what it does badly and well."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.files import write_whole
from mtl_perception.network import load_checkpoint
from mtl_perception.resources import checkpoint_file
from mtl_perception.training.validation.card import CardPicture, card_text

MOST_BYTES = 1_000_000
"""Of all pictures of a card together."""
_WIDTHS = (720, 600, 480)
_QUALITIES = (80, 70, 60, 50, 40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `card` command."""
    parser.add_argument("checkpoint", type=Path, help="a file, or one of the package by its name")
    parser.add_argument("--validation", type=Path, default=None, help="JSON of `validate --out`; default: its card's")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/models"), help="folder of the cards (default: docs/models)"
    )
    parser.add_argument("--name", default=None, help="of the model (default: that of the file)")


def run(arguments: argparse.Namespace) -> int:
    """Write the card, and its pictures to a folder of the model's name beside it; return 0.

    A file `<name>.notes.md` beside the card is included as it is.

    Raises:
        ValueError: the checkpoint was not validated, or these are the figures of another one.
        OSError: a file cannot be read or written.
    """
    path = checkpoint_file(arguments.checkpoint)
    name = arguments.name or path.stem
    checkpoint = load_checkpoint(path)
    stored = checkpoint.card.get("validation")
    report = stored if arguments.validation is None else json.loads(arguments.validation.read_text())
    if not isinstance(report, dict) or "figures" not in report:
        raise ValueError(f"{path} has no figures: run 'validate' with --out or --store first")
    if arguments.validation is not None and stored != _figures_of(report):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if report["checkpoint"]["sha256"] != digest:
            raise ValueError(f"{arguments.validation} has the figures of other weights than those of {path}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = []
    if arguments.validation is not None:
        found = report.get("pictures", [])
        pictures = write_pictures(found, arguments.validation.with_suffix(""), arguments.out / name)
    written = arguments.out / f"{name}.notes.md"
    notes = written.read_text() if written.is_file() else ""
    text = card_text(name, checkpoint, path.stat().st_size, report, pictures, notes)
    write_whole(arguments.out / f"{name}.md", text)
    print(f"{arguments.out / f'{name}.md'}: {len(pictures)} pictures")
    return 0


def write_pictures(entries: Sequence[Mapping[str, Any]], source: Path, folder: Path) -> list[CardPicture]:
    """Write a validation's pictures to a folder, which replaces one that is there, as small as `MOST_BYTES` needs.

    These are, of each task, the worst frame of each kind of data and one of the best.

    Raises:
        OSError: a picture cannot be read or written.
    """
    entries = _chosen(entries)
    images = [_read(source / entry["file"]) for entry in entries]
    encoded: list[bytes] = []
    for width in _WIDTHS:
        for quality in _QUALITIES:
            encoded = [_encoded(image, width, quality) for image in images]
            if sum(map(len, encoded)) <= MOST_BYTES:
                break
        else:
            continue
        break
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures, written = [], 0
    for entry, content in zip(entries, encoded, strict=True):
        if written + len(content) <= MOST_BYTES:
            written += len(content)
            (folder / entry["file"]).write_bytes(content)
            pictures.append(CardPicture(f"{folder.name}/{entry['file']}", entry))
    return pictures


def _chosen(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    worst = [entry for entry in entries if entry["kind"] == "worst"]
    best: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if entry["kind"] == "best":
            best.setdefault(entry["task"], entry)
    return [*worst, *best.values()]


def _figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint stores of a validation: everything but the pictures."""
    return {key: value for key, value in report.items() if key != "pictures"}


def _read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(f"the picture {path} is not there, or none")
    return np.asarray(image, np.uint8)


def _encoded(image: NDArray[np.uint8], width: int, quality: int) -> bytes:
    height = round(image.shape[0] * width / image.shape[1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
