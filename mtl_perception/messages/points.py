# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 from arrays and back."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from mtl_perception.messages.raw_images import shown
from mtl_perception.messages.stamps import to_header

_DATATYPES = {
    PointField.INT8: "i1",
    PointField.UINT8: "u1",
    PointField.INT16: "i2",
    PointField.UINT16: "u2",
    PointField.INT32: "i4",
    PointField.UINT32: "u4",
    PointField.FLOAT32: "f4",
    PointField.FLOAT64: "f8",
}
_LARGEST_POINT = 1 << 16  # bytes


def to_point_cloud(
    xyz: NDArray,
    stamp_ns: int,
    frame_id: str,
    *,
    rgb: NDArray[np.uint8] | None = None,
    fields: Mapping[str, NDArray] | None = None,
) -> PointCloud2:
    """Return points (N, 3) in metres as an unordered PointCloud2 with float32 x, y, z.

    Args:
        xyz: the points in `frame_id`.
        stamp_ns: the stamp.
        frame_id: the frame of the points.
        rgb: colours (N, 3); packed into the float32 field "rgb" as RViz and PCL read it.
        fields: further columns (N,) by name, written in their own type.

    Raises:
        ValueError: a column is not as long as the points.
    """
    columns: dict[str, NDArray] = {name: np.asarray(xyz[:, i], dtype=np.float32) for i, name in enumerate("xyz")}
    if rgb is not None:
        packed = rgb.astype(np.uint32)
        columns["rgb"] = ((packed[:, 0] << 16) | (packed[:, 1] << 8) | packed[:, 2]).view(np.float32)
    columns.update(fields or {})
    records = np.zeros(len(xyz), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        if len(column) != len(xyz):
            raise ValueError(f"field '{name}' has {len(column)} values for {len(xyz)} points")
        records[name] = column
    numbers = {np.dtype(code): number for number, code in _DATATYPES.items()}
    cloud = PointCloud2(
        header=to_header(stamp_ns, frame_id), height=1, width=len(xyz), is_dense=bool(np.isfinite(xyz).all())
    )
    assert records.dtype.fields is not None  # a structured dtype always has them
    for name, (dtype, offset, *_) in records.dtype.fields.items():
        cloud.fields.append(PointField(name=name, offset=offset, datatype=numbers[dtype], count=1))
    cloud.point_step = records.dtype.itemsize
    cloud.row_step = cloud.point_step * len(xyz)
    cloud.data = array.array("B", records.tobytes())
    return cloud


def read_point_cloud(message: Any, topic: str = "points") -> NDArray[np.void]:
    """Return a PointCloud2 as a structured array (N,) with a column a field; `rgb` stays packed.

    Raises:
        ValueError: a field's type is unknown, it does not lie within a point or its name is there twice, or the data is
            shorter than width * height points; names `topic`.
    """
    count, step = int(message.width) * int(message.height), int(message.point_step)
    _check_fields(message.fields, step, topic)
    order = ">" if message.is_bigendian else "<"
    dtype = np.dtype(
        {
            "names": [str(field.name) for field in message.fields],
            "formats": [_format(order, field) for field in message.fields],
            "offsets": [int(field.offset) for field in message.fields],
            "itemsize": step,
        }
    )
    data = np.frombuffer(message.data, dtype=np.uint8)
    if int(message.row_step) < int(message.width) * step or len(data) < int(message.row_step) * int(message.height):
        raise ValueError(f"{topic}: data has {len(data)} bytes, {count} points of {step} bytes do not fit")
    rows = data[: int(message.row_step) * int(message.height)].reshape(int(message.height), int(message.row_step))
    return np.ascontiguousarray(rows[:, : int(message.width) * step]).reshape(-1).view(dtype)


def xyz_of(points: NDArray[np.void], topic: str = "points") -> NDArray[np.float64]:
    """Return the coordinates (N, 3) of what `read_point_cloud` returned.

    Raises:
        ValueError: see `columns_of`.
    """
    return columns_of(points, ("x", "y", "z"), topic)


def columns_of(points: NDArray[np.void], names: Sequence[str], topic: str = "points") -> NDArray[np.float64]:
    """Return fields (N, len(names)) of what `read_point_cloud` returned, of whatever type each is.

    Raises:
        ValueError: there is no such field, or it has several numbers a point; names `topic` and the field.
    """
    for name in names:
        if name not in (points.dtype.names or ()) or points.dtype[name].shape:
            raise ValueError(f"{topic}: there is no field '{name}' of one number a point")
    return np.stack([points[name] for name in names], axis=-1).astype(np.float64)


def _check_fields(fields: Any, step: int, topic: str) -> None:
    """Refuse what NumPy makes no columns of: it looks beyond its own memory where an offset is large."""
    names: set[str] = set()
    for field in fields:
        name = shown(str(field.name))
        if int(field.datatype) not in _DATATYPES:
            raise ValueError(f"{topic}: unknown datatype of field {name} ({field.datatype})")
        if not field.name or field.name in names:
            raise ValueError(f"{topic}: a field has no name, or that of another one: {name}")
        names.add(field.name)
        size = np.dtype(_DATATYPES[int(field.datatype)]).itemsize * max(1, int(field.count))
        if int(field.offset) + size > step:
            raise ValueError(
                f"{topic}: field {name} ({size} bytes at {field.offset}) is not within a point of {step} bytes"
            )
    if not names or step > _LARGEST_POINT:
        raise ValueError(f"{topic}: points of {len(names)} fields and {step} bytes, at most {_LARGEST_POINT} are read")


def _format(order: str, field: Any) -> Any:
    code = order + _DATATYPES[int(field.datatype)]
    return code if int(field.count) <= 1 else (code, int(field.count))
