# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A rendered frame pair as a file: all of a training sample, in narrow number formats."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.outside_files import read_npz
from mtl_perception.core.validation_text import error_text
from mtl_perception.training.samples import BoxTruth, TrainingSample, class_borders

_UNKNOWN_CELL = 255
_NO_NORMAL = -128
_STEPS = 127  # of a normal's components
_EXACT = (
    "images", "K", "base_from_camera", "depth", "semantic", "motion_mask", "occupancy", "previous_images",
    "previous_from_current",
)  # fmt: skip


def write_pair(path: Path, sample: TrainingSample, layers: Sequence[str]) -> None:
    """Write a sample; `path` is there when all of it is.

    Normals are kept in steps of 1/127, scene flow with 11 bits; the rest exactly. Scene flow is kept where it is not
    zero, edges are not kept: the classes tell them.

    Args:
        path: ends in .npz.
        sample: as rendered: only the BEV map and the boxes may be unknown.
        layers: the names of those of its BEV map.
    """
    assert sample.normals is not None and sample.instance is not None and sample.scene_flow is not None
    stored: dict[str, NDArray] = {name: np.asarray(getattr(sample, name)) for name in _EXACT}
    stored["scalars"] = np.array([sample.ground_known, sample.seconds])
    stored["normals"] = np.nan_to_num(np.round(sample.normals * _STEPS), nan=_NO_NORMAL).astype(np.int8)
    low, high = sample.instance.min(initial=0), sample.instance.max(initial=0)
    narrow = np.uint16 if low >= 0 and high < 65536 else np.int32
    stored["instance"] = sample.instance.astype(narrow)
    flow = sample.scene_flow.reshape(-1, 3).astype(np.float16)
    moving = np.flatnonzero((flow != 0).any(axis=1))  # few; unknown ones are among them
    stored["flow_at"], stored["scene_flow"] = moving.astype(np.uint32), flow[moving]
    if sample.bev_map is not None:
        stored["bev_map"] = np.nan_to_num(sample.bev_map, nan=_UNKNOWN_CELL).astype(np.uint8)
        stored["layers"] = np.array(layers, dtype=np.str_)
    if sample.boxes is not None:
        columns = [getattr(sample.boxes, field.name).reshape(len(sample.boxes), -1) for field in fields(BoxTruth)]
        stored["boxes"] = np.concatenate(columns, axis=1).astype(np.float32)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(temporary, **stored)  # type: ignore[arg-type]
    temporary.replace(path)


def read_pair(path: Path, layers: Sequence[str]) -> TrainingSample:
    """Return what `write_pair` wrote, with the given layers of the BEV map (NaN those that it does not have).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged; names it.
    """
    stored = read_npz(path)
    try:
        return _sample(stored, layers)
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error_text(error)}") from error


def _sample(stored: Mapping[str, NDArray], layers: Sequence[str]) -> TrainingSample:
    ground_known, seconds = stored["scalars"]
    normals = stored["normals"].astype(np.float32)
    normals *= np.float32(1 / _STEPS)
    normals[stored["normals"][..., 0] == _NO_NORMAL] = np.nan
    scene_flow = np.zeros((stored["depth"].size, 3), np.float32)
    scene_flow[stored["flow_at"]] = stored["scene_flow"]
    return TrainingSample(
        **{name: stored[name] for name in _EXACT},
        ground_known=bool(ground_known),
        dataset="",
        seconds=float(seconds),
        normals=normals,
        edges=class_borders(stored["semantic"]),
        instance=stored["instance"].astype(np.int32),
        scene_flow=scene_flow.reshape(*stored["depth"].shape, 3),
        bev_map=_bev_map(stored, layers) if "bev_map" in stored else None,
        boxes=_boxes(stored["boxes"]) if "boxes" in stored else None,
    )


def _bev_map(stored: Mapping[str, NDArray], layers: Sequence[str]) -> NDArray[np.float32]:
    cells, names = stored["bev_map"], stored["layers"].tolist()
    chosen = np.full((len(layers), *cells.shape[1:]), np.nan, np.float32)
    for row, name in enumerate(layers):
        if name in names:
            cell = cells[names.index(name)]
            chosen[row] = np.where(cell == _UNKNOWN_CELL, np.float32(np.nan), cell)
    return chosen


def _boxes(rows: NDArray[np.float32]) -> BoxTruth:
    centre, size, yaw, velocity, label, seen = np.split(rows, [3, 6, 7, 9, 10], axis=1)
    return BoxTruth(centre, size, yaw[:, 0], velocity, label[:, 0].astype(np.int64), seen[:, 0].astype(bool))
