# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The objects of a saved map: what goes into objects.json and objects.npz, and back, all of it checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import pack, unpack
from mtl_perception.mapping.graph.map_object import MapObject, ObjectsState
from mtl_perception.mapping.graph.object_cells import SUMMARY
from mtl_perception.mapping.graph.object_ids import Identity, Known, Vanished

_TYPES = {
    "cells": np.dtype(np.int64),  # of all objects, in their order in objects.json
    "cell_counts": np.dtype(np.int64),
    "origins": np.dtype(np.int64),  # of these cells
    "object_blocks": np.dtype(np.int64),  # likewise
    "object_block_counts": np.dtype(np.int64),
    "vanished_cells": np.dtype(np.int64),  # of the vanished, in their order in objects.json
    "vanished_cell_counts": np.dtype(np.int64),
    "blocks": np.dtype(np.int64),  # of the entries
    "entries": SUMMARY,
}


def to_files(state: ObjectsState) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return the content of objects.json and the arrays of objects.npz."""
    listed = {
        "next_id": state.next_id,
        "objects": [
            _object_entry(item, identity) for item, identity in zip(state.objects, state.identities, strict=True)
        ],
        "vanished": [
            {
                "label": item.label,
                "centre": item.centre.tolist(),
                "vanished_ns": item.vanished_ns,
                "known": _known_entry(item.known),
            }
            for item in state.vanished
        ],
    }
    parts: dict[str, Sequence[NDArray]] = {
        "cells": [item.cells for item in state.objects],
        "origins": [identity.origins for identity in state.identities],
        "object_blocks": [pack(item.blocks) for item in state.objects],
        "vanished_cells": [item.cells for item in state.vanished],
    }
    arrays = {name: np.concatenate([np.zeros(0, np.int64), *arrays]) for name, arrays in parts.items()}
    for name, of in (("cell_counts", "cells"), ("object_block_counts", "object_blocks")):
        arrays[name] = np.array([len(part) for part in parts[of]], np.int64)
    arrays["vanished_cell_counts"] = np.array([len(part) for part in parts["vanished_cells"]], np.int64)
    return listed, arrays | {"blocks": state.blocks, "entries": state.entries}


def from_files(listed: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> ObjectsState:
    """Return the state that `to_files` was given.

    Raises:
        ValueError, KeyError, TypeError: something is missing, of another type, or contradicts the rest.
    """
    for name, dtype in _TYPES.items():
        if arrays[name].dtype != dtype or arrays[name].ndim != 1:
            raise ValueError(f"objects.npz: {name} is {arrays[name].dtype} {arrays[name].shape}, expected {dtype} (N,)")
    _expect(len(arrays["blocks"]) == len(arrays["entries"]), "blocks and entries differ in length")
    _expect(bool((np.diff(arrays["blocks"]) >= 0).all()), "blocks are not in order")
    cells = _parts(arrays, "cells", "cell_counts", listed["objects"])
    origins = _parts(arrays, "origins", "cell_counts", listed["objects"])
    blocks = _parts(arrays, "object_blocks", "object_block_counts", listed["objects"])
    away = _parts(arrays, "vanished_cells", "vanished_cell_counts", listed["vanished"])
    identities = [_identity(entry, of_cells) for entry, of_cells in zip(listed["objects"], origins, strict=True)]
    objects = [
        _object(entry, identity, unpack(of_object), of_cells)
        for entry, identity, of_object, of_cells in zip(listed["objects"], identities, blocks, cells, strict=True)
    ]
    vanished = [
        Vanished(
            known=_known(entry["known"]),
            label=int(entry["label"]),
            cells=of_cells,
            centre=_point(entry["centre"]),
            vanished_ns=int(entry["vanished_ns"]),
        )
        for entry, of_cells in zip(listed["vanished"], away, strict=True)
    ]
    next_id = int(listed["next_id"])
    ids = [known.id for identity in identities for known in identity.known] + [item.known.id for item in vanished]
    _expect(len(set(ids)) == len(ids) and all(0 <= item < next_id for item in ids), "an id is there twice or too large")
    _expect([item.id for item in objects] == sorted(item.id for item in objects), "the objects are not in order")
    return ObjectsState(
        next_id, tuple(objects), tuple(identities), tuple(vanished), arrays["blocks"], arrays["entries"]
    )


def _object_entry(item: MapObject, identity: Identity) -> dict[str, Any]:
    return {
        "id": item.id,
        "label": item.label,
        "instance": item.instance,
        "confidence": item.confidence,
        "class_share": item.class_share,
        "centroid": item.centroid.tolist(),
        "minimum": item.minimum.tolist(),
        "maximum": item.maximum.tolist(),
        "colour": list(item.colour),
        "vertices": item.vertices,
        "first_seen_ns": item.first_seen_ns,
        "last_seen_ns": item.last_seen_ns,
        "known": [_known_entry(known) for known in identity.known],
    }


def _known_entry(known: Known) -> dict[str, int]:
    return {
        "id": known.id,
        "vertices": known.vertices,
        "first_seen_ns": known.first_seen_ns,
        "last_seen_ns": known.last_seen_ns,
    }


def _known(entry: Mapping[str, Any]) -> Known:
    return Known(int(entry["id"]), int(entry["vertices"]), int(entry["first_seen_ns"]), int(entry["last_seen_ns"]))


def _identity(entry: Mapping[str, Any], origins: NDArray[np.int64]) -> Identity:
    known = tuple(_known(item) for item in entry["known"])
    ids = [item.id for item in known]
    number = int(entry["id"])
    _expect(number in ids and ids == np.unique(origins).tolist(), f"the origins of object {number} are not its ids")
    stamps = int(entry["first_seen_ns"]), int(entry["last_seen_ns"])
    return Identity(number, int(entry["vertices"]), *stamps, known, origins)


def _object(
    entry: Mapping[str, Any], identity: Identity, blocks: NDArray[np.int32], cells: NDArray[np.int64]
) -> MapObject:
    red, green, blue = entry["colour"]
    return MapObject(
        id=identity.id,
        label=int(entry["label"]),
        instance=int(entry["instance"]),
        confidence=float(entry["confidence"]),
        class_share=float(entry["class_share"]),
        centroid=_point(entry["centroid"]),
        minimum=_point(entry["minimum"]),
        maximum=_point(entry["maximum"]),
        colour=(int(red), int(green), int(blue)),
        vertices=identity.vertices,
        first_seen_ns=identity.first_seen_ns,
        last_seen_ns=identity.last_seen_ns,
        absorbed=identity.absorbed,
        blocks=blocks,
        cells=cells,
    )


def _point(values: Sequence[float]) -> NDArray[np.float64]:
    point = np.array(values, dtype=np.float64)
    _expect(point.shape == (3,) and bool(np.isfinite(point).all()), f"{values} is no position")
    return point


def _parts(
    arrays: Mapping[str, NDArray], name: str, counts: str, entries: Sequence[Mapping[str, Any]]
) -> list[NDArray[np.int64]]:
    """Return an array's part for each of the entries."""
    lengths = arrays[counts]
    fits = len(lengths) == len(entries) and bool((lengths > 0).all()) and lengths.sum() == len(arrays[name])
    _expect(fits, f"{name} and {counts} do not fit {len(entries)} entries")
    parts = np.split(arrays[name], np.cumsum(lengths))[: len(lengths)]
    ordered = name == "origins" or all((np.diff(part) > 0).all() for part in parts)
    _expect(ordered, f"{name} are not in order")
    return parts


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(f"objects.json, objects.npz: {otherwise}")
