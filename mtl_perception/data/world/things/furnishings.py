# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All kinds of furniture by name, in their own axes and exactly within the ground they are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things import fittings, household, kitchen_and_bath, seats_and_beds, storage, tables

Maker = Callable[[Scene, np.random.Generator, float, float, float], list[Mesh]]


def furnishing(
    kind: str, scene: Scene, generator: np.random.Generator, depth: float, width: float, height: float
) -> Mesh:
    """Return a piece of furniture: x to its front, z up, origin on the floor in the middle of depth x width metres.

    `height` is metres, too; kinds that come in one height take no notice of it.

    Raises:
        KeyError: there is no such kind.
    """
    mesh = merged(KINDS[kind](scene, generator, width, depth, height))
    # The makers build from the wall at y = 0 towards +y.
    return mesh.moved(upright((-depth / 2, 0.0, 0.0), -np.pi / 2))


KINDS: dict[str, Maker] = {
    "armchair": seats_and_beds.sofa,
    "basin": kitchen_and_bath.basin,
    "bathtub": kitchen_and_bath.bathtub,
    "bed": seats_and_beds.bed,
    "bench": seats_and_beds.bench,
    "bin": household.bin_,
    "board": fittings.board,
    "bookcase": storage.bookcase,
    "boxes": household.boxes,
    "cabinet": storage.cabinet,
    "chair": seats_and_beds.chair,
    "coat rack": storage.coat_rack,
    "coffee table": tables.coffee_table,
    "column": fittings.column,
    "copier": fittings.copier,
    "counter": kitchen_and_bath.counter,
    "desk": tables.desk,
    "desk things": tables.desk_things,
    "floor lamp": fittings.floor_lamp,
    "fridge": kitchen_and_bath.fridge,
    "lockers": storage.lockers,
    "meeting table": tables.meeting_table,
    "nightstand": storage.nightstand,
    "office chair": seats_and_beds.office_chair,
    "plant": household.plant,
    "rack": storage.rack,
    "radiator": fittings.radiator,
    "reception": tables.reception,
    "rug": fittings.rug,
    "school desk": tables.school_desk,
    "screen": fittings.screen,
    "shelf": storage.shelf,
    "shower": kitchen_and_bath.shower,
    "sideboard": storage.cabinet,
    "sofa": seats_and_beds.sofa,
    "table": tables.table,
    "toilet": kitchen_and_bath.toilet,
    "tv board": storage.tv_board,
    "vending machine": fittings.vending_machine,
    "wardrobe": storage.wardrobe,
    "washing machine": kitchen_and_bath.washing_machine,
    "water dispenser": fittings.water_dispenser,
}
