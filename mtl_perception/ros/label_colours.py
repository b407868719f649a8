# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter `label_colours`: other colours than the label file's, as texts `road=#804080`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ENTRY = re.compile(r"([^=]*[^=\s])\s*=\s*#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")

LABEL_COLOURS_TEXT = (
    "Colours of classes in place of the label file's, e.g. road=#804080 (red, green, blue in hexadecimal); "
    "an empty text stands for none."
)


def checked_colours(entries: list[str]) -> list[str]:
    """Return the entries without empty ones.

    Raises:
        ValueError: an entry is not of the form `class=#rrggbb`, or a class has two colours.
    """
    known = [entry.strip() for entry in entries if entry.strip()]
    label_colours(known)
    return known


def label_colours(entries: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return the RGB colours 0..255 by the names of the classes.

    Raises:
        ValueError: see `checked_colours`.
    """
    colours: dict[str, tuple[int, int, int]] = {}
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(f"'{entry}' is not of the form class=#rrggbb, e.g. road=#804080")
        name = match[1]
        if name in colours:
            raise ValueError(f"class '{name}' has two colours")
        red, green, blue = (int(part, 16) for part in match.groups()[1:])
        colours[name] = (red, green, blue)
    return colours
