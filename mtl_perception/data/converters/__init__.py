# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From public recordings to bags.

Every bag has: `/odom` and `/tf` (odom -> base_link) at the stamp of every image, `/tf_static` (base_link -> each
optical frame), `/<camera>/image` and `/<camera>/camera_info`, and on `/ground_truth/...` what the source knows.
The frame `odom` starts at the first pose where the source's own coordinates are global ones, z up.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from mtl_perception.data.converters.recording import write_recording

KINDS = {
    "rgbd": "a folder of colour, depth and pose files (7-Scenes, 3DMatch) or Open3D's colour/, depth/ and trajectory",
    "nuscenes": "nuScenes keyframes described by a .pkl of mmdetection3d or of vis4d",
    "ddad": "a DDAD scene (DGP: scene_*.json, rgb/, point_cloud/)",
    "kitti": "KITTI: an odometry sequence or a tracking sequence",
    "world": "no recording: a street or a room that is rendered now (source: street or room)",
}


def convert(kind: str, source: str | Path, bag: str | Path, *, storage: str = "mcap", **options: Any) -> Path:
    """Write the bag (a folder) from a recording of one of `KINDS`, and return its path.

    An interrupted or failed conversion leaves nothing behind. Options are those of the kind's `read` function, such as
    `first` and `last` (frame ids) for rgbd.

    Raises:
        ValueError: the kind, an option or the storage is unknown, or the source is not what the kind expects; names the
        file.
        OSError: a file cannot be read or written.
    """
    if kind not in KINDS:
        raise ValueError(f"kind '{kind}' is not one of {', '.join(KINDS)}")
    read = importlib.import_module(f"{__name__}.{kind}").read
    known = [name for name in inspect.signature(read).parameters if name != "source"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"kind '{kind}' has no option '{unknown[0]}', it has {', '.join(known) or 'none'}")
    write_recording(read(source if kind == "world" else Path(source), **options), Path(bag), storage)
    return Path(bag)
