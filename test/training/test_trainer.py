# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a tiny network: it learns, resumes exactly, and refuses what it cannot go on with."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mtl_perception.network import load_checkpoint
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.trainer import CHECKPOINT, STATE, Trainer

NETWORK = {
    "preset": "tiny",
    "tasks": ["depth", "semantic", "motion_mask", "occupancy"],
    "num_labels": 16,
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "volume": {"lift_width": 4, "plane_width": 8},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
}


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    """Return a run of a few steps on one rendered interior."""
    network = tmp_path / "tiny.yaml"
    network.write_text(yaml.safe_dump(NETWORK))
    return TrainingConfig.model_validate(
        {
            "network": str(network),
            "labels": "default",
            "licence": "test",
            "sources": [{"kind": "indoor", "frames_per_step": 2, "worlds": 1, "cameras": "mono"}],
            "stages": [{"until": 1.0, "width": 96, "height": 64}],
            "steps": 12,
            "kernel_learning_rate": 0.03,
            "learning_rate": 0.01,
            "warmup_steps": 2,
            "average_decay": 0.5,
            "save_every": 6,
        }
    )


def test_it_learns_and_an_interrupted_run_ends_as_one_that_was_not(config: TrainingConfig, tmp_path: Path) -> None:
    whole = Trainer(config, tmp_path, tmp_path / "whole")
    batch = whole.dataset[0]
    weights = torch.ones(16)
    first = sum(whole.evaluate(batch, weights).values())
    whole.train()
    assert sum(whole.evaluate(batch, weights).values()) < 0.95 * first

    class Interrupted(Exception):
        """Stands for Ctrl-C."""

    broken = Trainer(config, tmp_path, tmp_path / "broken")
    step = broken._one_step

    def fails_at_five(*arguments):  # type: ignore[no-untyped-def]
        if broken.step == 5:
            raise Interrupted
        return step(*arguments)

    broken._one_step = fails_at_five  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        broken.train()
    resumed = Trainer(config, tmp_path, tmp_path / "broken")
    assert resumed.step == 5
    resumed.train()
    expected, actual = load_file(tmp_path / "whole" / STATE), load_file(tmp_path / "broken" / STATE)
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, atol=1e-5, rtol=1e-4, msg=name)

    checkpoint = load_checkpoint(tmp_path / "broken" / CHECKPOINT)
    assert checkpoint.card["step"] == 12 and set(checkpoint.card["losses"]) == set(NETWORK["tasks"])


def test_a_state_of_another_configuration_is_refused(config: TrainingConfig, tmp_path: Path) -> None:
    trainer = Trainer(config, tmp_path, tmp_path / "run")
    trainer.save({})
    with pytest.raises(ValueError, match="belongs to another configuration"):
        Trainer(config.model_copy(update={"steps": 13}), tmp_path, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run_by_name(config: TrainingConfig, tmp_path: Path) -> None:
    trainer = Trainer(config, tmp_path, tmp_path / "run")
    with torch.no_grad():
        trainer.network.dense.heads["semantic"].decoder.logits.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="step 0: the loss of task 'semantic' is nan"):
        trainer.train()


def test_a_run_starts_from_a_checkpoints_weights(config: TrainingConfig, tmp_path: Path) -> None:
    first = Trainer(config, tmp_path, tmp_path / "first")
    first.save({})
    changes = {"start": str(tmp_path / "first" / CHECKPOINT), "seed": config.seed + 1}
    second = Trainer(config.model_copy(update=changes), tmp_path, tmp_path / "second")
    average = second.average
    for name, tensor in first.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3, msg=name)
        assert torch.equal(average[name], second.network.state_dict()[name]), name
    second.average = {name: tensor + tensor.is_floating_point() for name, tensor in average.items()}
    second.config = second.config.model_copy(update={"start_share": 0.25})
    second.save({})
    mixed = load_checkpoint(tmp_path / "second" / CHECKPOINT).network.state_dict()
    for name, tensor in mixed.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, average[name] + 0.75, atol=3e-3, rtol=3e-3, msg=name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Trainer(config.model_copy(update={"start": "nowhere.safetensors"}), tmp_path, tmp_path / "third")
