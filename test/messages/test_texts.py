# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Texts from outside become short lines."""

import pytest

from mtl_perception.messages.texts import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, with ümlauts", "plain, with ümlauts"),
        (" spaces around \n", "spaces around"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ("x" * 301, "x" * 300 + "..."),
        ("\n" * 10_000_000 + "x", "..."),
        ("a\n" * 1_000_000, "a\\n" * 100 + "..."),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line
