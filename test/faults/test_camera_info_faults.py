# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations that are missing, or cannot be."""

import math

import pytest

CAMERA = "left"
LEFT_OUT = "the camera is left out, by name; the others go on"
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def system(make_system):
    return make_system()


def fields(**values):
    """Change fields of a CameraInfo."""

    def change(info):
        for name, value in values.items():
            setattr(info, name, value)
        return [info]

    return change


def K(focal, centre=32.0):
    return fields(k=[focal, 0.0, centre, 0.0, focal, 24.0, 0.0, 0.0, 1.0])


def outside(info):
    info.roi.x_offset, info.roi.width, info.roi.height = 60, 32, 32
    return [info]


def of_frame(name):
    def change(info):
        info.header.frame_id = name
        return [info]

    return change


def nothing(_message):
    return []


def a_case(name, done, expected, *values):
    return pytest.param(*values, id=name, marks=pytest.mark.fault(name, done=done, expected=expected))


def lens(model, d):
    return fields(distortion_model=model, d=d)


REFUSED = [
    a_case("zero K", "K is all zero: not calibrated", LEFT_OUT, fields(k=[0.0] * 9), "k is all zero"),
    a_case("NaN in K", "a focal length of NaN", LEFT_OUT, K(NAN), "K must be .* nan"),
    a_case("infinity in K", "a focal length of infinity", LEFT_OUT, K(INF), "K must be .* inf"),
    a_case("negative focal length", "a focal length of -40", LEFT_OUT, K(-40.0), r"positive focal lengths, is .*-40"),
    a_case("infinite image centre", "cx is infinite", LEFT_OUT, K(40.0, INF), "K must be .*inf"),
    a_case("size in CameraInfo changes", "128x96 for 64x48", LEFT_OUT, fields(width=128, height=96), "says 128x96"),
    a_case("zero size in CameraInfo", "0x0", LEFT_OUT, fields(width=0, height=0), "size 0x0 must be positive"),
    a_case(
        "huge size in CameraInfo",
        "4294967295x4294967295 for images of 64x48",
        f"{LEFT_OUT}; nothing is allocated",
        *(fields(width=2**32 - 1, height=2**32 - 1), "4294967295x4294967295"),
    ),
    a_case("part outside of the sensor", "a roi of 32 columns from column 60 of 64", LEFT_OUT, outside, "roi 32x32 at"),
    a_case("unknown lens", "distortion_model 'banana'", LEFT_OUT, lens("banana", [0.1] * 5), "'banana' is not one of"),
    a_case(
        "endless name of a lens",
        "distortion_model of 100,000 characters with line breaks",
        f"{LEFT_OUT}; a short line",
        *(lens("lens\n" * 20_000, [0.1] * 5), "^topic '/left/camera_info': [^\n]{0,320}$"),
    ),
    a_case(
        "wrong number of coefficients",
        "3 coefficients of plumb_bob",
        LEFT_OUT,
        *(lens("plumb_bob", [0.1] * 3), "3 coefficients do not fit 'plumb_bob'"),
    ),
    a_case(
        "100,000 coefficients",
        "100,000 coefficients of rational_polynomial",
        LEFT_OUT,
        *(lens("rational_polynomial", [0.1] * 100_000), "100000 coefficients do not fit"),
    ),
    a_case(
        "NaN in the distortion",
        "the third coefficient is NaN",
        LEFT_OUT,
        *(lens("plumb_bob", [0.1, 0.0, NAN, 0.0, 0.0]), "distortion must be finite, is .*nan"),
    ),
    a_case(
        "calibration without a frame",
        "frame_id of CameraInfo and image is empty",
        LEFT_OUT,
        *(of_frame(""), "header.frame_id is empty"),
    ),
    a_case(
        "calibration in an unknown frame",
        "frame_id 'nowhere', of which TF knows nothing",
        LEFT_OUT,
        *(of_frame("nowhere"), "'base_link' <- 'nowhere'"),
    ),
    a_case(
        "endless name of a frame",
        "frame_id of 100,000 characters with line breaks",
        f"{LEFT_OUT}; a short line",
        *(of_frame("frame\n" * 20_000), "^[^\n]{0,320}$"),
    ),
]


@pytest.mark.parametrize(("change", "text"), REFUSED)
def test_refused(system, case, change, text):
    def without_frame(image):
        image.header.frame_id = ""
        return [image]

    with system.during(case) as seen, system.feed.changing(infos={CAMERA: change}, images={CAMERA: without_frame}):
        seen.status("images", text, at_least=2)
        assert any(seen.rises("images", key) for key in seen.keys("images", f"refused, {CAMERA}"))
        seen.count("frames", "used", more=2)


EITHER = "used, or left out by name; the others go on"
ABSURD = [
    a_case("absurd distortion", "plumb_bob coefficients of 1e6", EITHER, lens("plumb_bob", [1e6, -1e6, 9.0, 9.0, 0.0])),
    a_case("absurd fisheye", "equidistant, 1e300", EITHER, lens("equidistant", [1e300, -1e300, 0.0, 1.0])),
    a_case("focal length of 1e-300", "K that no camera has", EITHER, K(1e-300)),
    a_case("focal length of 1e300", "K that no camera has", EITHER, K(1e300)),
    a_case("image centre far outside", "cx is 1e9", EITHER, K(40.0, 1e9)),
]


@pytest.mark.parametrize("change", ABSURD)
def test_absurd(system, case, change):
    with system.during(case) as seen, system.feed.changing(infos={CAMERA: change}):
        seen.count("frames", "used", more=4)
        refused = [key for key in seen.keys("images", f"refused, {CAMERA}") if seen.rises("images", key)]
        if refused:
            seen.status("images", CAMERA)
        else:
            seen.count("synchronisation", "complete frames", more=3)


@pytest.mark.fault(
    "CameraInfo stops",
    done="a driver sends images but no CameraInfo any more",
    expected="images go on with the newest calibration",
)
def test_stops(system, case):
    with system.during(case) as seen, system.feed.changing(infos={CAMERA: nothing}):
        seen.count("frames", "used", more=5)
        seen.count("synchronisation", "complete frames", more=5)
        case.saw("used, and nothing is complained of")
        assert not system.newest().complaints


@pytest.mark.fault(
    "CameraInfo missing",
    done="a driver sends images but no CameraInfo, from the start of the node on",
    expected="the topic is named; the camera is left out, the others go on; it joins with its first CameraInfo",
)
def test_missing(system, case):
    with system.during(case) as seen, system.feed.changing(infos={CAMERA: nothing}):
        system.restart(system.nodes[0])
        seen.status("inputs", "'/left/camera_info' is published by 'robot', but nothing arrives", at_least=2)
        seen.status("images", "'/left/camera_info': no CameraInfo has arrived", at_least=2)
        seen.count("frames", "used", more=2)
