# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `export` command: a checkpoint as an ONNX file, compared with the network itself."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from mtl_perception.bench.describe import comma_separated, image_size, positive, report_console
from mtl_perception.core import Camera
from mtl_perception.core.transforms import Transform
from mtl_perception.data.bags import BagReader
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.images import image_to_array
from mtl_perception.messages.poses import read_transform
from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.checkpoint import load_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.example import example_batch
from mtl_perception.network.export import Export, export
from mtl_perception.pipeline import MIN_CAMERA_HEIGHT
from mtl_perception.rectification import Rectification

SIZE = (640, 480)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `export` command."""
    parser.add_argument("checkpoint", help="a file, or an id on the Hugging Face hub")
    parser.add_argument("out", type=Path, metavar="OUT.onnx", help="the file to write")
    parser.add_argument(
        "--tasks", type=comma_separated, metavar="A,B", help="(default: all that it was trained for and that work)"
    )
    parser.add_argument(
        "--cameras", type=positive, metavar="N", help="images of a frame (default: those of the bag, else 1)"
    )
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="size of the cameras' images, which gives the shape of the network's (default: the bag's, else 640x480)",
    )
    parser.add_argument("--bag", type=Path, help="compare on its images (default: on noise)")
    parser.add_argument(
        "--frames", type=positive, default=2, metavar="N", help="of the bag to compare on (default: %(default)s)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="largest difference to the network that is accepted, as a share of an output's largest value; 1 in 1000 "
        "values of 3D tasks may be beyond (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, compare and print a table; return 0, or 1 without having written anything when it differs too much."""
    checkpoint = load_checkpoint(arguments.checkpoint)
    config = checkpoint.network.config
    if arguments.bag is None:
        batches = [example_batch(config, arguments.cameras or 1, arguments.size or SIZE)]
    else:
        batches = bag_frames(arguments.bag, config, arguments.cameras, arguments.size, arguments.frames)
    result = export(checkpoint, arguments.out, batches, arguments.tasks, arguments.tolerance)
    count, _, height, width = batches[0].images.shape
    _print(result, f"{config.preset}: {count} x {width}x{height}, ONNX against the network", arguments.tolerance)
    console = report_console()
    for task, reason in result.left_out.items():
        console.print(f"not exported: {task} ({reason})", style="dim", highlight=False, soft_wrap=True)
    outcome = f"written to {arguments.out}" if result.accepted else f"not written to {arguments.out}: it differs"
    console.print(outcome, highlight=False, soft_wrap=True)
    return 0 if result.accepted else 1


def bag_frames(
    bag: Path,
    config: NetworkConfig,
    cameras: int | None = None,
    size: tuple[int, int] | None = None,
    count: int = 2,
) -> list[CameraBatch]:
    """Return the first frames of a bag as the network takes them, the k-th image of each camera in the k-th frame.

    Args:
        bag: has cameras; their mounting is that to the root of /tf_static, or unknown where there is none.
        config: says at which size the network takes images.
        cameras: how many of the bag's, its first ones; None takes all.
        size: (width, height) of the images that the shape is made for; None takes the mean shape of the bag's.
        count: how many frames at most.

    Raises:
        ValueError: there is no such bag, or it has fewer cameras, or one without images.
    """
    with BagReader(bag) as reader:
        names = reader.cameras
        if not names or len(names) < (cameras or 1):
            raise ValueError(f"bag {bag} has {len(names)} cameras, not {cameras or 'one'}")
        names = names[:cameras]
        poses = _root_from_frame(reader)
        shots = [_first_images(reader, name, poses, count) for name in names]
    ratio = float(np.exp(np.mean([np.log(camera.width / camera.height) for camera, _ in shots])))
    width, height = config.input_size(*(size or (round(1000 * ratio), 1000)))
    rectifications = [Rectification.prepare(camera, width, height) for camera, _ in shots]
    K = np.stack([rectification.target.K for rectification in rectifications])
    mounts = np.stack([camera.base_from_camera for camera, _ in shots])
    batches = []
    for images in zip(*(images for _, images in shots), strict=False):
        pairs = zip(rectifications, images, strict=True)
        pixels = torch.from_numpy(np.stack([rectification.apply(image) for rectification, image in pairs]))
        batches.append(
            CameraBatch(
                images=pixels.permute(0, 3, 1, 2).float() / 255.0,
                K=torch.from_numpy(K).float(),
                base_from_camera=torch.from_numpy(mounts).float(),
                ground_known=torch.from_numpy(mounts[:, 2, 3] > MIN_CAMERA_HEIGHT),
                frame_index=torch.zeros(len(names), dtype=torch.int64),
                num_frames=1,
            )
        )
    return batches


def _root_from_frame(reader: BagReader) -> dict[str, tuple[str, Transform]]:
    """Return each frame's parent and its pose in that."""
    if "/tf_static" not in reader.topics:
        return {}
    edges = {}
    for topic, _, message in reader.messages(["/tf_static"]):
        for transform in message.transforms:
            pose = read_transform(transform, topic)
            edges[pose.source_frame] = (pose.target_frame, pose.target_from_source)
    return edges


def _first_images(
    reader: BagReader, name: str, parents: dict[str, tuple[str, Transform]], count: int
) -> tuple[Camera, list[NDArray[np.uint8]]]:
    info_topic = f"/{name}/camera_info"
    infos: list[Any] = [info for _, _, info in islice(reader.messages([info_topic]), 1)]
    topic = f"/{name}/image" if f"/{name}/image" in reader.topics else f"/{name}/image/compressed"
    images = [image_to_array(message, topic) for _, _, message in islice(reader.messages([topic]), count)]
    if not infos or not images:
        raise ValueError(f"bag {reader.path}: camera '{name}' has no images with a CameraInfo")
    frame, pose = str(infos[0].header.frame_id), np.eye(4)
    while frame in parents:
        frame, step = parents[frame]
        pose = step @ pose
    return camera_from_info(name, infos[0], pose, info_topic), images


def _print(result: Export, title: str, tolerance: float) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in ("output", "shape", "largest difference", "of its largest value", f"beyond {tolerance:g}"):
        table.add_column(column, justify="left" if column == "output" else "right", no_wrap=True)
    for row in result.differences:
        shape = " x ".join(str(size) for size in row.shape)
        share = f"{100 * row.share:.3g} %" + ("" if row.accepted else " !")
        table.add_row(row.name, shape, f"{row.absolute:.1e}", f"{row.relative:.1e}", share)
    report_console().print(table)
