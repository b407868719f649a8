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
