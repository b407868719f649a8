# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What sensor_msgs_py does, the real one as well as the one that stands in for it."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

HEADER = Header(frame_id="lidar")
XYZ = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
]
# A LiDAR point with gaps between its fields and after the last.
MIXED = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="time", offset=8, datatype=PointField.FLOAT64, count=1),
    PointField(name="ring", offset=16, datatype=PointField.UINT16, count=1),
    PointField(name="flag", offset=20, datatype=PointField.INT8, count=1),
]
MIXED_STEP = 32
NAN = float("nan")


def xyz_cloud(points: Any) -> PointCloud2:
    return point_cloud2.create_cloud_xyz32(HEADER, points)


def mixed_points() -> np.ndarray:
    points = np.zeros(3, point_cloud2.dtype_from_fields(MIXED, MIXED_STEP))
    points["x"], points["time"] = (1.5, NAN, 3.5), (1e9 + 0.25, 2.0, 3.0)
    points["ring"], points["flag"] = (0, 7, 65535), (-1, 0, 1)
    return points


def test_points_make_a_cloud_and_come_back() -> None:
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    cloud = xyz_cloud(points)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 4, 12, 48)
    assert cloud.header == HEADER and not cloud.is_bigendian and not cloud.is_dense
    assert [f.name for f in cloud.fields] == ["x", "y", "z"]
    assert bytes(cloud.data) == points.tobytes()
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud), points)


def test_python_lists_and_other_types_make_the_same_cloud() -> None:
    points = [(0.5, 1.5, 2.5), [3.5, 4.5, 5.5]]
    assert xyz_cloud(points) == xyz_cloud(np.array(points)) == xyz_cloud(np.array(points, np.float32))


def test_no_points_make_an_empty_cloud() -> None:
    cloud = xyz_cloud(np.zeros((0, 3), np.float32))
    assert (cloud.width, cloud.height, len(cloud.data)) == (0, 1, 0)
    assert point_cloud2.read_points_numpy(cloud).shape == (0, 3)


def test_fields_of_several_types_with_gaps_between_them() -> None:
    points = mixed_points()
    cloud = point_cloud2.create_cloud(HEADER, MIXED, points, MIXED_STEP)
    assert cloud.point_step == MIXED_STEP and cloud.row_step == 3 * MIXED_STEP and len(cloud.data) == 3 * MIXED_STEP

    received = point_cloud2.read_points(cloud)

    assert received.dtype == points.dtype and received.dtype.itemsize == MIXED_STEP
    for name in ("x", "time", "ring", "flag"):
        np.testing.assert_array_equal(received[name], points[name])


def test_structured_points_must_have_the_fields_type() -> None:
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, MIXED, mixed_points())
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, XYZ, mixed_points())
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, MIXED, np.zeros((3, 4)))
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud_xyz32(HEADER, np.zeros((2, 2, 2, 3), np.float32))


def test_the_type_of_a_point_follows_from_its_fields() -> None:
    assert point_cloud2.dtype_from_fields(XYZ).itemsize == 12
    assert point_cloud2.dtype_from_fields(MIXED).itemsize == 21
    dtype = point_cloud2.dtype_from_fields(MIXED, MIXED_STEP)
    assert dtype.names == ("x", "time", "ring", "flag")
    assert [dtype.fields[name][1] for name in dtype.names] == [0, 8, 16, 20]  # type: ignore[index]


def test_fields_with_a_count_become_numbered() -> None:
    fields = [
        PointField(name="p", offset=0, datatype=PointField.FLOAT32, count=3),
        PointField(name="", offset=12, datatype=PointField.UINT8, count=1),
    ]
    assert point_cloud2.dtype_from_fields(fields).names == ("p_0", "p_1", "p_2", "unnamed_field_1")
    cloud = point_cloud2.create_cloud(HEADER, fields[:1], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert point_cloud2.read_points(cloud)["p_1"].tolist() == [1, 4]


def test_fields_that_make_no_type_are_refused() -> None:
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields([XYZ[0], XYZ[0]])
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields([PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=0)])


def test_some_fields_can_be_read_alone() -> None:
    cloud = point_cloud2.create_cloud(HEADER, MIXED, mixed_points(), MIXED_STEP)
    received = point_cloud2.read_points(cloud, field_names=("ring", "x"))
    assert received.dtype.names == ("ring", "x")
    assert received["ring"].tolist() == [0, 7, 65535]
    with pytest.raises(AssertionError):
        point_cloud2.read_points(cloud, field_names=["intensity"])


def test_points_with_nan_in_a_field_that_is_read_can_be_skipped() -> None:
    points = np.array([[0, 1, 2], [NAN, 1, 2], [3, 4, NAN], [5, 6, 7]], np.float32)
    cloud = xyz_cloud(points)
    assert point_cloud2.read_points_numpy(cloud, skip_nans=True).tolist() == [[0, 1, 2], [5, 6, 7]]
    assert point_cloud2.read_points_numpy(cloud, ["x", "y"], skip_nans=True).tolist() == [[0, 1], [3, 4], [5, 6]]
    assert len(point_cloud2.read_points(cloud)) == 4

    cloud.is_dense = True
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 4, "a dense cloud is believed"

    mixed = point_cloud2.create_cloud(HEADER, MIXED, mixed_points(), MIXED_STEP)
    assert point_cloud2.read_points(mixed, skip_nans=True)["ring"].tolist() == [0, 65535]


def test_points_can_be_picked_by_index() -> None:
    cloud = xyz_cloud(np.arange(15, dtype=np.float32).reshape(5, 3))
    assert point_cloud2.read_points(cloud, uvs=[4, 0])["x"].tolist() == [12, 0]
    assert point_cloud2.read_points(cloud, uvs=np.array([1]))["z"].tolist() == [5]


def test_organised_points_keep_their_two_axes() -> None:
    points = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    cloud = xyz_cloud(points)
    assert (cloud.width, cloud.height, cloud.row_step) == (4, 2, 48)
    assert point_cloud2.read_points(cloud).shape == (8,)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud, reshape_organized_cloud=True), points)


def test_big_endian_clouds_are_read_in_the_machines_order() -> None:
    points = mixed_points()
    foreign = points.astype(points.dtype.newbyteorder(">"))
    cloud = PointCloud2(
        height=1, width=3, fields=MIXED, is_bigendian=True, point_step=MIXED_STEP, row_step=3 * MIXED_STEP
    )
    cloud.data = array.array("B", foreign.tobytes())
    received = point_cloud2.read_points(cloud)
    assert received["time"].tolist() == [1e9 + 0.25, 2.0, 3.0]
    assert received["ring"].tolist() == [0, 7, 65535]


def test_a_plain_array_needs_fields_of_one_type() -> None:
    cloud = point_cloud2.create_cloud(HEADER, MIXED, mixed_points(), MIXED_STEP)
    with pytest.raises(AssertionError):
        point_cloud2.read_points_numpy(cloud)
    assert point_cloud2.read_points_numpy(cloud, ["x"]).shape == (3, 1)


def test_reading_shares_memory_with_the_message() -> None:
    cloud = xyz_cloud(np.zeros((2, 3), np.float32))
    point_cloud2.read_points(cloud)["x"][1] = 5
    assert point_cloud2.read_points_numpy(cloud).tolist() == [[0, 0, 0], [5, 0, 0]]


def test_a_list_of_named_tuples() -> None:
    points = point_cloud2.read_points_list(xyz_cloud(np.array([[1, 2, 3]], np.float32)), ["z", "x"])
    assert [(p.z, p.x) for p in points] == [(3, 1)]


def test_what_is_no_cloud_or_too_short_is_refused() -> None:
    with pytest.raises(AssertionError):
        point_cloud2.read_points("cloud")
    cloud = xyz_cloud(np.zeros((2, 3), np.float32))
    cloud.data = cloud.data[:-1]
    with pytest.raises(TypeError):
        point_cloud2.read_points(cloud)
