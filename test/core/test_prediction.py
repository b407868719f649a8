# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes in beside the rig's images, and the list of what comes out."""

from typing import Any, get_args

import numpy as np
import pytest

from mtl_perception.core import TASKS, CabinFrame
from mtl_perception.network.config import Task

FACE = np.zeros((40, 30, 3), np.uint8)


def test_the_suite_and_its_networks_name_the_same_tasks() -> None:
    assert get_args(Task) == TASKS


@pytest.mark.parametrize(
    "content",
    [
        {"images": {"face": FACE}},
        {"images": {}, "posture": np.full((26, 3), np.nan)},
        {"images": {}, "gestures": np.zeros((42, 3), np.float32)},
    ],
)
def test_a_cabin_frame_may_lack_any_of_it(content: dict[str, Any]) -> None:
    assert CabinFrame(**content).images == content["images"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": {}}, "neither an image nor a joint"),
        ({"images": {"face": FACE[..., 0]}}, r"cabin camera 'face': image is uint8 \(40, 30\)"),
        ({"images": {"face": FACE.astype(float)}}, "image is float64"),
        ({"images": {"face": FACE[:0]}}, r"\(0, 30, 3\), rgb8"),
        ({"images": {}, "posture": np.zeros((42, 3))}, r"cabin posture: float64 \(42, 3\), floats \(26, 3\)"),
        ({"images": {}, "gestures": np.zeros((42, 3), int)}, "cabin gestures: int64"),
    ],
)
def test_a_cabin_frame_that_makes_no_sense_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CabinFrame(**content)
