# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The figure of a driver: a skeleton that follows a state, the joints that are known of it, and its body.

Everything is in the seat's frame: x forward, y left, z up, metres, the origin between the hips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.cabin.behaviour import DriverState
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged

Points = NDArray[np.float64]

_UPPER_ARM, _FOREARM = 0.29, 0.27
_FINGERS = np.array([[0.042, 0.026, 0.022], [0.046, 0.029, 0.023], [0.042, 0.027, 0.022], [0.034, 0.021, 0.019]])
_FINGER_BASES = np.array([[0.088, 0.031], [0.092, 0.010], [0.088, -0.011], [0.080, -0.030]])  # forward, to the thumb
_THUMB = np.array([0.036, 0.030, 0.026])
# Of the legs, which stay where they are: left, then right; hip, knee, ankle, heel, big toe, small toe.
_LEG = np.array(
    [
        [0, 0.10, 0],
        [0.42, 0.15, 0.10],
        [0.72, 0.13, -0.27],
        [0.68, 0.13, -0.32],
        [0.90, 0.11, -0.27],
        [0.88, 0.18, -0.28],
    ]
)
_LEGS = np.stack([_LEG, _LEG * [1, -1, 1]])
# In the head's frame, whose origin is its middle.
_HEAD_POINTS = {
    "nose": (0.115, 0, -0.01),
    "eye": (0.095, 0.033, 0.025),
    "ear": (-0.005, 0.082, 0.0),
    "top": (0, 0, 0.13),
}
_MOUTH = np.array([0.098, 0.0, -0.055])


class Skeleton:
    """Where everything of a driver is at one instant.

    Attributes:
        trunk, head: frames 4x4.
        arms: (2, 3, 3) left and right: shoulder, elbow, wrist.
        hands: (2, 4, 4) frames at the wrists: x along the hand, z out of its back.
        fingers: (2, 5, 4, 3) per hand thumb to little finger: three joints and the tip.
    """

    def __init__(self, state: DriverState) -> None:
        """Pose the skeleton."""
        self.state = state
        lean = upright((0, 0, 0), 0.0, 0.0, -state.tilt) @ upright((0, 0, 0), 0.0, state.lean - 0.12)
        self.trunk = lean
        chest = lean @ upright((0, 0, 0), state.twist)
        neck = lean[:3, :3] @ [-0.01, 0.0, 0.50]
        self.neck = neck
        turned = np.eye(4)
        turned[:3, :3] = (
            lean[:3, :3] @ upright((0, 0, 0), state.head_yaw, state.head_pitch + 0.12, state.head_roll)[:3, :3]
        )
        turned[:3, 3] = neck + turned[:3, :3] @ [0.025, 0.0, 0.135]
        self.head = turned
        shoulders = np.array([[0.0, 0.185, 0.45 + state.shoulders], [0.0, -0.185, 0.45 + state.shoulders]])
        shoulders = shoulders @ chest[:3, :3].T
        self.arms = np.stack(
            [
                _arm(shoulder, wrist, side)
                for shoulder, wrist, side in zip(shoulders, (state.left_wrist, state.right_wrist), (1, -1), strict=True)
            ]
        )
        self.hands = np.stack([_hand(arm) for arm in self.arms])
        curls = (state.left_curl, state.right_curl)
        self.fingers = np.stack(
            [_fingers(hand, curl, side) for hand, curl, side in zip(self.hands, curls, (-1, 1), strict=True)]
        )

    def posture(self) -> Points:
        """Return the 26 joints (26, 3) in the order of Halpe: the first 26 of its 136."""
        head = {name: self.head[:3, :3] @ place + self.head[:3, 3] for name, place in _HEAD_POINTS.items()}
        right = {n: self.head[:3, :3] @ (np.array(p) * [1, -1, 1]) + self.head[:3, 3] for n, p in _HEAD_POINTS.items()}
        pairs = [self.arms[:, 0], self.arms[:, 1], self.arms[:, 2], _LEGS[:, 0], _LEGS[:, 1], _LEGS[:, 2]]
        return np.stack(
            [
                *(head["nose"], head["eye"], right["eye"], head["ear"], right["ear"]),
                *(point for pair in pairs for point in pair),
                *(head["top"], self.neck, _LEGS[:, 0].mean(axis=0)),
                *(point for index in (4, 5, 3) for point in _LEGS[:, index]),
            ]
        )

    def gestures(self) -> Points:
        """Return the joints of the hands (42, 3): of the left one wrist, thumb to little finger; then right."""
        hands = [np.concatenate([self.arms[i, 2][None], self.fingers[i].reshape(20, 3)]) for i in range(2)]
        return np.concatenate(hands)


def add_driver(scene: Scene, generator: np.random.Generator, skeleton_at: Callable[[float], Skeleton]) -> None:
    """Put a driver into a cabin's scene who moves as the skeleton does."""
    skin_tone = np.array([(0.90, 0.75, 0.65), (0.80, 0.62, 0.50), (0.60, 0.43, 0.32), (0.40, 0.28, 0.20)])
    skin = scene.material("dull", skin_tone[generator.integers(4)], parameters=(0.03, 0.08))
    coat = scene.material("cloth", generator.uniform(0.08, 0.75, 3), generator.uniform(0.1, 0.8, 3), (0.2, 0.12, 0.0))
    trousers = scene.material("cloth", generator.uniform(0.05, 0.35, 3), parameters=(0.2, 0.12))
    hair = scene.material("dull", np.array([0.2, 0.13, 0.08]) * generator.uniform(0.3, 3.0), parameters=(0.2, 0.05))
    parts: list[Mesh] = [_trunk(coat, skin), _head(scene, skin, hair, bool(generator.random() < 0.4))]
    parts += _face(scene, skin, hair)
    parts += [_limb(_UPPER_ARM, 0.055, 0.045, coat), _limb(_FOREARM, 0.045, 0.032, coat)] * 2
    parts += [
        _limb(0.44, 0.085, 0.06, trousers),
        _limb(0.46, 0.06, 0.045, trousers),
        _limb(0.22, 0.045, 0.035, hair),
    ] * 2
    parts += [shapes.box((0.09, 0.08, 0.028), (0.045, 0, 0), skin)] * 2
    for _ in range(2):
        parts += [_limb(float(length), 0.010, 0.009, skin, 5) for length in _THUMB]
        parts += [_limb(float(length), 0.009, 0.008, skin, 5) for length in _FINGERS.ravel()]
    dark = scene.material("dull", (0.05, 0.05, 0.06), gloss=0.5)
    parts.append(shapes.box((0.15, 0.012, 0.07), (0.10, 0.0, 0.0), dark))
    paper = scene.material("dull", (0.95, 0.94, 0.9), parameters=(0.02, 0.02))
    ember = scene.material("dull", (0.95, 0.4, 0.1), glow=1.0)
    parts.append(
        merged(
            [
                shapes.cylinder((0, 0, 0), (0.08, 0, 0), 0.006, paper, sides=6),
                shapes.cylinder((0.08, 0, 0), (0.09, 0, 0), 0.0065, ember, sides=6),
            ]
        )
    )
    mesh = merged([part.as_part(index) for index, part in enumerate(parts)])
    scene.add_actor(mesh, "pedestrian", lambda seconds: _poses(skeleton_at(seconds)))


def _arm(shoulder: Points, wrist: Points, side: int) -> Points:
    """Return shoulder, elbow and wrist; the elbow hangs down and outwards (two-bone inverse kinematics)."""
    reach = wrist - shoulder
    distance = float(np.linalg.norm(reach))
    limit = (_UPPER_ARM + _FOREARM) * 0.995
    if distance > limit:  # the hand comes as near as the arm is long
        reach *= limit / distance
        distance = limit
    along = reach / distance
    a = (distance**2 + _UPPER_ARM**2 - _FOREARM**2) / (2 * distance)
    height = np.sqrt(max(_UPPER_ARM**2 - a**2, 0.0))
    pole = np.array([-0.15, 0.45 * side, -1.0])
    pole -= along * (pole @ along)
    pole /= np.linalg.norm(pole)
    return np.stack([shoulder, shoulder + along * a + pole * height, shoulder + reach])


def _hand(arm: Points) -> NDArray[np.float64]:
    """Return the hand's frame at the wrist: it goes on where the forearm points, its back away from the elbow."""
    shoulder, elbow, wrist = arm
    x = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    back = (shoulder + wrist) / 2 - elbow
    z = back - x * (back @ x)
    z /= max(float(np.linalg.norm(z)), 1e-9)
    frame = np.eye(4)
    frame[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    frame[:3, 3] = wrist
    return frame


def _fingers(hand: NDArray[np.float64], curl: float, thumb_side: int) -> Points:
    """Return the joints (5, 4, 3) of a hand's fingers, which curl towards the palm; y of the thumb has `thumb_side`."""
    chains = []
    spread = np.array([0.75, 0.55 * thumb_side, -0.25])
    inward = np.array([0.95, 0.05 * thumb_side, -0.45])
    direction = spread * (1 - curl) + inward * curl
    steps = _THUMB[:, None] * (direction / np.linalg.norm(direction))
    chains.append(np.cumsum(np.concatenate([[[0.025, 0.036 * thumb_side, -0.006]], steps]), axis=0))
    for base, lengths in zip(_FINGER_BASES, _FINGERS, strict=True):
        angles = curl * 1.25 * np.arange(1, 4)
        steps = lengths[:, None] * np.stack([np.cos(angles), np.zeros(3), -np.sin(angles)], axis=1)
        chains.append(np.cumsum(np.concatenate([[[base[0], base[1] * thumb_side, 0.0]], steps]), axis=0))
    return np.stack(chains) @ hand[:3, :3].T + hand[:3, 3]


def _poses(skeleton: Skeleton) -> NDArray[np.float64]:
    """Return the poses (P, 4, 4) of the body's parts, in the order in which `add_driver` makes them."""
    poses = [skeleton.trunk, skeleton.head, *(skeleton.head @ part for part in _face_poses(skeleton.state))]
    bones = [(arm[i], arm[i + 1]) for arm in skeleton.arms for i in (0, 1)]
    bones += [(leg[i], leg[j]) for leg in _LEGS for i, j in ((0, 1), (1, 2), (3, 4))]
    poses += [_along(start, end) for start, end in bones]
    poses += list(skeleton.hands)
    chains = skeleton.fingers.reshape(-1, 4, 3)
    poses += [_along(chain[i], chain[i + 1]) for chain in chains for i in range(3)]
    hand = skeleton.hands[1]
    # What is not held lies on the console between the seats.
    phone_rest, cigarette_rest = upright((0.25, -0.32, -0.12), 0.3), upright((0.25, -0.36, -0.30), 0.0)
    held = hand @ upright((-0.02, 0.0, -0.035), 0.0)
    fingertip = hand @ upright((0.105, 0.02, -0.045), 0.9, 0.2)
    poses.append(held if skeleton.state.phone > 0.5 else phone_rest)
    poses.append(fingertip if skeleton.state.cigarette > 0.5 else cigarette_rest)
    return np.stack(poses)


def _along(start: Points, end: Points) -> NDArray[np.float64]:
    """Return the frame of a bone: x from start to end."""
    x = (end - start) / np.linalg.norm(end - start)
    y = np.cross([0.0, 0.0, 1.0] if abs(x[2]) < 0.95 else [1.0, 0.0, 0.0], x)
    y /= np.linalg.norm(y)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, y, np.cross(x, y)], axis=1)
    pose[:3, 3] = start
    return pose


def _limb(length: float, radius: float, end_radius: float, material: int, sides: int = 8) -> Mesh:
    bone = shapes.cylinder((0, 0, 0), (length, 0, 0), radius, material, end_radius, sides)
    return merged([bone, shapes.ellipsoid((length, 0, 0), end_radius * 1.02, material, 1 if sides > 5 else 0)])


def _trunk(coat: int, skin: int) -> Mesh:
    return merged(
        [
            shapes.ellipsoid((0.0, 0, 0.02), (0.14, 0.18, 0.13), coat, 2),
            shapes.cylinder((0, 0, 0.0), (0, 0, 0.36), 0.135, coat, 0.15, 12),
            shapes.ellipsoid((0, 0, 0.36), (0.125, 0.20, 0.13), coat, 2),
            shapes.cylinder((0, 0, 0.42), (0.012, 0, 0.56), 0.055, skin, sides=10),
        ]
    )


def _head(scene: Scene, skin: int, hair: int, long_hair: bool) -> Mesh:
    white = scene.material("dull", (0.96, 0.96, 0.95), parameters=(0.0, 1.0), gloss=0.2)
    iris = scene.material("dull", (0.12, 0.09, 0.07), parameters=(0.0, 1.0), gloss=0.3)
    parts = [
        shapes.ellipsoid((0, 0, 0.0), (0.098, 0.080, 0.125), skin, 2),
        shapes.ellipsoid((-0.018, 0, 0.035), (0.098, 0.086, 0.105), hair, 2),
        shapes.ellipsoid((0.105, 0, -0.012), (0.020, 0.014, 0.026), skin, 1),
    ]
    if long_hair:
        parts.append(shapes.ellipsoid((-0.055, 0, -0.06), (0.060, 0.088, 0.13), hair, 2))
    for side in (1, -1):
        parts.append(shapes.ellipsoid((-0.005, 0.080 * side, -0.003), (0.020, 0.012, 0.032), skin, 1))
        parts.append(shapes.ellipsoid((0.078, 0.033 * side, 0.022), (0.016, 0.020, 0.014), white, 2))
        parts.append(shapes.ellipsoid((0.092, 0.033 * side, 0.022), (0.005, 0.008, 0.008), iris, 1))
    return merged(parts)


def _face(scene: Scene, skin: int, hair: int) -> list[Mesh]:
    """Return brows, eyelids, the halves of the upper and of the lower lip, and the open mouth, each about its hinge."""
    lip = scene.material("dull", (0.62, 0.28, 0.27), parameters=(0.02, 0.05))
    hole = scene.material("dull", (0.10, 0.03, 0.03), parameters=(0.0, 1.0))
    brows = [shapes.box((0.010, 0.040, 0.008), (0, 0, 0), hair) for _ in range(2)]
    lids = [shapes.ellipsoid((0, 0, 0), (0.021, 0.023, 0.010), skin, 2) for _ in range(2)]
    upper = [shapes.box((0.010, 0.026, 0.006), (0, 0.013 * side, 0), lip) for side in (1, -1)]
    lower = [shapes.box((0.010, 0.024, 0.008), (0, 0.012 * side, 0), lip) for side in (1, -1)]
    return [*brows, *lids, *upper, *lower, shapes.ellipsoid((0, 0, 0), (0.008, 0.019, 0.009), hole, 2)]


def _face_poses(state: DriverState) -> list[NDArray[np.float64]]:
    """Return the parts of the face in the head's frame."""
    poses = []
    for side in (1, -1):
        # A positive slope lowers the inner end: about x, to the left for the left brow.
        poses.append(upright((0.093, 0.034 * side, 0.050 + state.brow_height), 0.0, 0.0, side * state.brow_slope))
    for side in (1, -1):
        poses.append(upright((0.076, 0.033 * side, 0.042 - 0.020 * state.eyelids), 0.0))
    smile = state.mouth_corners
    x, _, z = _MOUTH
    for drop in (0.0, 0.008 + state.mouth_open):  # the upper lip, the lower lip
        for side in (1, -1):
            poses.append(upright((x, 0.0, z - drop - 0.010 * smile), 0.0, 0.0, side * smile))
    # The dark of an open mouth comes forward between the lips; a closed one keeps it inside the head.
    forward = min(state.mouth_open * 2.0, 0.012)
    poses.append(upright((x - 0.017 + forward, 0.0, z - 0.005 - 0.010 * smile - state.mouth_open / 2), 0.0))
    return poses
