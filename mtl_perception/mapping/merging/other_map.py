# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The saved map of another robot, opened to be merged into this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping import storage
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MappingError
from mtl_perception.mapping.poses.other_robots import OtherWay
from mtl_perception.mapping.reading import ReadMap, read_map

_FEW_BLOCKS = 64  # in memory: none is needed there


class OtherMap(ReadMap):
    """Another robot's map."""

    @property
    def robots(self) -> int:
        """How many robots have made it."""
        return 1 + len(self.scene.others.ways)

    def ways(self, self_from_other: Transform, anchor_ns: int) -> list[OtherWay]:
        """Return the ways of its robots, in this map, hanging on the pose of a stamp of this robot."""
        trajectory = self.scene.path.trajectory
        stamps_ns, poses = trajectory.stamps_ns, trajectory.poses
        if len(trajectory) and trajectory.last_ns > stamps_ns[-1]:  # it ends between two keyframes
            stamps_ns = np.append(stamps_ns, trajectory.last_ns)
            poses = np.concatenate([poses, trajectory.nearest(stamps_ns[-1:])])
        ways = (OtherWay(stamps_ns, poses, anchor_ns), *self.scene.others.ways)
        return [replace(way, poses=self_from_other @ way.poses, anchor_ns=anchor_ns) for way in ways]


@contextmanager
def opened(
    folder: Path, config: MapperConfig, labels: LabelSpace, archive_folder: Path | None
) -> Iterator[OtherMap]:
    """Open the map of a folder, all of it checked; a copy on disk lasts as long as the block.

    Raises:
        MappingError: it was made with other voxels or classes than `config` and `labels` say.
        MapFormatError: the folder is no map, or is damaged.
        OSError: there is no room for the copy.
    """
    wrong = storage.misfit(*storage.settings_of(folder), config, labels)
    if wrong:
        raise MappingError(f"{folder} {wrong}: they cannot be merged")
    read = read_map(folder, config.model_copy(update={"max_blocks": _FEW_BLOCKS}), labels, archive_folder)
    try:
        yield OtherMap(read.volume, read.scene, read.saved)
    finally:
        read.volume.close()
        read.scene.close()
