# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The batches of a run depend on seed, step and rank alone, in any order and in any process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mtl_perception.core import UNKNOWN, LabelSpace
from mtl_perception.resources import config_file
from mtl_perception.training.batches import StepDataset
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.samples import TrainingSample

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID_SHAPE = (32, 32, 8)
MakeConfig = Callable[..., TrainingConfig]


def steps_of(config: TrainingConfig, source: Any, rank: int = 0, processes: int = 1) -> StepDataset:
    return StepDataset(config, [source] * len(config.sources), LABELS, GRID_SHAPE, rank=rank, processes=processes)


def test_a_batch_depends_on_seed_and_step_alone(walls: Any, make_config: MakeConfig) -> None:
    first = steps_of(make_config(), walls)
    expected = [first[step].cameras.images for step in range(4)]
    for step in (3, 0, 2):
        assert torch.equal(steps_of(make_config(), walls)[step].cameras.images, expected[step])
    assert not torch.equal(expected[0], expected[1])
    assert not torch.equal(steps_of(make_config(seed=1), walls)[0].cameras.images, expected[0])
    loaded = [batch.cameras.images for batch in DataLoader(first, batch_size=None, num_workers=2)]
    assert all(torch.equal(one, other) for one, other in zip(loaded, expected, strict=False))


def test_processes_share_the_samples_of_one(walls: Any, make_config: MakeConfig) -> None:
    def config(frames: tuple[int, int]) -> TrainingConfig:
        kinds = [{"kind": "indoor", "frames_per_step": frames[0]}, {"kind": "street", "frames_per_step": frames[1]}]
        return make_config(sources=kinds)

    alone = steps_of(config((6, 3)), walls)
    together = [steps_of(config((2, 1)), walls, rank, 3) for rank in range(3)]
    for step in (0, 7):
        expected = sorted(sample.images.tobytes() for sample in alone.samples(step))
        shares = [[sample.images.tobytes() for sample in part.samples(step)] for part in together]
        assert [len(share) for share in shares] == [3, 3, 3]
        assert sorted(image for share in shares for image in share) == expected
        assert len(set(expected)) == 9
    weights = [part.class_weights(3) for part in (alone, *together)]
    assert all(torch.equal(each, weights[0]) for each in weights)


def test_sources_are_mixed_by_their_weights(walls: Any, make_config: MakeConfig) -> None:
    kinds = [{"kind": "indoor", "frames_per_step": 3}, {"kind": "street", "frames_per_step": 1}]
    drawn = steps_of(make_config(sources=kinds), walls).drawn(2)
    assert [kind for kind, _ in drawn] == ["indoor"] * 3 + ["street"]


def test_rare_classes_weigh_more(walls: Any, make_config: MakeConfig) -> None:
    class Striped:
        """Walls with a stripe of each class, of which the road covers half of the image and the sky two columns."""

        available = walls.available

        def sample(self, index: int, size: tuple[int, int], rng: np.random.Generator) -> TrainingSample:
            columns = np.repeat(np.arange(16), [2, 48, *[4] * 4, *[3] * 10])
            semantic = np.broadcast_to(columns.astype(np.uint8), (1, size[1], size[0]))
            return replace(walls.sample(index, size, rng), semantic=semantic)

    config = make_config(stages=[{"until": 1.0, "width": 96, "height": 64}])
    weights = steps_of(config, Striped()).class_weights(2)
    assert weights.shape == (len(LABELS),)
    torch.testing.assert_close(weights[[1, 0, 6]], torch.tensor([0.5, (3 / 2) ** 0.5, 1.0]))


def test_without_any_label_all_classes_weigh_the_same(walls: Any, make_config: MakeConfig) -> None:
    class Unlabelled:
        available = walls.available

        def sample(self, index: int, size: tuple[int, int], rng: np.random.Generator) -> TrainingSample:
            drawn = walls.sample(index, size, rng)
            return replace(drawn, semantic=np.full_like(drawn.semantic, UNKNOWN))

    assert torch.equal(steps_of(make_config(), Unlabelled()).class_weights(2), torch.ones(len(LABELS)))


def test_stages_end_one_after_the_other(make_config: MakeConfig) -> None:
    small, large = {"width": 96, "height": 64}, {"width": 128, "height": 96}
    config = make_config(stages=[{"until": 0.5, **small}, {"until": 1.0, **large}])
    assert [config.input_size(step) for step in (0, 5, 6, 11)] == [(96, 64)] * 2 + [(128, 96)] * 2
    with pytest.raises(ValueError, match=r"stages must end one after the other, not at 1\.0, 0\.5"):
        make_config(stages=[{"until": 1.0, **small}, {"until": 0.5, **large}])


def test_there_is_no_rank_beyond_the_processes(walls: Any, make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match="rank is 2, expected 0 to 1"):
        steps_of(make_config(), walls, 2, 2)
