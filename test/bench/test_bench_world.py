# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The world suite: its arithmetic, that every stage is met, the command. No time is ever asserted."""

import json

import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.bench.world import REST, STAGES, Times, clocked_stages, compare
from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.world import World
from mtl_perception.resources import config_file


def test_rate_is_of_all_processes_together_and_stages_are_shares_of_an_image():
    times = [Times(10, 0.5, 0.3, {"casting": 0.2, REST: 0.1}), Times(30, 1.5, 0.9, {"casting": 0.7, REST: 0.4})]
    results = {result.name: result for result in compare("street", times, processes=2)}
    rate = results["street/images_per_second"]
    assert (rate.value, rate.reference_value, rate.ratio) == (40.0, 40.0, 1.0)
    assert results["street/whole_image"].value == pytest.approx(30.0)
    assert results["street/whole_image"].reference_value == 50.0
    assert results["street/casting"].value == pytest.approx(22.5)
    shares = [results[f"street/{stage}"].ratio for stage in ("casting", REST)]
    assert sum(shares) == pytest.approx(1.0) and shares[0] == pytest.approx(9 / 14)


@pytest.fixture(scope="module")
def street() -> World:
    labels = LabelSpace.load(config_file("labels", "default"))
    return World.generate("street", 1, labels, cameras="mono", image_size=(64, 48))


def test_every_stage_is_met_and_nothing_stays_behind(street):
    before = {(owner, name): getattr(owner, name) for _, places in STAGES for owner, name in places}
    with clocked_stages() as seconds:
        sample = street.render(2.0)
    assert set(seconds) == {stage for stage, _ in STAGES} and all(value > 0 for value in seconds.values())
    assert all(getattr(owner, name) is function for (owner, name), function in before.items())
    again = street.render(2.0)
    assert all(np.array_equal(image, again.frame.images[name]) for name, image in sample.frame.images.items())


def test_the_command_measures_worlds_in_processes_of_their_own(tmp_path, capsys):
    out = tmp_path / "bench.json"
    small = [
        "--kinds",
        "street",
        "--worlds",
        "1",
        "--frames",
        "1",
        "--rig",
        "mono",
        "--size",
        "64x48",
        "--workers",
        "1",
    ]
    assert cli.main(["bench", "--suite", "world", *small, "--workers", "1", "--out", str(out)]) == 0
    results = {result["name"]: result for result in json.loads(out.read_text())["results"]}
    assert results["street/images_per_second"]["reference_value"] == 40.0
    stages = [results[f"street/{stage}"]["ratio"] for stage in (*(stage for stage, _ in STAGES), REST)]
    assert sum(stages) == pytest.approx(1.0)
    assert "street/casting" in capsys.readouterr().out
