# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be used, one after the other, to the same node."""

import pytest


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(compressed=["right"])


def wrong_step(image):
    image.step = 7
    return [image]


def unknown_encoding(image):
    image.encoding = "rgb9"
    return [image]


LEFT = [
    pytest.param(
        unknown_encoding,
        "unknown encoding",
        "unknown encoding 'rgb9'",
        id="unknown_encoding",
        marks=pytest.mark.fault("unknown encoding", done="encoding 'rgb9'", expected="refused by name"),
    ),
    pytest.param(
        wrong_step,
        "wrong step",
        "step 7 is less than a row",
        id="wrong_step",
        marks=pytest.mark.fault("wrong step", done="step 7 with 64 pixels of rgb8", expected="refused by name"),
    ),
]


@pytest.mark.parametrize(("change", "reason", "text"), LEFT)
def test_unusable_image(system, case, change, reason, text):
    with system.during(case) as seen, system.feed.changing(images={"left": change}):
        seen.status("images", text)
        seen.count("images", f"refused, left: {reason}", more=3)
