# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network suite: what runs, whose encoder, the arithmetic of the ratios, the command. No time is ever asserted."""

import json

import pytest
import torch

from mtl_perception import cli
from mtl_perception.bench import network as suite
from mtl_perception.bench.network import Times, compare, measure
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.example import example_batch


def test_ratios_are_of_medians():
    times = Times(
        multi=(9.0, 1.0, 2.0),
        encoder=(0.5, 0.5, 9.0),
        naive=(1.6, 1.6, 0.1),
        singles={"depth": (1.0, 1.5, 8.0), "semantic": (2.5, 2.5, 0.0)},
    )
    results = {result.name: result for result in compare("tiny", times)}
    over_single = results["tiny/multi_over_single"]
    assert (over_single.value, over_single.reference_value, over_single.ratio) == (2.0, 4.0, 0.5)
    assert results["tiny/modules_over_naive"].ratio == 1.25
    assert results["tiny/encoder_share"].ratio == 0.25
    assert all((result.suite, result.unit) == ("network", "s") for result in results.values())


def test_passes_take_turns_and_share_one_encoder(small_config, monkeypatch):
    calls, encoders = [], set()
    forward = MultiTaskNetwork.forward

    def recorded(self, batch, tasks, previous=None, **inputs):
        assert not self.training and torch.is_inference_mode_enabled()
        calls.append((self.config.tasks, tuple(tasks), previous is not None))
        encoders.add(self.encoder)
        return forward(self, batch, tasks, previous, **inputs)

    monkeypatch.setattr(MultiTaskNetwork, "forward", recorded)
    said = []
    times = measure(small_config, example_batch(small_config, cameras=2), repeats=2, advanced=said.append)
    assert len(encoders) == 1
    everything = ("depth", "semantic", "motion_mask", "occupancy")
    one_round = [
        (everything, everything, True),
        (everything, everything, True),
        (("depth",), ("depth",), False),
        (("semantic",), ("semantic",), False),
        (("motion_mask",), ("motion_mask",), True),
        (("occupancy",), ("occupancy",), False),
    ]
    assert calls[-2 * len(one_round) :] == 2 * one_round
    assert said == ["tiny: building", "tiny: round 1 of 2", "tiny: round 2 of 2"]
    assert list(times.singles) == list(everything)
    assert all(len(values) == 2 for values in (times.multi, times.encoder, times.naive, *times.singles.values()))
    assert all(0 < part < whole for part, whole in zip(times.encoder, times.multi, strict=True))


def test_the_command_writes_bench_json(network_file, tmp_path, capsys):
    out = tmp_path / "out" / "bench.json"
    arguments = ["bench", "--suite", "network", "--presets", str(network_file), "--cameras", "1", "--repeats", "1"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    content = json.loads(out.read_text())
    names = ["tiny/multi_over_single", "tiny/modules_over_naive", "tiny/encoder_share"]
    assert [result["name"] for result in content["results"]] == names
    for result in content["results"]:
        assert result["ratio"] == result["value"] / result["reference_value"]
        assert result["name"] in printed
    assert content["machine"]["threads"] == torch.get_num_threads()


def test_threads_are_set(network_file, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr("mtl_perception.bench.network.run_suite", lambda *_, **__: [])
    assert cli.main(["bench", "--presets", str(network_file), "--threads", "2", "--out", str(tmp_path / "b.json")]) == 0
    assert given == [2]


def test_an_unknown_preset_measures_nothing_and_lists_the_known(network_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(suite, "measure", lambda *_: pytest.fail("a measurement was started"))
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "--presets", f"{network_file},nonesuch", "--out", str(out)]) == cli.FAILURE
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and "nonesuch" in error and "nano" in error
    assert not out.exists()
