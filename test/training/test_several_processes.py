# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes on one machine (gloo) make the steps that one process makes on the same samples."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mtl_perception.core import LabelSpace
from mtl_perception.resources import config_file
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.objective.batch_losses import Losses
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.objective.settings import ObjectiveSettings
from mtl_perception.training.trainer import STATE, Trainer


class FixedNorms(Objective):
    """Batch norms use their running statistics: each process would use those of its own batch.

    In double precision: an orthogonal update of a gradient of low rank is as large where it has but rounding errors.
    """

    def __call__(self, network: Any, batch: Any, step: int = 0) -> Losses:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return super().__call__(network, in_double(batch), step)


def in_double(value: Any) -> Any:
    """Return it with its tensors of single precision in double precision."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: in_double(getattr(value, field.name)) for field in fields(value)})
    return value.double() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def fixed_norms(_: Tensor) -> Objective:
    labels = LabelSpace.load(config_file("labels", "default"))
    return FixedNorms(ObjectiveSettings(), labels, torch.ones(len(labels)))


def together(body: Callable[[int], None], count: int = 2) -> list[int | None]:
    """Run `body(rank)` in processes that find each other as those of `accelerate launch` do; return exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def process(rank: int) -> None:
        torch.set_num_threads(1)  # a forked process has none of its parent's threads
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
        PartialState._reset_state()  # what this process was before
        try:
            body(rank)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        torch.distributed.destroy_process_group()

    processes = [multiprocessing.get_context("fork").Process(target=process, args=(rank,)) for rank in range(count)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(300)  # of a busy machine
    return [each.exitcode for each in processes]


def test_two_processes_make_the_steps_of_one(make_config, walls, tmp_path: Path) -> None:
    network = {"tasks": ["depth", "semantic"]}
    sources = [{"kind": "indoor", "frames_per_step": 1, "worlds": 1}]
    config = make_config(network, steps=6, sources=sources)

    class BadInTheSecond(type(walls)):
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def sample(self, index: int, size: tuple[int, int], rng: np.random.Generator) -> Any:
            drawn = walls.sample(index, size, rng)
            nowhere = np.full_like(drawn.base_from_camera, np.nan)
            return replace(drawn, base_from_camera=nowhere, ground_known=True) if self.rank else drawn

    def precise(config: TrainingConfig, folder: str) -> Trainer:
        made = Trainer(config, tmp_path, tmp_path / folder, sources=[walls], objective=fixed_norms, quiet=True)
        made.network.double()
        made.average.double()
        return made

    def body(rank: int) -> None:
        fixed = precise(config, "two")
        assert (fixed.processes.index, fixed.processes.count) == (rank, 2)
        fixed.train()
        plain = Trainer(config, tmp_path, tmp_path / "plain", sources=[walls], quiet=True)
        plain.train()
        save_file({k: v.contiguous() for k, v in plain.network.state_dict().items()}, tmp_path / f"{rank}.safetensors")
        plain.processes.wait()
        resumed = Trainer(config, tmp_path, tmp_path / "plain", sources=[walls], quiet=True)
        assert resumed.record.step == 6
        if rank == 0:  # it finds the state, the other does not
            Trainer(config, tmp_path, tmp_path / "plain", sources=[walls], quiet=True)
        else:
            with pytest.raises(ValueError, match="step 6 for the main process, and for process 1 that of step 0"):
                Trainer(config, tmp_path, tmp_path / "elsewhere", sources=[walls], quiet=True)
        bad = Trainer(config, tmp_path, tmp_path / "bad", sources=[walls], quiet=True)
        bad.train(until=2)
        bad.dataset.sources = [BadInTheSecond(rank)]
        expected = "failed in another process" if rank == 0 else "loss of task 'depth' is .* process 1 of 2: indoor"
        with pytest.raises(FloatingPointError, match=f"step 2: .*{expected}"):
            bad.train()

    assert together(body) == [0, 0]
    both = make_config(network, steps=6, sources=[{**sources[0], "frames_per_step": 2}])
    alone = precise(both, "one")
    start = {name: tensor.clone() for name, tensor in alone.network.state_dict().items()}
    alone.train()
    two = load_file(tmp_path / "two" / STATE)
    moved = 0.0
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(two[f"network.{name}"], tensor, atol=1e-6, rtol=1e-6, msg=name)
        moved = max(moved, float((tensor - start[name]).abs().max()))
    assert moved > 0.02  # far more than the tolerance
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    statistics = next(name for name in first if name.endswith("running_mean"))
    assert not torch.equal(first[statistics], start[statistics])
    bad = load_file(tmp_path / "bad" / STATE)
    assert all(torch.isfinite(tensor).all() for tensor in bad.values())
