# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that the mapping node publishes: each at its own rate, only what changed, and only when watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from map_msgs.msg import OccupancyGridUpdate
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping import Key, Mapper, MapUpdate, OccupancyFollower, SceneGraphFollower
from mtl_perception.mapping import SceneGraphChanges as MapGraphChanges
from mtl_perception.mapping.slices.height_band import Bounds
from mtl_perception.messages.graph_markers import SceneGraphMarkers
from mtl_perception.messages.grid_updates import OccupancyGridMessages
from mtl_perception.messages.maps import to_esdf_points, to_occupancy_grid
from mtl_perception.messages.mesh import MeshMarkers
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.scene_graph import SceneGraphMessages, changes_message
from mtl_perception.ros import qos
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.mapping_parameters import RATED_TOPICS, MappingParameters
from mtl_perception_msgs.msg import SceneGraph, SceneGraphChanges

# From when a publisher knows a subscription to when that knows the publisher, too; what is sent before may get lost.
_ACQUAINTED_S = 0.3


@dataclass
class _Output:
    publish: Callable[[], None]
    follower: SceneGraphFollower | OccupancyFollower | None = None
    publisher: Any = None
    is_current: bool = True
    last_s: float = float("-inf")
    arrivals: int = 0  # how often somebody has subscribed
    arrival_s: float = float("-inf")  # of the last
    greeted: int = 0  # of these, who has been noticed

    def welcome(self) -> None:
        self.arrival_s = time.monotonic()
        self.arrivals += 1


@dataclass(frozen=True)
class OutputSettings:
    """What topics show.

    Attributes:
        rates_hz: of each topic; 0 means never.
        label_palette: colours (256, 3) by class that surfaces have; None: they have those that cameras saw.
        points_radius: points that are farther from the robot are left out, metres; None: all points.
        band: least and greatest height of `occupancy_band` and `esdf_slice`, metres above the ground.
        band_radius: how far they reach from the robot to each side, metres.
        esdf_max_distance: of the distance field, metres.
    """

    rates_hz: Mapping[str, float]
    label_palette: NDArray[np.uint8] | None
    points_radius: float | None
    band: tuple[float, float]
    band_radius: float
    esdf_max_distance: float

    @property
    def of_points(self) -> tuple[object, ...]:
        """What concerns `points`."""
        return self.points_radius, self.of_mesh

    @property
    def of_mesh(self) -> bytes:
        """What concerns `mesh`."""
        return b"" if self.label_palette is None else self.label_palette.tobytes()

    @property
    def of_band(self) -> tuple[object, ...]:
        """What concerns `occupancy_band` and `esdf_slice`."""
        return self.band, self.band_radius, self.esdf_max_distance


def output_settings(values: MappingParameters, labels: LabelSpace) -> OutputSettings:
    """Return what topics show as the parameters have it."""
    rates = {name: getattr(values, f"{name}_rate") for name in RATED_TOPICS}
    return OutputSettings(
        rates_hz=rates | {"scene_graph_markers": values.scene_graph_rate},
        label_palette=labels.palette if values.surface_colours == "labels" else None,
        points_radius=values.points_reach,
        band=(values.band_min_height, values.band_max_height),
        band_radius=values.band_radius,
        esdf_max_distance=values.esdf_max_distance,
    )


class MapOutputs:
    """Publishes a `Mapper`'s map under `mapping/`. Like the mapper, it belongs to one thread."""

    def __init__(self, node: ManagedNode, mapper: Mapper, frame: str, settings: Callable[[], OutputSettings]) -> None:
        """Make the publishers.

        Args:
            node: has the publishers.
            mapper: has the map.
            frame: the map's frame until a frame with poses says another.
            settings: what the topics show now.
        """
        self._mapper = mapper
        self._settings = settings
        self._shown = settings()
        self._frame = frame
        self._markers = MeshMarkers(frame, self._shown.label_palette)
        self._changed: set[Key] = set()
        self._removed: set[Key] = set()
        self._mesh_is_gone = True  # whatever earlier runs left in a viewer is wiped with the first message
        self._stamp_ns = 0
        self._graph, self._graph_markers = SceneGraphMessages(), SceneGraphMarkers()
        self._grid = OccupancyGridMessages()
        kinds = {
            "mesh": (MarkerArray, self._publish_mesh),
            "points": (PointCloud2, self._publish_points),
            "occupancy_grid": (OccupancyGrid, self._publish_grid),
            "scene_graph": (SceneGraph, self._publish_graph),
            "scene_graph_changes": (SceneGraphChanges, self._publish_graph_changes),
            "scene_graph_markers": (MarkerArray, self._publish_graph_markers),
            "occupancy_band": (OccupancyGrid, self._publish_band),
            "esdf_slice": (PointCloud2, self._publish_esdf),
        }
        self._outputs = {}
        for name, (kind, publish) in kinds.items():
            output = self._outputs[name] = _Output(publish)
            output.follower = mapper.follow_scene_graph() if name.startswith("scene_graph") else None
            profile = qos.latched() if name == "occupancy_grid" else None
            output.publisher = node.create_output(kind, f"mapping/{name}", profile, output.welcome)
        grid = self._outputs["occupancy_grid"]
        grid.follower = self._grid.follower
        self._grid_updates = node.create_output(
            OccupancyGridUpdate, "mapping/occupancy_grid_updates", qos.output(depth=100), grid.welcome
        )

    @property
    def frame(self) -> str:
        """The frame that the map is in."""
        return self._frame

    def note(self, update: MapUpdate, stamp_ns: int, frame: str) -> None:
        """Take notice of what a frame has changed."""
        if frame != self._frame:
            self._frame = frame
            self._start_mesh_anew()
            self._start_anew(self._outputs.values())
        self._stamp_ns = stamp_ns
        self._changed.update(update.changed_blocks)
        self._removed.difference_update(update.changed_blocks)
        self._changed.difference_update(update.removed_blocks)
        self._removed.update(update.removed_blocks)
        self._all_are_old()

    def note_replaced(self) -> None:
        """Take notice that the map is another one: loaded, or empty after a reset."""
        self._mesh_is_gone = True
        self._grid.follower.start_anew()
        self._all_are_old()

    def publish(self, *, all_now: bool = False) -> None:
        """Publish what has changed and whose time has come, or all that has changed."""
        now = time.monotonic()
        self._follow_settings()
        if all_now:
            self._grid.hurry()
            self._outputs["occupancy_grid"].is_current = False
        for name, output in self._outputs.items():
            rate, subscribers = self._shown.rates_hz[name], int(output.publisher.get_subscription_count())
            arrivals = output.arrivals
            is_new = arrivals > output.greeted
            if is_new and not all_now and now - output.arrival_s < _ACQUAINTED_S:
                continue
            if is_new:  # somebody has seen nothing yet
                output.is_current, output.greeted = False, arrivals
                self._mesh_is_gone |= name == "mesh"
            if not subscribers or (is_new and name != "scene_graph"):
                self._start_anew([output])  # the scene graph itself is always sent as a whole
            # Who comes while the node is not active gets the grid that it has published last.
            wanted = subscribers or (all_now and name == "occupancy_grid")
            due = all_now or now - output.last_s >= 1.0 / max(rate, 1e-9)
            if rate > 0 and wanted and due and not output.is_current:
                output.is_current, output.last_s = True, now
                output.publish()

    def _follow_settings(self) -> None:
        before, self._shown = self._shown, self._settings()
        if self._shown.of_mesh != before.of_mesh:
            self._start_mesh_anew()
            self._outputs["mesh"].is_current = False
        self._outputs["points"].is_current &= self._shown.of_points == before.of_points
        for name in ("occupancy_band", "esdf_slice"):
            self._outputs[name].is_current &= self._shown.of_band == before.of_band

    def _start_mesh_anew(self) -> None:
        self._markers = MeshMarkers(self._frame, self._shown.label_palette)
        self._mesh_is_gone = True

    @staticmethod
    def _start_anew(outputs: Iterable[_Output]) -> None:
        for output in outputs:
            if output.follower is not None:
                output.follower.start_anew()

    def _all_are_old(self) -> None:
        for output in self._outputs.values():
            output.is_current = False

    def _publish_mesh(self) -> None:
        publisher = self._outputs["mesh"].publisher
        if self._mesh_is_gone:
            publisher.publish(self._markers.reset(self._stamp_ns))
            self._changed, self._removed = set(self._mapper.mesh_keys), set()
            self._mesh_is_gone = False
        publisher.publish(self._markers.update(self._mapper.mesh_blocks(self._changed), self._removed, self._stamp_ns))
        self._changed.clear()
        self._removed.clear()

    def _publish_points(self) -> None:
        xyz, rgb, label = self._mapper.points(self._shown.points_radius)
        rgb = rgb if self._shown.label_palette is None else self._shown.label_palette[label]
        self._outputs["points"].publisher.publish(
            to_point_cloud(xyz, self._stamp_ns, self._frame, rgb=rgb, fields={"label": label})
        )

    def _publish_grid(self) -> None:
        output = self._outputs["occupancy_grid"]
        if self._grid_updates.get_subscription_count() < output.publisher.get_subscription_count():
            self._grid.follower.start_anew()  # somebody takes whole grids only
        messages = self._grid.next(self._mapper, time.monotonic(), self._stamp_ns, self._frame)
        if messages.whole is not None:
            output.publisher.publish(messages.whole)
        for update in messages.updates:
            self._grid_updates.publish(update)
        output.is_current &= messages.is_all

    def _publish_graph(self) -> None:
        self._graph.follow(self._graph_changes("scene_graph"))
        message = self._graph.whole(self._mapper.scene_graph_bytes(), self._stamp_ns, self._frame)
        self._outputs["scene_graph"].publisher.publish(message)

    def _publish_graph_changes(self) -> None:
        changes = self._graph_changes("scene_graph_changes")
        if changes.starts_anew or len(changes):
            message = changes_message(changes, self._stamp_ns, self._frame)
            self._outputs["scene_graph_changes"].publisher.publish(message)

    def _publish_graph_markers(self) -> None:
        changes = self._graph_changes("scene_graph_markers")
        message = self._graph_markers.update(changes, self._stamp_ns, self._frame)
        if message is not None:
            self._outputs["scene_graph_markers"].publisher.publish(message)

    def _graph_changes(self, name: str) -> MapGraphChanges:
        follower = self._outputs[name].follower
        assert isinstance(follower, SceneGraphFollower)  # all outputs of graphs have one
        return self._mapper.scene_graph_changes(follower)

    def _publish_band(self) -> None:
        shown = self._shown
        grid = self._mapper.occupancy_band(*shown.band, self._around(shown.band_radius))
        self._outputs["occupancy_band"].publisher.publish(to_occupancy_grid(grid, self._stamp_ns, self._frame))

    def _publish_esdf(self) -> None:
        shown = self._shown
        around = self._around(shown.band_radius)
        esdf = self._mapper.esdf_slice(*shown.band, around, shown.esdf_max_distance)
        self._outputs["esdf_slice"].publisher.publish(to_esdf_points(esdf, self._stamp_ns, self._frame))

    def _around(self, radius: float) -> Bounds | None:
        """Return a square around the robot; None before the first frame, when there is nothing to show anyway."""
        if self._mapper.position is None:
            return None
        x, y, _ = self._mapper.position.tolist()
        return (x - radius, y - radius, x + radius, y + radius)
