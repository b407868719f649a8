# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as plain floats: for single ones that is several times faster than arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # x, y, z, w


class Rigid(NamedTuple):
    """Turns by a unit quaternion (x, y, z, w), then moves by a translation in metres."""

    translation: Vector
    rotation: Quaternion

    def after(self, first: Rigid) -> Rigid:
        """Return the transform that applies `first`, then this one."""
        x, y, z = rotate(self.rotation, first.translation)
        tx, ty, tz = self.translation
        return Rigid((x + tx, y + ty, z + tz), multiply(self.rotation, first.rotation))

    def inverse(self) -> Rigid:
        """Return the transform that undoes this one."""
        x, y, z, w = self.rotation
        back = (-x, -y, -z, w)
        tx, ty, tz = self.translation
        return Rigid(rotate(back, (-tx, -ty, -tz)), back)


IDENTITY = Rigid((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def canonical(rotation: Quaternion) -> Quaternion:
    """Return the quaternion at length 1, with the sign that one computed from its rotation matrix has.

    That is w > 0 for less than 120 degrees, else the greatest of x, y and z positive. NaN where it has no length.
    """
    length = math.sqrt(sum(c * c for c in rotation))
    if not 0.0 < length < math.inf:
        return (math.nan, math.nan, math.nan, math.nan)
    x, y, z, w = (c / length for c in rotation)
    leading = w if 4.0 * w * w > 1.0 else max((x, y, z), key=abs)
    return (x, y, z, w) if leading > 0.0 else (-x, -y, -z, -w)


def multiply(p: Quaternion, q: Quaternion) -> Quaternion:
    """Return the rotation by `q`, then by `p`."""
    px, py, pz, pw = p
    qx, qy, qz, qw = q
    return (
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy + py * qw + pz * qx - px * qz,
        pw * qz + pz * qw + px * qy - py * qx,
        pw * qw - px * qx - py * qy - pz * qz,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Return `v` turned by the unit quaternion `q`."""
    x, y, z, w = q
    vx, vy, vz = v
    cx, cy, cz = 2.0 * (y * vz - z * vy), 2.0 * (z * vx - x * vz), 2.0 * (x * vy - y * vx)
    return (
        vx + w * cx + y * cz - z * cy,
        vy + w * cy + z * cx - x * cz,
        vz + w * cz + x * cy - y * cx,
    )


def interpolate(one: Rigid, two: Rigid, ratio: float) -> Rigid:
    """Return the transform at `ratio` of the way: translation in a line, rotation on the shortest arc."""
    x1, y1, z1 = one.translation
    x2, y2, z2 = two.translation
    rest = 1.0 - ratio
    translation = (rest * x1 + ratio * x2, rest * y1 + ratio * y2, rest * z1 + ratio * z2)
    return Rigid(translation, _slerp(one.rotation, two.rotation, ratio))


def _slerp(one: Quaternion, two: Quaternion, ratio: float) -> Quaternion:
    x1, y1, z1, w1 = one
    x2, y2, z2, w2 = two
    cosine = x1 * x2 + y1 * y2 + z1 * z2 + w1 * w2
    half_angle = math.acos(min(abs(cosine), 1.0))
    if half_angle == 0.0:
        return one
    share1 = math.sin((1.0 - ratio) * half_angle) / math.sin(half_angle)
    share2 = math.sin(ratio * half_angle) / math.sin(half_angle)
    if cosine < 0.0:
        share2 = -share2
    return (
        share1 * x1 + share2 * x2,
        share1 * y1 + share2 * y2,
        share1 * z1 + share2 * z2,
        share1 * w1 + share2 * w2,
    )
