# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The block store against a dictionary."""

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, VOXELS, BlockStore


def test_a_store_is_a_dictionary_of_blocks():
    rng = np.random.default_rng(4)
    store, known = BlockStore(0.1, 60), {}
    every = np.stack(np.meshgrid(*[np.arange(-2, 3, dtype=np.int32)] * 3), axis=-1).reshape(-1, 3)
    for _ in range(120):
        keys = every[rng.permutation(len(every))[: int(rng.integers(1, 12))]]
        names = list(map(tuple, keys.tolist()))
        what = rng.integers(3)
        if what == 0:
            store.erase(keys)
            for name in names:
                known.pop(name, None)
        elif len(set(known) | set(names)) > 60:
            with pytest.raises(MemoryError, match=r"blocks do not fit, 60 do"):
                store.activate(keys)
        elif what == 1:
            store.activate(keys)
            for name in names:
                known.setdefault(name, 0.0)
        else:
            values = rng.integers(1, 200, len(keys))
            voxels = {
                name: np.ones((len(keys), VOXELS, *shape), kind) * values.astype(kind).reshape(-1, 1, *[1] * len(shape))
                for name, (kind, shape) in ATTRIBUTES.items()
            }
            store.fill(keys, voxels)
            known |= dict(zip(names, values.tolist(), strict=True))
        assert len(store) == len(known)
        assert sorted(map(tuple, store.keys().tolist())) == sorted(known)
        assert [tuple(key) in known for key in every.tolist()] == (store.find(every) >= 0).tolist()
        there = np.array(sorted(known), np.int32).reshape(-1, 3)
        read = store.read(there)
        assert all((read["tsdf"][row] == known[tuple(key)]).all() for row, key in enumerate(there.tolist()))
        labels = [255 if known[tuple(key)] == 0 else known[tuple(key)] for key in there.tolist()]
        assert (read["label"] == np.array(labels).reshape(-1, 1)).all()
    assert known
