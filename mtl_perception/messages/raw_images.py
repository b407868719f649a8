# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of a sensor_msgs/Image as they lie in the message: encodings, padding of rows, byte orders.

The names of encodings are those of sensor_msgs/image_encodings.hpp; planes of colour lie as in Video4Linux's formats of
the same names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN_ENCODING = "unknown encoding"
WRONG_ENCODING = "wrong encoding"
WRONG_SIZE = "wrong size"
WRONG_STEP = "wrong step"
TRUNCATED = "truncated data"
UNDECODABLE = "undecodable data"


class ImageError(ValueError):
    """An image cannot be used: the text names topic, field and value.

    Attributes:
        reason: what it is counted under, one of the constants above.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Keep both."""
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Announced:
    """The size that an image must have: width and height in pixels, and who says so, for the text of the error."""

    width: int
    height: int
    source: str


@dataclass(frozen=True)
class Encoding:
    """How the values of a picture lie in memory.

    Attributes:
        dtype: of a value, in this machine's byte order.
        channels: values of a pixel that lie side by side.
        colour_per: where a plane of colour follows that of brightness: as many columns, and rows, of pixels as share
            one pair of colour values; 0 where there is none.
    """

    dtype: np.dtype
    channels: int
    colour_per: int = 0


def encoding_of(name: str, topic: str = "image") -> Encoding:
    """Return what an encoding's name means.

    Raises:
        ImageError: it is unknown; names `topic`.
    """
    known = _NAMED.get(name)
    if known is not None:
        return known
    match = _PLAIN.fullmatch(name)
    if match is None:
        raise ImageError(UNKNOWN_ENCODING, f"{topic}: unknown encoding {shown(name)}")
    return Encoding(np.dtype(_TYPES[match[1]]), int(match[2] or 1))


def check_size(width: int, height: int, topic: str, announced: Announced | None) -> None:
    """Refuse a size in pixels that is not positive, or not the announced one.

    Raises:
        ImageError: names `topic` and both sizes.
    """
    if width <= 0 or height <= 0:
        raise ImageError(WRONG_SIZE, f"{topic}: size {width}x{height} is not positive")
    if announced is not None and (width, height) != (announced.width, announced.height):
        raise ImageError(
            WRONG_SIZE,
            f"{topic}: size {width}x{height}, but {announced.source} says {announced.width}x{announced.height}",
        )


def pixels_of(message: Any, topic: str, announced: Announced | None = None) -> NDArray:
    """Return the values of an Image: (height, width), or (height, width, channels) where a pixel has several.

    The array is the message's own memory, not to be written to, with gaps where rows are padded; a copy only where the
    byte order is not the machine's or values are not aligned. Of nv12, nv21 and nv24 it is the plane of brightness.

    Raises:
        ImageError: encoding, size, step or the length of the data cannot be; names `topic`, field and value.
    """
    encoding = encoding_of(message.encoding, topic)
    height, width, step = int(message.height), int(message.width), int(message.step)
    check_size(width, height, topic, announced)
    columns, rows = _MULTIPLES.get(message.encoding, (1, 1))
    if width % columns or height % rows:
        text = f"{topic}: size {width}x{height} of '{message.encoding}' is not a multiple of {columns}x{rows}"
        raise ImageError(WRONG_SIZE, text)
    itemsize = encoding.dtype.itemsize
    row = width * encoding.channels * itemsize
    if step < row:
        text = f"{topic}: step {step} is less than a row of {width} pixels of '{message.encoding}' ({row} bytes)"
        raise ImageError(WRONG_STEP, text)
    needed = step * height + _colour_bytes(encoding, height, step)
    if len(message.data) < needed:
        need = f"step {step} and height {height} of '{message.encoding}' need {needed}"
        raise ImageError(TRUNCATED, f"{topic}: data has {len(message.data)} bytes, {need}")
    pixels: NDArray = np.ndarray(
        (height, width, encoding.channels),
        encoding.dtype.newbyteorder(">" if message.is_bigendian else "<"),
        np.frombuffer(message.data, dtype=np.uint8),
        strides=(step, encoding.channels * itemsize, itemsize),
    )
    if not pixels.dtype.isnative or not pixels.flags.aligned:
        pixels = pixels.astype(encoding.dtype)
    return pixels[..., 0] if encoding.channels == 1 else pixels


def colours_of(message: Any) -> NDArray[np.uint8]:
    """Return the plane of colour (h, w, 2) of an Image of nv12, nv21 or nv24 that `pixels_of` has taken.

    It is the message's own memory, not to be written to.
    """
    encoding = encoding_of(message.encoding)
    height, width, step = int(message.height), int(message.width), int(message.step)
    per = encoding.colour_per
    return np.ndarray(
        (height // per, width // per, 2),
        encoding.dtype,
        np.frombuffer(message.data, dtype=np.uint8),
        offset=height * step,
        strides=(2 * step // per, 2, 1),
    )


def shown(text: str) -> str:
    """Return a text from outside in quotes, as short and as harmless as a line of a log should be."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


_LONGEST_SHOWN = 60
_TYPES = {
    "8U": np.uint8,
    "8S": np.int8,
    "16U": np.uint16,
    "16S": np.int16,
    "32S": np.int32,
    "32F": np.float32,
    "64F": np.float64,
}
_PLAIN = re.compile(f"({'|'.join(_TYPES)})(?:C([1-4]?))?")
_CHANNELS = {"mono": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}
_CHANNELS |= {f"bayer_{pattern}": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg")}
_NAMED = {
    **{f"{name}8": Encoding(np.dtype(np.uint8), channels) for name, channels in _CHANNELS.items()},
    **{f"{name}16": Encoding(np.dtype(np.uint16), channels) for name, channels in _CHANNELS.items()},
    **{name: Encoding(np.dtype(np.uint8), 2) for name in ("uyvy", "yuv422", "yuyv", "yuv422_yuy2")},
    **{name: Encoding(np.dtype(np.uint8), 1, colour_per=2) for name in ("nv12", "nv21")},
    "nv24": Encoding(np.dtype(np.uint8), 1, colour_per=1),
}
_MULTIPLES = {  # of width and height, where pixels share their colour
    **dict.fromkeys(("uyvy", "yuv422", "yuyv", "yuv422_yuy2"), (2, 1)),
    **dict.fromkeys(("nv12", "nv21"), (2, 2)),
}


def _colour_bytes(encoding: Encoding, height: int, step: int) -> int:
    per = encoding.colour_per
    return 2 * step // per * (height // per) if per else 0
