# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a view reaches, against the fusion itself: no voxel changes outside."""

import numpy as np

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.fusion.blocks import BlockStore, pack
from mtl_perception.mapping.fusion.fusion import Fusion
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.window.reach import Reach
from mtl_perception.mapping.window.regions import region_ids

CONFIG = MapperConfig(voxel_size=0.1, max_depth=2.5)
EVERY = np.stack(np.meshgrid(*[np.arange(-8, 8, dtype=np.int32)] * 3), axis=-1).reshape(-1, 3)


def test_every_changed_voxel_is_in_reach_and_so_are_the_blocks_beside_it(scene, frame, labels):
    scene.box("wall", (2, -9, -9), (2.2, 9, 9)).box("wall", (-1.4, -9, -9), (-1.2, 9, 9))
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(12):
        look = scene.look(rng.uniform(-1, 1, 3), *rng.uniform(-3, 3, 2), width=int(rng.integers(20, 80)))
        (view,) = views_of(frame(look), CONFIG, labels)
        reach = Reach(view, CONFIG.max_depth + CONFIG.longest_band, 0.8)
        store = BlockStore(CONFIG.voxel_size, len(EVERY))
        store.activate(EVERY)
        fusion = Fusion(CONFIG, store, labels)
        fusion.integrate(view, fusion.touched(view, fusion.blocks_at_surfaces(view)))
        voxels = store.read(EVERY)
        touched = EVERY[(voxels["weight"] > 0).any(axis=1)]
        beside = (touched[:, None] + np.array([[-1, -1, -1], [1, 1, 1], [1, -1, 0], [0, 0, -1]])).reshape(-1, 3)
        regions = np.unique(region_ids(np.concatenate([touched, beside, fusion.blocks_at_surfaces(view)])))
        assert len(regions) and reach.touches(regions).all()
        corners = touched * 0.8
        assert (corners >= reach.low - 0.8).all() and (corners <= reach.high).all()
        every = pack(np.stack(np.meshgrid(*[np.arange(-6, 6)] * 3), axis=-1).reshape(-1, 3))
        shares.append(reach.touches(every).mean())
    assert min(shares) > 0.002 and max(shares) < 0.2
