# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""People and cyclists: bodies of rigid parts that hinge on each other, and how the parts move.

Poses of a person (7, 4, 4): 0 trunk (stands on z = 0 of the body's frame), 1 and 2 thighs, 3 and 4 arms, 5 and 6 shins,
left before right. A cyclist (8, 4, 4) has the bicycle as part 0 and the trunk as part 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.vehicles import bicycle

# Shares of a person's height.
_HIP, _KNEE, _SHOULDER, _ARM = 0.50, 0.255, 0.82, 0.36

_SADDLE = (-0.22, 0.95)
"""x and z of a cyclist's hips on the bicycle."""

_CRANK = (-0.05, 0.32, 0.15)
"""x, z and length of the cranks."""

_LEAN = 0.45
"""How far a cyclist's trunk leans forward, radians."""

_CLOTHES = [
    *[(0.12, 0.12, 0.15), (0.22, 0.25, 0.35), (0.35, 0.33, 0.30), (0.60, 0.58, 0.52), (0.85, 0.85, 0.85)],
    *[(0.60, 0.15, 0.15), (0.15, 0.30, 0.55), (0.20, 0.40, 0.25), (0.80, 0.65, 0.20), (0.45, 0.25, 0.45)],
]
_SKINS = [(0.90, 0.75, 0.65), (0.80, 0.62, 0.50), (0.60, 0.43, 0.32), (0.40, 0.28, 0.20)]


def person(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, float]:
    """Return a person's mesh in part frames, and the height in metres."""
    return _person(scene, generator, float(generator.uniform(1.45, 1.92)))


def cyclist(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, float]:
    """Return the mesh in part frames of a person on a bicycle, and the person's height in metres."""
    rider, height = _person(scene, generator, float(generator.uniform(1.62, 1.90)))
    parts = np.where(rider.part == 0, 7, rider.part).astype(np.int32)
    rider = Mesh(rider.corners, rider.normals, rider.texture, rider.material, parts)
    return merged([bicycle(scene, generator), rider]), height


def walker(
    height: float, body: Callable[[float], Transform], way: Callable[[float], float]
) -> Callable[[float], NDArray[np.float64]]:
    """Return the poses over time of somebody who walks: `body` is where, `way` how far they have come in metres.

    The steps get smaller as they slow down, so that they stand on both feet when they stop.
    """

    def poses(seconds: float) -> NDArray[np.float64]:
        speed = abs(way(seconds + 0.05) - way(seconds - 0.05)) / 0.1
        return walking_pose(height, way(seconds), speed, body(seconds))

    return poses


def walking_pose(height: float, way: float, speed: float, body: Transform) -> NDArray[np.float64]:
    """Return the poses (7, 4, 4) of somebody who has come `way` metres and walks at `speed` m/s."""
    phase = way * 2 * math.pi / (0.85 * height)
    swing = 0.42 * math.tanh(speed / 0.7)
    left, right = (0.8 * swing * max(0.0, sign * math.cos(phase)) ** 2 * 2.0 for sign in (-1, 1))
    return _stood(height, swing * math.sin(phase), left, right, body)


def standing_pose(height: float, swing: float, body: Transform) -> NDArray[np.float64]:
    """Return the poses (7, 4, 4) of somebody who stands, legs and arms apart by an angle in radians."""
    return _stood(height, swing, 0.0, 0.0, body)


def sitting_pose(height: float, seat: float, body: Transform) -> NDArray[np.float64]:
    """Return the poses (7, 4, 4) of somebody who sits upright on a seat `seat` metres above the body's z = 0."""
    hip, knee, shoulder = _HIP * height, _KNEE * height, _SHOULDER * height
    sunk = seat + 0.08 - hip
    thigh, lowered = -1.45, seat + 0.08
    reach, drop = (hip - knee) * math.sin(-thigh), (hip - knee) * math.cos(thigh)
    x = (0.0, 0.0, 0.0, 0.02, 0.02, reach, reach)
    z = (sunk, lowered, lowered, sunk + shoulder, sunk + shoulder, lowered - drop, lowered - drop)
    return _hinged(body, x, (0.0, 0.09, -0.09, 0.23, -0.23, 0.09, -0.09), z, (0, thigh, thigh, -0.5, -0.5, 0, 0))


def riding_pose(height: float, turn: float, body: Transform) -> NDArray[np.float64]:
    """Return the poses (8, 4, 4) of a cyclist's parts; `turn` is how far the pedals have turned in radians."""
    hip, shoulder = _HIP * height, _SHOULDER * height
    thighs, shins, knees_x, knees_z = [], [], [], []
    for angle in (turn, turn + math.pi):
        foot = (_CRANK[0] + _CRANK[2] * math.cos(angle), _CRANK[1] - _CRANK[2] * math.sin(angle) + 0.05)
        thigh, shin = _bent_leg(foot[0] - _SADDLE[0], foot[1] - _SADDLE[1], (_HIP - _KNEE) * height, _KNEE * height)
        thighs.append(thigh)
        shins.append(shin)
        knees_x.append(_SADDLE[0] - (_HIP - _KNEE) * height * math.sin(thigh))
        knees_z.append(_SADDLE[1] - (_HIP - _KNEE) * height * math.cos(thigh))
    s, c = math.sin(_LEAN), math.cos(_LEAN)
    trunk_x, trunk_z = _SADDLE[0] - hip * s, _SADDLE[1] - hip * c
    arm_x, arm_z = trunk_x + shoulder * s, trunk_z + shoulder * c
    x = (0.0, _SADDLE[0], _SADDLE[0], arm_x, arm_x, *knees_x, trunk_x)
    z = (0.0, _SADDLE[1], _SADDLE[1], arm_z, arm_z, *knees_z, trunk_z)
    pitch = (0.0, *thighs, -0.95, -0.95, *shins, _LEAN)
    return _hinged(body, x, (0.0, 0.09, -0.09, 0.2, -0.2, 0.09, -0.09, 0.0), z, pitch)


def _bent_leg(x: float, z: float, thigh: float, shin: float) -> tuple[float, float]:
    """Return the angles of thigh and shin that put the foot at x, z from the hip, the knee in front."""
    reach = min(math.hypot(x, z), 0.995 * (thigh + shin))
    towards = math.atan2(-x, -z)
    at_hip = math.acos((thigh**2 + reach**2 - shin**2) / (2 * thigh * reach))
    at_foot = math.acos((shin**2 + reach**2 - thigh**2) / (2 * shin * reach))
    return towards - at_hip, towards + at_foot


def _stood(height: float, swing: float, left_knee: float, right_knee: float, body: Transform) -> NDArray[np.float64]:
    """Return a standing person's poses: legs apart by `swing`, knees bent by their angles."""
    hip, knee, shoulder = _HIP * height, _KNEE * height, _SHOULDER * height
    s, c = (hip - knee) * math.sin(swing), (hip - knee) * math.cos(swing)
    x = (0.0, 0.0, 0.0, 0.0, 0.0, -s, s)
    z = (0.0, hip, hip, shoulder, shoulder, hip - c, hip - c)
    pitch = (0.0, swing, -swing, -0.8 * swing, 0.8 * swing, swing + left_knee, right_knee - swing)
    return _hinged(body, x, (0.0, 0.09, -0.09, 0.23, -0.23, 0.09, -0.09), z, pitch)


def _hinged(
    body: Transform, x: tuple[float, ...], y: tuple[float, ...], z: tuple[float, ...], pitch: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return the poses (P, 4, 4) of parts at places in the body's frame, turned about its y axis (nose down)."""
    numbers = np.array((pitch, x, y, z))
    sine, cosine = np.sin(numbers[0]), np.cos(numbers[0])
    body_from_part = np.zeros((len(pitch), 4, 4))
    body_from_part[:, 0, 0] = body_from_part[:, 2, 2] = cosine
    body_from_part[:, 0, 2], body_from_part[:, 2, 0] = sine, -sine
    body_from_part[:, :3, 3] = numbers[1:].T
    body_from_part[:, 1, 1] = body_from_part[:, 3, 3] = 1.0
    return body @ body_from_part


def _person(scene: Scene, generator: np.random.Generator, height: float) -> tuple[Mesh, float]:
    stout = generator.uniform(0.9, 1.25)
    top, trousers = (
        np.array(_CLOTHES[generator.integers(len(_CLOTHES))]) * generator.uniform(0.8, 1.1) for _ in range(2)
    )
    second = np.array(_CLOTHES[generator.integers(len(_CLOTHES))])
    stripe = float(generator.choice([0.0, 0.0, 0.0, 0.06]))
    coat = scene.material("cloth", top, second, (0.25, 0.18, stripe))
    legs = scene.material("cloth", trousers, parameters=(0.2, 0.15))
    skin = scene.material("dull", _SKINS[generator.integers(len(_SKINS))], parameters=(0.04, 0.1))
    hair = scene.material("dull", np.array([0.2, 0.13, 0.08]) * generator.uniform(0.3, 3.0), parameters=(0.2, 0.05))
    shoe = scene.material("dull", generator.uniform(0.05, 0.4) * np.ones(3), parameters=(0.1, 0.1))
    hip, knee, shoulder = _HIP * height, _KNEE * height, _SHOULDER * height
    low = hip - generator.choice([0.03, 0.03, 0.22])  # a jacket or a long coat
    trunk = [
        shapes.cylinder((0, 0, low), (0, 0, 0.68 * height), 0.155 * stout, coat, 0.17 * stout),
        shapes.cylinder((0, 0, 0.68 * height), (0, 0, shoulder), 0.17 * stout, coat, 0.13 * stout),
        shapes.ellipsoid((0, 0, shoulder - 0.02), (0.11, 0.19 * stout, 0.07), coat),
        shapes.cylinder((0, 0, shoulder), (0.01, 0, 0.88 * height), 0.055, skin, sides=6),
        shapes.ellipsoid((0.02, 0, 0.93 * height), (0.095, 0.08, 0.12), skin),
        shapes.ellipsoid((-0.015, 0, 0.95 * height), (0.10, 0.088, 0.115), hair),
    ]
    if generator.random() < 0.3:
        bag = scene.material("cloth", _CLOTHES[generator.integers(len(_CLOTHES))], parameters=(0.1, 0.1))
        trunk.append(shapes.box((0.16, 0.28, 0.42), (-0.2, 0, 0.68 * height), bag))
    thigh = shapes.cylinder((0, 0, 0.02), (0, 0, knee - hip - 0.02), 0.085 * stout, legs, 0.062, sides=7)
    shin = [
        shapes.cylinder((0, 0, 0.02), (-0.01, 0, 0.06 - knee), 0.063, legs, 0.05, sides=7),
        shapes.box((0.25, 0.09, 0.08), (0.05, 0, 0.04 - knee), shoe),
    ]
    parts = [mesh.as_part(0) for mesh in trunk]
    for index, side in ((1, 1), (2, -1)):
        elbow, wrist = (0.01, 0.03 * side, -_ARM * height / 2), (0.06, 0.03 * side, -_ARM * height)
        arm = [
            shapes.cylinder((0, 0, 0), elbow, 0.055, coat, 0.048, sides=6),
            shapes.cylinder(elbow, wrist, 0.048, coat, 0.035, sides=6),
            shapes.ellipsoid((0.07, 0.03 * side, -_ARM * height - 0.04), 0.05, skin, 0),
        ]
        parts += [thigh.as_part(index), *(mesh.as_part(index + 2) for mesh in arm)]
        parts += [mesh.as_part(index + 4) for mesh in shin]
    return merged(parts), height
