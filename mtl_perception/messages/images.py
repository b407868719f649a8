# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image and CompressedImage to arrays and back.

The encoding tells the unit: 16UC1 depth is in millimetres with 0 invalid, 32FC1 depth in metres with NaN invalid.

An array is the message's own memory, not to be written to, where the message has the values as they are asked for: rgb8
(with gaps in it where rows are padded), and without padding valid 32FC1 depth, labels, masks and values.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from mtl_perception.messages.compressed_images import decode, decode_depth, format_of, is_compressed, is_jpeg
from mtl_perception.messages.raw_images import (
    WRONG_ENCODING,
    Announced,
    ImageError,
    colours_of,
    encoding_of,
    pixels_of,
    shown,
)
from mtl_perception.messages.stamps import to_header


def image_to_array(message: Any, topic: str = "image", announced: Announced | None = None) -> NDArray[np.uint8]:
    """Return the picture of an Image or CompressedImage as RGB uint8 (height, width, 3); rows may be apart in memory.

    16 bits become 8 as in cv_bridge (65535 becomes 255); YUV is ITU-R BT.601 with limited range, as OpenCV has it.

    Args:
        message: of rclpy or rosbags.
        topic: for the texts of errors.
        announced: the size that it must have. It is looked at before anything is decoded.

    Raises:
        ImageError: the encoding is not a colour or grey one, or the data does not fit the size, or is broken or cut
            off; names `topic`, field and value.
    """
    if is_compressed(message):
        return _decoded_picture(message, topic, announced)
    pixels, encoding = pixels_of(message, topic, announced), message.encoding
    if encoding in _TWO_PLANES:
        return _from_two_planes(pixels, colours_of(message), encoding)
    if encoding not in _PICTURES:
        expected = ", ".join((*_PICTURES, *_TWO_PLANES))
        raise ImageError(WRONG_ENCODING, f"{topic}: encoding '{encoding}' is not a picture, expected one of {expected}")
    return _to_rgb(pixels, _PICTURES[encoding])


def depth_to_array(message: Any, topic: str = "depth", announced: Announced | None = None) -> NDArray[np.float32]:
    """Return a depth image as float32 (height, width) in metres; NaN where it was 0, negative, 65535 mm or not finite.

    An Image of 16UC1, mono16 or 32FC1; or a CompressedImage: PNG of 16 bits, or compressedDepth (PNG or RVL).

    Raises:
        ImageError: it is something else, or the data does not fit the size, or is broken; names `topic`.
    """
    if is_compressed(message):
        pixels, where = decode_depth(message, topic, announced), f"format {shown(message.format)}"
    else:
        pixels, where = pixels_of(message, topic, announced), f"encoding {shown(message.encoding)}"
    is_mosaic = not is_compressed(message) and message.encoding in _MOSAICS
    if pixels.ndim != 2 or pixels.dtype not in (np.uint16, np.float32) or is_mosaic:
        text = f"{topic}: {where} ({pixels.dtype} {pixels.shape}) is not depth, "
        raise ImageError(WRONG_ENCODING, f"{text}expected 16UC1 (millimetres) or 32FC1 (metres)")
    return _metres(pixels)


def mono_to_array(
    message: Any, topic: str = "image", announced: Announced | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a label image or a mask (height, width): uint8 for mono8 and 8UC1, uint16 for mono16 and 16UC1.

    A CompressedImage must be a PNG: JPEG makes other labels of labels.

    Raises:
        ImageError: the encoding is another one, or the data does not fit the size; names `topic`.
    """
    if is_compressed(message):
        if is_jpeg(message):
            text = f"{topic}: format {shown(message.format)} changes the values of labels and masks, expected png"
            raise ImageError(WRONG_ENCODING, text)
        pixels = decode(message, topic, announced)
        if pixels.ndim != 2:
            text = f"{topic}: the PNG has {pixels.shape[2]} channels, expected one"
            raise ImageError(WRONG_ENCODING, text)
        return pixels
    if message.encoding not in ("mono8", "8UC1", "mono16", "16UC1"):
        text = f"{topic}: encoding {shown(message.encoding)}, expected mono8, 8UC1, mono16 or 16UC1"
        raise ImageError(WRONG_ENCODING, text)
    return np.ascontiguousarray(pixels_of(message, topic, announced))


def values_to_array(message: Any, encoding: str, topic: str = "image", announced: Announced | None = None) -> NDArray:
    """Return an image of exactly that encoding as (height, width) or (height, width, channels), every value as it is.

    Raises:
        ImageError: the encoding is another one, or the data does not fit the size; names `topic`.
    """
    found = message.format if is_compressed(message) else message.encoding
    if is_compressed(message) or found != encoding:
        raise ImageError(WRONG_ENCODING, f"{topic}: encoding {shown(found)}, expected {encoding}")
    return np.ascontiguousarray(pixels_of(message, topic, announced))


def array_to_image(array: NDArray, encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return an array (height, width) or (height, width, channels) as a sensor_msgs/Image, copied once.

    Raises:
        ValueError: the array's type or channels are not those of the encoding.
    """
    layout = encoding_of(encoding)
    shape = array.shape if array.ndim == 3 else (*array.shape, 1)
    if array.dtype != layout.dtype or len(shape) != 3 or shape[2] != layout.channels or layout.colour_per:
        raise ValueError(
            f"encoding '{encoding}' for {array.dtype} {array.shape}: needs {layout.dtype}, {layout.channels} channels"
        )
    image = Image(header=to_header(stamp_ns, frame_id), height=shape[0], width=shape[1], encoding=encoding)
    image.step = shape[1] * shape[2] * array.itemsize
    image.is_bigendian = int(sys.byteorder == "big")
    # In place: what is assigned to a field of a message is copied once more, value by value.
    image.data.frombytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return image


# Encoding -> OpenCV's conversion to RGB; none where the pixels are RGB. OpenCV names a Bayer pattern by its second row,
# ROS by its first.
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
_COLOURS: dict[str, int | None] = {
    "rgb": None,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
}
_WITH_COLOURS, _MOSAICS = (
    {f"{name}{bits}": code for bits in (8, 16) for name, code in codes.items()} for codes in (_COLOURS, _BAYER)
)
_PICTURES: dict[str, int | None] = {
    **_WITH_COLOURS,
    **_MOSAICS,
    **dict.fromkeys(("mono8", "mono16", "8UC1"), cv2.COLOR_GRAY2RGB),
    **dict.fromkeys(("uyvy", "yuv422"), cv2.COLOR_YUV2RGB_UYVY),
    **dict.fromkeys(("yuyv", "yuv422_yuy2"), cv2.COLOR_YUV2RGB_YUYV),
}
_TWO_PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21, "nv24": cv2.COLOR_YUV2RGB_NV12}
_MILLIMETRE = np.float32(0.001)  # in metres
_NO_DEPTH = (0, 65535)  # of 16 bits


def _to_rgb(pixels: NDArray, code: int | None) -> NDArray[np.uint8]:
    # As cv_bridge: a mosaic is filled in with all its bits. Elsewhere the order makes no difference.
    if pixels.dtype == np.uint16 and code not in _BAYER.values():
        pixels = _eight_bits(pixels)
    if code is not None:
        pixels = cv2.cvtColor(pixels, code)
    return np.asarray(_eight_bits(pixels) if pixels.dtype == np.uint16 else pixels, dtype=np.uint8)


def _eight_bits(pixels: NDArray) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=1 / 257), dtype=np.uint8)


def _from_two_planes(brightness: NDArray, colours: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    if encoding != "nv24":
        return np.asarray(cv2.cvtColorTwoPlane(brightness, colours, _TWO_PLANES[encoding]), dtype=np.uint8)
    # Each pixel has colours of its own. OpenCV knows only four pixels that share theirs.
    enlarged = cv2.resize(brightness, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    rgb = cv2.cvtColorTwoPlane(enlarged, colours, _TWO_PLANES[encoding])
    return np.ascontiguousarray(rgb[::2, ::2], dtype=np.uint8)


def _decoded_picture(message: Any, topic: str, announced: Announced | None) -> NDArray[np.uint8]:
    encoding, codec = format_of(message)
    if "compressedDepth" in codec or encoding in ("16UC1", "32FC1"):
        raise ImageError(WRONG_ENCODING, f"{topic}: format {shown(message.format)} is depth, not a picture")
    pixels = decode(message, topic, announced)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}.get(channels)
    if code is None or pixels.dtype not in (np.uint8, np.uint16):
        text = f"{topic}: {pixels.dtype} of {channels} channels in format {shown(message.format)} is not a picture"
        raise ImageError(WRONG_ENCODING, text)
    if channels == 1 and encoding in _MOSAICS and "compressed mono" not in codec:
        return _to_rgb(pixels, _MOSAICS[encoding])  # the mosaic itself was compressed
    # compressed_image_transport takes as RGB what does not say that it was compressed as BGR.
    if channels == 3 and encoding in _WITH_COLOURS and "compressed bgr" not in codec:
        return _to_rgb(pixels, None)
    return _to_rgb(pixels, code)


def _metres(pixels: NDArray) -> NDArray[np.float32]:
    if pixels.dtype == np.uint16:
        metres = np.multiply(pixels, _MILLIMETRE, dtype=np.float32)
        for value in _NO_DEPTH:
            metres[pixels == value] = np.nan
        return metres
    # Both leave NaN out: where nothing else is invalid, the pixels are what is wanted.
    if np.fmin.reduce(pixels, axis=None) > 0 and np.fmax.reduce(pixels, axis=None) < np.inf:
        return np.ascontiguousarray(pixels)
    return np.where(np.isfinite(pixels) & (pixels > 0), pixels, np.float32(np.nan))
