# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the things of a world keep the ids that the objects of a map have given them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.world.truth.world_truth import WorldObject
from mtl_perception.mapping import MapObject

LOOK_NS = 2 * 10**9
"""How often it is looked which object stands for which thing."""
_AROUND_M = 0.25  # a centroid may be so far outside of the thing's box


class KeptIds:
    """Looks again and again which object has its centroid in the box of each thing, the largest of its class.

    Attributes:
        looks: how often a thing had an object as it had one before.
        kept: how often that was the same one, by its id.
    """

    def __init__(self, things: Sequence[tuple[WorldObject, int]]) -> None:
        """Watch things that stand still, each with the label id of its class."""
        self._boxes = [
            (inverse(thing.box.frame_from_box), np.array(thing.box.size) / 2 + _AROUND_M, label)
            for thing, label in things
        ]
        self._last: dict[int, int] = {}
        self.looks = self.kept = 0

    def look(self, objects: Sequence[MapObject]) -> None:
        """Look at the objects as they are now."""
        centroids = np.array([item.centroid for item in objects]).reshape(-1, 3)
        labels = np.array([item.label for item in objects], np.int64)
        for number, (box_from_world, half, label) in enumerate(self._boxes):
            inside = (np.abs(transform_points(box_from_world, centroids)) <= half).all(axis=1) & (labels == label)
            if not inside.any():
                continue
            found = max((objects[at] for at in np.flatnonzero(inside).tolist()), key=lambda item: item.vertices).id
            if number in self._last:
                self.looks += 1
                self.kept += found == self._last[number]
            self._last[number] = found
