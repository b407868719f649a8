# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a driver does and feels over time, as the posture and the face that show it.

Behaviours and emotions are those of the AIDE dataset (Yang et al. 2023); how they look here is our own reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.scene_classes import DRIVER_BEHAVIOURS, DRIVER_EMOTIONS

BLEND_S = 0.6
_SHARES = (0.13, 0.13, 0.13, 0.12, 0.23, 0.13, 0.13)

# Places in the seat's frame: x forward, y left, z up, metres; the hips are its origin.
WHEEL_CENTRE = np.array([0.44, 0.0, 0.27])
WHEEL_RADIUS = 0.18
WHEEL_TILT = 0.45  # radians that its upper edge leans away from the driver
_MOUTH = np.array([0.085, 0.0, 0.575])
_EAR = np.array([-0.02, -0.085, 0.635])


@dataclass(frozen=True, eq=False)
class DriverState:
    """The posture and face of an instant. Angles in radians, places in metres in the seat's frame.

    Attributes:
        lean: of the trunk, forwards.
        tilt: of the trunk, to the left.
        twist: of the shoulders, to the left.
        head_yaw, head_pitch, head_roll: of the head on the trunk; left, down, to the right shoulder.
        left_wrist, right_wrist: (3,).
        left_curl, right_curl: of the fingers, 0 flat .. 1 fist.
        shoulders: how much they are drawn up, metres.
        phone, cigarette: share, 0 or 1 at rest: whether the right hand holds it.
        eyelids: 0 wide open, 1 closed.
        brow_height: metres above their usual place.
        brow_slope: positive: inner ends down (angry); negative: inner ends up (anxious).
        mouth_corners: of the corners of the mouth, up.
        mouth_open: metres between the lips.
    """

    lean: float
    tilt: float
    twist: float
    head_yaw: float
    head_pitch: float
    head_roll: float
    left_wrist: NDArray[np.float64]
    right_wrist: NDArray[np.float64]
    left_curl: float
    right_curl: float
    shoulders: float
    phone: float
    cigarette: float
    eyelids: float
    brow_height: float
    brow_slope: float
    mouth_corners: float
    mouth_open: float

    def mixed(self, other: DriverState, share: float) -> DriverState:
        """Return the state between this one and another."""
        values = {
            field.name: getattr(self, field.name) * (1 - share) + getattr(other, field.name) * share
            for field in fields(self)
        }
        return DriverState(**values)


@dataclass(frozen=True)
class _Episode:
    start: float
    behaviour: str
    emotion: str
    phases: tuple[float, float, float, float]


class Behaviour:
    """A driver's behaviours and emotions, one after the other for ever, drawn from a generator."""

    def __init__(self, generator: np.random.Generator, until_s: float) -> None:
        """Draw episodes of 3 to 8 s that reach to `until_s`; the last one goes on."""
        self._habit = generator.uniform(-1, 1, 4)
        self._episodes: list[_Episode] = []
        start = -10.0
        emotion = str(generator.choice(DRIVER_EMOTIONS))
        while start < until_s:
            behaviour = str(generator.choice(DRIVER_BEHAVIOURS, p=_SHARES))
            if generator.random() < 0.6:
                emotion = str(generator.choice(DRIVER_EMOTIONS))
            a, b, c, d = (float(v) for v in generator.uniform(0, 2 * np.pi, 4))
            self._episodes.append(_Episode(start, behaviour, emotion, (a, b, c, d)))
            start = max(start, 0.0) + float(generator.uniform(3.0, 8.0))

    def labels(self, seconds: float) -> dict[str, str]:
        """Return the classes of `driver_behaviour` and `driver_emotion` at a time."""
        episode = self._episodes[self._index(seconds)]
        return {"driver_behaviour": episode.behaviour, "driver_emotion": episode.emotion}

    def state(self, seconds: float) -> DriverState:
        """Return posture and face at a time; between two episodes one turns into the other within `BLEND_S`."""
        index = self._index(seconds)
        state = self._state_of(self._episodes[index], seconds)
        # Half of a change lies on each side of the moment at which the label changes.
        for neighbour, moment in ((index - 1, self._episodes[index].start), (index + 1, self._end(index))):
            if 0 <= neighbour < len(self._episodes):
                share = 0.5 - abs(seconds - moment) / BLEND_S
                if share > 0:
                    other = self._state_of(self._episodes[neighbour], seconds)
                    state = state.mixed(other, _smooth(share))
        return state

    def _index(self, seconds: float) -> int:
        starts = [episode.start for episode in self._episodes]
        return max(0, int(np.searchsorted(starts, seconds, side="right")) - 1)

    def _end(self, index: int) -> float:
        return self._episodes[index + 1].start if index + 1 < len(self._episodes) else np.inf

    def _state_of(self, episode: _Episode, seconds: float) -> DriverState:
        values = _driving(seconds, self._habit)
        _DEEDS[episode.behaviour](values, seconds, episode.phases)
        _FACES[episode.emotion](values, seconds, episode.phases)
        if episode.behaviour == "dozing off":  # whatever one felt before
            values["eyelids"] = max(values["eyelids"], 0.92)
        return DriverState(**values)


Phases = tuple[float, float, float, float]
Deed = Callable[[dict[str, Any], float, Phases], None]


def on_wheel(angle: float) -> NDArray[np.float64]:
    """Return where a wrist is whose hand holds the wheel at an angle from its top, to the left, radians."""
    across, up = np.sin(angle) * WHEEL_RADIUS, np.cos(angle) * WHEEL_RADIUS
    rim = WHEEL_CENTRE + [up * np.sin(WHEEL_TILT), across, up * np.cos(WHEEL_TILT)]
    return np.asarray(rim + [-0.085, 0.03 * np.sign(across), -0.02])


def _driving(t: float, habit: NDArray[np.float64]) -> dict[str, Any]:
    turn = 0.10 * np.sin(0.5 * t + habit[0] * 3) + 0.04 * np.sin(1.7 * t)
    grip = 1.15 + 0.25 * habit[1]
    return {
        "lean": 0.04 * habit[2] + 0.01 * np.sin(1.5 * t),
        "tilt": 0.02 * habit[3],
        "twist": 0.02 * np.sin(0.7 * t),
        "head_yaw": 0.06 * np.sin(0.6 * t + habit[1]) + 0.05 * habit[3],
        "head_pitch": 0.02 * np.sin(0.9 * t) + 0.03 * habit[0],
        "head_roll": 0.02 * np.sin(0.4 * t),
        "left_wrist": on_wheel(grip + turn),
        "right_wrist": on_wheel(-grip + turn),
        "left_curl": 0.85,
        "right_curl": 0.85,
        "shoulders": 0.0,
        "phone": 0.0,
        "cigarette": 0.0,
        "eyelids": 0.12,
        "brow_height": 0.0,
        "brow_slope": 0.0,
        "mouth_corners": 0.0,
        "mouth_open": 0.0,
    }


def _smoking(v: dict[str, Any], t: float, phases: Phases) -> None:
    """The cigarette goes to the mouth and away again."""
    draw = _smooth(0.5 + 0.75 * np.sin(2 * np.pi * t / 4.0 + phases[0]))
    away = np.array([0.30, -0.24, 0.36])
    v["right_wrist"] = away * (1 - draw) + (_MOUTH + [0.08, -0.06, -0.10]) * draw
    v["right_curl"], v["cigarette"] = 0.45, 1.0
    v["mouth_open"] = 0.004 * draw


def _making_phone(v: dict[str, Any], t: float, phases: Phases) -> None:
    """A phone at the right ear; the mouth speaks now and then."""
    v["right_wrist"] = _EAR + [0.05, -0.06, -0.12]
    v["right_curl"], v["phone"] = 0.5, 1.0
    v["head_roll"] = 0.12 + 0.03 * np.sin(0.8 * t + phases[0])
    v["mouth_open"] = 0.010 * max(0.0, np.sin(9 * t)) * (np.sin(0.9 * t + phases[1]) > 0)


def _looking_around(v: dict[str, Any], t: float, phases: Phases) -> None:
    """The head turns far to both sides."""
    v["head_yaw"] = 1.05 * np.sin(2 * np.pi * t / 3.2 + phases[0])
    v["twist"] = 0.18 * np.sin(2 * np.pi * t / 3.2 + phases[0])


def _dozing_off(v: dict[str, Any], t: float, phases: Phases) -> None:
    """The head sinks, jerks up a little, sinks again; the hands slip to the bottom of the wheel."""
    sink = (t / 3.0 + phases[0]) % 1.0
    v["head_pitch"] = 0.25 + 0.45 * _smooth(min(sink / 0.8, (1 - sink) / 0.2))
    v["head_roll"] = 0.15 * np.sin(phases[1])
    v["lean"] = v["lean"] + 0.08
    v["left_wrist"], v["right_wrist"] = on_wheel(2.3), on_wheel(-2.3)
    v["left_curl"] = v["right_curl"] = 0.5
    v["eyelids"] = 0.97


def _normal_driving(v: dict[str, Any], t: float, phases: Phases) -> None:
    """Both hands on the wheel, eyes on the road: nothing to add."""


def _talking(v: dict[str, Any], t: float, phases: Phases) -> None:
    """To the passenger on the right, with a hand that underlines it."""
    v["head_yaw"] = -0.45 + 0.15 * np.sin(1.3 * t + phases[0])
    v["head_pitch"] = 0.06 * np.sin(4.0 * t + phases[1])
    v["mouth_open"] = 0.016 * (0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * t)) * (0.4 + 0.6 * np.sin(1.1 * t + phases[2]) ** 2)
    beat = np.array([0.03 * np.sin(5 * t), 0.04 * np.sin(3.1 * t), 0.06 * np.sin(5 * t + 1)])
    v["right_wrist"] = np.array([0.30, -0.28, 0.30]) + beat
    v["right_curl"] = 0.15


def _body_movement(v: dict[str, Any], t: float, phases: Phases) -> None:
    """Reaching over to the passenger's seat, or stretching backwards."""
    reach = 0.5 - 0.5 * np.cos(2 * np.pi * t / 3.6 + phases[0])
    v["tilt"] = -0.35 * reach
    v["lean"] = v["lean"] + 0.20 * reach
    v["twist"] = -0.35 * reach
    v["head_yaw"], v["head_pitch"] = -0.5 * reach, 0.35 * reach
    v["right_wrist"] = v["right_wrist"] * (1 - reach) + np.array([0.34, -0.46, 0.12]) * reach
    v["right_curl"] = 0.85 - 0.6 * reach


def _anxiety(v: dict[str, Any], t: float, phases: Phases) -> None:
    v["brow_height"], v["brow_slope"] = 0.007, -0.42
    v["eyelids"] = min(v["eyelids"], 0.0)
    v["mouth_corners"] = -0.22
    v["mouth_open"] = max(v["mouth_open"], 0.004)
    v["shoulders"] = 0.025
    v["head_yaw"] = v["head_yaw"] + 0.02 * np.sin(13 * t + phases[3])


def _peace(v: dict[str, Any], t: float, phases: Phases) -> None:
    v["mouth_corners"] = 0.05


def _weariness(v: dict[str, Any], t: float, phases: Phases) -> None:
    v["eyelids"] = max(v["eyelids"], 0.55 + 0.15 * np.sin(0.8 * t + phases[3]))
    v["brow_height"], v["brow_slope"] = -0.002, -0.15
    v["mouth_corners"] = -0.15
    v["head_pitch"] = v["head_pitch"] + 0.14
    v["lean"] = v["lean"] + 0.05


def _happiness(v: dict[str, Any], t: float, phases: Phases) -> None:
    v["mouth_corners"] = 0.38
    v["mouth_open"] = max(v["mouth_open"], 0.006)
    v["brow_height"] = 0.003
    v["eyelids"] = max(v["eyelids"], 0.25)


def _anger(v: dict[str, Any], t: float, phases: Phases) -> None:
    v["brow_height"], v["brow_slope"] = -0.006, 0.50
    v["mouth_corners"] = -0.30
    v["eyelids"] = max(v["eyelids"], 0.2)
    v["head_pitch"] = v["head_pitch"] + 0.05


_DEEDS: dict[str, Deed] = {
    "smoking": _smoking,
    "making phone": _making_phone,
    "looking around": _looking_around,
    "dozing off": _dozing_off,
    "normal driving": _normal_driving,
    "talking": _talking,
    "body movement": _body_movement,
}
_FACES: dict[str, Deed] = {
    "anxiety": _anxiety,
    "peace": _peace,
    "weariness": _weariness,
    "happiness": _happiness,
    "anger": _anger,
}


def _smooth(x: float) -> float:
    """Return the smooth step from 0 to 1."""
    x = float(np.clip(x, 0.0, 1.0))
    return x * x * (3 - 2 * x)
