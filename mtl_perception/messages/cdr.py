# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages written in their serialised form, straight from arrays: rclpy's publishers take serialised messages.

Message objects of thousands of parts take many times longer to make and to serialise than their bytes take to write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from visualization_msgs.msg import Marker

from mtl_perception.messages.stamps import seconds_of


class CdrWriter:
    """Little-endian CDR: each value is aligned to its own size, counted from after the four bytes that name the
    encoding."""

    def __init__(self) -> None:
        """Begin a message."""
        self.data = bytearray(b"\x00\x01\x00\x00")

    def pack(self, form: str, *values: Any) -> None:
        """Write values of one size, given in struct's letters."""
        self.align(struct.calcsize("=" + form[-1]))
        self.data += struct.pack("<" + form, *values)

    def string(self, text: str) -> None:
        """Write a string: its length with the closing zero, and its bytes."""
        encoded = text.encode() + b"\x00"
        self.pack("I", len(encoded))
        self.data += encoded

    def header(self, stamp_ns: int, frame_id: str) -> None:
        """Write a std_msgs/Header.

        Raises:
            ValueError: the stamp does not fit into the message.
        """
        self.pack("iI", *seconds_of(stamp_ns))
        self.string(frame_id)

    def array(self, values: NDArray) -> None:
        """Write the elements of an array, without a length."""
        self.align(values.dtype.itemsize)
        self.data += np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()

    def records(self, records: Iterable[bytes], count: int, size: int = 0) -> None:
        """Write a sequence of structures that begin with 8 bytes: `count` of them, each padded to multiples of 8.

        With `size`, a structure is so long without what it is padded with: the last one ends there.
        """
        self.pack("I", count)
        if count:
            self.align(8)
            self.data += b"".join(records)
            if size:
                del self.data[len(self.data) - (-size % 8) :]

    def align(self, size: int) -> None:
        """Go on at the next multiple of a size."""
        self.data += b"\x00" * (-(len(self.data) - 4) % size)


class MarkerArrayWriter:
    """A visualization_msgs/MarkerArray, marker by marker."""

    def __init__(self, stamp_ns: int, frame_id: str) -> None:
        """Begin without markers; all are of one stamp and in one frame."""
        self._writer = CdrWriter()
        self._writer.pack("I", 0)
        self._stamp_ns, self._frame_id = stamp_ns, frame_id
        self._count = 0

    def __len__(self) -> int:
        """Return the number of markers."""
        return self._count

    @property
    def data(self) -> bytes:
        """The message."""
        struct.pack_into("<I", self._writer.data, 4, self._count)
        return bytes(self._writer.data)

    def delete(self, namespace: str, number: int) -> None:
        """Delete a marker."""
        self.add(namespace, number, Marker.CUBE, action=Marker.DELETE)

    def delete_all(self) -> None:
        """Delete all markers of the topic."""
        self.add("", 0, Marker.CUBE, action=Marker.DELETEALL)

    def add(
        self,
        namespace: str,
        number: int,
        kind: int,
        *,
        action: int = Marker.ADD,
        pose: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
        colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        points: NDArray[np.float64] | None = None,
        colours: NDArray[np.float32] | None = None,
        text: str = "",
    ) -> None:
        """Add or change a marker, that stays until it is deleted.

        Args:
            namespace, number: by which it is known.
            kind: e.g. `Marker.CUBE`.
            action: what becomes of it.
            pose: position x y z, metres, and orientation x y z w.
            scale: metres.
            colour: RGBA, 0..1.
            points: (N, 3), metres.
            colours: RGBA (N, 4) of these, 0..1.
            text: to show.
        """
        writer = self._writer
        self._count += 1
        writer.align(4)
        writer.header(self._stamp_ns, self._frame_id)
        writer.string(namespace)
        writer.pack("iii", number, kind, action)
        writer.pack("7d", *pose)
        writer.pack("3d", *scale)
        writer.pack("4f", *colour)
        writer.pack("iI", 0, 0)  # lifetime: for ever
        writer.pack("?", False)  # frame_locked
        writer.pack("I", 0 if points is None else len(points))
        if points is not None and len(points):
            writer.array(points)
        writer.pack("I", 0 if colours is None else len(colours))
        if colours is not None and len(colours):
            writer.array(colours)
        writer.string("")  # texture_resource
        writer.pack("iI", 0, 0)  # texture: stamp, frame, format, data
        writer.string("")
        writer.string("")
        writer.pack("II", 0, 0)  # its data; uv_coordinates
        writer.string(text)
        writer.string("")  # mesh_resource
        writer.string("")  # mesh_file: name, data
        writer.pack("I", 0)
        writer.pack("?", False)  # mesh_use_embedded_materials
