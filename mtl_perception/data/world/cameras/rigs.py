# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigs of a world: presets and a user's own, from YAML, and plausible variations of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.world.cameras.lens import WIDEST_RAD, pixel_rays_of, project_distorted
from mtl_perception.data.world.paths import upright
from mtl_perception.resources import config_file

LATEST_EXPOSURE_MS = 100.0
"""A camera cannot be exposed later than this after the frame's stamp, nor earlier."""
WIDEST_DEG = float(np.rad2deg(WIDEST_RAD))
LEAST_SEEN = 0.05
"""Share of a camera's pixels that its lens must have a direction for."""


@dataclass(frozen=True, eq=False)
class RigLayout:
    """A rig, and when its cameras are exposed.

    Attributes:
        rig: the cameras; the first is the reference camera.
        exposure_offsets_ns: per camera name, its exposure's middle after the frame's stamp in nanoseconds; 0 for the
            reference camera.
    """

    rig: Rig
    exposure_offsets_ns: Mapping[str, int]


def load_rig(name_or_path: str, image_size: tuple[int, int] | None = None) -> RigLayout:
    """Read a rig: the name of a file in config/rigs ("mono", "stereo", "surround4", "surround6"), or a YAML file.

    Args:
        name_or_path: a path ends in .yaml or .yml.
        image_size: width and height in pixels of all cameras instead of the file's; the view stays the same in width,
            and, where the proportions differ, is cut off or widened in height.

    Raises:
        FileNotFoundError: there is no such rig.
        ValueError: the file is wrong; the message names the file, the camera, the field and its value.
    """
    path = config_file("rigs", name_or_path)
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise ValueError(f"rig {path}: {error}") from error
    try:
        file = _RigFile.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"rig {path}: {_explained(error, content)}") from error
    try:
        return _layout(file, image_size)
    except ValueError as error:
        raise ValueError(f"rig {path}: {error}") from error


def varied(layout: RigLayout, generator: np.random.Generator) -> RigLayout:
    """Return the rig as another robot of the kind might carry it: for training on more than one.

    All cameras together get other focal lengths (up to 20 %), another height and pitch, and other exposure times;
    each a small error of mounting. The coefficients of the lenses stay.
    """
    zoom = float(np.exp(generator.uniform(-0.18, 0.18)))
    higher = float(generator.uniform(0.85, 1.25))
    pitch = float(np.deg2rad(generator.uniform(-2.0, 5.0)))
    rolling = float(generator.choice([0.0, 1.0, generator.uniform(0.2, 2.0)]))
    cameras = []
    for camera in layout.rig:
        K = camera.K.copy()
        K[:2, :2] *= zoom * np.exp(generator.normal(0, 0.004))
        K[:2, 2] += generator.normal(0, 0.004, 2) * camera.width
        turn = upright(np.zeros(3), *np.deg2rad(generator.normal(0, 0.7, 3)))
        body = camera.base_from_camera @ np.linalg.inv(BODY_FROM_OPTICAL)
        body = body @ upright(np.zeros(3), 0.0, pitch) @ turn
        body[:3, 3] = body[:3, 3] * (1, 1, higher) + generator.normal(0, 0.02, 3)
        cameras.append(replace(camera, K=K, base_from_camera=body @ BODY_FROM_OPTICAL))
    offsets = {name: round(offset * rolling) for name, offset in layout.exposure_offsets_ns.items()}
    return RigLayout(Rig(tuple(cameras), layout.rig.base_frame), offsets)


class _CameraEntry(BaseModel):
    """One camera of the file. Either `horizontal_fov_deg` or `K` tells the focal length."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    width: int = Field(ge=16, le=8192)
    height: int = Field(ge=16, le=8192)
    horizontal_fov_deg: float | None = Field(default=None, gt=1, lt=2 * WIDEST_DEG)
    K: list[float] | None = Field(default=None, min_length=9, max_length=9)
    distortion_model: Literal["", "plumb_bob", "rational_polynomial", "equidistant"] = ""
    distortion: list[float] = []
    position: list[float] = Field(min_length=3, max_length=3)
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    exposure_offset_ms: float = Field(default=0.0, ge=-LATEST_EXPOSURE_MS, le=LATEST_EXPOSURE_MS)

    @field_validator("K")
    @classmethod
    def _is_intrinsic(cls, K: list[float] | None) -> list[float] | None:
        if K is not None and (K[3] != 0 or K[6:] != [0, 0, 1] or K[0] <= 0 or K[4] <= 0):
            raise ValueError("must be fx, skew, cx, 0, fy, cy, 0, 0, 1 with positive fx and fy")
        return K


class _RigFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    base_frame: str = Field(default="base_link", min_length=1)
    cameras: list[_CameraEntry] = Field(min_length=1)


def _layout(file: _RigFile, image_size: tuple[int, int] | None) -> RigLayout:
    first = file.cameras[0]
    if first.exposure_offset_ms != 0:
        raise ValueError(
            f"camera '{first.name}': exposure_offset_ms is {first.exposure_offset_ms:g}, that of the first camera, "
            "the reference, must be 0"
        )
    rig = Rig(tuple(_camera(entry, image_size) for entry in file.cameras), file.base_frame)
    return RigLayout(rig, {entry.name: round(entry.exposure_offset_ms * 1e6) for entry in file.cameras})


def _camera(entry: _CameraEntry, image_size: tuple[int, int] | None) -> Camera:
    if (entry.K is None) == (entry.horizontal_fov_deg is None):
        given = "both are given" if entry.K else "neither is given"
        raise ValueError(f"camera '{entry.name}': give either horizontal_fov_deg or K, {given}")
    body = upright(entry.position, *np.deg2rad([entry.yaw_deg, entry.pitch_deg, entry.roll_deg]))
    camera = Camera(
        entry.name,
        entry.width,
        entry.height,
        _centred(1.0, entry.width, entry.height) if entry.K is None else np.reshape(entry.K, (3, 3)).astype(np.float64),
        body @ BODY_FROM_OPTICAL,
        entry.distortion_model,
        np.array(entry.distortion, np.float64),
        f"{entry.name}_optical_frame",
    )
    if entry.horizontal_fov_deg is not None:
        camera = replace(camera, K=_centred(_focal_length(camera, entry.horizontal_fov_deg), *_size(camera)))
    if image_size is not None:
        camera = _cut_to(camera, *image_size)
    seen = np.isfinite(pixel_rays_of(camera)[..., 0]).mean()
    if seen < LEAST_SEEN:
        raise ValueError(
            f"camera '{entry.name}': distortion is {entry.distortion}, with it the lens sees "
            f"only {100 * seen:.1f} % of the image"
        )
    return camera


def _focal_length(camera: Camera, horizontal_fov_deg: float) -> float:
    """Return the focal length in pixels with which the image is as wide as an angle, through the camera's lens."""
    edge = np.array([[np.tan(np.deg2rad(horizontal_fov_deg / 2)), 0.0, 1.0]])
    pixels, _ = project_distorted(replace(camera, K=np.eye(3)), edge)
    if np.isnan(pixels[0, 0]):
        raise ValueError(
            f"camera '{camera.name}': horizontal_fov_deg is {horizontal_fov_deg:g}, with distortion "
            f"{camera.distortion.tolist()} its lens does not reach as far"
        )
    return float(camera.width / 2 / pixels[0, 0])


def _cut_to(camera: Camera, width: int, height: int) -> Camera:
    """Return the camera with another image size that sees the same width; pixels keep their proportions."""
    scale = width / camera.width
    K = camera.K.copy()
    K[:2] *= scale
    K[0, 2] = (camera.K[0, 2] + 0.5) * scale - 0.5
    K[1, 2] = (camera.K[1, 2] + 0.5 - camera.height / 2) * scale + height / 2 - 0.5
    return replace(camera, width=width, height=height, K=K)


def _centred(focal_length: float, width: int, height: int) -> NDArray[np.float64]:
    return np.array([[focal_length, 0, (width - 1) / 2], [0, focal_length, (height - 1) / 2], [0, 0, 1.0]])


def _size(camera: Camera) -> tuple[int, int]:
    return camera.width, camera.height


def _explained(error: ValidationError, content: Any) -> str:
    """Return what is wrong in words: camera, field, what it must be, and its value."""
    lines = []
    for problem in error.errors():
        place = list(problem["loc"])
        where = ""
        if len(place) > 1 and place[0] == "cameras":
            entry = content["cameras"][place[1]]
            name = entry.get("name") if isinstance(entry, dict) else None
            where, place = f"camera '{name}': " if name else f"camera {place[1]}: ", place[2:]
        field = ".".join(str(part) for part in place) or "file"
        is_missing = problem["type"] == "missing"
        value = "" if is_missing else f", is {problem['input']!r}"
        lines.append(f"{where}{field}: {problem['msg']}{value}")
    return "; ".join(lines)
