# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of an Image: every encoding's type, padding, byte order, no copies, and what is refused by name."""

import numpy as np
import pytest

from mtl_perception.messages import raw_images
from mtl_perception.messages.raw_images import Announced, ImageError, colours_of, encoding_of, pixels_of

TYPES = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
PLAIN = {f"{name}C{channels}": (code, channels) for name, code in TYPES.items() for channels in (1, 2, 3, 4)}
NAMED = {
    **{f"{name}{8 * size}": (f"u{size}", 1) for name in ("mono", "bayer_rggb", "bayer_gbrg") for size in (1, 2)},
    **{f"{name}{8 * size}": (f"u{size}", len(name)) for name in ("rgb", "bgr", "rgba", "bgra") for size in (1, 2)},
    **dict.fromkeys(("uyvy", "yuyv", "yuv422", "yuv422_yuy2"), ("u1", 2)),
}


def some_pixels(random: np.random.Generator, encoding: str) -> np.ndarray:
    code, channels = {**PLAIN, **NAMED}[encoding]
    height, width = random.integers(1, 9), 2 * random.integers(1, 9)
    shape = (height, width) if channels == 1 else (height, width, channels)
    dtype = np.dtype(code)
    return random.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8).view(dtype)[..., 0]


@pytest.mark.parametrize("encoding", [*PLAIN, *NAMED])
def test_every_value_arrives_whatever_padding_and_byte_order(make_image, encoding: str) -> None:
    random = np.random.default_rng(len(encoding))
    for padding in (0, 1, 3, 4, 8, 17):
        for big_endian in (False, True):
            pixels = some_pixels(random, encoding)
            found = pixels_of(make_image(pixels, encoding, padding=padding, big_endian=big_endian), "front/image")
            assert found.dtype.isnative and found.dtype == pixels.dtype and found.flags.aligned
            np.testing.assert_array_equal(found, pixels)  # NaN included


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "32FC1", "16UC1", "32FC3"])
@pytest.mark.parametrize("padding", [0, 8])
def test_pixels_are_the_messages_memory(make_image, encoding: str, padding: int) -> None:
    message = make_image(some_pixels(np.random.default_rng(0), encoding), encoding, padding=padding)
    pixels = pixels_of(message, "front/image")
    assert np.shares_memory(pixels, np.frombuffer(message.data, np.uint8))


def test_types_without_a_number_of_channels_have_one() -> None:
    assert encoding_of("16U") == encoding_of("16UC") == encoding_of("16UC1")


@pytest.mark.parametrize(("encoding", "per"), [("nv12", 2), ("nv21", 2), ("nv24", 1)])
@pytest.mark.parametrize("padding", [0, 6])
def test_planes_of_colour_follow_brightness_row_by_row(make_image, encoding: str, per: int, padding: int) -> None:
    random = np.random.default_rng(per)
    brightness = random.integers(0, 256, (4, 6), dtype=np.uint8)
    colours = random.integers(0, 256, (4 // per, 6 // per, 2), dtype=np.uint8)
    # A row of nv24's colours is as long as two rows of memory.
    below = np.pad(colours.reshape(len(colours), -1), ((0, 0), (0, padding * 2 // per)))
    message = make_image(np.vstack([brightness, np.zeros((below.size // (6 + padding), 6), np.uint8)]), encoding)
    rows = np.pad(brightness, ((0, 0), (0, padding)))
    message.height, message.step = 4, 6 + padding
    message.data = message.data[:0]
    message.data.frombytes(rows.tobytes() + below.tobytes())
    np.testing.assert_array_equal(pixels_of(message, "t"), brightness)
    np.testing.assert_array_equal(colours_of(message), colours)
    message.data.pop()
    with pytest.raises(ImageError, match=f"t: data has {len(message.data)} bytes, .* '{encoding}' need"):
        pixels_of(message, "t")


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"encoding": "rgb9"}, raw_images.UNKNOWN_ENCODING, "unknown encoding 'rgb9'"),
        ({"encoding": ""}, raw_images.UNKNOWN_ENCODING, "unknown encoding ''"),
        ({"encoding": "32FC5"}, raw_images.UNKNOWN_ENCODING, "unknown encoding '32FC5'"),
        ({"encoding": "a\n" * 999}, raw_images.UNKNOWN_ENCODING, r"unknown encoding '(a\\n){30}\.\.\.'$"),
        ({"height": 0}, raw_images.WRONG_SIZE, "size 8x0 is not positive"),
        ({"width": 0}, raw_images.WRONG_SIZE, "size 0x6 is not positive"),
        ({"height": 7}, raw_images.TRUNCATED, "data has 144 bytes, step 24 and height 7 of 'rgb8' need 168"),
        ({"height": 2**32 - 1}, raw_images.TRUNCATED, "data has 144 bytes, .* need 103079215080"),
        ({"width": 2**32 - 1}, raw_images.WRONG_STEP, "step 24 is less than a row of 4294967295 pixels"),
        ({"step": 20}, raw_images.WRONG_STEP, r"step 20 is less than a row of 8 pixels of 'rgb8' \(24 bytes\)"),
        ({"step": 0}, raw_images.WRONG_STEP, "step 0 is less than a row"),
        ({"step": 2**32 - 1}, raw_images.TRUNCATED, "data has 144 bytes, step 4294967295"),
        ({"encoding": "uyvy", "width": 7}, raw_images.WRONG_SIZE, "size 7x6 of 'uyvy' is not a multiple of 2x1"),
        ({"encoding": "nv12", "height": 3}, raw_images.WRONG_SIZE, "size 8x3 of 'nv12' is not a multiple of 2x2"),
    ],
)
def test_what_cannot_be_is_refused_by_topic_field_and_value(make_image, changes, reason: str, text: str) -> None:
    message = make_image(np.zeros((6, 8, 3), np.uint8), "rgb8")
    for field, value in changes.items():
        setattr(message, field, value)
    with pytest.raises(ImageError, match=f"^front/image: {text}") as found:
        pixels_of(message, "front/image")
    assert found.value.reason == reason


def test_an_empty_message_is_refused(make_image) -> None:
    message = make_image(np.zeros((6, 8, 3), np.uint8), "rgb8")
    message.data = message.data[:0]
    with pytest.raises(ImageError, match="front/image: data has 0 bytes"):
        pixels_of(message, "front/image")


def test_an_announced_size_is_the_only_one_that_is_taken(make_image) -> None:
    message = make_image(np.zeros((6, 8, 3), np.uint8), "rgb8")
    assert pixels_of(message, "front/image", Announced(8, 6, "front/camera_info")).shape == (6, 8, 3)
    text = "front/image: size 8x6, but front/camera_info says 6x8"
    with pytest.raises(ImageError, match=text) as found:
        pixels_of(message, "front/image", Announced(6, 8, "front/camera_info"))
    assert found.value.reason == raw_images.WRONG_SIZE
