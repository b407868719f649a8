# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that the mapping node publishes: each at its own rate, only what changed, and only when watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from mtl_perception.mapping import Key, Mapper, MapUpdate
from mtl_perception.mapping.slices.height_band import Bounds
from mtl_perception.messages.maps import scene_graph_markers, to_esdf_points, to_occupancy_grid, to_scene_graph
from mtl_perception.messages.mesh import MeshMarkers
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception_msgs.msg import SceneGraph


@dataclass
class _Output:
    publisher: Any
    rate_hz: Callable[[], float]
    publish: Callable[[], None]
    is_current: bool = True
    last_s: float = float("-inf")
    subscribers: int = 0


@dataclass(frozen=True)
class BandSettings:
    """What `mapping/occupancy_band` and `mapping/esdf_slice` show.

    Attributes:
        low, high: metres above the ground.
        radius: how far they reach from the robot to each side, metres.
        max_distance: of the distance field, metres.
    """

    low: float
    high: float
    radius: float
    max_distance: float


class MapOutputs:
    """Publishes a `Mapper`'s map under `mapping/`. Like the mapper, it belongs to one thread."""

    def __init__(
        self,
        node: ManagedNode,
        mapper: Mapper,
        frame: str,
        rates_hz: Callable[[], dict[str, float]],
        band: Callable[[], BandSettings],
    ) -> None:
        """Make the publishers.

        Args:
            node: has the publishers.
            mapper: has the map.
            frame: the map's frame until a frame with poses says another.
            rates_hz: the rates of `mesh`, `points`, `occupancy_grid`, `scene_graph`, `occupancy_band` and `esdf_slice`
                as they are now; 0 means never.
            band: what the last two show now.
        """
        self._mapper = mapper
        self._band = band
        self._shown_band = band()
        self._frame = frame
        self._markers = MeshMarkers(frame)
        self._changed: set[Key] = set()
        self._removed: set[Key] = set()
        self._mesh_is_gone = True  # whatever earlier runs left in a viewer is wiped with the first message
        self._stamp_ns = 0
        self._graph_markers = node.create_output(MarkerArray, "mapping/scene_graph_markers")
        self._outputs = [
            self._output(node, MarkerArray, "mesh", rates_hz, self._publish_mesh),
            self._output(node, PointCloud2, "points", rates_hz, self._publish_points),
            self._output(node, OccupancyGrid, "occupancy_grid", rates_hz, self._publish_grid),
            self._output(node, SceneGraph, "scene_graph", rates_hz, self._publish_graph),
            self._output(node, OccupancyGrid, "occupancy_band", rates_hz, self._publish_band),
            self._output(node, PointCloud2, "esdf_slice", rates_hz, self._publish_esdf),
        ]

    @property
    def frame(self) -> str:
        """The frame that the map is in."""
        return self._frame

    def note(self, update: MapUpdate, stamp_ns: int, frame: str) -> None:
        """Take notice of what a frame has changed."""
        if frame != self._frame:
            self._frame = frame
            self._markers = MeshMarkers(frame)
        self._stamp_ns = stamp_ns
        self._changed.update(update.changed_blocks)
        self._removed.difference_update(update.changed_blocks)
        self._changed.difference_update(update.removed_blocks)
        self._removed.update(update.removed_blocks)
        self._all_are_old()

    def note_replaced(self) -> None:
        """Take notice that the map is another one: loaded, or empty after a reset."""
        self._mesh_is_gone = True
        self._all_are_old()

    def publish(self, *, all_now: bool = False) -> None:
        """Publish what has changed and whose time has come, or all that has changed."""
        now = time.monotonic()
        if self._band() != self._shown_band:
            self._shown_band = self._band()
            for output in self._outputs[4:]:
                output.is_current = False
        for output in self._outputs:
            rate, subscribers = output.rate_hz(), self._subscribers(output)
            if subscribers > output.subscribers:  # somebody new has seen nothing yet
                output.is_current = False
                self._mesh_is_gone |= output.publish == self._publish_mesh
            output.subscribers = subscribers
            due = all_now or now - output.last_s >= 1.0 / max(rate, 1e-9)
            if rate > 0 and subscribers and due and not output.is_current:
                output.publish()
                output.is_current, output.last_s = True, now

    def _output(
        self,
        node: ManagedNode,
        kind: Any,
        name: str,
        rates_hz: Callable[[], dict[str, float]],
        publish: Callable[[], None],
    ) -> _Output:
        return _Output(node.create_output(kind, f"mapping/{name}"), lambda: rates_hz()[name], publish)

    def _subscribers(self, output: _Output) -> int:
        count = int(output.publisher.get_subscription_count())
        return count + (
            int(self._graph_markers.get_subscription_count()) if output.publish == self._publish_graph else 0
        )

    def _all_are_old(self) -> None:
        for output in self._outputs:
            output.is_current = False

    def _publish_mesh(self) -> None:
        publisher = self._outputs[0].publisher
        if self._mesh_is_gone:
            publisher.publish(self._markers.reset(self._stamp_ns))
            self._changed, self._removed = set(self._mapper.mesh_keys), set()
            self._mesh_is_gone = False
        publisher.publish(self._markers.update(self._mapper.mesh_blocks(self._changed), self._removed, self._stamp_ns))
        self._changed.clear()
        self._removed.clear()

    def _publish_points(self) -> None:
        xyz, rgb, label = self._mapper.points()
        self._outputs[1].publisher.publish(
            to_point_cloud(xyz, self._stamp_ns, self._frame, rgb=rgb, fields={"label": label})
        )

    def _publish_grid(self) -> None:
        self._outputs[2].publisher.publish(
            to_occupancy_grid(self._mapper.occupancy_grid(), self._stamp_ns, self._frame)
        )

    def _publish_graph(self) -> None:
        graph = self._mapper.scene_graph()
        message = to_scene_graph(graph, self._mapper.scene_graph_bytes(), self._stamp_ns, self._frame)
        self._outputs[3].publisher.publish(message)
        self._graph_markers.publish(scene_graph_markers(graph, self._stamp_ns, self._frame))

    def _publish_band(self) -> None:
        band = self._shown_band
        grid = self._mapper.occupancy_band(band.low, band.high, self._around(band.radius))
        self._outputs[4].publisher.publish(to_occupancy_grid(grid, self._stamp_ns, self._frame))

    def _publish_esdf(self) -> None:
        band = self._shown_band
        esdf = self._mapper.esdf_slice(band.low, band.high, self._around(band.radius), band.max_distance)
        self._outputs[5].publisher.publish(to_esdf_points(esdf, self._stamp_ns, self._frame))

    def _around(self, radius: float) -> Bounds | None:
        """Return a square around the robot; None before the first frame, when there is nothing to show anyway."""
        if self._mapper.position is None:
            return None
        x, y, _ = self._mapper.position.tolist()
        return (x - radius, y - radius, x + radius, y + radius)
