# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a tiny network: it learns, says what it does, and refuses what it cannot go on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtl_perception.network import load_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training import trainer as trainer_module
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.objective.settings import ObjectiveSettings
from mtl_perception.training.state import optimizer_tensors, restore_optimizers
from mtl_perception.training.trainer import CHECKPOINT, STATE, Trainer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_and_gives_a_checkpoint(make_config, walls, tmp_path: Path, precision: str) -> None:
    config = make_config(precision=precision, steps=20)
    trainer = Trainer(config, tmp_path, tmp_path / "run", sources=[walls], quiet=True)
    trainer.train(until=1)
    first = dict(trainer.record.losses)
    trainer.train()
    assert trainer.record.step == 20
    checkpoint = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert checkpoint.card["step"] == 20 and set(checkpoint.trained_tasks) == set(first)
    for name, tensor in trainer.average.state_dict().items():
        torch.testing.assert_close(checkpoint.network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    losses = trainer._make_objective(trainer._class_weights())(trainer.network.train(), trainer.dataset[0])
    assert losses.tasks["depth"].item() < 0.9 * first["depth"]
    assert losses.tasks["semantic"].item() < 0.7 * first["semantic"]


def test_a_bad_batch_ends_the_run_and_the_state_before_it_stays(make_config, walls, tmp_path: Path) -> None:
    class Bad(type(walls)):
        def sample(self, index, size, rng):  # type: ignore[no-untyped-def]
            drawn = walls.sample(index, size, rng)
            if bad_draws:
                drawn.base_from_camera[:] = float("nan")
                return replace(drawn, ground_known=True)
            return drawn

    bad_draws = []
    config = make_config()
    trainer = Trainer(config, tmp_path, tmp_path / "run", sources=[Bad()], quiet=True)
    trainer.train(until=4)
    before = load_file(tmp_path / "run" / STATE)
    bad_draws.append(True)
    with pytest.raises(
        FloatingPointError, match=r"step 4: the loss of task 'depth' is nan; the batch, seed 0: indoor \d+, indoor \d+$"
    ):
        trainer.train()
    after = load_file(tmp_path / "run" / STATE)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    resumed = Trainer(config, tmp_path, tmp_path / "run", sources=[walls], quiet=True)
    assert resumed.record.step == 4


def test_a_gradient_that_is_not_finite_ends_the_run(make_config, walls, tmp_path: Path) -> None:
    trainer = Trainer(make_config(), tmp_path, tmp_path / "run", sources=[walls], quiet=True)
    weights = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.network.dense.heads["semantic"].decoder.logits.bias.register_hook(lambda gradient: gradient * torch.inf)
    expected = r"step 0: the gradient's norm is (nan|inf), because of 'semantic'; the batch, seed 0: indoor"
    with pytest.raises(FloatingPointError, match=expected):
        trainer.train()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in trainer.network.state_dict().items())


@pytest.mark.parametrize("bare", [{0, 2, 3, 5}, set(range(12))])
def test_steps_without_truth_are_passed_over_but_not_for_ever(
    make_config, walls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: set[int]
) -> None:
    drawn = iter(range(1000))

    class Sparse(type(walls)):
        def sample(self, index, size, rng):  # type: ignore[no-untyped-def]
            sample = walls.sample(index, size, rng)
            step = next(drawn) // 2
            return replace(sample, depth=sample.depth * float("nan")) if step in bare else sample

    monkeypatch.setattr(trainer_module, "MOST_WITHOUT_TRUTH", 3)
    config = make_config({"tasks": ["depth"]}, steps=6)
    trainer = Trainer(config, tmp_path, tmp_path / "run", sources=[Sparse()], quiet=True)
    trainer.class_weights = torch.ones(len(trainer.labels))
    if len(bare) < 6:
        trainer.train()
        assert trainer.record.step == 6 and trainer.record.losses["depth"] > 0
        return
    expected = r"step 2: there was truth for none of the tasks .* 2 steps before; the batch.* indoor \d+, indoor \d+$"
    with pytest.raises(ValueError, match=expected):
        trainer.train()


@pytest.mark.parametrize(
    ("objective", "complaint"),
    [
        ({"depth_normal": 0.5}, "depth_normal needs task 'depth'"),
        ({"distillation": 1.0, "teacher": "a"}, "distillation needs task 'scene_flow'"),
        ({"photometric": 1.0}, "photometric needs task 'depth'"),
        ({"motion_sparsity": 0.1}, "motion_sparsity needs task 'depth'"),
        ({"decoupling": 0.1}, "decoupling needs a network with dense_dual_branch"),
    ],
)
def test_terms_that_would_do_nothing_are_refused(make_config, objective: dict[str, object], complaint: str) -> None:
    config = make_config({"tasks": ["semantic"]}, objective=objective)
    with pytest.raises(ValueError, match=complaint):
        config.network_config()


@pytest.mark.parametrize("term", ["semantic_overlap", "edge_semantic"])
def test_terms_of_semantics_need_a_head(make_config, term: str) -> None:
    changes = {
        "tasks": ["semantic", "edges", "panoptic"],
        "dense": {"semantic_from": "queries"},
        "panoptic": {"kind": "queries", "width": 32, "queries": 6, "encoder_layers": 1, "decoder_layers": 2},
    }
    with pytest.raises(ValueError, match=f"{term} needs semantics from a head"):
        make_config(changes, objective={term: 0.5}).network_config()


def test_terms_of_flow_need_flow_and_no_teacher(make_config) -> None:
    with pytest.raises(ValueError, match="motion_consistency needs task 'scene_flow'"):
        make_config(objective={"motion_consistency": 5.0}).network_config()
    teacher = TrainingConfig.load(config_file("training", "distillation_teacher"))
    asked = teacher.model_copy(update={"objective": ObjectiveSettings(motion_consistency=5.0)})
    with pytest.raises(ValueError, match="motion_consistency is of a network"):
        asked.network_config()


def test_semantics_of_queries_are_not_trained_without_them(make_config) -> None:
    queries = {"kind": "queries", "width": 32, "queries": 6, "encoder_layers": 1, "decoder_layers": 2}
    changes = {
        "tasks": ["depth", "semantic", "panoptic"],
        "dense": {"semantic_from": "queries"},
        "panoptic": queries,
    }
    with pytest.raises(ValueError, match="'panoptic' has to be trained"):
        make_config(changes, tasks=("depth", "semantic")).network_config()


def test_a_task_without_truth_is_not_claimed(make_config, walls, tmp_path: Path, capsys) -> None:
    class Unlabelled(type(walls)):
        def sample(self, index, size, rng):  # type: ignore[no-untyped-def]
            drawn = walls.sample(index, size, rng)
            return replace(drawn, semantic=np.full_like(drawn.semantic, 255))

    objective = {"semantic_overlap": 0.5}
    config = make_config(steps=2, objective=objective)
    Trainer(config, tmp_path, tmp_path / "bare", sources=[Unlabelled()]).train()
    told = capsys.readouterr().out
    assert "task 'semantic' had no truth in any batch" in told
    assert "objective.semantic_overlap never had what it compares" in told
    bare = load_checkpoint(tmp_path / "bare" / CHECKPOINT)
    assert bare.trained_tasks == ("depth", "motion_mask")

    Trainer(config, tmp_path, tmp_path / "full", sources=[walls], quiet=True).train()
    start = str(tmp_path / "full" / CHECKPOINT)
    kept = make_config(steps=1, start=start)
    Trainer(kept, tmp_path, tmp_path / "kept", sources=[Unlabelled()], quiet=True).train()
    checkpoint = load_checkpoint(tmp_path / "kept" / CHECKPOINT)
    assert checkpoint.trained_tasks == ("depth", "semantic", "motion_mask")
    assert checkpoint.card["training"]["start"] == CHECKPOINT
    assert checkpoint.card["start"]["step"] == 2 and "losses" not in checkpoint.card["start"]
    other = make_config({"dense": {"width": 12}}, steps=1, start=start)
    Trainer(other, tmp_path, tmp_path / "other", sources=[Unlabelled()], quiet=True).train()
    assert load_checkpoint(tmp_path / "other" / CHECKPOINT).trained_tasks == ("depth", "motion_mask")


def test_a_state_is_of_what_its_configuration_named(make_config, walls, tmp_path: Path) -> None:
    Trainer(make_config(), tmp_path, tmp_path / "start", sources=[walls], quiet=True).train(until=1)
    start = tmp_path / "start" / CHECKPOINT
    config = make_config(start=str(start))
    Trainer(config, tmp_path, tmp_path / "run", sources=[walls], quiet=True).train(until=1)
    moved = start.rename(tmp_path / "moved.safetensors")
    Trainer(make_config(start=str(moved)), tmp_path, tmp_path / "run", sources=[walls], quiet=True)
    bins = {"nearest": 0.6, "farthest": 50.0, "count": 24, "canonical_focal": 100.0}  # tensors as before
    with pytest.raises(ValueError, match=r"another configuration \(what it names as start\)"):
        Trainer(make_config(), tmp_path, tmp_path / "run", sources=[walls])
    nearer = make_config({"depth_bins": bins}, start=str(moved))
    with pytest.raises(ValueError, match=r"another configuration \(what it names as network\)"):
        Trainer(nearer, tmp_path, tmp_path / "run", sources=[walls])
    Trainer(make_config(seed=3), tmp_path, tmp_path / "start2", sources=[walls], quiet=True).train(until=1)
    (tmp_path / "start2" / CHECKPOINT).rename(moved)
    with pytest.raises(ValueError, match=r"another configuration \(what it names as start\)"):
        Trainer(make_config(start=str(moved)), tmp_path, tmp_path / "run", sources=[walls])


def test_optimisers_get_back_what_they_kept_where_their_parameters_are() -> None:
    saved, elsewhere = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(2, 3, device="meta"))
    optimizer = torch.optim.AdamW([saved], fused=True)
    saved.grad = torch.ones(2, 3)
    optimizer.step()
    kept = optimizer_tensors([optimizer], [("kernel", saved)])
    restored = torch.optim.AdamW([elsewhere], fused=True)
    restore_optimizers([restored], [("kernel", elsewhere)], kept)
    assert set(restored.state[elsewhere]) == {"step", "exp_avg", "exp_avg_sq"}
    assert all(tensor.is_meta for tensor in restored.state[elsewhere].values())


def test_a_run_may_be_lengthened_until_its_rates_fall(make_config, walls, tmp_path: Path) -> None:
    short, long = make_config(decay_fraction=0.5), make_config(decay_fraction=0.5, steps=20, save_every=3)
    Trainer(short, tmp_path, tmp_path / "run", sources=[walls], quiet=True).train(until=6)
    lengthened = Trainer(long, tmp_path, tmp_path / "run", sources=[walls], quiet=True)
    assert lengthened.record.step == 6
    lengthened.train(until=11)
    whole = Trainer(long, tmp_path, tmp_path / "whole", sources=[walls], quiet=True)
    whole.train(until=11)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, lengthened.network.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"belongs to another configuration \(steps\)"):
        Trainer(short, tmp_path, tmp_path / "run", sources=[walls], quiet=True)
    with pytest.raises(ValueError, match=r"belongs to another configuration \(seed\)"):
        Trainer(long.model_copy(update={"seed": 1}), tmp_path, tmp_path / "run", sources=[walls], quiet=True)


def test_a_state_of_other_code_is_refused(make_config, walls, tmp_path: Path) -> None:
    Trainer(make_config(), tmp_path, tmp_path / "run", sources=[walls], quiet=True).save()
    path = tmp_path / "run" / STATE
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {name.replace("network.neck", "network.throat"): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="is of another network"):
        Trainer(make_config(), tmp_path, tmp_path / "run", sources=[walls], quiet=True)


def test_a_run_starts_from_a_checkpoints_weights(make_config, walls, tmp_path: Path) -> None:
    first = Trainer(make_config({"tasks": ["depth"]}), tmp_path, tmp_path / "first", sources=[walls], quiet=True)
    first.save()
    config = make_config(start=str(tmp_path / "first" / CHECKPOINT), seed=1, start_share=0.25)
    second = Trainer(config, tmp_path, tmp_path / "second", sources=[walls], quiet=True)
    started = second.network.state_dict()
    for name, tensor in first.network.state_dict().items():
        torch.testing.assert_close(started[name], tensor, atol=1e-3, rtol=1e-3, msg=name)
    with torch.no_grad():
        for parameter in second.average.parameters():
            parameter.add_(1.0)
    second.save()
    mixed = load_checkpoint(tmp_path / "second" / CHECKPOINT).network
    for name, parameter in mixed.named_parameters():
        share = 0.75 if name in first.network.state_dict() else 1.0  # the semantic head is not in the first
        torch.testing.assert_close(parameter.detach(), started[name] + share, atol=3e-3, rtol=3e-3, msg=name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Trainer(config.model_copy(update={"start": "nowhere.safetensors"}), tmp_path, tmp_path / "third")
    wider = {"backbone": {"options": {"widths": [16, 16, 16, 16], "blocks": [1, 1, 1, 1]}}}
    with pytest.raises(ValueError, match="is of another encoder: encoder"):
        Trainer(make_config(wider, start=config.start), tmp_path, tmp_path / "fourth", sources=[walls])


def test_parts_can_be_started_and_frozen(make_config, walls, tmp_path: Path) -> None:
    Trainer(make_config(steps=1), tmp_path, tmp_path / "first", sources=[walls], quiet=True).train()
    start = {"start": str(tmp_path / "first" / CHECKPOINT), "start_parts": ["encoder", "neck"], "seed": 1}
    frozen = make_config(steps=2, frozen=["encoder"], **start)
    trainer = Trainer(frozen, tmp_path, tmp_path / "second", sources=[walls], quiet=True)
    saved = load_checkpoint(tmp_path / "first" / CHECKPOINT).network.state_dict()
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    for name, tensor in before.items():
        if not name.startswith(("encoder.", "neck.")) and tensor.ndim == 4:
            assert not torch.allclose(tensor, saved[name], atol=1e-2), name
    trainer.train()
    after = trainer.network.state_dict()
    changed = {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert "neck" in changed and "encoder" not in changed
    for name, tensor in saved.items():
        if name.startswith("encoder."):
            torch.testing.assert_close(load_checkpoint(trainer.folder / CHECKPOINT).network.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"start_parts": ["encoder"]}, "start_parts"),
        ({"frozen": ["encoder"]}, "random weights"),
        ({"start": "x", "start_parts": ["neck"], "frozen": ["encoder"]}, "'encoder'"),
        ({"start": "x", "frozen": ["encoder"], "conflicts_every": 5}, "conflicts_every"),
    ],
)
def test_what_is_frozen_must_have_weights(make_config, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_config(**wrong)


def test_a_part_that_the_network_lacks_is_named(make_config, walls, tmp_path: Path) -> None:
    Trainer(make_config(steps=1), tmp_path, tmp_path / "first", sources=[walls], quiet=True).train()
    config = make_config(start=str(tmp_path / "first" / CHECKPOINT), frozen=["wheels"])
    with pytest.raises(ValueError, match="no part 'wheels', but encoder"):
        Trainer(config, tmp_path, tmp_path / "second", sources=[walls])


def test_a_frozen_part_that_the_start_lacks_is_refused(make_config, walls, tmp_path: Path) -> None:
    Trainer(make_config(steps=1), tmp_path, tmp_path / "first", sources=[walls], quiet=True).train()
    wider = {"dense": {"width": 12}}
    start = str(tmp_path / "first" / CHECKPOINT)
    config = make_config(wider, start=start, frozen=["encoder", "dense"])
    with pytest.raises(ValueError, match=r"frozen: 'dense\..* would keep random weights"):
        Trainer(config, tmp_path, tmp_path / "second", sources=[walls])
    with pytest.raises(ValueError, match=r"start_parts: 'dense\..* another shape"):
        Trainer(make_config(wider, start=start, start_parts=["dense"]), tmp_path, tmp_path / "third", sources=[walls])


def test_the_log_has_every_step_once_though_the_run_was_resumed(make_config, walls, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config(tensorboard=True, conflicts_every=2, validate_every=4)
    folder = tmp_path / "run"

    def trainer() -> Trainer:
        return Trainer(config, tmp_path, folder, sources=[walls], quiet=True, validate=lambda network: {"depth": 0.5})

    trainer().train(until=7)
    kept = (folder / STATE).read_bytes()
    trainer().train(until=10)
    (folder / STATE).write_bytes(kept)  # as if it had been killed before it saved
    trainer().train()
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/depth")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("gradient_cosine/depth_semantic")] == [1, 3, 5, 7, 9, 11]
    assert [event.step for event in events.Scalars("validation/depth")] == [4, 8, 12]
    assert events.Scalars("learning_rate/kernels")[5].value == pytest.approx(0.03)
    assert events.Scalars("learning_rate/kernels")[-1].value < 0.01
    lines = [json.loads(line) for line in (folder / "conflicts.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 3, 5, 7, 9, 11]
    assert all(-1 <= value <= 1 for line in lines for value in line["cosines"].values())
    assert load_checkpoint(folder / CHECKPOINT).card["metrics"] == {"depth": 0.5}
