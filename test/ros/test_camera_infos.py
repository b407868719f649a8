# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which CameraInfo holds for an image while calibrations change, come late, or not at all."""

import numpy as np
import pytest

from mtl_perception.core import Camera
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.ros.camera_infos import CameraInfos
from mtl_perception.ros.pose_history import NotYetError

SECOND = 1_000_000_000


def info(stamp_ns: int, focal: float = 100.0):
    K = np.array([[focal, 0, 31.5], [0, focal, 23.5], [0, 0, 1]])
    return to_camera_info(Camera("front", 64, 48, K, np.eye(4), frame_id="optical"), stamp_ns)


def focal(infos: CameraInfos, stamp_ns: int, wait: bool = False) -> float:
    return float(infos.at(stamp_ns, wait=wait).k[0])


@pytest.fixture
def infos() -> CameraInfos:
    return CameraInfos()


def test_before_the_first_one_an_image_must_wait(infos: CameraInfos) -> None:
    assert infos.newest is None
    with pytest.raises(NotYetError, match="no CameraInfo has arrived"):
        infos.at(0)


def test_a_change_holds_from_its_stamp_on(infos: CameraInfos) -> None:
    for stamp_ns, length in ((10, 100.0), (20, 100.0), (30, 150.0), (40, 150.0), (50, 90.0)):
        infos.insert(info(stamp_ns, length))
    assert [focal(infos, stamp_ns) for stamp_ns in (5, 10, 29, 30, 49, 50, 99)] == [100, 100, 100, 150, 150, 90, 90]
    assert infos.newest is not None and infos.newest.k[0] == 90.0


def test_one_that_is_late_does_not_end_a_newer_one(infos: CameraInfos) -> None:
    for stamp_ns, length in ((10, 100.0), (30, 150.0), (20, 100.0), (25, 120.0)):
        infos.insert(info(stamp_ns, length))
    assert [focal(infos, stamp_ns) for stamp_ns in (20, 25, 30)] == [100, 120, 150]


def test_without_stamps_the_newest_holds(infos: CameraInfos) -> None:
    for length in (100.0, 150.0, 100.0, 120.0):
        infos.insert(info(0, length))
        assert focal(infos, 7 * SECOND, wait=True) == length


def test_a_recording_that_begins_again_has_its_first_calibration_again(infos: CameraInfos) -> None:
    for _ in range(3):
        for second, length in ((100, 100.0), (105, 150.0), (109, 90.0)):
            infos.insert(info(second * SECOND, length))
            assert focal(infos, second * SECOND) == length
    infos.jump_back()
    assert focal(infos, 3) == 90.0


def test_the_one_of_an_image_is_waited_for_where_each_had_its_own(infos: CameraInfos) -> None:
    for stamp_ns in (10, 20):
        infos.insert(info(stamp_ns))
        infos.at(stamp_ns, wait=True)
    for _ in range(3):
        with pytest.raises(NotYetError, match="no CameraInfo of the image's stamp 30"):
            infos.at(30, wait=True)
    infos.insert(info(30, 150.0))
    assert focal(infos, 30, wait=True) == 150.0
    # It stops coming: one image waits in vain, the next ones do not.
    with pytest.raises(NotYetError):
        infos.at(40, wait=True)
    assert focal(infos, 40) == focal(infos, 50, wait=True) == focal(infos, 60, wait=True) == 150.0


def test_one_that_comes_now_and_then_is_not_waited_for(infos: CameraInfos) -> None:
    for stamp_ns in range(0, 100, 10):
        if stamp_ns % 30 == 0:
            infos.insert(info(stamp_ns))
        for _ in range(4):  # as when a transform is waited for
            infos.at(stamp_ns, wait=True)


def test_of_many_changes_the_newest_are_kept(infos: CameraInfos) -> None:
    for stamp_ns in range(1000):
        infos.insert(info(stamp_ns, 100.0 + stamp_ns))
    assert len(infos._changes) == 10 and focal(infos, 995) == 1095.0
