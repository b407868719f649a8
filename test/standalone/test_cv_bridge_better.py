# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the cv_bridge of standalone/ does better than the real one."""

from __future__ import annotations

import array

import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels", "padding"), [("rgb8", np.uint8, 3, 1), ("32FC3", np.float32, 3, 4)]
)
def test_rows_padded_by_less_than_a_pixel_are_not_skewed(
    encoding: str, dtype: type, channels: int, padding: int
) -> None:
    image = np.arange(4 * 5 * channels).reshape(4, 5, channels).astype(dtype)
    rows = np.pad(image.reshape(4, -1).view(np.uint8), [(0, 0), (0, padding)], constant_values=255)
    msg = Image(height=4, width=5, encoding=encoding, step=rows.shape[1], data=array.array("B", rows.tobytes()))
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(msg), image)


def test_what_no_decoder_knows_is_refused() -> None:
    broken = CompressedImage(format="jpeg", data=array.array("B", b"no image at all"))
    assert CvBridge().compressed_imgmsg_to_cv2(broken) is None
    with pytest.raises(CvBridgeError, match="jpeg"):
        CvBridge().compressed_imgmsg_to_cv2(broken, "rgb8")


# The real one (up to rolling of 2026) turns the bytes with a method that NumPy 2 has taken away.
@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [
        ("mono16", np.uint16, 1),
        ("16SC1", np.int16, 1),
        ("32SC1", np.int32, 1),
        ("32FC1", np.float32, 1),
        ("32FC3", np.float32, 3),
        ("64FC2", np.float64, 2),
        ("rgb16", np.uint16, 3),
    ],
)
def test_big_endian_pixels_arrive_in_the_machines_order(encoding: str, dtype: type, channels: int) -> None:
    shape = (6, 8) if channels == 1 else (6, 8, channels)
    image = np.random.default_rng(7).integers(0, 1 << 15, shape).astype(dtype)
    big = image.astype(image.dtype.newbyteorder(">"))
    data = array.array("B", big.tobytes())
    msg = Image(height=6, width=8, encoding=encoding, is_bigendian=1, step=len(data) // 6, data=data)
    received = CvBridge().imgmsg_to_cv2(msg)
    assert received.dtype.isnative
    np.testing.assert_array_equal(received, image)


def test_a_big_endian_array_says_so_in_the_message() -> None:
    image = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    msg = CvBridge().cv2_to_imgmsg(image.astype(">u2"), "mono16")
    assert msg.is_bigendian
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(msg), image)
