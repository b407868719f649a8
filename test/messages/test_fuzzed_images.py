# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Thousands of images that are wrong in random ways: each gives an array or one error that names the topic."""

import struct
import tracemalloc

import cv2
import numpy as np
import pytest

from mtl_perception.messages import compressed_images
from mtl_perception.messages.images import depth_to_array, image_to_array, mono_to_array, values_to_array
from mtl_perception.messages.raw_images import ImageError

ENCODINGS = (
    "rgb8",
    "bgr16",
    "rgba8",
    "bgra16",
    "mono8",
    "mono16",
    "bayer_rggb8",
    "bayer_grbg16",
    "uyvy",
    "yuv422_yuy2",
)
ENCODINGS += ("nv12", "nv21", "nv24", "8UC1", "16UC1", "32FC1", "32FC3", "64FC4", "32SC1")
SIZES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
FORMATS = ("", "jpeg", "png", "rgb8; jpeg compressed bgr8", "bayer_rggb8; png compressed ", "mono16; png compressed ")
FORMATS += tuple(
    f"{unit}; compressedDepth{codec}" for unit in ("16UC1", "32FC1") for codec in ("", " png", " rvl", " x")
)
READERS = (
    image_to_array,
    depth_to_array,
    mono_to_array,
    lambda message, topic: values_to_array(message, "32FC1", topic),
)
STARTS = (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\0\x11\x08", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Decode only what takes no time."""
    monkeypatch.setattr(compressed_images, "MAX_PIXELS", 1 << 14)


@pytest.fixture
def random_headers(make_image):
    """Fill in an Image at random."""
    message = make_image(np.zeros((1, 1), np.uint8), "mono8")

    def change(random):
        message.encoding = ENCODINGS[random.integers(len(ENCODINGS))]
        message.height, message.width, message.step = (SIZES[i] for i in random.integers(len(SIZES), size=3))
        if random.random() < 0.5:  # something that could be
            message.height, message.width = (int(value) for value in random.integers(1, 20, 2))
            message.step = message.width * (1, 2, 3, 4, 8, 12, 16)[random.integers(7)] + int(random.integers(3))
        if random.random() < 0.1:
            message.encoding = random.integers(1, 127, random.integers(99), np.uint8).tobytes().decode()
        message.is_bigendian = int(random.integers(256))
        message.data = message.data[:0]
        message.data.frombytes(random.bytes((0, 1, 64, 500, 5000)[random.integers(5)]))
        return message

    return change


@pytest.fixture
def random_bytes(make_compressed):
    """Make a file that is nothing but its beginning, if that."""

    def make(random):
        content = STARTS[random.integers(len(STARTS))] + random.bytes(int(random.integers(300)))
        if random.random() < 0.5:
            content = struct.pack("<iffII", 0, *random.normal(size=2), *random.integers(0, 200, 2)) + content
        return make_compressed(content, FORMATS[random.integers(len(FORMATS))])

    return make


@pytest.fixture(scope="session")
def random_faults(make_compressed, encode_rvl):
    """Make a file with some bytes changed, added, or gone."""
    random = np.random.default_rng(0)
    picture = cv2.GaussianBlur(random.integers(0, 256, (12, 16, 3), dtype=np.uint8), (0, 0), 2)
    depth = random.integers(0, 9000, (12, 16), dtype=np.uint16)
    header = struct.pack("<iff", 0, 10100.0, -1009.0)
    files = [cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".jpg", ".png")]
    files.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes())
    files.append(cv2.imencode(".png", depth)[1].tobytes())
    files += [header + encode_rvl(depth), header + files[-1]]

    def make(random):
        content = bytearray(files[random.integers(len(files))])
        for _ in range(random.integers(4)):
            at, length, fault = random.integers(len(content) + 1), random.integers(1, 20), random.integers(4)
            if fault == 0:
                content[at : at + 1] = random.bytes(1)
            elif fault == 1:
                del content[at : at + length]
            elif fault == 2:
                content[at:at] = random.bytes(int(length))
            else:
                del content[at:]
        return make_compressed(bytes(content), FORMATS[random.integers(len(FORMATS))])

    return make


@pytest.mark.parametrize("maker", ["random_headers", "random_bytes", "random_faults"])
@pytest.mark.parametrize("seed", range(2))
def test_each_is_an_array_or_one_error_that_names_the_topic(request, maker: str, seed: int) -> None:
    make, random = request.getfixturevalue(maker), np.random.default_rng(seed)
    read = [read_all(make(random)) for _ in range(500)]
    assert (maker == "random_bytes" or sum(read) > 50) and 0 in read


def test_reading_takes_little_memory_whatever_is_announced(random_headers, random_bytes, random_faults) -> None:
    makers = (random_headers, random_bytes, random_faults)
    for make in makers:
        read_all(make(np.random.default_rng(7)))
    tracemalloc.start()
    try:
        for seed in range(200):
            message = makers[seed % 3](np.random.default_rng(seed))
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            read_all(message)
            assert tracemalloc.get_traced_memory()[1] - before < 16 * (1 << 14) + 1e6
    finally:
        tracemalloc.stop()


def read_all(message) -> int:
    """Read a message in every way; return in how many it could be."""
    read = 0
    for reader in READERS:
        try:
            found = reader(message, "front/image")
        except ImageError as error:
            text = str(error)
            assert text.startswith("front/image: ") and len(text) < 600 and "\n" not in text and error.reason
        else:
            assert found.size > 0 and found.dtype.isnative
            found.max()  # touches every value
            read += 1
    return read
