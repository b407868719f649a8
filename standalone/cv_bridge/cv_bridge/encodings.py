# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the encodings of sensor_msgs/Image mean, and how one becomes another."""

from __future__ import annotations

import re

import cv2
import numpy as np


class CvBridgeError(TypeError):
    """An image cannot be converted as asked."""


def opencv_type(encoding: str) -> int:
    """Return OpenCV's number of an encoding's type.

    Raises:
        CvBridgeError: the encoding is unknown.
    """
    depth, channels = _type_of(encoding)
    return int(cv2.CV_MAKETYPE(getattr(cv2, f"CV_{depth}"), channels))


def type_name(encoding: str) -> str:
    """Return the name of an encoding's OpenCV type, such as "8UC3".

    Raises:
        CvBridgeError: the encoding is unknown.
        KeyError: the type has more than 4 channels, so that OpenCV has no name for it.
    """
    depth, channels = _type_of(encoding)
    if channels not in (1, 2, 3, 4):
        raise KeyError(opencv_type(encoding))
    return f"{depth}C{channels}"


def dtype_and_channels(encoding: str) -> tuple[str, int]:
    """Return the NumPy type name and the number of channels of an encoding.

    Raises:
        CvBridgeError: the encoding is unknown.
    """
    depth, channels = _type_of(encoding)
    return _DTYPES[depth], channels


def convert(image: np.ndarray, source: str, target: str) -> np.ndarray:
    """Return a copy of an image in encoding `source` as encoding `target`; between 8 and 16 bits values are scaled.

    Raises:
        CvBridgeError: the conversion makes no sense, or the image is not of the encoding's type.
    """
    if target in ("", source):
        return image.copy()
    code = _colour_code(source, target)
    result = image
    if code is not None:
        try:
            result = cv2.cvtColor(image, code)
        except cv2.error as error:
            raise CvBridgeError(str(error)) from error
    if code is None or _bit_depth(source) != _bit_depth(target):
        result = _with_depth(result, _bit_depth(source), target)
    return result


_DTYPES = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}

# Named encodings: the colour model, OpenCV's element type, the number of channels.
_NAMED: dict[str, tuple[str, str, int]] = {
    "mono8": ("GRAY", "8U", 1),
    "mono16": ("GRAY", "16U", 1),
    "rgb8": ("RGB", "8U", 3),
    "rgb16": ("RGB", "16U", 3),
    "bgr8": ("BGR", "8U", 3),
    "bgr16": ("BGR", "16U", 3),
    "rgba8": ("RGBA", "8U", 4),
    "rgba16": ("RGBA", "16U", 4),
    "bgra8": ("BGRA", "8U", 4),
    "bgra16": ("BGRA", "16U", 4),
    "yuv422": ("UYVY", "8U", 2),
    "yuv422_yuy2": ("YUY2", "8U", 2),
}
# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by the first row and the one below.
_BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
for _pattern, _opencv_name in _BAYER.items():
    _NAMED[f"bayer_{_pattern}8"] = (_opencv_name, "8U", 1)
    _NAMED[f"bayer_{_pattern}16"] = (_opencv_name, "16U", 1)

_PLAIN = ("GRAY", "RGB", "BGR", "RGBA", "BGRA")


def _type_of(encoding: str) -> tuple[str, int]:
    if encoding in _NAMED:
        return _NAMED[encoding][1:]
    match = re.fullmatch("(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?", encoding)
    if match is None:
        raise CvBridgeError(f"Unrecognized image encoding [{encoding}]")
    return match[1], int(match[2] or 1)


def _bit_depth(encoding: str) -> int:
    match = re.match("[0-9]+", _type_of(encoding)[0])
    assert match is not None
    return int(match[0])


def _colour_code(source: str, target: str) -> int | None:
    """Return OpenCV's code of the colour conversion, None where only the element type may change."""
    source_channels, target_channels = _type_of(source)[1], _type_of(target)[1]
    if source not in _NAMED:
        if target in _NAMED:
            raise CvBridgeError(
                f"[{source}] is not a color format. but [{target}] is. The conversion does not make sense"
            )
        if source_channels != target_channels:
            raise CvBridgeError(f"[{source}] and [{target}] do not have the same number of channel")
        return None
    if target not in _NAMED:
        if source_channels != target_channels:
            raise CvBridgeError(
                f"[{source}] is a color format but [{target}] is not so they must have the same OpenCV type, "
                "CV_8UC3, CV16UC1 ...."
            )
        return None
    source_colour, target_colour = _NAMED[source][0], _NAMED[target][0]
    if source_colour == target_colour and source_colour in _PLAIN:
        return None
    code = getattr(cv2, _code_name(source_colour, target_colour), None) if target_colour in _PLAIN else None
    if code is None:
        raise CvBridgeError(f"Unsupported conversion from [{source}] to [{target}]")
    return int(code)


def _code_name(source_colour: str, target_colour: str) -> str:
    if source_colour in ("UYVY", "YUY2"):
        return f"COLOR_YUV2{target_colour}_{source_colour}"
    if source_colour.startswith("Bayer") and target_colour.endswith("A"):
        return ""  # OpenCV could, cv_bridge does not
    return f"COLOR_{source_colour}2{target_colour}"


def _with_depth(image: np.ndarray, source_bits: int, target: str) -> np.ndarray:
    """Convert the elements as OpenCV does: scaled between 8 and 16 bits, rounded to even, saturated."""
    dtype = np.dtype(_DTYPES[_type_of(target)[0]])
    scale = {(8, 16): 65535 / 255, (16, 8): 255 / 65535}.get((source_bits, dtype.itemsize * 8), 1.0)
    if scale == 1.0 and image.dtype == dtype:
        return image.copy()
    if dtype.kind == "f":
        return (image * scale).astype(dtype) if scale != 1.0 else image.astype(dtype)
    values = np.rint(image.astype(np.float64) * scale)
    # OpenCV rounds by way of a 32-bit integer, where NaN, infinity and what is too large become the smallest.
    values[~(np.abs(values) < 2.0**31)] = -(2.0**31)
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)
