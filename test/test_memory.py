# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is remembered between frames, and for how long."""

import numpy as np
import pytest
import torch

from mtl_perception.core import Camera, Rig, RigFrame
from mtl_perception.memory import HISTORY_FRAMES, Memory
from mtl_perception.network import NetworkOutput

K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
CAMERAS = {name: Camera(name, 64, 48, K, np.eye(4)) for name in ("front", "left")}


def pose(x: float) -> np.ndarray:
    result = np.eye(4)
    result[0, 3] = x
    return result


def frame(seconds: float, names: tuple[str, ...] = ("front", "left"), x: float | None = 0.0) -> RigFrame:
    stamp = round(seconds * 1e9)
    images = {name: np.zeros((48, 64, 3), np.uint8) for name in names}
    poses = {} if x is None else {name: pose(x) for name in names}
    # The left camera is 10 ms late.
    stamps = {name: stamp + (10_000_000 if name == "left" else 0) for name in names}
    return RigFrame(Rig(tuple(CAMERAS.values())), stamp, images, stamps, poses, None if x is None else pose(x))


def output(value: float, count: int = 2) -> NetworkOutput:
    rows = torch.full((count, 1), value) + 0.1 * torch.arange(count)[:, None]
    return NetworkOutput(memory={"level": rows}, frame_memory={"tokens": torch.full((1, 4), value)})


def seen(at: RigFrame) -> dict[str, Camera]:
    return {name: CAMERAS[name] for name in at.present}


def remembering(*frames: RigFrame) -> Memory:
    memory = Memory(torch.device("cpu"))
    for number, at in enumerate(frames):
        memory.remember(at, seen(at), output(float(number), len(at.present)))
    return memory


def test_features_stamps_and_motion_are_of_the_frame_before() -> None:
    now = frame(1.2, x=3.0)
    past = remembering(frame(1.0, x=1.0)).past(now, CAMERAS)
    assert past is not None and past.has_poses and past.stamp_ns == 1_000_000_000
    torch.testing.assert_close(past.previous.features["level"], torch.tensor([[0.0], [0.1]]))
    torch.testing.assert_close(past.previous.elapsed, torch.tensor([0.2, 0.2]))
    assert past.previous.previous_from_current is not None and past.previous.valid.all() and past.previous.newest.all()
    torch.testing.assert_close(past.previous.previous_from_current[:, 0, 3], torch.tensor([2.0, 2.0]))


def test_a_camera_that_missed_a_frame_is_compared_with_an_older_one() -> None:
    memory = remembering(frame(1.0), frame(1.2, ("front",)))
    past = memory.past(frame(1.4), CAMERAS)
    assert past is not None and past.previous.valid.all() and past.previous.newest.tolist() == [True, False]
    torch.testing.assert_close(past.previous.elapsed, torch.tensor([0.2, 0.4]))
    assert past.stamp_ns == 1_200_000_000
    later = memory.past(frame(1.7), CAMERAS)  # 0.7 s since the left camera's last image
    assert later is not None and later.previous.valid.tolist() == [True, False]
    assert memory.past(frame(2.0), CAMERAS) is None


def test_a_camera_of_another_size_has_no_past() -> None:
    small = {name: camera.resized(32, 24) for name, camera in CAMERAS.items()}
    assert remembering(frame(1.0)).past(frame(1.1), small) is None


@pytest.mark.parametrize(("before", "now"), [(None, 1.0), (1.0, None), (None, None)])
def test_motion_is_unknown_where_either_pose_is(before: float | None, now: float | None) -> None:
    past = remembering(frame(1.0, x=before)).past(frame(1.1, x=now), CAMERAS)
    assert past is not None and not past.has_poses


def test_the_history_is_bounded_and_oldest_first() -> None:
    memory = remembering(*(frame(0.1 * number) for number in range(1, HISTORY_FRAMES + 6)))
    history = memory.history(round(0.1e9 * (HISTORY_FRAMES + 6)))
    assert history is not None and history.features["tokens"].shape == (1, HISTORY_FRAMES, 4)
    assert history.features["tokens"][0, 0, 0] == 5.0 and history.valid.all()
    torch.testing.assert_close(history.age[0], 0.1 * torch.arange(HISTORY_FRAMES, 0, -1))


def test_time_that_does_not_advance_clears_everything() -> None:
    memory = remembering(frame(1.0))
    memory.clear_if_not_before(1_000_000_001)
    assert memory.history(1_100_000_000) is not None
    memory.clear_if_not_before(1_000_000_000)
    assert memory.history(1_100_000_000) is None and memory.past(frame(1.1), CAMERAS) is None


def test_a_pass_that_keeps_nothing_leaves_no_past() -> None:
    memory = remembering(frame(1.0))
    memory.remember(frame(1.1), CAMERAS, NetworkOutput())
    assert memory.past(frame(1.2), CAMERAS) is None
