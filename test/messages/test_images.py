# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images by their encoding, from rclpy's messages and from rosbags' alike."""

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from mtl_perception.messages.images import array_to_image, depth_to_array, image_to_array, mono_to_array

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def image(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    rows = pixels.reshape(len(pixels), -1)
    data = rows.astype(rows.dtype.newbyteorder(">")) if big_endian else rows
    raw = np.pad(data.view(np.uint8), ((0, 0), (0, padding)))
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=raw.shape[1])
    message.is_bigendian = int(big_endian)
    message.data = array.array("B", raw.tobytes())
    return message


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", PICTURE),
        ("bgr8", PICTURE[..., ::-1].copy()),
        ("rgba8", np.dstack([PICTURE, np.full((6, 8), 9, np.uint8)])),
        ("bgra8", np.dstack([PICTURE[..., ::-1], np.full((6, 8), 9, np.uint8)])),
    ],
)
def test_colour_encodings_give_rgb(encoding: str, pixels: np.ndarray, padding: int) -> None:
    result = image_to_array(image(pixels, encoding, padding))
    np.testing.assert_array_equal(result, PICTURE)


def test_grey_and_16_bit_pictures_give_rgb() -> None:
    grey = PICTURE[..., 0].copy()
    np.testing.assert_array_equal(image_to_array(image(grey, "mono8")), np.dstack([grey] * 3))
    wide = PICTURE.astype(np.uint16) * 256
    np.testing.assert_array_equal(image_to_array(image(wide, "rgb16")), PICTURE)
    np.testing.assert_array_equal(image_to_array(image(wide, "rgb16", big_endian=True)), PICTURE)


def test_a_bayer_pattern_shows_its_colour() -> None:
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[0::2, 0::2] = 200  # the R of RGGB
    red, green, blue = image_to_array(image(mosaic, "bayer_rggb8"))[2:6, 2:6].mean(axis=(0, 1))
    assert red > 150
    assert green == 0
    assert blue == 0


def test_compressed_pictures() -> None:
    data = cv2.imencode(".png", PICTURE[..., ::-1])[1]
    message = CompressedImage(format="png", data=data.tobytes())
    np.testing.assert_array_equal(image_to_array(message), PICTURE)
    with pytest.raises(ValueError, match=r"front/image: 3 bytes of format 'jpeg' cannot be decoded"):
        image_to_array(CompressedImage(format="jpeg", data=b"abc"), "front/image")


def test_depth_is_in_metres_whatever_the_encoding() -> None:
    millimetres = np.array([[0, 1500], [65535, 20]], np.uint16)
    expected = np.array([[np.nan, 1.5], [np.nan, 0.02]], np.float32)
    np.testing.assert_allclose(depth_to_array(image(millimetres, "16UC1")), expected)
    metres = np.array([[np.inf, 1.5], [-1.0, 0.02]], np.float32)
    np.testing.assert_allclose(depth_to_array(image(metres, "32FC1")), expected)
    header = b"\x00" * 12  # of compressed_depth_image_transport
    compressed = CompressedImage(format="16UC1; compressedDepth png")
    compressed.data = header + cv2.imencode(".png", millimetres)[1].tobytes()
    np.testing.assert_allclose(depth_to_array(compressed), expected)


def test_messages_of_rosbags_are_read_too() -> None:
    message = SimpleNamespace(height=6, width=8, encoding="rgb8", is_bigendian=0, step=24, data=PICTURE.reshape(-1))
    np.testing.assert_array_equal(image_to_array(message), PICTURE)


def test_errors_name_topic_field_and_value() -> None:
    good = image(PICTURE, "rgb8")
    good.encoding = "rgb9"
    with pytest.raises(ValueError, match="front/image: unknown encoding 'rgb9'"):
        image_to_array(good, "front/image")
    good.encoding, good.height = "rgb8", 7
    with pytest.raises(ValueError, match=r"front/image: data has 144 bytes, step \* height = 24 \* 7 needs 168"):
        image_to_array(good, "front/image")
    good.height, good.step = 6, 20
    with pytest.raises(ValueError, match="front/image: step 20 is less than a row"):
        image_to_array(good, "front/image")
    with pytest.raises(ValueError, match="front/image: encoding '32FC1' is not a picture"):
        image_to_array(image(np.zeros((2, 2), np.float32), "32FC1"), "front/image")
    with pytest.raises(ValueError, match=r"front/depth: encoding 'rgb8' .* is not depth"):
        depth_to_array(image(PICTURE, "rgb8"), "front/depth")
    with pytest.raises(ValueError, match="labels: encoding 'rgb8', expected mono8"):
        mono_to_array(image(PICTURE, "rgb8"), "labels")


def test_what_is_written_is_read_again() -> None:
    message = array_to_image(PICTURE, "rgb8", 5_000_000_007, "optical")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (5, 7, "optical")
    np.testing.assert_array_equal(image_to_array(message), PICTURE)
    with pytest.raises(ValueError, match="encoding 'mono8' for uint8"):
        array_to_image(PICTURE, "mono8", 0, "")
