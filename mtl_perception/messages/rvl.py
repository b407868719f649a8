# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""RVL, the lossless code of depth images that compressed_depth_image_transport can use.

A. D. Wilson, "Fast Lossless Depth Image Compression", ISS 2017, section 3: runs of zeros and of other values take
turns. A run is told by its length, a value by its difference to the one before (zigzag), all in variable-length
integers of three bits a nibble; the highest bit of a nibble says that more follow. Nibbles fill words of 32 bits from
the top.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.compiled import compiled


def decode_rvl(data: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    """Return the `count` values that `data` (little-endian words) tells; what follows them is ignored.

    Raises:
        ValueError: the data ends before all are told, or tells a run that is longer than what is left.
    """
    words = data[: len(data) // 4 * 4].view("<u4").astype(np.int64)
    values = np.empty(count, np.uint16)
    told = int(_decode(words, values))
    if told < count:
        raise ValueError(f"RVL data of {len(data)} bytes goes wrong after {told} of {count} values")
    return values


@compiled
def _decode(words, values):  # type: ignore[no-untyped-def]
    """Fill `values`, and return how many could be."""
    count, last = len(values), 8 * len(words)
    told, previous, at, left, zeros = 0, 0, 0, 0, False
    while told < count:
        value, shift, nibble = 0, 0, 8
        while nibble & 8:
            if at >= last or shift > _LONGEST:
                return told
            nibble = words[at >> 3] >> (28 - ((at & 7) << 2))
            value |= (nibble & 7) << shift
            at, shift = at + 1, shift + 3
        if left > 0:
            previous = (previous + ((value >> 1) ^ -(value & 1))) & 0xFFFF
            values[told] = previous
            told, left = told + 1, left - 1
        else:
            zeros = not zeros
            if value > count - told:
                return told
            if zeros:
                values[told : told + value] = 0
                told += value
            else:
                left = value
    return told


_LONGEST = 30  # bits below the last nibble of an integer of 32
