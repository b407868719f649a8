# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is killed or stopped at any moment and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mtl_perception.training import state, trainer
from mtl_perception.training.interruption import TERMINATED
from mtl_perception.training.trainer import CHECKPOINT, STATE, Trainer

STEPS = 24
PATIENCE_S = 300  # of a busy machine


@pytest.fixture
def run(make_config, walls, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that trains in another process and returns that process, started."""
    config = make_config(
        steps=STEPS, save_every=2, balancing={"kind": "adaptive", "period": 3}, precision="bfloat16", warmup_steps=4
    )

    def body(folder: str, prepare: Callable[[], None] | None) -> None:
        torch.set_num_threads(1)  # a forked process has none of its parent's threads
        if prepare is not None:
            prepare()
        try:
            Trainer(config, tmp_path, tmp_path / folder, sources=[walls], quiet=True).train()
        except KeyboardInterrupt:
            os._exit(130)

    def start(folder: str, prepare: Callable[[], None] | None = None) -> Any:
        process = multiprocessing.get_context("fork").Process(target=body, args=(folder, prepare))
        process.start()
        return process

    return start


def killed_while_the_state_is_written() -> None:
    """Let the third state be written by half, then no more."""
    written, real = [], state.save_file

    def half(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        real(tensors, path, metadata)
        written.append(path)
        if len(written) == 3:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    state.save_file = half  # type: ignore[assignment]


def killed_before_the_checkpoint_is_written() -> None:
    """Let the next state be written, but not the checkpoint that belongs to it."""
    real = trainer.save_checkpoint
    calls = []

    def never(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 1:  # brings the checkpoint up to the state that the run goes on from
            return real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    trainer.save_checkpoint = never  # type: ignore[assignment]


def steps_of(path: Path) -> int:
    with path.open("rb") as file:  # safe_open opens a path twice: another file may be there then
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return int(json.loads(header["__metadata__"]["record"])["step"])


def wait_for(path: Path, step: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.is_file() or steps_of(path) < step:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_killed_run_that_is_resumed_ends_with_the_same_bits(run, tmp_path: Path) -> None:
    whole = run("whole")
    broken = run("broken", killed_while_the_state_is_written)
    broken.join(PATIENCE_S)
    path = tmp_path / "broken" / STATE
    assert broken.exitcode == -signal.SIGKILL and steps_of(path) == 4
    broken = run("broken", killed_before_the_checkpoint_is_written)
    broken.join(PATIENCE_S)
    assert broken.exitcode == -signal.SIGKILL and steps_of(path) == 6
    rng = np.random.default_rng(0)
    for step, number, code in ((8, signal.SIGKILL, -9), (12, signal.SIGTERM, 143), (16, signal.SIGINT, 130)):
        broken = run("broken")
        wait_for(path, step)
        time.sleep(float(rng.uniform(0.0, 0.1)))
        os.kill(broken.pid, number)
        broken.join(PATIENCE_S)
        assert broken.exitcode == code
        assert step <= steps_of(path) < STEPS  # it was not at its end already
    broken = run("broken")
    for process in (whole, broken):
        process.join(PATIENCE_S)
        assert process.exitcode == 0

    for name in (CHECKPOINT, STATE):
        expected, actual = load_file(tmp_path / "whole" / name), load_file(tmp_path / "broken" / name)
        assert expected.keys() == actual.keys()
        assert [key for key in expected if not torch.equal(expected[key], actual[key])] == []
    assert steps_of(path) == STEPS
    records = []
    for folder in ("whole", "broken"):
        with safe_open(tmp_path / folder / STATE, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
        record.pop("seconds")
        records.append(record)
    assert records[0] == records[1]
    assert {key.split(".")[0] for key in expected} == {"network", "average", "balancer", "optimizer", "class_weights"}
    assert not list((tmp_path / "broken").glob(".*.tmp"))


def test_a_run_that_waits_for_its_data_ends_when_it_is_asked_to(run, walls, tmp_path: Path) -> None:
    path = tmp_path / "waiting" / STATE

    def wait_long() -> None:
        real = walls.sample

        def sample(*arguments: Any) -> Any:
            if path.is_file():
                time.sleep(1.0)
            return real(*arguments)

        walls.sample = sample

    waiting = run("waiting", wait_long)
    wait_for(path, 2)
    time.sleep(0.2)  # longer than a step takes, and shorter than its data
    os.kill(waiting.pid, signal.SIGTERM)
    waiting.join(PATIENCE_S / 10)
    assert waiting.exitcode == TERMINATED and 2 <= steps_of(path) < STEPS
