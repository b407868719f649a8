# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps what was predicted, small, until the end of the run, when it is compared with the bag's ground truth."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message

from mtl_perception.core import Camera, Occupancy
from mtl_perception.core.transforms import Transform
from mtl_perception.messages.predictions import from_occupancy, from_rig_prediction
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception_msgs.msg import RigPrediction, SemanticOccupancy

_MOST_BYTES = 512 * 2**20  # of depth images; what comes after that is not compared


@dataclass(frozen=True, eq=False)
class PredictedDepth:
    """A depth image (H, W) float16 in metres, with the camera that it belongs to and that camera's pose."""

    camera: Camera
    stamp_ns: int
    world_from_camera: Transform
    depth: NDArray[np.float16]


class PredictionRecorder:
    """Takes serialised messages from any thread and reads them on its own."""

    def __init__(self) -> None:
        """Start the thread."""
        self.depths: dict[tuple[str, int], PredictedDepth] = {}
        self.occupancy: dict[int, Occupancy] = {}
        self._bytes = 0
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="prediction recorder", daemon=True)
        self._thread.start()

    def take_frame(self, data: bytes) -> None:
        """Take a serialised RigPrediction."""
        self._queue.put(lambda: self._keep_frame(deserialize_message(data, RigPrediction)))

    def take_occupancy(self, data: bytes) -> None:
        """Take a serialised SemanticOccupancy."""
        self._queue.put(lambda: self._keep_occupancy(deserialize_message(data, SemanticOccupancy)))

    def close(self) -> None:
        """Return when all that was taken has been read."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (read := self._queue.get()) is not None:
            read()

    def _keep_frame(self, message: Any) -> None:
        for name, camera in from_rig_prediction(message).cameras.items():
            if camera.depth is None or camera.world_from_camera is None or self._bytes > _MOST_BYTES:
                continue
            depth = camera.depth.astype(np.float16)
            self._bytes += depth.nbytes
            predicted = PredictedDepth(camera.camera, camera.stamp_ns, camera.world_from_camera, depth)
            self.depths[name, camera.stamp_ns] = predicted

    def _keep_occupancy(self, message: Any) -> None:
        self.occupancy[stamp_ns_from(message.header.stamp)] = from_occupancy(message)
