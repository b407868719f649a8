# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a run saw and made of it: input, depth, semantics, motion, occupancy, mesh, and all at a glance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_perception.core import CameraPrediction, LabelSpace, Prediction
from mtl_perception.drawing.colours import DEPTH_COLOURS, depth_colours, depth_limits, motion_colours, semantic_colours
from mtl_perception.drawing.images import (
    GAP,
    Image,
    beside,
    colour_bar,
    framed,
    legend,
    resized,
    save_image,
    stacked,
    tiled,
    titled,
)
from mtl_perception.drawing.mesh import Surface, from_above, from_the_side
from mtl_perception.drawing.occupancy import occupancy_from_above

OVERVIEW_WIDTH = 1280


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to show.

    Attributes:
        prediction: the last frame's; its tasks decide which pictures there are.
        labels: names and colours.
        inputs: per camera name, the image that the camera gave (RGB), where known; else the prediction's is shown.
        surface: the map's mesh, or None.
    """

    prediction: Prediction
    labels: LabelSpace
    inputs: Mapping[str, Image]
    surface: Surface | None = None


def write_pictures(scene: Scene, folder: Path) -> list[Path]:
    """Write a PNG of everything that the scene has, `overview.png` last, and return the files' paths.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = dict(_pictures(scene))
    pictures["overview"] = overview(scene)
    paths = []
    for name, image in pictures.items():
        paths.append(folder / f"{name}.png")
        save_image(framed(image), paths[-1])
    return paths


def overview(scene: Scene) -> Image:
    """Return everything in one picture: a row of cameras a task, occupancy and mesh below."""
    count = len(scene.prediction.cameras)
    columns = min(count, 6)
    # One camera's pictures stand side by side, those of several below each other.
    tasks = dict(_camera_pictures(scene, columns, _tile_width(4 if count == 1 else columns, OVERVIEW_WIDTH)))
    rows = [beside(list(tasks.values()))] if count == 1 else list(tasks.values())
    below = list(_rig_pictures(scene, (OVERVIEW_WIDTH - GAP) // 2))
    if below:
        rows.append(beside(below))
    return stacked(rows)


def _pictures(scene: Scene) -> Iterable[tuple[str, Image]]:
    columns = min(len(scene.prediction.cameras), 3)
    yield from _camera_pictures(scene, columns, _tile_width(max(columns, 2), 1280))
    if scene.prediction.occupancy is not None:
        yield "occupancy", occupancy_from_above(scene.prediction.occupancy, scene.labels)
    if scene.surface is not None and len(scene.surface.triangles):
        yield "mesh_above", from_above(scene.surface)
        yield "mesh", from_the_side(scene.surface)


def _rig_pictures(scene: Scene, width: int) -> Iterable[Image]:
    if scene.prediction.occupancy is not None:
        yield titled(occupancy_from_above(scene.prediction.occupancy, scene.labels, width - 30), "occupancy from above")
    if scene.surface is not None and len(scene.surface.triangles):
        side = from_the_side(scene.surface, width=width, height=width * 3 // 5)
        above = from_above(scene.surface, width=width, height=width * 2 // 5)
        yield stacked([titled(side, "mesh"), titled(above, "mesh from above")])


def _camera_pictures(scene: Scene, columns: int, width: int) -> Iterable[tuple[str, Image]]:
    cameras = scene.prediction.cameras

    def inputs(name: str, camera: CameraPrediction) -> Image:
        return resized(scene.inputs.get(name, camera.colour), width)

    yield "input", _tiles(cameras, "", inputs, columns)
    depths = {name: camera.depth for name, camera in cameras.items() if camera.depth is not None}
    if depths:
        low, high = depth_limits(depths.values())

        def depth(name: str, _: CameraPrediction) -> Image:
            return resized(depth_colours(depths[name], low, high), width, smooth=False)

        tiles = _tiles(cameras, "depth", depth, columns, depths)
        yield "depth", stacked([tiles, colour_bar(DEPTH_COLOURS, low, high, "m", min(tiles.shape[1], 640))])
    semantics = {name: camera.semantic for name, camera in cameras.items() if camera.semantic is not None}
    if semantics:

        def semantic(name: str, camera: CameraPrediction) -> Image:
            labels = resized(semantics[name], width, smooth=False)
            return semantic_colours(labels, resized(camera.colour, width), scene.labels)

        tiles = _tiles(cameras, "semantics", semantic, columns, semantics)
        present = np.unique(np.concatenate([np.unique(labels) for labels in semantics.values()]))
        shown = [scene.labels.labels[i] for i in present if i < len(scene.labels)]
        yield "semantic", stacked([tiles, legend([(label.name, label.colour) for label in shown], tiles.shape[1])])
    masks = {name: camera.motion_mask for name, camera in cameras.items() if camera.motion_mask is not None}
    if masks:

        def moving(name: str, camera: CameraPrediction) -> Image:
            return motion_colours(resized(masks[name], width, smooth=False), resized(camera.colour, width))

        yield "motion_mask", _tiles(cameras, "moving", moving, columns, masks)


def _tiles(
    cameras: Mapping[str, CameraPrediction],
    what: str,
    draw: Callable[[str, CameraPrediction], Image],
    columns: int,
    only: Iterable[str] | None = None,
) -> Image:
    names = [name for name in _from_left_to_right(cameras) if only is None or name in set(only)]
    titles = [f"{name} {what}".strip() for name in names]
    images = [titled(draw(name, cameras[name]), title) for name, title in zip(names, titles, strict=True)]
    return tiled(images, columns)


def _from_left_to_right(cameras: Mapping[str, CameraPrediction]) -> list[str]:
    """Order the cameras as somebody sees them who looks ahead, then turns round: front row first."""

    def place(name: str) -> tuple[bool, float]:
        ahead = cameras[name].camera.base_from_camera[:2, 2]
        yaw = float(np.arctan2(ahead[1], ahead[0])) if np.linalg.norm(ahead) > 1e-6 else 0.0
        behind = abs(yaw) > np.pi / 2 + 0.01
        return behind, yaw % (2 * np.pi) if behind else -yaw

    return sorted(cameras, key=place)


def _tile_width(columns: int, total: int) -> int:
    return max(160, (total - GAP * (columns - 1)) // columns)
