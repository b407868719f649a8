# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which thing of the map each segment of a panoptic image shows.

An image numbers its things anew each time. Here its segments get the numbers that the map knows them by, which the
voxels then keep, as they keep labels: so things of one class that touch (chairs at a table) stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import transform_points
from mtl_perception.mapping.fusion.blocks import BLOCK, BlockStore, pack, unpack
from mtl_perception.mapping.fusion.views import DepthView

NONE = 0
"""The instance of what is no thing, or of a thing that nobody has told from others."""
MOST = np.iinfo(np.uint16).max

_STRIDE = 2  # of the pixels that are looked at
_SMALLEST = 12  # of these pixels: a segment that shows less names nothing new
_SAME = 0.3  # share of a segment, or of what the view sees of an instance, that has to agree
_CLAIMED = 0.5  # share of an instance in view that a segment has to cover to say: that one is me, too
_TIMES = 3  # frames that have to say so before instances are joined or parted


@dataclass(frozen=True, eq=False)
class InstanceState:
    """All that an `Instances` knows, for saving.

    Attributes:
        label: uint8 (I,), the class of each instance; index 0 is `NONE`.
        root: uint16 (I,), the instance that each has been joined to, itself where it has not.
        votes: int64 (V, 3), one instance, another one, and how many frames have said that they are one (or, where both
            are the same, that it is more than one).
    """

    label: NDArray[np.uint8]
    root: NDArray[np.uint16]
    votes: NDArray[np.int64]


class Instances:
    """The things that the map tells apart, after Grinvald et al. 2019 ("Volumetric instance-aware semantic mapping").

    A segment is compared with the instances that the voxels at its surface have (section III-C there): it is the one
    that it shares most with, one segment each, else a new one. Two instances that one segment covers in several frames
    are joined; an instance that several segments keep parting gets parts.
    """

    def __init__(self, labels: LabelSpace) -> None:
        """Start without any."""
        self._countable = labels.static_things
        self._label = np.full(1, 255, np.uint8)
        self._root = np.zeros(1, np.uint16)
        self._votes: dict[tuple[int, int], int] = {}
        self._joined: list[tuple[int, int]] = []
        self.refused = 0
        """Segments that got no number because all are taken."""

    def __len__(self) -> int:
        """Return how many instances have a number, those included that were joined to others."""
        return len(self._label) - 1

    def take_joined(self) -> list[tuple[int, int]]:
        """Return which instances have been joined to which since the last call, in this order."""
        joined, self._joined = self._joined, []
        return joined

    def meant(self, numbers: NDArray[np.uint16], labels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the instances (N,) that voxels' numbers (N,) stand for now; `NONE` where their labels (N,) disagree.

        Numbers that nobody has given, as a file may hold them, are `NONE`, too.
        """
        given = np.where(numbers < len(self._root), numbers, np.uint16(NONE))
        found = self._root[given]
        return np.where(self._label[found] == labels, found, np.uint16(NONE))

    def state(self) -> InstanceState:
        """Return all that is known."""
        votes = np.array([(*pair, count) for pair, count in sorted(self._votes.items())], np.int64).reshape(-1, 3)
        return InstanceState(self._label.copy(), self._root.copy(), votes)

    def restore(self, state: InstanceState) -> None:
        """Go on from what `state` gave."""
        self._label, self._root = state.label.copy(), state.root.copy()
        self._votes = {(first, second): count for first, second, count in state.votes.tolist()}

    def add(self, label: int) -> int:
        """Return a number for a thing that was not known; `NONE` when all are taken."""
        if len(self._label) > MOST:
            self.refused += 1
            return NONE
        self._label = np.append(self._label, np.uint8(label))
        self._root = np.append(self._root, np.uint16(len(self._root)))
        return len(self)

    def assign(self, view: DepthView, store: BlockStore) -> NDArray[np.uint16]:
        """Return for each pixel (H, W) the instance of the map that it shows; `NONE` where there is none or no depth.

        Instances that were not known get a number. What has been parted from another instance gets its voxels at once,
        or these would have to be outvoted before it is recognised.
        """
        result = np.zeros(view.depth.shape, np.uint16)
        if view.panoptic is None:
            return result
        usable = np.isfinite(view.depth) & (view.panoptic >= 1000) & (view.panoptic % 1000 > 0)
        usable &= self._countable[view.label] & (view.panoptic // 1000 == view.label)
        rows, columns = np.nonzero(usable[::_STRIDE, ::_STRIDE])
        if not len(rows):
            return result
        rows, columns = rows * _STRIDE, columns * _STRIDE
        segments, segment = np.unique(view.panoptic[rows, columns], return_inverse=True)
        points = view.rays[rows, columns] * view.depth[rows, columns, None]
        block, within = _voxels_at(store, transform_points(view.world_from_camera, points))
        held = np.where(block >= 0, store.voxels["instance"][block, within], np.uint16(NONE))
        known = self.meant(held, view.label[rows, columns])
        number, parted = self._numbered(segments // 1000, segment, known)
        moved = parted[segment] & (block >= 0)
        store.voxels["instance"][block[moved], within[moved]] = number[segment[moved]]
        store.voxels["instance_votes"][block[moved], within[moved]] = 0
        place = np.searchsorted(segments, view.panoptic).clip(max=len(segments) - 1)
        usable &= segments[place] == view.panoptic
        result[usable] = number[place[usable]]
        return result

    def _numbered(
        self, label: NDArray[np.int32], segment: NDArray[np.intp], known: NDArray[np.uint16]
    ) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        """Return the instances (S,) of segments, and which of these (S,) have just been parted from another instance.

        Args:
            label: (S,) of the segments.
            segment, known: (P,), of each pixel that is looked at.
        """
        instances, instance = np.unique(known, return_inverse=True)
        shared = np.zeros((len(label), len(instances)), np.int64)
        np.add.at(shared, (segment, instance), 1)
        size = shared.sum(axis=1)
        shared = shared[:, instances != NONE]
        instances = instances[instances != NONE]
        in_view, of_segment = shared.sum(axis=0), shared.sum(axis=1)
        result = np.zeros(len(label), np.uint16)
        taken: dict[int, int] = {}
        for place in np.argsort(-shared, axis=None, kind="stable"):
            row, column = divmod(int(place), max(len(instances), 1))
            count = shared[row, column]
            if count < _SAME * min(of_segment[row], in_view[column]) or count == 0:
                break
            if result[row] == NONE and column not in taken:
                result[row], taken[column] = instances[column], row
        parted = np.zeros(len(label), dtype=bool)
        for row in range(len(label)):
            if result[row] == NONE and size[row] >= _SMALLEST:
                parted[row] = len(instances) > 0 and bool(shared[row].max() > _CLAIMED * of_segment[row])
                if parted[row]:
                    # Another segment has it: is it one thing, or are these two?
                    whole = int(instances[shared[row].argmax()])
                    parted[row] = self._vote((whole, whole))
                    if not parted[row]:
                        result[row] = whole
                        continue
                result[row] = self.add(int(label[row]))
        self._join(shared, in_view, instances, result, taken)
        return result, parted

    def _vote(self, pair: tuple[int, int]) -> bool:
        """Note what one more frame says of a pair; return whether enough have said so, and begin anew then."""
        count = self._votes.pop(pair, 0) + 1
        if count < _TIMES:
            self._votes[pair] = count
        return count >= _TIMES

    def _join(
        self,
        shared: NDArray[np.int64],
        in_view: NDArray[np.int64],
        instances: NDArray[np.uint16],
        result: NDArray[np.uint16],
        taken: dict[int, int],
    ) -> None:
        """Join to the instance of a segment those that it covers, once enough frames have said so."""
        for column, instance in enumerate(instances.tolist()):
            row = int(shared[:, column].argmax())
            whole = int(result[row])
            if column in taken or shared[row, column] <= _CLAIMED * in_view[column] or whole in (NONE, instance):
                continue
            if self._label[whole] == self._label[instance] and self._vote((min(whole, instance), max(whole, instance))):
                first, second = self._root[whole], self._root[instance]
                if first != second:
                    self._root[self._root == max(first, second)] = min(first, second)
                    self._joined.append((int(max(first, second)), int(min(first, second))))


def _voxels_at(store: BlockStore, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows (P,) of the blocks of the voxels nearest to points (P, 3), -1 beside the map, and the voxels."""
    voxel = np.rint(points / store.voxel_size).astype(np.int64)
    block = pack(voxel // BLOCK)
    blocks, place = np.unique(block, return_inverse=True)
    return store.find(unpack(blocks))[place], (voxel % BLOCK) @ np.array([1, BLOCK, BLOCK**2])
