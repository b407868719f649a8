# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""RVL: what the encoder of compressed_depth_image_transport wrote, random pictures, and data that cannot be."""

import numpy as np
import pytest

from mtl_perception.messages.rvl import decode_rvl

VALUES = np.array([0, 0, 1500, 1502, 1499, 0, 0, 65535, 1, 0, 20, 30000], np.uint16)
# Written by compressed_depth_image_transport's own encoder (4.0).
WRITTEN = bytes.fromhex("45e58f23f39a892212f3ffbfe18d8fe4")


def test_what_the_transports_own_encoder_has_written() -> None:
    np.testing.assert_array_equal(decode_rvl(np.frombuffer(WRITTEN, np.uint8), len(VALUES)), VALUES)


def test_the_tests_encoder_writes_the_same(encode_rvl) -> None:
    assert encode_rvl(VALUES.reshape(3, 4))[8:] == WRITTEN


@pytest.mark.parametrize("seed", range(40))
def test_random_values_come_back(encode_rvl, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, (2, 100, 1 << 16)[seed % 3], (random.integers(1, 9), random.integers(1, 40)))
    values[random.random(values.shape) < random.random()] = 0
    data = np.frombuffer(encode_rvl(values), np.uint8)[8:]
    np.testing.assert_array_equal(decode_rvl(data, values.size), values.ravel())
    spoilt = np.append(data, random.integers(0, 256, 9, dtype=np.uint8))
    np.testing.assert_array_equal(decode_rvl(spoilt, values.size), values.ravel())


@pytest.mark.parametrize(
    ("data", "count", "told"),
    [
        (b"", 3, 0),
        (WRITTEN[:8], 12, 8),
        (WRITTEN[:11], 12, 8),  # a word that is not whole
        (WRITTEN, 13, 12),
        (WRITTEN, 6, 5),  # a run of two zeros where one value is left
        (b"\xff\xff\xff\xff" * 9, 5, 0),  # an integer without end
        (b"\x00" * 40, 5, 0),  # empty runs only
    ],
)
def test_data_that_end_early_or_run_on_are_refused(data: bytes, count: int, told: int) -> None:
    with pytest.raises(ValueError, match=f"RVL data of {len(data)} bytes goes wrong after {told} of {count} values"):
        decode_rvl(np.frombuffer(data, np.uint8), count)
