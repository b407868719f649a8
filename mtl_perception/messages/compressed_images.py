# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a sensor_msgs/CompressedImage holds: JPEG, PNG, and the depth of compressed_depth_image_transport.

The size that a file announces is read, and its end looked for, before anything is decoded: a message of some hundred
bytes can announce gigabytes, and decoders fill up what is missing of a truncated picture with grey. Nor does a decoder
get what can keep it busy for long: compressed texts of a PNG, hundreds of scans of a JPEG.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.messages.raw_images import (
    TRUNCATED,
    UNDECODABLE,
    WRONG_ENCODING,
    WRONG_SIZE,
    Announced,
    ImageError,
    check_size,
    shown,
)
from mtl_perception.messages.rvl import decode_rvl

MAX_PIXELS = 1 << 25
"""Larger pictures are not decoded: 8K (7680 x 4320) is just within. Decoding takes 8 bytes a pixel at most."""


def is_compressed(message: Any) -> bool:
    """Whether a message is a CompressedImage, not an Image."""
    return not hasattr(message, "encoding")


def is_jpeg(message: Any) -> bool:
    """Whether the data of a CompressedImage begin as a JPEG does."""
    return bytes(message.data[: len(_JPEG)]) == _JPEG


def format_of(message: Any) -> tuple[str, str]:
    """Return of a CompressedImage the encoding of the image that was compressed, and what it was compressed to.

    image_transport writes both as `rgb8; jpeg compressed bgr8`; others write only `jpeg`: the encoding is "" then.
    """
    encoding, separator, codec = (part.strip() for part in message.format.partition(";"))
    return (encoding, codec) if separator else ("", encoding)


def decode(message: Any, topic: str, announced: Announced | None = None) -> NDArray:
    """Return what the JPEG or PNG of a CompressedImage holds: (h, w) or (h, w, channels), colours as BGR or BGRA.

    Raises:
        ImageError: it is neither, not whole, broken or too large, or not of the announced size; names `topic`.
    """
    return _decode_file(bytes(message.data), message.format, topic, announced)


def decode_file(content: bytes, name: str) -> NDArray:
    """Return what the content of a JPEG or PNG file holds: (h, w) or (h, w, channels), colours as BGR or BGRA.

    Raises:
        ImageError: it is neither, not whole, broken or too large; names the file by `name`.
    """
    return _decode_file(content, "file", name, None)


def decode_depth(message: Any, topic: str, announced: Announced | None = None) -> NDArray:
    """Return the depth image of a CompressedImage: (h, w), uint16 in millimetres or float32 in metres.

    It is a PNG of 16 bits, or what compressed_depth_image_transport makes: a header of 12 bytes with two numbers a and
    b, then PNG or RVL. A depth z in metres is kept there as the integer a / z + b, one in millimetres as it is.

    Raises:
        ImageError: see `decode`; or the header makes no sense, or the codec is none of both.
    """
    data = bytes(message.data)
    encoding, codec = format_of(message)
    _, transport, kind = codec.partition("compressedDepth")
    # Its first versions did not say what they were.
    if not transport and data[_HEADER.size :].startswith(_PNG):
        transport = "compressedDepth"
    if not transport:
        return _decode_file(data, message.format, topic, announced)
    if kind.strip() not in ("", "png", "rvl"):
        text = f"{topic}: format {shown(message.format)}, expected compressedDepth png or compressedDepth rvl"
        raise ImageError(WRONG_ENCODING, text)
    if len(data) < _HEADER.size:
        text = f"{topic}: data has {len(data)} bytes, less than the header of format {shown(message.format)}"
        raise ImageError(TRUNCATED, text)
    _, a, b = _HEADER.unpack_from(data)
    content = data[_HEADER.size :]
    if kind.strip() == "rvl":
        pixels = _decode_rvl(content, message.format, topic, announced)
    else:
        pixels = _decode_file(content, message.format, topic, announced)
    if encoding != "32FC1":
        return pixels
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        text = f"{topic}: a {pixels.dtype} image {pixels.shape} in format {shown(message.format)}, expected 16 bits"
        raise ImageError(WRONG_ENCODING, text)
    return _dequantised(pixels, a, b, topic)


_HEADER = struct.Struct("<iff")  # the enumeration compressionFormat, and two parameters
_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MAX_CHUNKS = 1 << 16  # of a PNG; libpng writes 8 KiB into each
_JPEG = b"\xff\xd8\xff"
_END_OF_JPEG = b"\xff\xd9"
_SCAN = b"\xff\xda"
_MAX_SEGMENTS = 1000  # of a JPEG before its size: 64 MB
_MAX_SCANS = 100  # of a JPEG: each is a pass over the whole picture; libjpeg writes 10, cameras one
# Followed by a segment and its length. Decoders skip other bytes, and fill bytes in front of a marker.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


def _decode_file(data: bytes, format_text: str, topic: str, announced: Announced | None) -> NDArray:
    what = f"{topic}: {len(data)} bytes of format {shown(format_text)}"
    if data.startswith(_PNG):
        width, height = _size_of_png(data, what)
        _check(width, height, topic, announced)
        content = _picture_of_png(data, what)
    elif data.startswith(_JPEG):
        width, height, end = _size_of_jpeg(data, what)
        _check(width, height, topic, announced)
        content = _picture_of_jpeg(data, end, what)
    else:
        raise ImageError(UNDECODABLE, f"{what} cannot be decoded: neither JPEG nor PNG")
    if content is None:
        raise ImageError(TRUNCATED, f"{what} end before the picture of {width}x{height} does")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(UNDECODABLE, f"{what} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ImageError(UNDECODABLE, f"{what} cannot be decoded: broken")
    if pixels.shape[:2] != (height, width):
        text = f"{what} announce {width}x{height} and hold {pixels.shape[1]}x{pixels.shape[0]}"
        raise ImageError(WRONG_SIZE, text)
    return np.asarray(pixels)


def _check(width: int, height: int, topic: str, announced: Announced | None) -> None:
    check_size(width, height, topic, announced)
    if width * height > MAX_PIXELS:
        text = f"{topic}: size {width}x{height} is more than {MAX_PIXELS} pixels, which is the most that is decoded"
        raise ImageError(WRONG_SIZE, text)


def _size_of_png(data: bytes, what: str) -> tuple[int, int]:
    """Return width and height."""
    if len(data) < len(_PNG) + 25:
        raise ImageError(TRUNCATED, f"{what} end within the header of a PNG")
    if data[len(_PNG) + 4 : len(_PNG) + 8] != b"IHDR":
        raise ImageError(UNDECODABLE, f"{what} cannot be decoded: a PNG without IHDR")
    width, height = struct.unpack_from(">II", data, len(_PNG) + 8)
    return width, height


def _picture_of_png(data: bytes, what: str) -> bytes | None:
    """Return the file without the chunks that make no pixels (texts, profiles, animations); None where it is cut off.

    Decoders unpack texts: a few kilobytes of them keep libpng busy for a tenth of a second, and there can be thousands.
    """
    parts, position = [_PNG], len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            return None
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return None
        if kind in _PICTURE_CHUNKS:
            parts.append(data[position:end])
        if kind == b"IEND":
            return b"".join(parts)
        position = end
    raise ImageError(UNDECODABLE, f"{what} cannot be decoded: a PNG of more than {_MAX_CHUNKS} chunks")


def _size_of_jpeg(data: bytes, what: str) -> tuple[int, int, int]:
    """Return width, height, and where the header of the frame ends (ITU-T T.81, annex B)."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found.end() + 7 > len(data):
            raise ImageError(TRUNCATED, f"{what} end before a JPEG tells its size")
        position = found.end()
        marker = data[position - 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 3)
            return width, height, position + 7
        if marker in (0xD9, 0xDA):
            raise ImageError(UNDECODABLE, f"{what} cannot be decoded: a JPEG without a size")
        position += max(2, struct.unpack_from(">H", data, position)[0])
    raise ImageError(UNDECODABLE, f"{what} cannot be decoded: a JPEG of which {_MAX_SEGMENTS} segments tell no size")


def _picture_of_jpeg(data: bytes, frame: int, what: str) -> bytes | None:
    """Return the file, whose frame begins at that byte; None where it is cut off."""
    scans = data.count(_SCAN, frame)
    if scans > _MAX_SCANS:
        raise ImageError(UNDECODABLE, f"{what} cannot be decoded: a JPEG of {scans} scans, at most {_MAX_SCANS} are")
    return data if data.rfind(_END_OF_JPEG, frame) >= 0 else None


def _decode_rvl(data: bytes, format_text: str, topic: str, announced: Announced | None) -> NDArray[np.uint16]:
    what = f"{topic}: {len(data)} bytes of format {shown(format_text)}"
    if len(data) < 8:
        raise ImageError(TRUNCATED, f"{what} end within the size")
    width, height = struct.unpack_from("<II", data)
    _check(width, height, topic, announced)
    try:
        values = decode_rvl(np.frombuffer(data, np.uint8, offset=8), width * height)
    except ValueError as error:
        raise ImageError(UNDECODABLE, f"{what} cannot be decoded to {width}x{height}: {error}") from error
    return values.reshape(height, width)


def _dequantised(pixels: NDArray[np.uint16], a: float, b: float, topic: str) -> NDArray[np.float32]:
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise ImageError(UNDECODABLE, f"{topic}: the header's quantisation a = {a:g}, b = {b:g} cannot be")
    with np.errstate(divide="ignore", over="ignore"):
        metres = np.subtract(pixels, np.float32(b), dtype=np.float32)
        np.divide(np.float32(a), metres, out=metres)
    metres[pixels == 0] = np.nan
    return metres
