# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images whose stamps cannot be, or are those of another time."""

import numpy as np
import pytest

from mtl_perception.messages.stamps import stamp_ns_from, to_time

OTHER, REFERENCE = "left", "front"
SECOND, DAY = 10**9, 86_400 * 10**9
LEFT_OUT = "the camera is left out of the frames, and its images are counted; the others go on"
NO_FRAMES = "what belongs to no frame is counted"


@pytest.fixture(scope="module")
def system(make_system):
    return make_system()


def moved(by_ns):
    def change(image):
        image.header.stamp = to_time(stamp_ns_from(image.header.stamp) + by_ns)
        return [image]

    return change


def stamped(sec, nanosec=0):
    def change(image):
        image.header.stamp.sec, image.header.stamp.nanosec = sec, nanosec
        return [image]

    return change


def too_many_nanoseconds(image):
    image.header.stamp.nanosec = 4_000_000_000
    return [image]


def once(change):
    """Change only the first message."""
    changed = []

    def first(message):
        if changed:
            return [message]
        changed.append(True)
        return change(message)

    return first


def jittering():
    random = np.random.default_rng(0)
    return lambda image: moved(int(random.integers(-SECOND // 4, SECOND // 4)))(image)


def a_case(name, done, expected, *values):
    return pytest.param(*values, id=name, marks=pytest.mark.fault(name, done=done, expected=expected))


CASES = [
    a_case("stamp zero", "a camera's stamps are all zero", LEFT_OUT, OTHER, stamped(0)),
    a_case("negative stamp", "a camera's stamps are -5 s", LEFT_OUT, OTHER, stamped(-5)),
    a_case("stamps of yesterday", "a camera's clock is a day behind", LEFT_OUT, OTHER, moved(-DAY)),
    a_case("stamps of tomorrow", "a camera's clock is a day ahead", LEFT_OUT, OTHER, moved(DAY)),
    a_case("last stamp of all", "a camera's stamps are in 2038", LEFT_OUT, OTHER, stamped(2**31 - 1, 999_999_999)),
    a_case("too many nanoseconds", "a camera's stamps have 4 s of nanoseconds", LEFT_OUT, OTHER, too_many_nanoseconds),
    a_case("jittering stamps", "a camera's stamps are wrong by up to 250 ms", LEFT_OUT, OTHER, jittering()),
    a_case("one stamp of tomorrow", "one image is a day ahead", "one frame lacks the camera", OTHER, once(moved(DAY))),
]


@pytest.mark.parametrize(("camera", "change"), CASES)
def test_of_one_camera(system, case, camera, change):
    with system.during(case) as seen, system.feed.changing(images={camera: change}):
        seen.count("synchronisation", f"frames without {camera}")
        seen.count("frames", "used", more=4)


REFERENCE_CASES = [
    a_case("stamp zero, reference camera", "the reference camera's stamps are zero", NO_FRAMES, stamped(0)),
    a_case("negative stamp, reference camera", "the reference camera's stamps are -5 s", NO_FRAMES, stamped(-5)),
    a_case("stamps of yesterday, reference camera", "its clock is a day behind", NO_FRAMES, moved(-DAY)),
    a_case("stamps of tomorrow, reference camera", "its clock is a day ahead", NO_FRAMES, moved(DAY)),
    a_case("last stamp of all, reference camera", "stamps in 2038", NO_FRAMES, stamped(2**31 - 1, 999_999_999)),
    a_case("one stamp of tomorrow, reference camera", "one image is a day ahead", NO_FRAMES, once(moved(DAY))),
    a_case("one negative stamp, reference camera", "one stamp is -5 s", NO_FRAMES, once(stamped(-5))),
]


@pytest.mark.parametrize("change", REFERENCE_CASES)
def test_of_the_reference_camera(system, case, change):
    with system.during(case) as seen, system.feed.changing(images={REFERENCE: change}):
        seen.any_count({"synchronisation": f"dropped, {REFERENCE}", "frames": "dropped"})
