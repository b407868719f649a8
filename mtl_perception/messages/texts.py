# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Texts from outside, as a line of a log or of diagnostics can hold them."""

from __future__ import annotations


def one_line(text: str, longest: int = 300) -> str:
    """Return a text of at most so many characters and three dots, with line breaks and control codes escaped.

    Names of frames, lenses and the like come from other nodes: they may be megabytes long.
    """
    shown = text[:longest].strip()
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in shown)
    return shown if len(shown) <= longest and len(text) <= longest else f"{shown[:longest]}..."
