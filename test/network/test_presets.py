# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The presets: each loads and builds, has its tasks and the size that was published, and the small ones run."""

import functools
from typing import get_args

import pytest
import torch
from torch import nn

from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.network.config import DENSE_TASKS, SCENE_TASKS, TEMPORAL_TASKS, VOLUME_TASKS, Task
from mtl_perception.network.example import example_batch, example_cabin, history_of, previous_of
from mtl_perception.resources import config_file

EVERYTHING = set(get_args(Task))
TASKS = {
    "nano": EVERYTHING,
    "m2h_small": set(DENSE_TASKS),
    "m2h": set(DENSE_TASKS),
    "cross_view": set(DENSE_TASKS),
    "maestro": set(VOLUME_TASKS),
    "unified_encoder": {"depth", "semantic", "panoptic", *TEMPORAL_TASKS, "steering"},
    "uv_m3tl": set(SCENE_TASKS),
    "full": EVERYTHING,
}
NYU_LABELS = 41  # NYUv2's 40 and none of them, as M2H counts


def load(preset: str) -> NetworkConfig:
    return NetworkConfig.load(config_file("networks", preset))


@functools.cache
def built(preset: str, num_labels: int | None = None) -> MultiTaskNetwork:
    """Return a network without memory for its weights."""
    config = load(preset)
    if num_labels is not None:
        config = NetworkConfig.model_validate(config.model_dump() | {"num_labels": num_labels})
    with torch.device("meta"):
        return MultiTaskNetwork(config)


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def test_there_are_no_others():
    presets = config_file("networks", "nano").parent.glob("*.yaml")
    assert {path.stem for path in presets} == set(TASKS)


@pytest.mark.parametrize("preset", TASKS)
def test_a_preset_is_called_like_its_file_and_has_its_tasks(preset):
    config = load(preset)
    assert config.preset == preset
    assert set(config.tasks) == TASKS[preset] and len(config.tasks) == len(TASKS[preset])


@pytest.mark.parametrize("preset", TASKS)
def test_a_preset_builds_with_every_part_that_it_configures(preset):
    config, parts = load(preset), dict(built(preset).named_children())
    configured = {name for name in ("cross_view", "panoptic", "volume") if getattr(config, name) is not None}
    assert configured <= set(parts)
    assert ("dense" in parts) == bool({*DENSE_TASKS, *VOLUME_TASKS} & TASKS[preset])
    assert ("motion" in parts) == bool({*TEMPORAL_TASKS} & TASKS[preset])
    assert ("driving" in parts) == bool({"steering", *SCENE_TASKS} & TASKS[preset])
    assert all(millions(part) > 0 for part in parts.values())


@pytest.mark.parametrize("labels", [None, NYU_LABELS])
@pytest.mark.parametrize(("preset", "published"), [("m2h_small", 33.7), ("m2h", 81.0)])
def test_m2h_has_the_published_number_of_parameters(preset, published, labels):
    assert millions(built(preset, labels)) == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize("preset", ["cross_view", "full"])
def test_the_cross_view_module_has_the_published_number_of_parameters(preset):
    assert 4.0 <= millions(built(preset).cross_view) <= 5.0


def test_the_smallest_is_nano_and_the_largest_m2h():
    sizes = {preset: millions(built(preset)) for preset in TASKS}
    assert min(sizes, key=sizes.get) == "nano" and max(sizes, key=sizes.get) == "m2h"
    assert sizes["nano"] < 8.0


@pytest.mark.parametrize("preset", TASKS)
def test_the_networks_that_a_preset_is_measured_against_build(preset):
    config = load(preset)
    with torch.device("meta"):
        naive = MultiTaskNetwork(config.plain(config.tasks))
    assert set(naive.config.tasks) == TASKS[preset]
    assert {(name, value.shape) for name, value in naive.encoder.state_dict().items()} == {
        (name, value.shape) for name, value in built(preset).encoder.state_dict().items()
    }
    exchanging = ("Prototype", "TaskSpecific", "CrossTask", "CrossView", "DualBranch", "GatedFusion")
    kinds = {type(module).__name__ for module in naive.modules()}
    assert not [kind for kind in kinds if any(word in kind for word in exchanging)]


@pytest.mark.parametrize("preset", ["nano", "uv_m3tl"])
def test_every_task_of_a_small_preset_runs(preset):
    config = load(preset)
    batch, tasks = example_batch(config), config.tasks
    torch.manual_seed(0)
    network = MultiTaskNetwork(config).eval()
    cabin = example_cabin(config, batch)
    with torch.inference_mode():
        first = network(batch, tasks, cabin=cabin)
        output = network(batch, tasks, previous_of(batch, first), history=history_of(first), cabin=cabin)
    assert set(output.scene_logits) == TASKS[preset] & set(SCENE_TASKS)
    if preset == "nano":
        maps = (output.depth, output.semantic_logits, output.normals, output.edge_logits, output.motion_logits)
        volume = (output.occupancy_logits, output.map_logits, output.boxes.heatmap)
        assert all(value.isfinite().all() for value in (*maps, *volume, output.complete_flow, output.steering))
