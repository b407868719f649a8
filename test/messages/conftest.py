# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages with images, made without the code that is tested."""

import array
import struct

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image


@pytest.fixture(scope="session")
def make_image():
    """Make an Image of any encoding: each row of `pixels` is a row of memory, followed by `padding` bytes."""

    def make(pixels: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False, height=None) -> Image:
        rows = pixels.reshape(len(pixels), -1)
        rows = np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder(">" if big_endian else "<")))
        raw = np.pad(rows.view(np.uint8), ((0, 0), (0, padding)), constant_values=0xAB)
        message = Image(encoding=encoding, is_bigendian=int(big_endian), step=raw.shape[1])
        message.height, message.width = height or pixels.shape[0], pixels.shape[1]
        message.data = array.array("B", raw.tobytes())
        return message

    return make


@pytest.fixture(scope="session")
def make_compressed():
    """Make a CompressedImage of bytes, or of an array (colours as BGR) and a file's suffix."""

    def make(content, format: str, suffix: str = ".png") -> CompressedImage:
        data = content if isinstance(content, bytes) else cv2.imencode(suffix, content)[1].tobytes()
        return CompressedImage(format=format, data=array.array("B", data))

    return make


@pytest.fixture(scope="session")
def encode_rvl():
    """Encode 16-bit values as RVL, nibble by nibble, as the paper says, after the size, as the transport has it."""

    def encode(values: np.ndarray) -> bytes:
        nibbles: list[int] = []

        def tell(value: int) -> None:
            while value > 7:
                nibbles.append(8 | value & 7)
                value >>= 3
            nibbles.append(value)

        left, previous = [int(value) for value in values.ravel()], 0
        while left:
            zeros = next((i for i, value in enumerate(left) if value), len(left))
            others = next((i for i, value in enumerate(left[zeros:]) if not value), len(left) - zeros)
            tell(zeros)
            tell(others)
            for value in left[zeros : zeros + others]:
                difference, previous = value - previous, value
                tell(2 * difference if difference >= 0 else -2 * difference - 1)
            left = left[zeros + others :]
        nibbles += [0] * (-len(nibbles) % 8)
        words = [sum(n << (28 - 4 * i) for i, n in enumerate(nibbles[at : at + 8])) for at in range(0, len(nibbles), 8)]
        return struct.pack(f"<II{len(words)}I", values.shape[1], values.shape[0], *words)

    return encode
