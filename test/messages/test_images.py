# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images by their encoding, from rclpy's messages and from rosbags' alike, beside cv_bridge and OpenCV."""

import array
import struct
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge
from sensor_msgs.msg import CompressedImage

from mtl_perception.messages.images import (
    array_to_image,
    depth_to_array,
    image_to_array,
    mono_to_array,
    values_to_array,
)
from mtl_perception.messages.raw_images import WRONG_ENCODING, Announced, ImageError

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8)
BGR = PICTURE[..., ::-1].copy()
ALPHA = np.full((6, 8), 9, np.uint8)
BAYER = [f"bayer_{pattern}" for pattern in ("rggb", "bggr", "gbrg", "grbg")]
CHANNELS = {"mono": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, **dict.fromkeys(BAYER, 1)}
# Encoding -> type and channels; those that cv_bridge knows.
ENCODINGS = {f"{name}{bits}": (f"u{bits // 8}", n) for name, n in CHANNELS.items() for bits in (8, 16)}
ENCODINGS |= {"yuv422": ("u1", 2), "yuv422_yuy2": ("u1", 2)}


def random_pixels(encoding: str, height: int = 6, width: int = 8) -> np.ndarray:
    dtype, channels = ENCODINGS[encoding]
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RANDOM.integers(0, 1 << (8 * np.dtype(dtype).itemsize), shape, dtype=dtype)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", PICTURE),
        ("bgr8", BGR),
        ("rgba8", np.dstack([PICTURE, ALPHA])),
        ("bgra8", np.dstack([BGR, ALPHA])),
    ],
)
def test_colour_encodings_give_rgb(make_image, encoding: str, pixels: np.ndarray, padding: int) -> None:
    result = image_to_array(make_image(pixels, encoding, padding=padding))
    np.testing.assert_array_equal(result, PICTURE)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_what_cv_bridge_gives(make_image, encoding: str) -> None:
    message = make_image(random_pixels(encoding), encoding)
    expected = CvBridge().imgmsg_to_cv2(message, "rgb8")
    result = image_to_array(message)
    assert result.dtype == np.uint8 and result.shape == (6, 8, 3)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_neither_padding_nor_byte_order_changes_a_picture(make_image, encoding: str) -> None:
    for _ in range(10):
        height, half, padding = RANDOM.integers(3, 12), RANDOM.integers(2, 9), RANDOM.integers(1, 12)
        pixels = random_pixels(encoding, height, 2 * half)
        expected = image_to_array(make_image(pixels, encoding))
        for big_endian in (False, True):
            message = make_image(pixels, encoding, padding=padding, big_endian=big_endian)
            np.testing.assert_array_equal(image_to_array(message), expected)


def test_other_names_of_the_same() -> None:
    pixels = RANDOM.integers(0, 256, (6, 8, 2), dtype=np.uint8)
    for name, other in (("uyvy", "yuv422"), ("yuyv", "yuv422_yuy2")):
        first, second = (image_to_array(array_to_image(pixels, encoding, 0, "")) for encoding in (name, other))
        np.testing.assert_array_equal(first, second)
    grey = PICTURE[..., 0]
    np.testing.assert_array_equal(image_to_array(array_to_image(grey, "8UC1", 0, "")), np.dstack([grey] * 3))


def test_sixteen_bits_become_eight() -> None:
    for encoding in ("rgb16", "mono16"):
        wide = (PICTURE if encoding == "rgb16" else PICTURE[..., 0]).astype(np.uint16) * 257
        expected = PICTURE if encoding == "rgb16" else np.dstack([PICTURE[..., 0]] * 3)
        np.testing.assert_array_equal(image_to_array(array_to_image(wide, encoding, 0, "")), expected)


def test_a_bayer_pattern_shows_its_colour(make_image) -> None:
    for encoding in ("bayer_rggb8", "bayer_rggb16"):
        mosaic = np.zeros((8, 8), np.uint8 if encoding.endswith("8") else np.uint16)
        mosaic[0::2, 0::2] = 200 if encoding.endswith("8") else 200 * 257  # the R of RGGB
        red, green, blue = image_to_array(make_image(mosaic, encoding))[2:6, 2:6].mean(axis=(0, 1))
        assert red > 150 and green == 0 and blue == 0


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(("encoding", "code"), [("nv12", cv2.COLOR_YUV2RGB_NV12), ("nv21", cv2.COLOR_YUV2RGB_NV21)])
def test_planes_of_brightness_and_colour(make_image, encoding: str, code: int, padding: int) -> None:
    planes = RANDOM.integers(0, 256, (9, 8), dtype=np.uint8)  # of 6 rows
    message = make_image(planes, encoding, padding=padding, height=6)
    np.testing.assert_array_equal(image_to_array(message), cv2.cvtColor(planes, code))


@pytest.mark.parametrize("padding", [0, 6])
def test_nv24_has_a_colour_for_each_pixel(make_image, padding: int) -> None:
    brightness, colours = RANDOM.integers(0, 256, (6, 8), dtype=np.uint8), np.empty((6, 8, 2), np.uint8)
    colours[:, ::2] = colours[:, 1::2] = RANDOM.integers(0, 256, (6, 4, 2), dtype=np.uint8)
    message = make_image(brightness, "nv24", padding=padding)
    message.data.frombytes(np.pad(colours.reshape(6, 16), ((0, 0), (0, 2 * padding))).tobytes())
    # Where two neighbours have the same colour, it is the same picture as UYVY.
    packed = np.dstack([np.where(np.arange(8) % 2, colours[..., 1], colours[..., 0]), brightness])
    np.testing.assert_array_equal(image_to_array(message), cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_UYVY))


def test_primary_colours_of_yuv(make_image) -> None:
    # ITU-R BT.601 with limited range: Y, U, V of pure red, green and blue.
    for yuv, rgb in (((81, 90, 240), (255, 0, 0)), ((145, 54, 34), (0, 255, 0)), ((41, 240, 110), (0, 0, 255))):
        y, u, v = (np.full((4, 4), value, np.uint8) for value in yuv)
        even = np.arange(4) % 2 == 0
        pictures = {
            "uyvy": np.dstack([np.where(even, u, v), y]),
            "yuyv": np.dstack([y, np.where(even, u, v)]),
            "nv12": np.vstack([y, np.where(even, u, v)[:2]]),
            "nv21": np.vstack([y, np.where(even, v, u)[:2]]),
            "nv24": np.vstack([y, np.where(even, u, v), np.where(even, u, v)]),
        }
        for encoding, pixels in pictures.items():
            result = image_to_array(make_image(pixels, encoding, height=4)).astype(int)
            assert np.abs(result - rgb).max() <= 2, encoding


@pytest.mark.parametrize("padding", [0, 8])
def test_what_is_as_asked_for_is_not_copied(make_image, padding: int) -> None:
    metres = RANDOM.uniform(0.1, 9.0, (6, 8)).astype(np.float32)
    metres[2, 3] = np.nan
    labels = PICTURE[..., 0].astype(np.uint16)
    for read, pixels, encoding in (
        (image_to_array, PICTURE, "rgb8"),
        (depth_to_array, metres, "32FC1"),
        (mono_to_array, PICTURE[..., 0], "mono8"),
        (mono_to_array, labels, "16UC1"),
        (lambda message: values_to_array(message, "32FC1"), metres, "32FC1"),
    ):
        message = make_image(pixels, encoding, padding=padding)
        result = read(message)
        np.testing.assert_array_equal(result, pixels)
        shares = np.shares_memory(result, np.frombuffer(message.data, np.uint8))
        assert shares == (encoding == "rgb8" or not padding)
        assert result.flags.c_contiguous == (encoding != "rgb8" or not padding)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("format", "pixels"),
    [
        ("png", BGR),
        ("", BGR),
        ("rgb8; png compressed bgr8", BGR),
        ("bgr8; png compressed bgr8", BGR),
        ("rgb8; png compressed ", PICTURE),  # of old versions, which swap red and blue
        ("bgra8; png compressed bgr8", BGR),
        ("png", np.dstack([BGR, ALPHA])),
    ],
)
def test_compressed_colours_give_rgb(make_compressed, format: str, pixels: np.ndarray, wide: bool) -> None:
    content = pixels.astype(np.uint16) * 257 if wide else pixels
    np.testing.assert_array_equal(image_to_array(make_compressed(content, format)), PICTURE)


def test_compressed_grey_and_mosaics(make_compressed, make_image) -> None:
    grey = PICTURE[..., 0].copy()
    for format in ("mono8; png compressed ", "png", "bayer_rggb8; png compressed mono8"):
        np.testing.assert_array_equal(image_to_array(make_compressed(grey, format)), np.dstack([grey] * 3))
    for encoding in ("bayer_grbg8", "bayer_rggb16"):
        mosaic = random_pixels(encoding)
        expected = image_to_array(make_image(mosaic, encoding))
        np.testing.assert_array_equal(image_to_array(make_compressed(mosaic, f"{encoding}; png compressed ")), expected)


def test_a_jpeg_looks_like_its_picture(make_compressed) -> None:
    smooth = cv2.resize(PICTURE, (64, 48), interpolation=cv2.INTER_CUBIC)
    message = make_compressed(smooth[..., ::-1], "rgb8; jpeg compressed bgr8", ".jpg")
    assert np.abs(image_to_array(message).astype(int) - smooth).mean() < 5
    with pytest.raises(ImageError, match=r"front/image: 3 bytes of format 'jpeg' cannot be decoded"):
        image_to_array(CompressedImage(format="jpeg", data=b"abc"), "front/image")


def test_depth_is_in_metres_whatever_the_encoding(make_image, make_compressed, encode_rvl) -> None:
    millimetres = np.array([[0, 1500], [65535, 20]], np.uint16)
    expected = np.array([[np.nan, 1.5], [np.nan, 0.02]], np.float32)
    for big_endian in (False, True):
        message = make_image(millimetres, "16UC1", big_endian=big_endian, padding=2)
        np.testing.assert_allclose(depth_to_array(message), expected)
        metres = np.array([[np.inf, 1.5], [-1.0, 0.02]], np.float32)
        message = make_image(metres, "32FC1", big_endian=big_endian, padding=2)
        np.testing.assert_allclose(depth_to_array(message), expected)
    header = struct.pack("<iff", 0, 0.0, 0.0)
    png = cv2.imencode(".png", millimetres)[1].tobytes()
    for data, format in (
        (header + png, "16UC1; compressedDepth png"),
        (header + encode_rvl(millimetres), "16UC1; compressedDepth rvl"),
        (png, "16UC1; png compressed "),
    ):
        np.testing.assert_allclose(depth_to_array(make_compressed(data, format)), expected)


def test_every_millimetre_is_a_thousandth_of_a_metre() -> None:
    millimetres = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    metres = depth_to_array(array_to_image(millimetres, "16UC1", 0, "")).ravel()
    np.testing.assert_array_equal(metres[1:-1], np.arange(1, 65535, dtype=np.float32) * np.float32(0.001))
    assert np.isnan(metres[[0, -1]]).all()


def test_labels_come_as_png_but_not_as_jpeg(make_compressed) -> None:
    for labels in (PICTURE[..., 0].copy(), PICTURE[..., 0].astype(np.uint16) * 200):
        np.testing.assert_array_equal(mono_to_array(make_compressed(labels, "png")), labels)
    with pytest.raises(ImageError, match="labels: format 'jpeg' changes the values of labels and masks"):
        mono_to_array(make_compressed(PICTURE[..., 0], "jpeg", ".jpg"), "labels")
    with pytest.raises(ImageError, match="labels: the PNG has 3 channels"):
        mono_to_array(make_compressed(PICTURE, "png"), "labels")


def test_messages_of_rosbags_are_read_too(make_compressed) -> None:
    message = SimpleNamespace(height=6, width=8, encoding="rgb8", is_bigendian=0, step=24, data=PICTURE.reshape(-1))
    np.testing.assert_array_equal(image_to_array(message), PICTURE)
    data = np.frombuffer(make_compressed(BGR, "png").data, np.uint8)
    np.testing.assert_array_equal(image_to_array(SimpleNamespace(format="png", data=data)), PICTURE)
    # Their data begin anywhere in the file's memory, so floats may not be aligned.
    metres = RANDOM.uniform(1, 2, (3, 5)).astype(np.float32)
    data = np.frombuffer(b"?" + metres.tobytes(), np.uint8)[1:]
    message = SimpleNamespace(height=3, width=5, encoding="32FC1", is_bigendian=0, step=20, data=data)
    np.testing.assert_array_equal(depth_to_array(message), metres)


def test_errors_name_topic_field_and_value(make_image, make_compressed) -> None:
    good = make_image(PICTURE, "rgb8")
    good.encoding = "rgb9"
    with pytest.raises(ImageError, match="front/image: unknown encoding 'rgb9'"):
        image_to_array(good, "front/image")
    with pytest.raises(
        ImageError, match="front/image: encoding '32FC1' is not a picture, expected one of rgb8"
    ) as found:
        image_to_array(make_image(np.zeros((2, 2), np.float32), "32FC1"), "front/image")
    assert found.value.reason == WRONG_ENCODING
    with pytest.raises(ImageError, match=r"front/depth: encoding 'rgb8' .* is not depth"):
        depth_to_array(make_image(PICTURE, "rgb8"), "front/depth")
    with pytest.raises(ImageError, match=r"front/depth: encoding 'bayer_rggb16' .* is not depth"):
        depth_to_array(make_image(np.zeros((2, 2), np.uint16), "bayer_rggb16"), "front/depth")
    with pytest.raises(ImageError, match=r"front/depth: format 'png' \(uint8 \(6, 8, 3\)\) is not depth"):
        depth_to_array(make_compressed(PICTURE, "png"), "front/depth")
    with pytest.raises(ImageError, match="front/image: format '16UC1; png compressed ' is depth, not a picture"):
        image_to_array(make_compressed(PICTURE, "16UC1; png compressed "), "front/image")
    with pytest.raises(ImageError, match="labels: encoding 'rgb8', expected mono8"):
        mono_to_array(make_image(PICTURE, "rgb8"), "labels")
    with pytest.raises(ImageError, match="values: encoding 'png', expected 32SC1"):
        values_to_array(make_compressed(PICTURE, "png"), "32SC1", "values")


def test_another_size_than_the_announced_one_is_refused(make_image, make_compressed) -> None:
    grey, metres = PICTURE[..., 0].copy(), np.ones((6, 8), np.float32)
    for reader, message in (
        (image_to_array, make_image(PICTURE, "rgb8")),
        (image_to_array, make_compressed(PICTURE, "png")),
        (depth_to_array, make_image(metres, "32FC1")),
        (depth_to_array, make_compressed(grey.astype(np.uint16), "png")),
        (mono_to_array, make_image(grey, "mono8")),
        (mono_to_array, make_compressed(grey, "png")),
        (partial(values_to_array, encoding="32FC1"), make_image(metres, "32FC1")),
    ):
        assert reader(message, topic="front/image", announced=Announced(8, 6, "info")).shape[:2] == (6, 8)
        with pytest.raises(ImageError, match="front/image: size 8x6, but info says 4x6"):
            reader(message, topic="front/image", announced=Announced(4, 6, "info"))


def test_what_is_written_is_read_again() -> None:
    message = array_to_image(PICTURE, "rgb8", 5_000_000_007, "optical")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (5, 7, "optical")
    np.testing.assert_array_equal(image_to_array(message), PICTURE)
    slanted = RANDOM.normal(size=(7, 9, 3)).astype(np.float32)[::2, ::-1]
    np.testing.assert_array_equal(values_to_array(array_to_image(slanted, "32FC3", 0, ""), "32FC3"), slanted)


@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [
        (PICTURE, "mono8"),
        (PICTURE.astype(np.int16), "rgb8"),
        (PICTURE[..., 0].astype(">u2"), "mono16"),
        (PICTURE[None], "rgb8"),
        (PICTURE[..., 0], "nv12"),
        (PICTURE, "rgb9"),
    ],
)
def test_an_array_that_is_not_of_the_encoding_is_refused(pixels: np.ndarray, encoding: str) -> None:
    with pytest.raises(ValueError, match=f"encoding '{encoding}'"):
        array_to_image(pixels, encoding, 0, "")


def test_a_message_is_as_cv_bridge_makes_it() -> None:
    for encoding in ("rgb8", "mono16", "bayer_rggb8"):
        pixels = random_pixels(encoding)
        ours, theirs = array_to_image(pixels, encoding, 0, ""), CvBridge().cv2_to_imgmsg(pixels, encoding)
        assert (ours.height, ours.width, ours.step, ours.encoding) == (6, 8, theirs.step, encoding)
        assert ours.data == theirs.data and isinstance(ours.data, array.array)
