# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which surface has which cell."""

import numpy as np

from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph.cell_owners import NOBODY, CellOwners


def test_owners_are_as_in_a_dictionary_of_all_cells():
    rng, owners, expected = np.random.default_rng(0), CellOwners(), {}
    surfaces = {}
    for number in range(300):
        if surfaces and rng.random() < 0.4:
            gone = int(rng.choice([*surfaces]))
            kind, cells = surfaces.pop(gone)
            owners.remove(gone, kind)
            for cell in cells.tolist():
                del expected[kind, cell]
        kind = int(rng.integers(3))
        corner = rng.integers(-30, 30, 3)
        cells = np.unique(pack(corner + rng.integers(0, 12, (int(rng.integers(1, 60)), 3))))
        cells = cells[[(kind, cell) not in expected for cell in cells.tolist()]]
        if len(cells):
            owners.add(number, kind, cells)
            surfaces[number] = kind, cells
            expected |= {(kind, cell): number for cell in cells.tolist()}
        asked = pack(corner + rng.integers(-6, 18, (80, 3)))
        for kind in range(4):
            assert owners.at(kind, asked).tolist() == [expected.get((kind, cell), NOBODY) for cell in asked.tolist()]
            assert owners.of_kind(kind) == {number for number, (of, _) in surfaces.items() if of == kind}
        assert sorted(owners.kinds()) == sorted({kind for kind, _ in surfaces.values()})
    assert len(surfaces) > 50
    for number, (kind, _) in surfaces.items():
        owners.remove(number, kind)
    assert owners.kinds() == [] and owners.at(0, asked).tolist() == [NOBODY] * 80
