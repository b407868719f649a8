# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images, raw and compressed."""

from __future__ import annotations

import array
import struct
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from fuzzing import make
from fuzzing.harness import Case, Target
from fuzzing.hostile import contents, duck, messages
from mtl_perception.messages import compressed_images
from mtl_perception.messages.compressed_images import decode, decode_depth, format_of, is_compressed, is_jpeg
from mtl_perception.messages.images import (
    array_to_image,
    depth_to_array,
    image_to_array,
    mono_to_array,
    values_to_array,
)
from mtl_perception.messages.raw_images import Announced
from mtl_perception.messages.rvl import decode_rvl

TOPIC = "front/image"
ENCODINGS = ("rgb8", "bgr16", "rgba8", "mono8", "mono16", "bayer_rggb8", "bayer_grbg16", "uyvy", "yuv422_yuy2", "nv12")
ENCODINGS += ("nv21", "nv24", "8UC1", "16UC1", "32FC1", "32FC3", "64FC4", "32SC1", "8UC5", "RGB8", "jpeg")
FORMATS = ("", "jpeg", "png", "rgb8; jpeg compressed bgr8", "mono16; png compressed ", "bayer_rggb8; png compressed ")
FORMATS += tuple(f"{unit}; compressedDepth{codec}" for unit in ("16UC1", "32FC1") for codec in ("", " png", " rvl"))
_MOST_PIXELS = 1 << 14  # what takes no time


def _read_all(message: Any) -> None:
    """Read a message in every way; a way that refuses it is remembered until all have been tried."""
    refused: ValueError | None = None
    is_read = False
    announced = Announced(8, 6, "camera_info")
    for reader in (image_to_array, depth_to_array, mono_to_array, partial(values_to_array, encoding="32FC1")):
        for size in (None, announced):
            try:
                pixels = reader(message, topic=TOPIC, announced=size)
            except ValueError as error:
                assert TOPIC in str(error) and len(str(error)) < 600, str(error)[:300]
                refused = error
            else:
                assert pixels.size > 0 and pixels.dtype.isnative and pixels.ndim in (2, 3)
                assert size is None or pixels.shape[:2] == (6, 8)
                pixels.max()  # touches every value
                is_read = True
    if refused is not None and not is_read:
        raise refused


def _raw(_: Path) -> Case:
    depth = np.linspace(0.5, 9, 48, dtype=np.float32).reshape(6, 8)
    millimetres = (1000 * depth).astype(np.uint16)
    colour = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    images = [(depth, "32FC1"), (millimetres, "16UC1"), (colour, "rgb8"), (colour[..., 0].copy(), "mono8")]
    valid = [array_to_image(pixels, encoding, 5, "front") for pixels, encoding in images]
    planes = Image(height=6, width=8, encoding="nv12", step=8, data=array.array("B", bytes(72)))
    words = {"encoding": ENCODINGS, "step": (8, 16, 24, 32, 33), "width": (8, 9), "height": (6, 7)}

    return Case(messages(*valid, planes, words=words), _read_all, TOPIC, valid=[*valid, planes])


def _compressed(_: Path) -> Case:
    compressed_images.MAX_PIXELS = _MOST_PIXELS
    random = np.random.default_rng(0)
    picture = cv2.GaussianBlur(random.integers(0, 256, (6, 8, 3), dtype=np.uint8), (0, 0), 2)
    depth = random.integers(0, 9000, (6, 8), dtype=np.uint16)
    header = struct.pack("<iff", 0, 10100.0, -1009.0)
    files = [cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".jpg", ".png")]
    files.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes())
    files.append(cv2.imencode(".png", depth)[1].tobytes())
    files += [header + struct.pack("<II", 8, 6) + _rvl(depth), header + files[-1], files[1][:30], files[0][:4]]
    base = duck(CompressedImage())

    def build(data: bytes, format: str) -> Any:
        base.data, base.format = array.array("B", data), format
        return base

    def read(value: tuple[bytes, str]) -> None:
        message = build(*value)
        assert is_compressed(message) and is_jpeg(message) in (True, False) and len(format_of(message)) == 2
        for decoder in (decode, decode_depth):
            try:
                assert decoder(message, TOPIC).size > 0
            except ValueError as error:
                assert TOPIC in str(error)
        _read_all(message)

    formats = make.one_of(make.sampled_from(FORMATS), make.sampled_from(FORMATS), make.text(12))
    return Case(make.tuples(contents(*files), formats), read, TOPIC, valid=[(files[1], "png"), (files[0], "jpeg")])


def _rvl(depth: np.ndarray) -> bytes:
    """Encode values as RVL: one run of zeros of no length, and one of all others."""
    nibbles: list[int] = []

    def tell(value: int) -> None:
        while value > 7:
            nibbles.append(8 | value & 7)
            value >>= 3
        nibbles.append(value)

    previous = 0
    tell(0)
    tell(depth.size)
    for value in depth.ravel().tolist():
        difference, previous = value - previous, value
        tell(2 * difference if difference >= 0 else -2 * difference - 1)
    nibbles += [0] * (-len(nibbles) % 8)
    words = [sum(n << (28 - 4 * i) for i, n in enumerate(nibbles[at : at + 8])) for at in range(0, len(nibbles), 8)]
    return struct.pack(f"<{len(words)}I", *words)


def _depth_code(_: Path) -> Case:
    code = _rvl(np.random.default_rng(0).integers(1, 9000, (6, 8), dtype=np.uint16))

    def read(value: tuple[bytes, int]) -> None:
        content, count = value
        found = decode_rvl(np.frombuffer(content, np.uint8), count)
        assert found.shape == (count,) and found.dtype == np.uint16

    counts = make.sampled_from((0, 1, 47, 48, 49, 4096))
    return Case(make.tuples(contents(code), counts), read, "RVL", valid=[(code, 48), (code, 0)])


TARGETS = (
    Target(
        "raw_images",
        tuple(
            f"messages.images.{name}"
            for name in ("image_to_array", "depth_to_array", "mono_to_array", "values_to_array")
        )
        + ("messages.raw_images.pixels_of", "messages.raw_images.colours_of", "messages.raw_images.encoding_of"),
        9000,
        _raw,
    ),
    Target(
        "compressed_images",
        tuple(f"messages.compressed_images.{name}" for name in ("decode", "decode_depth", "format_of")),
        9000,
        _compressed,
    ),
    Target("rvl", ("messages.rvl.decode_rvl",), 6000, _depth_code),
)
