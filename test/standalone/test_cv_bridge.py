# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What cv_bridge does, the real one as well as the one that stands in for it."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
TYPES = {
    "mono8": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "rgb16": (np.uint16, 3),
    "bayer_rggb8": (np.uint8, 1),
    "bayer_gbrg16": (np.uint16, 1),
    "yuv422": (np.uint8, 2),
    "yuv422_yuy2": (np.uint8, 2),
    "8UC1": (np.uint8, 1),
    "8UC2": (np.uint8, 2),
    "8UC3": (np.uint8, 3),
    "8SC1": (np.int8, 1),
    "16UC1": (np.uint16, 1),
    "16SC1": (np.int16, 1),
    "32SC1": (np.int32, 1),
    "32FC1": (np.float32, 1),
    "32FC3": (np.float32, 3),
    "64FC2": (np.float64, 2),
    "16U": (np.uint16, 1),
    "8UC7": (np.uint8, 7),
}


def pixels(dtype: type, channels: int, height: int = 6, width: int = 8) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    values = np.random.default_rng(7).integers(0, 1 << 16, shape)
    return values.astype(dtype)


def message(image: np.ndarray, encoding: str, padding: int = 0, is_bigendian: bool = False, fill: int = 0xAB) -> Image:
    """An Image whose rows are followed by `padding` bytes."""
    ordered = np.ascontiguousarray(image.astype(image.dtype.newbyteorder(">" if is_bigendian else "<")))
    rows = ordered.reshape(len(image), -1).view(np.uint8)
    padded = np.concatenate([rows, np.full((len(rows), padding), fill, np.uint8)], axis=1)
    return Image(
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=int(is_bigendian),
        step=padded.shape[1],
        data=array.array("B", padded.tobytes()),
    )


@pytest.mark.parametrize("encoding", TYPES)
def test_an_image_passes_through_unchanged(encoding: str) -> None:
    dtype, channels = TYPES[encoding]
    image = pixels(dtype, channels)

    received = BRIDGE.imgmsg_to_cv2(message(image, encoding))

    assert received.dtype == dtype and received.shape == image.shape
    assert received.dtype.isnative
    np.testing.assert_array_equal(received, image)
    assert BRIDGE.encoding_to_dtype_with_channels(encoding) == (np.dtype(dtype).name, channels)


def test_pass_through_shares_memory_with_the_message() -> None:
    msg = message(pixels(np.uint8, 3), "rgb8")
    image = BRIDGE.imgmsg_to_cv2(msg)

    image[0, 0] = (1, 2, 3)
    assert list(msg.data[:3]) == [1, 2, 3]

    same = BRIDGE.imgmsg_to_cv2(msg, "rgb8")
    same[0, 0] = (9, 9, 9)
    assert list(msg.data[:3]) == [1, 2, 3], "asking for the encoding that it has gives a copy"


@pytest.mark.parametrize(("encoding", "padding"), [("rgb8", 6), ("mono8", 5), ("16UC1", 4), ("32FC1", 8), ("8UC7", 14)])
def test_padding_of_rows_is_left_out(encoding: str, padding: int) -> None:
    image = pixels(*TYPES[encoding])
    received = BRIDGE.imgmsg_to_cv2(message(image, encoding, padding))
    np.testing.assert_array_equal(received, image)
    assert received.flags.c_contiguous


def test_a_message_with_too_little_data_is_refused() -> None:
    msg = message(pixels(np.uint8, 3), "rgb8")
    msg.data = msg.data[:-1]
    with pytest.raises(TypeError):
        BRIDGE.imgmsg_to_cv2(msg)


COLOURS = ["mono8", "rgb8", "bgr8", "rgba8", "bgra8"]
MODELS = {"mono8": "GRAY", "rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGBA", "bgra8": "BGRA"}


@pytest.mark.parametrize("target", COLOURS)
@pytest.mark.parametrize("source", COLOURS)
def test_colours_convert_as_opencv_does(source: str, target: str) -> None:
    image = pixels(*TYPES[source])
    expected = image
    if source != target:
        expected = cv2.cvtColor(image, getattr(cv2, f"COLOR_{MODELS[source]}2{MODELS[target]}"))
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(image, source), target), expected)


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("bayer_rggb8", "rgb8", cv2.COLOR_BayerBG2RGB),
        ("bayer_bggr8", "bgr8", cv2.COLOR_BayerRG2BGR),
        ("bayer_gbrg8", "mono8", cv2.COLOR_BayerGR2GRAY),
        ("bayer_grbg8", "bgr8", cv2.COLOR_BayerGB2BGR),
        ("bayer_gbrg16", "rgb16", cv2.COLOR_BayerGR2RGB),
        ("yuv422", "rgb8", cv2.COLOR_YUV2RGB_UYVY),
        ("yuv422", "mono8", cv2.COLOR_YUV2GRAY_UYVY),
        ("yuv422_yuy2", "bgr8", cv2.COLOR_YUV2BGR_YUY2),
        ("yuv422_yuy2", "rgba8", cv2.COLOR_YUV2RGBA_YUY2),
    ],
)
def test_camera_formats_convert_as_opencv_does(source: str, target: str, code: int) -> None:
    image = pixels(np.uint16 if source.endswith("16") else np.uint8, 2 if source.startswith("yuv") else 1)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(image, source), target), cv2.cvtColor(image, code))


def test_a_red_pixel_under_a_bayer_filter_is_red() -> None:
    mosaic = np.zeros((6, 6), np.uint8)
    mosaic[0::2, 0::2] = 200
    rgb = BRIDGE.imgmsg_to_cv2(message(mosaic, "bayer_rggb8"), "rgb8")
    assert tuple(rgb[2, 2]) == (200, 0, 0)


def test_sixteen_bits_scale_to_eight_and_back() -> None:
    values = np.array([[0, 128, 129, 257, 385, 386, 32767, 65406, 65407, 65535]], np.uint16)
    eight = BRIDGE.imgmsg_to_cv2(message(values, "mono16"), "mono8")
    assert eight.dtype == np.uint8
    assert eight.tolist() == [[0, 0, 1, 1, 1, 2, 127, 254, 255, 255]]

    sixteen = BRIDGE.imgmsg_to_cv2(message(np.array([[0, 1, 128, 255]], np.uint8), "mono8"), "mono16")
    assert sixteen.dtype == np.uint16
    assert sixteen.tolist() == [[0, 257, 32896, 65535]]


def test_every_sixteen_bit_value_scales_to_the_nearest() -> None:
    values = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    eight = BRIDGE.imgmsg_to_cv2(message(values, "mono16"), "mono8")
    np.testing.assert_array_equal(eight, np.rint(values / 257.0))


def test_colour_and_depth_convert_in_one_go() -> None:
    image = pixels(np.uint8, 3)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(image, "rgb8"), "mono16"), grey)


def test_types_without_colour_convert_among_themselves() -> None:
    metres = np.array([[0.4, 0.5, 1.5, 2.5, -3.0, 70000.0, np.nan]], np.float32)
    shorts = BRIDGE.imgmsg_to_cv2(message(metres, "32FC1"), "16UC1")
    assert shorts.dtype == np.uint16
    assert shorts.tolist() == [[0, 0, 2, 2, 0, 65535, 0]], "rounded to even, saturated, NaN to the smallest"

    millimetres = np.array([[0, 1, 65535]], np.uint16)
    floats = BRIDGE.imgmsg_to_cv2(message(millimetres, "16UC1"), "32FC1")
    assert floats.dtype == np.float32
    assert floats.tolist() == [[0.0, 1.0, 65535.0]]

    signed = BRIDGE.imgmsg_to_cv2(message(np.array([[-32768, -1, 0, 32767]], np.int16), "16SC1"), "8UC1")
    assert signed.tolist() == [[0, 0, 0, 127]], "scaled by 255 / 65535 as between all types of 16 and 8 bits"


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("32FC1", "mono8", "not a color format"),
        ("16UC1", "mono16", "not a color format"),
        ("8UC3", "8UC1", "number of channel"),
        ("rgb8", "8UC1", "is a color format"),
        ("bayer_rggb8", "rgba8", "Unsupported conversion"),
        ("rgb8", "yuv422", "Unsupported conversion"),
        ("rgb8", "bayer_rggb8", "Unsupported conversion"),
        ("rgb8", "rgb9", "rgb9"),
    ],
)
def test_conversions_that_make_no_sense_are_refused(source: str, target: str, words: str) -> None:
    with pytest.raises(CvBridgeError, match=words):
        BRIDGE.imgmsg_to_cv2(message(pixels(*TYPES[source]), source), target)


def test_an_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(CvBridgeError, match=r"Unrecognized image encoding \[jpeg\]"):
        BRIDGE.imgmsg_to_cv2(message(pixels(np.uint8, 1), "jpeg"))
    assert issubclass(CvBridgeError, TypeError)


def test_an_array_becomes_a_message() -> None:
    image = pixels(np.uint8, 3)
    header = Header(frame_id="camera")
    msg = BRIDGE.cv2_to_imgmsg(image, "bgr8", header)
    assert (msg.height, msg.width, msg.step, msg.encoding) == (6, 8, 24, "bgr8")
    assert msg.header == header
    assert not msg.is_bigendian
    assert bytes(msg.data) == image.tobytes()


@pytest.mark.parametrize(
    ("dtype", "channels", "encoding"),
    [(np.uint8, 1, "8UC1"), (np.uint16, 1, "16UC1"), (np.float32, 3, "32FC3"), (np.uint8, 5, "8UC5")],
)
def test_without_an_encoding_the_message_names_the_type(dtype: type, channels: int, encoding: str) -> None:
    assert BRIDGE.cv2_to_imgmsg(pixels(dtype, channels)).encoding == encoding


def test_a_slice_of_an_array_becomes_a_message() -> None:
    image = pixels(np.float32, 1)[::2, 1::3]
    msg = BRIDGE.cv2_to_imgmsg(image, "32FC1")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(msg), image)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CvBridgeError, match="encoding specified as rgb8, but image has incompatible type 8UC1"):
        BRIDGE.cv2_to_imgmsg(pixels(np.uint8, 1), "rgb8")
    with pytest.raises(CvBridgeError, match="incompatible type 16UC1"):
        BRIDGE.cv2_to_imgmsg(pixels(np.uint16, 1), "mono8")
    with pytest.raises(CvBridgeError, match="Unrecognized image encoding"):
        BRIDGE.cv2_to_imgmsg(pixels(np.uint8, 1), "grey")
    with pytest.raises(KeyError):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), bool))
    with pytest.raises(KeyError):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), np.int64), "32SC1")
    with pytest.raises(TypeError, match="not a numpy array"):
        BRIDGE.cv2_to_imgmsg([[1, 2], [3, 4]])


def test_types_have_opencvs_numbers_and_names() -> None:
    assert BRIDGE.encoding_to_cvtype2("rgb8") == cv2.CV_8UC3
    assert BRIDGE.encoding_to_cvtype2("32FC1") == cv2.CV_32FC1
    assert BRIDGE.dtype_with_channels_to_cvtype2(np.dtype(np.int16), 2) == "16SC2"


@pytest.mark.parametrize("image", [pixels(np.uint8, 3), pixels(np.uint8, 1), pixels(np.uint16, 1), pixels(np.uint8, 4)])
def test_png_keeps_every_pixel(image: np.ndarray) -> None:
    msg = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
    assert isinstance(msg, CompressedImage) and msg.format == "png"
    received = BRIDGE.compressed_imgmsg_to_cv2(msg)
    assert received is not None and received.dtype == image.dtype
    np.testing.assert_array_equal(received, image)


def test_a_compressed_image_converts_from_bgr() -> None:
    image = pixels(np.uint8, 3)
    msg = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(msg, "rgb8"), image[..., ::-1])
    np.testing.assert_array_equal(
        BRIDGE.compressed_imgmsg_to_cv2(msg, "mono8"), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    )


def test_jpeg_is_the_default() -> None:
    grey = np.full((16, 16, 3), 120, np.uint8)
    msg = BRIDGE.cv2_to_compressed_imgmsg(grey)
    assert msg.format == "jpg" and bytes(msg.data[:2]) == b"\xff\xd8"
    received = BRIDGE.compressed_imgmsg_to_cv2(msg)
    assert received is not None
    assert np.abs(received.astype(int) - 120).max() <= 2


def test_compression_fails_as_told() -> None:
    with pytest.raises(cv2.error):
        BRIDGE.cv2_to_compressed_imgmsg(pixels(np.uint8, 3), "nonsense")
    with pytest.raises(TypeError, match="not a numpy array"):
        BRIDGE.cv2_to_compressed_imgmsg([1], "png")
    grey = BRIDGE.cv2_to_compressed_imgmsg(pixels(np.uint8, 1), "png")
    with pytest.raises(CvBridgeError):
        BRIDGE.compressed_imgmsg_to_cv2(grey, "mono8")
