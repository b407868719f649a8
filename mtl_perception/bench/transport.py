# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `transport` suite: what it costs to get an image out of a message, and into one.

Each way is measured beside the least that could be done (a copy of the message's data, or OpenCV's decoder alone), and
beside cv_bridge where the real package is installed and works: the one of the folder standalone/ does not count. All
take turns, round by round, and CPU time counts. The memory that a way takes is compared with its result's: without a
copy it is next to nothing.
"""

from __future__ import annotations

import array
import importlib.util
import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from mtl_perception.bench.results import Result
from mtl_perception.messages.images import array_to_image, depth_to_array, image_to_array

SUITE = "transport"
STEPS = 15
"""How often `advanced` is called."""

_PADDING = 64  # bytes after each row of the image that has any
_GREATEST_DEPTH = 9.0  # metres


@dataclass(frozen=True)
class Bridge:
    """A cv_bridge to compare with, and what it is called in the results."""

    name: str
    bridge: Any


@dataclass(frozen=True)
class _Way:
    """What is measured: ours, the least that could be done and its name, and the same with cv_bridge where it can."""

    name: str
    ours: Callable[[], Any]
    least: Callable[[], Any]
    least_name: str
    bridged: Callable[[Any], Any] | None = None


def installed_bridge() -> Bridge | None:
    """Return the real cv_bridge; None where it is not installed, or does not work with this NumPy."""
    try:
        # Only the real one has a compiled part.
        if importlib.util.find_spec("cv_bridge.boost") is None:
            return None
        from cv_bridge import CvBridge

        bridge = CvBridge()
        bridge.imgmsg_to_cv2(array_to_image(np.zeros((2, 2, 3), np.uint8), "bgr8", 0, ""), "rgb8")
    except Exception:  # compiled for another NumPy, it raises nearly anything
        return None
    try:
        return Bridge(f"cv_bridge {metadata.version('cv_bridge')}", bridge)
    except metadata.PackageNotFoundError:
        return Bridge("cv_bridge", bridge)


def run_suite(
    size: tuple[int, int],
    *,
    repeats: int,
    bridge: Bridge | None,
    advanced: Callable[[str], None] = lambda what: None,
) -> list[Result]:
    """Measure all ways.

    Args:
        size: (width, height) of the images, pixels.
        repeats: rounds; a result is their median.
        bridge: what to compare with, too.
        advanced: gets what has been measured, in words, `STEPS` times.

    Raises:
        ValueError: the size is odd, where pixels share their colours.
    """
    width, height = size
    if width % 2 or height % 2:
        raise ValueError(f"size {width}x{height}: both must be even, or there is no nv12")
    picture, metres = _picture(width, height), _metres(width, height)
    results = []
    for way in (*_raw(picture), *_compressed(picture), *_depth(metres), *_written(picture, metres)):
        results += _measured(way, repeats, bridge)
        advanced(way.name)
    return results


def _measured(way: _Way, repeats: int, bridge: Bridge | None) -> list[Result]:
    calls = {"ours": way.ours, way.least_name: way.least}
    bridged = way.bridged
    if bridge is not None and bridged is not None:
        calls[bridge.name] = lambda: bridged(bridge.bridge)
    for call in calls.values():
        call()  # compiles, and fills caches
    tracemalloc.start()
    result = way.ours()
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    ms = {name: 1e3 * median(times) for name, times in seconds.items()}
    ours = ms.pop("ours")
    size = result.nbytes if isinstance(result, np.ndarray) else len(result.data)
    return [
        *(Result(SUITE, way.name, ours, "ms", name, value) for name, value in ms.items()),
        Result(SUITE, f"{way.name}_memory", 1e-3 * memory, "kB", "its result", 1e-3 * size),
    ]


def _raw(picture: NDArray[np.uint8]) -> list[_Way]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
    height, width = grey.shape
    colours = planes[height:].reshape(2, -1)  # that of all U, then of all V
    nv12 = np.vstack([grey, np.ascontiguousarray(colours.T).reshape(-1, width)])
    uyvy = np.dstack([np.full_like(grey, 128), grey])
    pixels = {
        "rgb8": picture,
        "bgr8": picture[..., ::-1],
        "mono8": grey,
        "bayer_rggb8": grey,
        "yuv422": uyvy,
        "rgb16": picture.astype(np.uint16) * 257,
    }
    messages = {encoding: array_to_image(values, encoding, 0, "") for encoding, values in pixels.items()}
    messages["rgb8_padded"] = _padded(picture)
    messages["nv12"] = array_to_image(nv12, "mono8", 0, "")
    messages["nv12"].encoding, messages["nv12"].height = "nv12", height
    return [
        _Way(f"read_{name}", partial(image_to_array, message), *_copy(message), _bridged(message))
        for name, message in messages.items()
    ]


def _bridged(message: Image) -> Callable[[Any], Any] | None:
    if message.encoding == "nv12":
        return None  # it does not know that
    # What is RGB already it gives without a copy, but only if it is not asked for RGB.
    target = "passthrough" if message.encoding == "rgb8" else "rgb8"
    return lambda bridge: bridge.imgmsg_to_cv2(message, target)


def _padded(picture: NDArray[np.uint8]) -> Image:
    height, width, _ = picture.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width + _PADDING)
    message.data.frombytes(np.pad(picture.reshape(height, -1), ((0, 0), (0, _PADDING))).tobytes())
    return message


def _compressed(picture: NDArray[np.uint8]) -> list[_Way]:
    ways = []
    for codec, suffix in (("jpeg", ".jpg"), ("png", ".png")):
        content = cv2.imencode(suffix, picture[..., ::-1])[1].tobytes()
        message = CompressedImage(format=f"rgb8; {codec} compressed bgr8", data=array.array("B", content))
        least = (partial(_decode, content), _DECODER)
        ways.append(_Way(f"read_{codec}", partial(image_to_array, message), *least, partial(_decoded_by, message)))
    return ways


def _depth(metres: NDArray[np.float32]) -> list[_Way]:
    messages = {
        "16UC1": array_to_image(np.rint(metres * 1e3).astype(np.uint16), "16UC1", 0, ""),
        "32FC1": array_to_image(metres, "32FC1", 0, ""),
    }
    ways = [
        _Way(f"read_{name}", partial(depth_to_array, message), *_copy(message)) for name, message in messages.items()
    ]
    a, b = 10100.0, -1009.0  # compressed_depth_image_transport's own for 10 m
    png = cv2.imencode(".png", (a / metres + b).astype(np.uint16))[1].tobytes()
    data = array.array("B", struct.pack("<iff", 0, a, b) + png)
    message = CompressedImage(format="32FC1; compressedDepth png", data=data)
    return [*ways, _Way("read_compressedDepth", partial(depth_to_array, message), partial(_decode, png), _DECODER)]


def _written(picture: NDArray[np.uint8], metres: NDArray[np.float32]) -> list[_Way]:
    pixels: dict[str, NDArray] = {"rgb8": picture, "32FC1": metres}
    return [
        _Way(
            f"write_{encoding}",
            partial(array_to_image, values, encoding, 0, ""),
            *_copy(array_to_image(values, encoding, 0, "")),
            partial(_written_by, values, encoding),
        )
        for encoding, values in pixels.items()
    ]


_DECODER = "cv2.imdecode alone"


def _copy(message: Image) -> tuple[Callable[[], Any], str]:
    return lambda: message.data[:], "a copy of the data"


def _decode(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _decoded_by(message: CompressedImage, bridge: Any) -> Any:
    return bridge.compressed_imgmsg_to_cv2(message, "rgb8")


def _written_by(values: NDArray, encoding: str, bridge: Any) -> Any:
    return bridge.cv2_to_imgmsg(values, encoding)


def _picture(width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture with as much detail as a camera's: noise of several scales."""
    random = np.random.default_rng(0)
    picture = np.zeros((height, width, 3))
    for share in (8, 32, 128):
        noise = random.random((height // share + 2, width // share + 2, 3))
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(85 * picture, 0, 255).astype(np.uint8)


def _metres(width: int, height: int) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:height, :width]
    return (1.0 + (_GREATEST_DEPTH - 1.0) * (rows + columns) / (height + width)).astype(np.float32)
