# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the sensor_msgs_py of standalone/ does better than the real one."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header


def test_reading_a_big_endian_cloud_leaves_it_as_it_was() -> None:
    points = np.arange(6, dtype=np.float32).reshape(2, 3)
    fields = point_cloud2.create_cloud_xyz32(Header(), points).fields
    cloud = PointCloud2(height=1, width=2, fields=fields, is_bigendian=True, point_step=12, row_step=24)
    cloud.data = array.array("B", points.astype(">f4").tobytes())
    for _ in range(2):
        np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud), points)


def test_points_need_not_be_contiguous() -> None:
    points = np.arange(24, dtype=np.float32).reshape(8, 3)
    structured = point_cloud2.read_points(point_cloud2.create_cloud_xyz32(Header(), points))
    fields = point_cloud2.create_cloud_xyz32(Header(), points).fields
    cloud = point_cloud2.create_cloud(Header(), fields, structured[::2])
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud), points[::2])
