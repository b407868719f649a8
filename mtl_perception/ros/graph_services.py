# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Services that answer questions from the scene graph."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray

from mtl_perception.core.transforms import transform_from
from mtl_perception.mapping import Mapper
from mtl_perception.mapping.graph.ground_layers import area_nodes, region_nodes
from mtl_perception.mapping.graph.queries import QueryError
from mtl_perception.mapping.graph.scene_graph import object_nodes
from mtl_perception.messages.maps import to_scene_graph_node
from mtl_perception.messages.poses import to_pose
from mtl_perception.messages.stamps import to_header
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.worker import Worker
from mtl_perception_msgs.srv import FindObjects, FindRegion, FindWay

_FARTHEST = 1e6  # metres from the map's origin; beyond, single precision would be coarser than the map


class GraphServices:
    """`mapping/find_objects`, `mapping/find_region` and `mapping/find_way`, answered on the thread of the map."""

    def __init__(self, node: ManagedNode, worker: Worker[Any], mapper: Mapper, frame: Callable[[], str]) -> None:
        """Offer the services; `frame` is the map's, in which questions must be asked."""
        self._node, self._worker, self._mapper, self._frame = node, worker, mapper, frame
        kinds = {FindObjects: self._find_objects, FindRegion: self._find_region, FindWay: self._find_way}
        names = ("find_objects", "find_region", "find_way")
        self._services = [
            node.create_service(kind, f"mapping/{name}", self._answered(answer))
            for (kind, answer), name in zip(kinds.items(), names, strict=True)
        ]

    def close(self) -> None:
        """Offer them no more."""
        for service in self._services:
            self._node.destroy_service(service)

    def _answered(self, answer: Callable[[Any, Any], str]) -> Callable[[Any, Any], Any]:
        def respond(request: Any, response: Any) -> Any:
            try:
                response.message = self._worker.call(lambda: answer(request, response), keep_items=True).result()
                response.success = True
            except QueryError as error:
                response.message = str(error)
            except CancelledError:
                response.message = "the node was cleaned up"
            except Exception as error:  # the caller must get an answer, and the node go on, whatever a request holds
                response.message = f"internal error: {type(error).__name__}: {error}"
                self._node.get_logger().error(f"{response.message}\n{traceback.format_exc()}")
            return response

        return respond

    def _find_objects(self, request: FindObjects.Request, response: FindObjects.Response) -> str:
        if not request.radius >= 0.0:
            raise QueryError(f"radius is {request.radius}, it must not be negative")
        queries = self._mapper.queries()
        if request.near_label:
            found = queries.objects_near_objects(request.near_label, request.radius, request.label)
        else:
            found = queries.objects_near(self._point(request.near, "near"), request.radius, request.label)
        nodes = object_nodes([item for item, _ in found], self._mapper.labels)
        response.objects = [to_scene_graph_node(node) for node in nodes]
        response.distances = [away for _, away in found]
        return f"{len(found)} objects"

    def _find_region(self, request: FindRegion.Request, response: FindRegion.Response) -> str:
        region, area = self._mapper.queries().region_at(self._point(request.position, "position"))
        response.region = to_scene_graph_node(region_nodes([region])[0])
        response.area = to_scene_graph_node(area_nodes([area])[0])
        return ""

    def _find_way(self, request: FindWay.Request, response: FindWay.Response) -> str:
        ends = self._point(request.start, "start"), self._point(request.goal, "goal")
        if not request.least_clearance >= 0.0:
            raise QueryError(f"least_clearance is {request.least_clearance}, it must not be negative")
        way = self._mapper.queries().way(*ends, request.least_clearance)
        response.path.header = to_header(self._mapper.stamp_ns, self._frame())
        ahead = np.diff(way.positions, axis=0, append=2 * way.positions[-1:] - way.positions[-2:-1])
        for position, yaw in zip(way.positions, np.arctan2(ahead[:, 1], ahead[:, 0]).tolist(), strict=True):
            pose = transform_from(position, [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
            response.path.poses.append(PoseStamped(header=response.path.header, pose=to_pose(pose)))
        response.length, response.clearance = way.length, way.clearance
        return ""

    def _point(self, message: Any, field: str) -> NDArray[np.float64]:
        if message.header.frame_id not in ("", self._frame()):
            raise QueryError(f"{field}.header.frame_id is '{message.header.frame_id}', expected '{self._frame()}'")
        point = np.array([message.point.x, message.point.y, message.point.z])
        if not np.isfinite(point).all():
            raise QueryError(f"{field}.point is {point.tolist()}, which is not finite")
        if np.abs(point).max() > _FARTHEST:
            raise QueryError(f"{field}.point is {point.tolist()}, which is farther away than {_FARTHEST:g} m")
        return point
