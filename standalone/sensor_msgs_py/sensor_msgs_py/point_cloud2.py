# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to NumPy arrays and back.

A structured array has one field for each of the cloud's fields, at the same offsets. A field with count n > 1 becomes
n fields, numbered from 0: `x_0`, `x_1`, ...; a field without a name becomes `unnamed_field_<its position>`.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

DUMMY_FIELD_PREFIX = "unnamed_field"


def read_points(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Return the points as a structured array in the machine's byte order.

    Shape (width * height,), or (width, height) with `reshape_organized_cloud` for a cloud of several rows. Without
    `skip_nans`, `uvs` and a change of byte order it shares the message's memory. `skip_nans` drops the points with a
    NaN in one of the fields that are read, unless the cloud says that it is dense. `uvs` are indices of points.

    Raises:
        AssertionError: `cloud` is no PointCloud2, or a field asked for is not in it.
        TypeError: the message holds fewer bytes than its points need.
    """
    assert isinstance(cloud, PointCloud2), f"cloud is a {type(cloud).__name__}, not a sensor_msgs.msg.PointCloud2"
    points: np.ndarray = np.ndarray(
        (cloud.width * cloud.height,), dtype_from_fields(cloud.fields, cloud.point_step), buffer=cloud.data
    )
    if field_names is not None:
        unknown = [name for name in field_names if name not in _names(points)]
        assert not unknown, f"fields {unknown} are not in the cloud, which has {list(_names(points))}"
        points = points[list(field_names)]
    if cloud.is_bigendian != (sys.byteorder == "big"):
        points = points.byteswap()
    if skip_nans and not cloud.is_dense:
        has_nan = np.zeros(len(points), bool)
        for name in _names(points):
            has_nan |= np.isnan(points[name])
        points = points[~has_nan]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Return what `read_points` gives as a plain array, with the fields along the last axis.

    Raises:
        AssertionError: a field that is read has another type than the cloud's first field, or as in `read_points`.
    """
    others = [field for field in cloud.fields[1:] if field_names is None or field.name in field_names]
    assert all(field.datatype == cloud.fields[0].datatype for field in others), (
        "fields of different types do not fit into one plain array; use read_points()"
    )
    return structured_to_unstructured(read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud))


def read_points_list(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
) -> list[Any]:
    """Return what `read_points` gives as a list of named tuples, which is slow.

    Raises:
        AssertionError: as in `read_points`.
    """
    assert isinstance(cloud, PointCloud2), f"cloud is a {type(cloud).__name__}, not a sensor_msgs.msg.PointCloud2"
    names = [field.name for field in cloud.fields] if field_names is None else field_names
    point_type = namedtuple("Point", names)  # type: ignore[misc]  # the names are the cloud's
    return [point_type._make(point) for point in read_points(cloud, names, skip_nans, uvs)]


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """Return the structured type of a point; its size is `point_step` bytes, or ends with the last field.

    Raises:
        AssertionError: a field has count 0, or two have one name.
    """
    names: list[str] = []
    formats: list[np.dtype] = []
    offsets: list[int] = []
    for position, field in enumerate(fields):
        assert field.count > 0, f"field '{field.name}' has count 0"
        dtype = _DTYPES[field.datatype]
        name = field.name or f"{DUMMY_FIELD_PREFIX}_{position}"
        for index in range(field.count):
            names.append(name if field.count == 1 else f"{name}_{index}")
            formats.append(dtype)
            offsets.append(field.offset + index * dtype.itemsize)
    assert len(set(names)) == len(names), f"field names occur twice in {names}"
    layout: dict[str, Any] = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        layout["itemsize"] = point_step
    return np.dtype(layout)  # type: ignore[call-overload, no-any-return]  # NumPy's stubs want literal keys


def create_cloud(
    header: Header, fields: Sequence[PointField], points: Iterable[Any], point_step: int | None = None
) -> PointCloud2:
    """Return a cloud with a copy of the points, which are

    * a structured array of shape (width,) or (width, height) and of type `dtype_from_fields(fields, point_step)`,
    * a plain array of shape (width, fields) or (width, height, fields), for fields of one type, or
    * any iterable of points, which are iterables of values in the order of the fields (slow).

    The cloud says that it is not dense, so that readers look for NaNs.

    Raises:
        AssertionError: the array's type, number of axes or the fields' types do not match.
    """
    dtype = dtype_from_fields(fields, point_step)
    if not isinstance(points, np.ndarray):
        points = np.array([tuple(point) for point in points], dtype)
    elif points.dtype.names is None:
        assert all(field.datatype == fields[0].datatype for field in fields), (
            "a plain array has one type, but the fields have several; pass a structured array"
        )
        points = unstructured_to_structured(points, dtype)
    else:
        assert points.dtype == dtype, f"points have the type {points.dtype}, but the fields say {dtype}"
    assert points.ndim <= 2, f"points are organised along {points.ndim} axes, a cloud has at most 2"
    width, height = points.shape[0], points.shape[1] if points.ndim == 2 else 1
    cloud = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=list(fields),
        is_bigendian=sys.byteorder == "big",
        is_dense=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * width,
    )
    cloud.data.frombytes(np.ascontiguousarray(points).reshape(-1).view(np.uint8).data)
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable[Any]) -> PointCloud2:
    """Return a cloud of float32 fields x, y and z, in metres, from (..., 3) values; see `create_cloud`."""
    fields = [
        PointField(name=name, offset=4 * position, datatype=PointField.FLOAT32, count=1)
        for position, name in enumerate("xyz")
    ]
    return create_cloud(header, fields, points)


_DTYPES: dict[int, np.dtype] = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def _names(points: np.ndarray) -> tuple[str, ...]:
    return points.dtype.names or ()
