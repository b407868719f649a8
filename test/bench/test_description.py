# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a network costs: counts that can be done by hand, clean hooks, and the command's tables and file."""

import json

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from mtl_perception import cli
from mtl_perception.bench.description import OUTSIDE, describe, metered

IMAGES = torch.zeros(2, 3, 8, 8)
FIRST_FLOPS = 2 * (2 * 8 * 8) * 4 * (3 * 9)
HEAD_FLOPS = 2 * (2 * 8 * 8) * 2 * 4


class Pair(nn.Module):
    """Called through a method of its own, not as a module."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(4, 2, 1)
        self.unused = nn.Linear(5, 5)

    def half(self, x):
        return self.inner(x)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(2))
        self.head = nn.Conv2d(4, 2, 1)
        self.pair = Pair()
        self.weight = nn.Parameter(torch.zeros(64, 5))

    def forward(self, batch, tasks, previous=None, **inputs):
        if set(tasks) - {"a", "b", "c"}:
            raise ValueError("no such task")
        flat = self.first(batch)
        x = flat.unflatten(2, (8, 8))
        if "a" in tasks:
            self.head(self.head(x).repeat(1, 2, 1, 1))
        if "b" in tasks:
            self.pair.half(x)
        if "c" in tasks:
            flat @ self.weight


def by_name(costs):
    return {cost.name: cost for cost in costs}


def hooks_of(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_counts_are_those_done_by_hand():
    description = describe(Toy(), IMAGES, ("a", "b", "c"), repeats=1)
    modules = by_name(description.modules)
    assert list(modules) == ["first", "head", "pair", OUTSIDE]
    outside = 2 * (2 * 4) * 64 * 5
    assert [m.flops for m in modules.values()] == [FIRST_FLOPS, 2 * HEAD_FLOPS, HEAD_FLOPS, outside]
    assert [m.parameters for m in modules.values()] == [112, 10, 10 + 30, 320]
    # ReLU works in place and Flatten gives a view: neither adds to what the convolution puts out.
    assert [m.activation_bytes for m in modules.values()] == [2 * 4 * 64 * 4, 2 * (2 * 2 * 64 * 4), 2 * 2 * 64 * 4, 0]
    assert description.flops == FIRST_FLOPS + 3 * HEAD_FLOPS + outside
    assert description.parameters == 482
    assert description.activation_bytes == 2048 + 3 * 1024


def test_tasks_are_counted_alone():
    tasks = by_name(describe(Toy(), IMAGES, ("a", "b"), repeats=1).tasks)
    assert tasks["a"].flops == FIRST_FLOPS + 2 * HEAD_FLOPS
    assert tasks["b"].flops == FIRST_FLOPS + HEAD_FLOPS


def test_passes_of_all_tasks_and_of_single_ones_take_turns():
    network, asked = Toy(), []
    network.register_forward_pre_hook(lambda module, arguments: asked.append(arguments[1]))
    describe(network, IMAGES, ("a", "b"), repeats=2)
    assert asked[-6:] == 2 * [("a", "b"), ("a",), ("b",)]


def test_depth_2_adds_the_modules_of_the_modules():
    modules = by_name(describe(Toy(), IMAGES, ("b",), repeats=1, depth=2).modules)
    assert list(modules) == [
        *("first", "first.0", "first.1", "first.2", "head", "pair", "pair.inner", "pair.unused", OUTSIDE)
    ]
    assert modules["first.0"].flops == modules["first"].flops == FIRST_FLOPS
    assert modules["head"].flops == modules["pair.unused"].flops == 0
    assert modules["pair.inner"].flops == HEAD_FLOPS and modules[OUTSIDE].flops == 0


def test_shares_add_up_with_one_repeat():
    modules = describe(Toy(), IMAGES, ("a", "b", "c"), repeats=1).modules
    assert sum(module.share for module in modules) == pytest.approx(1.0)
    assert all(module.seconds > 0 for module in modules)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, batch, tasks, previous=None, **inputs):
        if "layer" in tasks:
            self.layer(torch.zeros(3, 4, 8))
        if "attention" in tasks:
            x = torch.zeros(1, 2, 16, 8)
            functional.scaled_dot_product_attention(x, x, x)


def test_attention_counts_although_torch_does_not_know_the_kernel():
    tasks = by_name(describe(Attention(), None, ("attention", "layer"), repeats=1).tasks)
    assert tasks["attention"].flops == 2 * 2 * (2 * 16 * 16 * 8)
    projections, feed_forward, attention = 2 * 12 * 8 * (24 + 8), 2 * 2 * 12 * 8 * 16, 3 * 2 * 2 * (2 * 4 * 4 * 4)
    assert tasks["layer"].flops == projections + feed_forward + attention


@pytest.mark.parametrize("tasks", [("a", "b"), ("a", "z")])
def test_nothing_is_left_behind_even_after_a_failure(tasks):
    network = Toy().train()
    try:
        describe(network, IMAGES, tasks, repeats=1)
        assert "z" not in tasks
    except ValueError:
        assert "z" in tasks
    assert hooks_of(network) == 0
    assert network.training and network.first.training
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("options", [{"repeats": 0}, {"depth": 0}])
def test_nothing_to_measure_is_an_error(options):
    with pytest.raises(ValueError, match="at least 1"):
        describe(Toy(), IMAGES, ("a",), **options)


def test_a_meter_counts_each_call_once_whatever_is_inside():
    network = nn.Sequential(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.ReLU())
    clock = [0]
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_: clock.__setitem__(0, clock[0] + 1))
    with metered({"whole": network, "part": network[0]}, lambda: clock[0]) as amounts:
        network(torch.zeros(1))
        network[0](torch.zeros(1))
    assert amounts == {"whole": 5, "part": 4}
    assert hooks_of(network) == 3


def test_the_command_prints_every_module_and_writes_the_figures(small_config, small_network, tmp_path, capsys):
    network, figures = tmp_path / "tiny.yaml", tmp_path / "figures.json"
    network.write_text(yaml.safe_dump(small_config.model_dump(mode="json")))
    arguments = ["describe", "--network", str(network), "--cameras", "2", "--repeats", "1", "--json", str(figures)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    for name in (*dict(small_network.named_children()), *small_config.tasks):
        assert f" {name} " in printed
    content = json.loads(figures.read_text())
    assert (content["preset"], content["cameras"], content["repeats"]) == ("tiny", 2, 1)
    assert content["parameters"] == sum(p.numel() for p in small_network.parameters())
    assert [task["name"] for task in content["tasks"]] == list(small_config.tasks)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml", "figures.json"}


def test_the_command_takes_some_tasks(small_config, tmp_path, capsys):
    network = tmp_path / "tiny.yaml"
    network.write_text(yaml.safe_dump(small_config.model_dump(mode="json")))
    base = ["describe", "--network", str(network), "--repeats", "1", "--tasks"]
    assert cli.main([*base, "semantic, depth"]) == 0
    assert "one task alone" in capsys.readouterr().out
    assert cli.main([*base, "flying"]) == cli.FAILURE
    assert "no decoder for flying" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--size", "640"], ["--cameras", "0"], ["--tasks", ","]])
def test_wrong_values_are_wrong_calls(option, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["describe", *option])
    assert end.value.code == cli.USAGE_ERROR
    assert "error:" in capsys.readouterr().err


def test_an_unknown_preset_is_one_line_that_lists_the_known(capsys):
    assert cli.main(["describe", "--preset", "nonesuch"]) == cli.FAILURE
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and "nonesuch" in error and "nano" in error


def test_modules_may_be_called_with_parameters():
    class Queries(nn.Module):
        def __init__(self):
            super().__init__()
            self.queries = nn.Parameter(torch.zeros(6, 3))
            self.project = nn.Linear(3, 5)

        def forward(self, batch, tasks, previous=None):
            return self.project(self.queries)

    description = describe(Queries(), IMAGES, ("a",), repeats=1)
    assert by_name(description.modules)["project"].flops == description.flops == 2 * 6 * 3 * 5
