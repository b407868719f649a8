# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a bag, with the truth that it has, if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from mtl_perception.core import UNKNOWN, BevMap, CameraTruth, LabelSpace, Occupancy, Rig, RigFrame, Sample, VoxelGrid
from mtl_perception.data.recordings.bag import BagRecording
from mtl_perception.rectification import Rectification
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingSample, box_truth, training_sample
from mtl_perception.training.sources.base import Size

_UNKNOWN = {
    "depth": np.nan,
    "semantic": UNKNOWN,
    "instance": -1,
    "normals": np.nan,
    "motion_mask": UNKNOWN_MOTION,
    "scene_flow": np.nan,
}
"""Of the truths of an image that are trained on: what stands for unknown."""


class BagSource:
    """Frames of a bag that `mtl_perception.data.recordings.bag` reads: the suite's own, or a user's.

    A frame comes with the one one to three frames before, where the bag goes on from there and knows both poses. What
    the bag holds no truth of is unknown, and so are an occupancy and a BEV map of another grid.
    """

    def __init__(
        self,
        bag: BagRecording | Path,
        labels: LabelSpace,
        grid: VoxelGrid,
        layers: Sequence[str] = (),
        *,
        ground_known: bool = True,
    ) -> None:
        """Open the bag; images are read when they are asked for.

        Args:
            bag: an open bag, or its path.
            labels: the label space.
            grid: of occupancy and BEV map.
            layers: of the BEV map, in the network's order.
            ground_known: whether the base's z = 0 plane is the ground.

        Raises:
            BagError: there is no bag, or it has no cameras; names what is missing.
        """
        self.recording = bag if isinstance(bag, BagRecording) else BagRecording(bag)
        self.labels, self.grid, self.layers, self.ground_known = labels, grid, tuple(layers), ground_known
        self._views: dict[Size, dict[str, Rectification]] = {}

    def available(self, progress: float) -> int:
        """Return the number of frames, whatever the progress."""
        return len(self.recording)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return a frame at a size, its images rectified; cameras that have no image in it are left out."""
        backs = range(int(rng.integers(1, 4)), 0, -1)
        earlier = next((b for back in backs if (b := self.recording.before(index, back)) is not None), None)
        sample = self.recording.sample(index)
        previous = None if earlier is None else self.recording.sample(earlier).frame
        views = self._views_at(size)
        rectified = Sample(
            _rectified_frame(sample.frame, sample.frame.present, views),
            replace(
                sample.truth,
                cameras={
                    name: _rectified_truth(truth, views[name])
                    for name, truth in sample.truth.cameras.items()
                    if name in sample.frame.images
                },
                occupancy=_of_grid(sample.truth.occupancy, self.grid),
                bev_map=_of_area(sample.truth.bev_map, self.grid),
            ),
            None if previous is None else _rectified_frame(previous, previous.present, views),
        )
        made = training_sample(rectified, self.ground_known, self.labels, self.layers)
        return replace(made, boxes=box_truth(sample, self.labels))  # what is seen is counted at the bag's own size

    def _views_at(self, size: Size) -> dict[str, Rectification]:
        if size not in self._views:
            rig = self.recording.rig
            self._views[size] = {camera.name: Rectification.prepare(camera, *size) for camera in rig}
        return self._views[size]


def _rectified_frame(frame: RigFrame, names: Sequence[str], views: Mapping[str, Rectification]) -> RigFrame:
    return replace(
        frame,
        rig=Rig(tuple(views[name].target for name in names)),
        images={name: views[name].apply(frame.images[name]) for name in names},
    )


def _rectified_truth(truth: CameraTruth, view: Rectification) -> CameraTruth:
    """Return the truth at the rectified image's pixels: that of the nearest pixel of the camera's own image."""
    values = {field.name: getattr(truth, field.name) for field in fields(CameraTruth)}
    known = {name: image for name, image in values.items() if image is not None and name in _UNKNOWN}
    return CameraTruth(**{name: view.nearest(image, _UNKNOWN[name]) for name, image in known.items()})


def _of_grid(occupancy: Occupancy | None, grid: VoxelGrid) -> Occupancy | None:
    return occupancy if occupancy is not None and occupancy.grid == grid else None


def _of_area(bev_map: BevMap | None, grid: VoxelGrid) -> BevMap | None:
    if bev_map is None or tuple(bev_map.origin) != tuple(grid.origin[:2]) or bev_map.cell_size != grid.voxel_size:
        return None
    fits = all(layer.shape == tuple(grid.shape[:2]) for layer in bev_map.layers.values())
    return bev_map if fits else None
