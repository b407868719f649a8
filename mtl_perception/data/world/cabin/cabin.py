# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The view into a car's cabin: images, the driver's joints, and the classes of what the driver does and feels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, project
from mtl_perception.core.frame import CabinFrame
from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse, transform_points
from mtl_perception.data.world.cabin.behaviour import Behaviour
from mtl_perception.data.world.cabin.driver import Skeleton, add_driver
from mtl_perception.data.world.cabin.interior import add_interior
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.rendering.light import street_light, street_sensor
from mtl_perception.data.world.rendering.renderer import Renderer
from mtl_perception.data.world.scene import Light, Scene, Sensor

DRIVER, FACE = "driver", "face"
"""The cabin's cameras: one shows the driver to the hips, one the face. Joints are in the first one's optical frame."""

_UNTIL_S = 130.0
_HIDDEN_M = 0.12  # a joint so far behind what the image shows there is not seen
_EYE = {DRIVER: (0.86, -0.36, 0.68), FACE: (0.70, 0.02, 0.52)}
_TARGET = {DRIVER: (0.0, -0.06, 0.38), FACE: (0.0, 0.0, 0.60)}
_FIELD_OF_VIEW_DEG = {DRIVER: 72.0, FACE: 42.0}


class Cabin:
    """A driver at work. The same generator gives the same cabin, and the same time the same frame."""

    def __init__(
        self, generator: np.random.Generator, labels: LabelSpace, image_size: tuple[int, int] = (160, 120)
    ) -> None:
        """Furnish a cabin and draw what its driver does; `image_size` is (width, height).

        Raises:
            KeyError: the label space has no `pedestrian` or no `furniture`.
        """
        day = Conditions()
        scene = Scene(labels, _daylight_inside(generator, day), _cabin_sensor(generator, day))
        add_interior(scene, generator)
        self._behaviour = Behaviour(generator, _UNTIL_S)
        skeleton_at = lru_cache(maxsize=8)(lambda seconds: Skeleton(self._behaviour.state(seconds)))
        self._skeleton_at = skeleton_at
        add_driver(scene, generator, skeleton_at)
        self._renderer = Renderer(scene, day)
        self._cameras = {name: _camera(name, image_size) for name in (DRIVER, FACE)}
        self._noise_seed = int(generator.integers(2**31))

    def frame(self, seconds: float) -> tuple[CabinFrame, dict[str, str]]:
        """Return what the cabin's cameras see at a time, with the joints that the first one sees, and the classes.

        The classes are those of the tasks `driver_behaviour` and `driver_emotion`.
        """
        images, depths = {}, {}
        for index, (name, camera) in enumerate(self._cameras.items()):
            noise = np.random.default_rng([self._noise_seed, index, max(round(seconds * 1e6), 0)])
            images[name], depths[name] = self._renderer.look(camera, _fixed(camera.base_from_camera), seconds, noise)
        skeleton = self._skeleton_at(seconds)
        camera, depth = self._cameras[DRIVER], depths[DRIVER]
        posture, gestures = (_seen(camera, depth, joints) for joints in (skeleton.posture(), skeleton.gestures()))
        return CabinFrame(images, posture, gestures), self._behaviour.labels(seconds)


def _daylight_inside(generator: np.random.Generator, day: Conditions) -> Light:
    """Return a day's light as the roof lets it in: less of the sun, more from everywhere."""
    light = street_light(generator, day)
    dimmed = (0.6 * light.strength[0], 0.6 * light.strength[1], 0.6 * light.strength[2])
    bright = float(generator.uniform(0.55, 0.9))
    return replace(light, strength=dimmed, ambient=(bright, bright, bright * 1.03))


def _cabin_sensor(generator: np.random.Generator, day: Conditions) -> Sensor:
    """Return a camera that is exposed for the driver, not for the windows."""
    return replace(street_sensor(generator, day), exposure=float(np.exp(generator.normal(0.25, 0.2))))


def _camera(name: str, image_size: tuple[int, int]) -> Camera:
    """Return a camera of the cabin; its base is the seat."""
    width, height = image_size
    focal = width / 2 / np.tan(np.deg2rad(_FIELD_OF_VIEW_DEG[name]) / 2)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    return Camera(name, width, height, K, _looking(_EYE[name], _TARGET[name]), frame_id=f"cabin_{name}_optical_frame")


def _fixed(pose: Transform) -> Callable[[float], Transform]:
    return lambda _seconds: pose


def _looking(eye: tuple[float, float, float], target: tuple[float, float, float]) -> Transform:
    x, y, z = np.subtract(target, eye)
    return upright(eye, float(np.arctan2(y, x)), float(np.arctan2(-z, np.hypot(x, y)))) @ BODY_FROM_OPTICAL


def _seen(camera: Camera, depth: NDArray[np.float32], joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return joints (N, 3) in the camera's optical frame; NaN where they are outside the image or hidden."""
    points = transform_points(inverse(camera.base_from_camera), joints)
    pixels, distance = project(camera, points)
    column, row = (np.rint(np.nan_to_num(axis, nan=-1.0).clip(-1, 1e6)).astype(np.int64) for axis in pixels.T)
    inside = (distance > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    seen = np.full((len(points), 3), np.nan)
    shown = np.zeros(len(points))
    shown[inside] = depth[row[inside], column[inside]]
    visible = inside & (distance < shown + _HIDDEN_M)
    seen[visible] = points[visible]
    return seen
