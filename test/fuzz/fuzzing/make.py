# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs made of bytes, as atheris's FuzzedDataProvider makes them: hypothesis draws one string of bytes an input.

Drawing every number of an input by itself takes hypothesis some milliseconds, many times longer than reading it does.
Zeros make the plainest input, so that what hypothesis makes smaller gets plainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

BYTES = 96
"""Of an input; numbers that would come after them are 0."""


class Numbers:
    """Takes numbers from bytes, one after the other."""

    def __init__(self, content: bytes) -> None:
        """Begin at the first byte."""
        self._content, self._at = content, 0

    def below(self, count: int) -> int:
        """Return a number from 0 to below `count`."""
        size = max(1, (max(count - 1, 1).bit_length() + 7) // 8)
        part = self._content[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "big") % count


class Maker:
    """Makes something of numbers."""

    def __init__(self, build: Callable[[Numbers], Any]) -> None:
        """Take the function that does."""
        self.build = build

    def map(self, change: Callable[[Any], Any]) -> Maker:
        """Return what makes the same, changed."""
        return Maker(lambda numbers: change(self.build(numbers)))

    @property
    def strategy(self) -> SearchStrategy:
        """What hypothesis draws from."""
        return st.binary(min_size=BYTES, max_size=BYTES).map(lambda content: self.build(Numbers(content)))


def just(value: Any) -> Maker:
    """Make always the same."""
    return Maker(lambda _: value)


def one_of(*makers: Maker) -> Maker:
    """Make what one of the makers does."""
    return Maker(lambda numbers: makers[numbers.below(len(makers))].build(numbers))


def sampled_from(values: Sequence[Any]) -> Maker:
    """Make one of the values."""
    kept = tuple(values)
    return Maker(lambda numbers: kept[numbers.below(len(kept))])


def integers(low: int, high: int) -> Maker:
    """Make a number from `low` to `high`, both included."""
    return Maker(lambda numbers: low + numbers.below(high - low + 1))


def tuples(*makers: Maker) -> Maker:
    """Make a tuple of what each of the makers does."""
    return Maker(lambda numbers: tuple(maker.build(numbers) for maker in makers))


def lists(maker: Maker, max_size: int) -> Maker:
    """Make up to so many, in a list."""
    return Maker(lambda numbers: [maker.build(numbers) for _ in range(numbers.below(max_size + 1))])


def builds(function: Callable[..., Any], *makers: Maker) -> Maker:
    """Make what a function returns for what each of the makers makes."""
    return Maker(lambda numbers: function(*(maker.build(numbers) for maker in makers)))


def binary(max_size: int) -> Maker:
    """Make bytes."""
    return lists(integers(0, 255), max_size).map(bytes)


def text(max_size: int) -> Maker:
    """Make a text of any characters."""
    return binary(max_size).map(lambda content: content.decode("utf-8", "replace"))
