# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image and CompressedImage to arrays and back.

The encoding tells the unit: 16UC1 depth is in millimetres with 0 invalid, 32FC1 depth in metres with NaN invalid.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from mtl_perception.messages.stamps import to_header


def image_to_array(message: Any, topic: str = "image") -> NDArray[np.uint8]:
    """Return the picture of an Image or CompressedImage as RGB uint8 (height, width, 3).

    Raises:
        ValueError: the encoding is not a colour or grey one, or the data does not fit the size; names `topic`.
    """
    if _is_compressed(message):
        return _compressed_to_rgb(message, topic)
    pixels = _pixels(message, topic)
    if message.encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    if message.encoding not in _TO_RGB:
        raise ValueError(
            f"{topic}: encoding '{message.encoding}' is not a picture, expected one of rgb8, {', '.join(_TO_RGB)}"
        )
    code = _TO_RGB[message.encoding]
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    pixels = np.ascontiguousarray(pixels)
    return np.asarray(pixels if code is None else cv2.cvtColor(pixels, code), dtype=np.uint8)


def depth_to_array(message: Any, topic: str = "depth") -> NDArray[np.float32]:
    """Return a depth image as float32 (height, width) in metres; NaN where it was 0, negative, 65535 mm or not finite.

    Raises:
        ValueError: the encoding is none of 16UC1, mono16, 32FC1, or the data does not fit the size; names `topic`.
    """
    if _is_compressed(message):
        return _metres(_decompress(message, topic), topic, message.format)
    return _metres(_pixels(message, topic), topic, message.encoding)


def mono_to_array(message: Any, topic: str = "image") -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a label image or a mask (height, width): uint8 for mono8 and 8UC1, uint16 for mono16 and 16UC1.

    Raises:
        ValueError: the encoding is another one, or the data does not fit the size; names `topic`.
    """
    if message.encoding not in ("mono8", "8UC1", "mono16", "16UC1"):
        raise ValueError(f"{topic}: encoding '{message.encoding}', expected mono8, 8UC1, mono16 or 16UC1")
    return np.ascontiguousarray(_pixels(message, topic))


def values_to_array(message: Any, encoding: str, topic: str = "image") -> NDArray:
    """Return an image of exactly that encoding as (height, width) or (height, width, channels), every value as it is.

    Raises:
        ValueError: the encoding is another one, or the data does not fit the size; names `topic`.
    """
    if _is_compressed(message) or message.encoding != encoding:
        found = message.format if _is_compressed(message) else message.encoding
        raise ValueError(f"{topic}: encoding '{found}', expected {encoding}")
    return np.ascontiguousarray(_pixels(message, topic))


def array_to_image(array: NDArray, encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return an array (height, width) or (height, width, channels) as a sensor_msgs/Image.

    Raises:
        ValueError: the array's type or channels are not those of the encoding.
    """
    try:
        return _BRIDGE.cv2_to_imgmsg(np.ascontiguousarray(array), encoding, to_header(stamp_ns, frame_id))
    except CvBridgeError as error:
        raise ValueError(f"encoding '{encoding}' for {array.dtype} {array.shape}: {error}") from error


_BRIDGE = CvBridge()

# Encoding -> OpenCV's conversion to RGB. OpenCV names a Bayer pattern by its second row, ROS by its first.
_TO_RGB: dict[str, int | None] = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "rgb16": None,
    "bgr16": cv2.COLOR_BGR2RGB,
    "rgba16": cv2.COLOR_RGBA2RGB,
    "bgra16": cv2.COLOR_BGRA2RGB,
    "mono16": cv2.COLOR_GRAY2RGB,
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
}


def _is_compressed(message: Any) -> bool:
    return not hasattr(message, "encoding")


def _pixels(message: Any, topic: str) -> NDArray:
    """View the data as (height, width) or (height, width, channels) in native byte order, without a copy where
    possible."""
    try:
        name, channels = _BRIDGE.encoding_to_dtype_with_channels(message.encoding)
    except (CvBridgeError, KeyError) as error:
        raise ValueError(f"{topic}: unknown encoding '{message.encoding}'") from error
    dtype = np.dtype(name)
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height <= 0 or width <= 0:
        raise ValueError(f"{topic}: size {width}x{height} is not positive")
    row = width * channels * dtype.itemsize
    if step < row:
        raise ValueError(
            f"{topic}: step {step} is less than a row of {width} pixels of '{message.encoding}' ({row} bytes)"
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    if len(data) < step * height:
        raise ValueError(
            f"{topic}: data has {len(data)} bytes, step * height = {step} * {height} needs {step * height}"
        )
    rows = data[: step * height].reshape(height, step)[:, :row]
    pixels = np.ascontiguousarray(rows).view(dtype.newbyteorder(">" if message.is_bigendian else "<"))
    pixels = pixels.astype(dtype, copy=False)
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def _decompress(message: Any, topic: str) -> NDArray:
    # compressed_depth_image_transport puts a 12-byte header of its own before the picture.
    offset = 12 if "compressedDepth" in message.format else 0
    data = np.frombuffer(message.data, dtype=np.uint8)[offset:]
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if pixels is None:
        raise ValueError(f"{topic}: {len(data)} bytes of format '{message.format}' cannot be decoded")
    return np.asarray(pixels)


def _compressed_to_rgb(message: Any, topic: str) -> NDArray[np.uint8]:
    pixels = _decompress(message, topic)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(pixels, code), dtype=np.uint8)


def _metres(pixels: NDArray, topic: str, encoding: str) -> NDArray[np.float32]:
    if pixels.ndim == 2 and pixels.dtype == np.uint16:
        depth = pixels.astype(np.float32) * np.float32(0.001)
        depth[(pixels == 0) | (pixels == 65535)] = np.nan
        return depth
    if pixels.ndim == 2 and pixels.dtype == np.float32:
        return np.where(np.isfinite(pixels) & (pixels > 0), pixels, np.float32(np.nan))
    raise ValueError(
        f"{topic}: encoding '{encoding}' ({pixels.dtype} {pixels.shape}) is not depth, "
        "expected 16UC1 (millimetres) or 32FC1 (metres)"
    )
