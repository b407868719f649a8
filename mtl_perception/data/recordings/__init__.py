# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Public recordings, read in any order as the suite's samples, and written to bags.

Every bag has: `/odom` and `/tf` (odom -> base_link) at the stamp of every image, `/tf_static` (base_link -> each
optical frame), `/<camera>/image` and `/<camera>/camera_info`, and on `/ground_truth/...` what the source knows.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from mtl_perception.data.errors import BagError
from mtl_perception.data.recordings.recording import DAMAGES, Recording, reason

__all__ = ["KINDS", "Recording", "convert", "open_recording"]

KINDS = {
    "rgbd": "a folder of colour, depth and pose files (7-Scenes, 3DMatch) or Open3D's colour/, depth/ and trajectory",
    "nuscenes": "nuScenes keyframes described by a .pkl of mmdetection3d or of vis4d",
    "ddad": "a DDAD scene (DGP: scene_*.json, rgb/, point_cloud/)",
    "kitti": "KITTI: an odometry sequence or a tracking sequence",
    "camvid": "CamVid in SegNet's layout: train/ and train_labels/, val/ and val_labels/",
    "nyu": "NYU Depth v2: rgb_*.jpg with sync_depth_*.png, or pairs that a .json lists (Metric3D)",
    "shift": "SHIFT: a folder with front/, left_90/, ... of zip archives",
    "bag": "a rosbag2 recording: a folder with metadata.yaml, or an .mcap or .db3 file",
}


def open_recording(kind: str, source: str | Path, **options: Any) -> Recording:
    """Open a recording of one of `KINDS`.

    Options are those of the kind's `read` function, such as `first` and `last` (frame ids) for rgbd.

    Raises:
        ValueError: the kind or an option is unknown, or the source is not what the kind expects; names the file.
        OSError: a file cannot be read.
    """
    if kind not in KINDS:
        raise ValueError(f"kind '{kind}' is not one of {', '.join(KINDS)}")
    read = importlib.import_module(f"{__name__}.{kind}").read
    known = [name for name in inspect.signature(read).parameters if name != "source"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"kind '{kind}' has no option '{unknown[0]}', it has {', '.join(known) or 'none'}")
    try:
        recording: Recording = read(Path(source), **options)
    except BagError:
        raise
    except DAMAGES as error:
        text = reason(error)
        raise ValueError(text if str(source) in text else f"{source}: {text}") from error
    return recording


def convert(kind: str, source: str | Path, bag: str | Path, *, storage: str = "mcap", **options: Any) -> Path:
    """Write the bag (a folder) from a recording, opened as by `open_recording`, and return its path.

    An interrupted or failed conversion leaves nothing behind.

    Raises:
        ValueError: as `open_recording`, or the storage is unknown or the bag exists already.
        OSError: a file cannot be read or written.
    """
    from mtl_perception.data.recordings.writing import write_recording  # needs ROS's messages; reading does not

    write_recording(open_recording(kind, source, **options), Path(bag), storage)
    return Path(bag)
