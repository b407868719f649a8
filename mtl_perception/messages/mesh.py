# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map's mesh as visualization_msgs/MarkerArray: one marker a block, so that only touched blocks are sent.

The messages are built in their serialised form, straight from the arrays: as message objects a block of 10000 triangles
takes 0.3 s to build and serialise, this way 3 ms. rclpy's publishers take serialised messages.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from visualization_msgs.msg import Marker

from mtl_perception.messages.stamps import to_time

NAMESPACE = "mesh"


class MeshMarkers:
    """Turns changes of a mesh into serialised MarkerArrays; remembers which block has which marker id."""

    def __init__(self, frame_id: str, palette: NDArray[np.uint8] | None = None) -> None:
        """Prepare for a mesh in `frame_id`; with a `palette` (256, 3) blocks are coloured by label, without by their
        colour."""
        self._frame_id = frame_id
        self._palette = palette
        self._ids: dict[Hashable, int] = {}
        self._next_id = 0

    def update(self, changed: Mapping[Any, Any], removed: Iterable[Any], stamp_ns: int) -> bytes:
        """Return the MarkerArray that shows the changed blocks and deletes the removed and the empty ones.

        Args:
            changed: per block key, an object with `vertices` (V, 3) metres, `triangles` (T, 3), `colours` and `labels`
                (V,).
            removed: keys of blocks that are gone.
            stamp_ns: the stamp of the map.
        """
        drawn = {key: block for key, block in changed.items() if len(block.triangles)}
        gone = [key for key in (*removed, *changed) if key not in drawn and key in self._ids]
        writer = _CdrWriter()
        writer.pack("I", len(drawn) + len(gone))
        for key in gone:
            self._write_marker(writer, stamp_ns, self._ids.pop(key), Marker.DELETE, None)
        for key, block in drawn.items():
            if key not in self._ids:
                self._ids[key] = self._next_id
                self._next_id += 1
            self._write_marker(writer, stamp_ns, self._ids[key], Marker.ADD, block)
        return bytes(writer.data)

    def reset(self, stamp_ns: int) -> bytes:
        """Return the MarkerArray that deletes every marker of the topic, and forget all blocks."""
        self._ids.clear()
        writer = _CdrWriter()
        writer.pack("I", 1)
        self._write_marker(writer, stamp_ns, 0, Marker.DELETEALL, None)
        return bytes(writer.data)

    def _write_marker(self, writer: _CdrWriter, stamp_ns: int, number: int, action: int, block: Any | None) -> None:
        """Write the fields of visualization_msgs/Marker in their order."""
        stamp = to_time(stamp_ns)
        writer.pack("iI", stamp.sec, stamp.nanosec)
        writer.string(self._frame_id)
        writer.string(NAMESPACE)
        writer.pack("iii", number, Marker.TRIANGLE_LIST, action)
        writer.pack("7d", 0, 0, 0, 0, 0, 0, 1)  # pose
        writer.pack("3d", 1, 1, 1)  # scale
        writer.pack("4f", 1, 1, 1, 1)  # colour where points have none
        writer.pack("iI", 0, 0)  # lifetime: for ever
        writer.pack("?", False)  # frame_locked
        corners = np.zeros(0, dtype=np.int64) if block is None else np.asarray(block.triangles).reshape(-1)
        writer.pack("I", len(corners))
        if block is not None:
            writer.array(np.asarray(block.vertices, dtype=np.float64)[corners])
        writer.pack("I", len(corners))
        if block is not None:
            writer.array(self._colours(block)[corners])
        writer.string("")  # texture_resource
        writer.pack("iI", 0, 0)  # texture: stamp, frame, format, data
        writer.string("")
        writer.string("")
        writer.pack("II", 0, 0)  # its data; uv_coordinates
        writer.string("")  # text
        writer.string("")  # mesh_resource
        writer.string("")  # mesh_file: name, data
        writer.pack("I", 0)
        writer.pack("?", False)  # mesh_use_embedded_materials

    def _colours(self, block: Any) -> NDArray[np.float32]:
        rgb = block.colours if self._palette is None else self._palette[block.labels]
        rgba = np.ones((len(rgb), 4), dtype=np.float32)
        rgba[:, :3] = np.asarray(rgb, dtype=np.float32) / 255.0
        return rgba


class _CdrWriter:
    """Little-endian CDR: each value is aligned to its own size, counted from after the four bytes that name the
    encoding."""

    def __init__(self) -> None:
        self.data = bytearray(b"\x00\x01\x00\x00")

    def pack(self, form: str, *values: Any) -> None:
        """Write values of one size, given in struct's letters."""
        self._align(struct.calcsize("=" + form[-1]))
        self.data += struct.pack("<" + form, *values)

    def string(self, text: str) -> None:
        """Write a string: its length with the closing zero, and its bytes."""
        encoded = text.encode() + b"\x00"
        self.pack("I", len(encoded))
        self.data += encoded

    def array(self, values: NDArray) -> None:
        """Write the elements of an array, without a length."""
        self._align(values.dtype.itemsize)
        self.data += np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()

    def _align(self, size: int) -> None:
        self.data += b"\x00" * (-(len(self.data) - 4) % size)
