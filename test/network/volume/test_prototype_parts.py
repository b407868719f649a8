# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What MAESTRO's ablations leave out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from mtl_perception.network import NetworkConfig
from mtl_perception.network.volume.task_features import TaskSpecificFeatureGenerator
from mtl_perception.network.volume.volume_tasks import PrototypeHeads
from mtl_perception.training.ablation.study import base_file, merged

TASKS = ("occupancy", "bev_map", "detections")
WIDTH = 16


def test_all_parts_are_there_unless_told_otherwise() -> None:
    parts = _config({}).volume.prototype_parts
    assert parts.class_prototypes
    assert set(parts.enhanced) == set(TASKS)
    assert set(parts.stages) == {"wise", "aware", "suppression"}
    assert set(parts.aggregated) == {"detections", "bev_map"}


@pytest.mark.parametrize("height", [None, 4])
def test_stages_that_are_left_out_have_no_say(height: int | None) -> None:
    torch.manual_seed(0)
    voxels, group = torch.randn(1, WIDTH, 8, 8, 4), torch.randn(1, 3, WIDTH)
    results = {}
    for stages in ((), ("wise",), ("aware",), ("wise", "aware"), ("wise", "aware", "suppression")):
        torch.manual_seed(1)
        generator = TaskSpecificFeatureGenerator(WIDTH, 3, WIDTH, height, stages=stages).eval()
        with torch.no_grad():
            features, suppression = generator(voxels, group)
            other, _ = generator(voxels, group + 1.0)
        assert (suppression is not None) == ("suppression" in stages)
        assert torch.equal(features, other) == (not stages)  # prototypes matter where a stage uses them
        results[stages] = features.shape
    assert len(set(results.values())) == 1


def test_suppression_multiplies_what_enhancement_gave() -> None:
    torch.manual_seed(0)
    voxels, group = torch.randn(1, WIDTH, 8, 8, 4), torch.randn(1, 3, WIDTH)
    for height in (None, 4):
        whole = TaskSpecificFeatureGenerator(WIDTH, 3, WIDTH, height).eval()
        without = TaskSpecificFeatureGenerator(WIDTH, 3, WIDTH, height, stages=("wise", "aware")).eval()
        state = {name: tensor for name, tensor in whole.state_dict().items() if not name.startswith("score.")}
        without.load_state_dict(state)
        with torch.no_grad():
            features, suppression = whole(voxels, group)
            plain, _ = without(voxels, group)
        torch.testing.assert_close(features, plain * suppression.sigmoid()[:, None])


def test_without_class_prototypes_queries_are_learned_and_nothing_is_enhanced() -> None:
    heads = _heads({"class_prototypes": False, "enhanced": [], "aggregated": []})
    result = heads(torch.randn(2, WIDTH, 8, 8, 4), TASKS)
    assert result["prototype_mask_logits"] is None
    assert result["suppression_logits"] == {}
    assert result["occupancy_logits"].shape == (2, 17, 8, 8, 4)
    assert not any(name.startswith("prototypes.classifier") for name, _ in heads.named_parameters())


def test_only_the_tasks_that_are_named_are_enhanced() -> None:
    result = _heads({"enhanced": ["bev_map"], "aggregated": []})(torch.randn(1, WIDTH, 8, 8, 4), TASKS)
    assert set(result["suppression_logits"]) == {"bev_map"}
    assert result["prototype_mask_logits"] is not None


def test_what_is_not_aggregated_does_not_reach_occupancy() -> None:
    voxels = torch.randn(1, WIDTH, 8, 8, 4)
    for aggregated in ([], ["detections"], ["detections", "bev_map"]):
        heads = _heads({"aggregated": aggregated})
        with torch.no_grad():
            before = heads(voxels, TASKS)["occupancy_logits"]
            for parameter in heads.features["bev_map"].parameters():
                parameter.add_(0.3)
            heads.bev_map.logits.bias.fill_(5.0)  # every cell belongs to every layer
            after = heads(voxels, TASKS)["occupancy_logits"]
        assert torch.equal(before, after) == ("bev_map" not in aggregated)
        alone = heads(voxels, ("occupancy",))
        assert ("map_logits" in alone) == ("bev_map" in aggregated)
        assert ("boxes" in alone) == ("detections" in aggregated)


def test_nothing_is_enhanced_without_prototypes() -> None:
    with pytest.raises(ValueError, match="without class_prototypes"):
        _config({"class_prototypes": False})


def _config(parts: dict[str, Any]) -> NetworkConfig:
    content = yaml.safe_load(base_file("network").read_text())
    changes = {
        "volume": {"prototypes": True, "prototype_parts": parts},
        "grid": {"origin": [-2.0, -2.0, -1.0], "voxel_size": 0.5, "shape": [8, 8, 4]},
    }
    return NetworkConfig.model_validate(merged(content, changes))


def _heads(parts: dict[str, Any]) -> PrototypeHeads:
    torch.manual_seed(0)
    config = _config(parts)
    assert config.volume is not None
    return PrototypeHeads(config, config.volume, WIDTH, TASKS).eval()
