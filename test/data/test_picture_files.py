# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures are read as they are stored; what is no whole picture, or too large a one, is refused by its file's name."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.data.recordings.picture_files import read_pixels

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEPTH = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)


@pytest.mark.parametrize(("name", "pixels"), [("a.png", COLOUR), ("a.ppm", COLOUR), ("a.png", DEPTH), ("a.pgm", DEPTH)])
def test_pictures_without_loss_come_back(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    assert cv2.imwrite(str(tmp_path / name), pixels)
    found = read_pixels(tmp_path / name)
    assert found.dtype == pixels.dtype and np.array_equal(found, pixels)


def test_a_jpeg_is_what_the_library_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    assert cv2.imwrite(str(path), COLOUR)
    assert np.array_equal(read_pixels(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def png_of_size(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0" * 40


@pytest.mark.parametrize(
    "content",
    [
        png_of_size(30000, 30000),
        b"P5 30000 30000 255 " + b"0" * 100,
        b"P6 # a remark\n 8 6 65535 " + b"0" * 100,
        b"no picture",
        b"",
    ],
)
def test_what_is_no_whole_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png"):
        read_pixels(path)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.png is not a readable picture: No such file"):
        read_pixels(tmp_path / "nowhere.png")
