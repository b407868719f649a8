# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Picture files of others: JPEG, PNG, PGM and PPM, whose headers are judged before anything is allocated for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.outside_files import read_bytes
from mtl_perception.messages.compressed_images import MAX_PIXELS, decode_file

_MOST_BYTES = 8 * MAX_PIXELS  # of a file: no format needs more for its largest picture
_PNM = re.compile(rb"P[56]\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(\d{1,9})\s+(\d{1,5})\s")


def read_pixels(path: Path) -> NDArray[Any]:
    """Read a picture as it is stored: (H, W) or (H, W, channels), 8 or 16 bits, colours as BGR or BGRA.

    Raises:
        ValueError: the file is missing or no whole picture, or it is larger than `MAX_PIXELS`; names the file.
    """
    try:
        content = read_bytes(path, _MOST_BYTES)
    except OSError as error:
        raise ValueError(f"{path} is not a readable picture: {error.strerror}") from error
    match = _PNM.match(content)
    if match is None:
        return decode_file(content, str(path))
    width, height, greatest = map(int, match.groups())
    samples = width * height * (3 if content[1:2] == b"6" else 1)
    if width * height > MAX_PIXELS or len(content) - match.end() < samples * (1 + (greatest > 255)):
        raise ValueError(f"{path} has {len(content)} bytes, which are no picture of {width}x{height}")
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{path} is not a readable picture")
    return np.asarray(pixels)
