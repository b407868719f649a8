# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trees and bushes of a street world: places are collected, then plants near the robot's way get more detail."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.street.site import Site
from mtl_perception.data.world.things import plants

DETAILED_TREES = (8, 32)
"""How many trees, those nearest to the robot's way, have all their leaves, and how many more have some."""

DETAILED_BUSHES = 24

HIDDEN_M = 140.0
"""Plants farther from the robot's way are left out."""

KINDS, STREET_KINDS = 5, 2
"""How many kinds of tree grow in a world; the first ones grow along pavements too."""


class Planting:
    """Collects the places of plants and adds them to a scene."""

    def __init__(self, scene: Scene, site: Site, generator: np.random.Generator) -> None:
        self._scene, self._site, self._generator = scene, site, generator
        winter = generator.choice([0.0, 0.35, 1.0], p=[0.6, 0.25, 0.15])
        self._trees = [self._kind(winter, number >= STREET_KINDS) for number in range(KINDS)]
        self._bushes = [plants.bush(scene, generator) for _ in range(3)]
        self._tree_places: list[tuple[float, float, float, float, int]] = []
        self._bush_places: list[tuple[float, float, float]] = []

    def add_tree(self, x: float, y: float, z: float, scale: float, kind: int | None = None) -> None:
        """Plant a tree of `scale` times 6 m; `kind` chooses one of `KINDS`, else it is drawn."""
        chosen = int(self._generator.integers(KINDS)) if kind is None else kind
        self._tree_places.append((float(x), float(y), z, float(scale), chosen))

    def add_bush(self, x: float, y: float, z: float) -> None:
        """Plant a bush."""
        self._bush_places.append((float(x), float(y), z))

    def build(self) -> None:
        """Add all plants to the scene."""
        g = self._generator
        meshes: list[Mesh] = []
        ranks, away = self._nearest_first([place[:2] for place in self._tree_places])
        levels = np.digitize(ranks, np.cumsum(DETAILED_TREES))
        for (x, y, z, scale, kind), level, distance in zip(self._tree_places, levels, away, strict=True):
            yaw = g.uniform(0, 2 * np.pi)
            if distance < HIDDEN_M:
                meshes.append(self._trees[kind].levels[level].at(x, y, z, yaw, scale))
        ranks, away = self._nearest_first([place[:2] for place in self._bush_places])
        for (x, y, z), rank, distance in zip(self._bush_places, ranks, away, strict=True):
            bush, yaw, scale = self._bushes[g.integers(3)], g.uniform(0, 2 * np.pi), g.uniform(0.7, 1.5)
            if distance < HIDDEN_M / 2:
                meshes.append(bush[int(rank >= DETAILED_BUSHES)].at(x, y, z, yaw, scale))
        if meshes:
            self._scene.add(merged(meshes), "vegetation")

    def _nearest_first(self, places: list[tuple[float, float]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ranks of places by how far they are from the robot's way, and how far that is."""
        away = self._site.way_to_drive(np.array(places).reshape(-1, 2))
        return np.argsort(np.argsort(away, kind="stable"), kind="stable"), away

    def _kind(self, winter: float, any_tree: bool) -> plants.Tree:
        g = self._generator
        if any_tree and g.random() < 0.25:
            return plants.conifer(self._scene, g)
        return (plants.bare_tree if g.random() < winter else plants.tree)(self._scene, g)
