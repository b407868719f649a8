# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CvBridge: sensor_msgs/Image and CompressedImage to NumPy arrays in OpenCV's layout, and back."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge.encodings import CvBridgeError, convert, dtype_and_channels, opencv_type, type_name

__all__ = ["CvBridge", "CvBridgeError"]


class CvBridge:
    """Converts between ROS image messages and arrays of shape (height, width) or (height, width, channels)."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """Return the image in the machine's byte order, converted to `desired_encoding`.

        With "passthrough" and rows without padding the result shares the message's memory.

        Raises:
            CvBridgeError: the encoding is unknown, or cannot become the desired one.
            TypeError: the message holds fewer bytes than height * step.
        """
        dtype_name, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        dtype = np.dtype(dtype_name).newbyteorder(">" if img_msg.is_bigendian else "<")
        rows: np.ndarray = np.ndarray((img_msg.height, img_msg.step), np.uint8, buffer=img_msg.data)
        pixel_bytes = dtype.itemsize * channels
        width = min(img_msg.width, img_msg.step // pixel_bytes)
        image = np.ascontiguousarray(rows[:, : width * pixel_bytes]).view(dtype)
        if channels > 1:
            image = image.reshape(img_msg.height, width, channels)
        if not dtype.isnative:
            image = image.astype(dtype.newbyteorder("="))
        if desired_encoding == "passthrough":
            return image
        return convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None) -> Image:
        """Return a message with a copy of the array's pixels; "passthrough" names the encoding by type, as 8UC3.

        Raises:
            TypeError: `cvim` is not a NumPy array.
            KeyError: its element type is none of OpenCV's (bool, int64, ...), or it has more than 4 channels.
            CvBridgeError: its type is not that of `encoding`.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        height, width = cvim.shape[0], cvim.shape[1]
        actual = self.dtype_with_channels_to_cvtype2(cvim.dtype, 1 if cvim.ndim < 3 else cvim.shape[2])
        if encoding != "passthrough" and type_name(encoding) != actual:
            raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {actual}")
        message = Image(height=height, width=width, encoding=actual if encoding == "passthrough" else encoding)
        if header is not None:
            message.header = header
        message.is_bigendian = int(cvim.dtype.byteorder == ">" or (cvim.dtype.isnative and sys.byteorder == "big"))
        message.data.frombytes(_bytes_of(cvim))
        message.step = len(message.data) // height
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray | None:
        """Decode to what the file holds (colours as BGR), or convert that from bgr8 to `desired_encoding`.

        Returns None for data that no decoder knows when nothing else than "passthrough" is asked for.

        Raises:
            CvBridgeError: conversion to the desired encoding is not possible.
        """
        data = cmprs_img_msg.data
        image = cv2.imdecode(np.ndarray((1, len(data)), np.uint8, buffer=data), cv2.IMREAD_UNCHANGED)
        if desired_encoding == "passthrough":
            return image
        if image is None:
            raise CvBridgeError(f"compressed image of format [{cmprs_img_msg.format}] cannot be decoded")
        return convert(image, "bgr8", desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: np.ndarray, dst_format: str = "jpg") -> CompressedImage:
        """Return the array (colours as BGR) encoded as a file of type `dst_format`, such as "jpg" or "png".

        Raises:
            TypeError: `cvim` is not a NumPy array.
            cv2.error: OpenCV cannot write that array in that format.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        message = CompressedImage(format=dst_format)
        message.data.frombytes(_bytes_of(cv2.imencode(f".{dst_format}", cvim)[1]))
        return message

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """Return OpenCV's number of the encoding's type, such as cv2.CV_8UC3.

        Raises:
            CvBridgeError: the encoding is unknown.
        """
        return opencv_type(encoding)

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Return the encoding's NumPy type name and its number of channels.

        Raises:
            CvBridgeError: the encoding is unknown.
        """
        return dtype_and_channels(encoding)

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype[Any], n_channels: int) -> str:
        """Return the name of OpenCV's type, such as "8UC3".

        Raises:
            KeyError: OpenCV has no such element type.
        """
        return f"{_DEPTH_NAMES[dtype.name]}C{n_channels}"


_DEPTH_NAMES = {
    "uint8": "8U",
    "int8": "8S",
    "uint16": "16U",
    "int16": "16S",
    "int32": "32S",
    "float32": "32F",
    "float64": "64F",
}


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
