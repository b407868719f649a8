# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: shows progress, can be interrupted, and resumes where it was."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, load_checkpoint, save_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training.batches import StepDataset
from mtl_perception.training.config import LossWeights, TrainingConfig
from mtl_perception.training.muon import Muon
from mtl_perception.training.objective import compute_losses
from mtl_perception.training.samples import TrainingBatch
from mtl_perception.training.sources import make_source

STATE = "state.safetensors"
CHECKPOINT = "checkpoint.safetensors"


class Trainer:
    """One training run in one folder. The state is saved every `save_every` steps and when interrupted."""

    def __init__(self, config: TrainingConfig, data: Path, folder: Path) -> None:
        """Prepare the run, and take up the saved state if the folder holds one.

        Raises:
            ValueError: the saved state belongs to another configuration, a recording is not there, or the checkpoint to
                start from cannot be read.
            RuntimeError: that checkpoint is of another network.
            FileNotFoundError: a configuration file is not there.
        """
        torch.manual_seed(config.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder = config, folder
        self.labels = LabelSpace.load(config_file("labels", config.labels))
        network_config = NetworkConfig.load(config_file("networks", config.network))
        network_config = network_config.restricted(LossWeights.model_fields)  # what there are losses for
        grid = network_config.grid.to_grid()
        sources = [make_source(s, data, folder / "worlds", self.labels, grid) for s in config.sources]
        self.dataset = StepDataset(config, sources, self.labels, grid.shape)
        self.network = MultiTaskNetwork(network_config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.start:
            self.network.load_state_dict(load_checkpoint(config.start).network.state_dict())
        self.start = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.average = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.optimizers = self._optimizers()
        self.step = 0
        self._restore()

    def train(self) -> None:
        """Run the remaining steps. An interrupt saves the state before it is passed on.

        Raises:
            FloatingPointError: a loss is not finite; the message names task and step.
        """
        class_weights = self.dataset.class_weights()
        loader = DataLoader(
            Subset(self.dataset, range(self.step, self.config.steps)),
            batch_size=None,
            num_workers=1,
            prefetch_factor=4,
        )
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        means: dict[str, float] = {}
        try:
            with Progress(*columns) as progress:
                bar = progress.add_task("training", total=self.config.steps, completed=self.step)
                for batch in loader:
                    losses = self._one_step(batch, class_weights)
                    for name, value in losses.items():
                        means[name] = 0.98 * means.get(name, value) + 0.02 * value
                    text = "  ".join(f"{name} {value:.3f}" for name, value in sorted(means.items()))
                    progress.update(bar, completed=self.step, description=text)
                    if self.step % self.config.save_every == 0:
                        self.save(means)
                        progress.console.print(f"step {self.step}: {text}")
        finally:
            self.save(means)

    @torch.no_grad()
    def evaluate(self, batch: TrainingBatch, class_weights: Tensor) -> dict[str, float]:
        """Return the losses of the network as it stands, in evaluation mode, on a batch."""
        losses = compute_losses(self.network.eval(), batch, class_weights)
        return {name: float(loss) for name, loss in losses.items()}

    def save(self, losses: Mapping[str, float]) -> None:
        """Write the state to go on from, and the averaged weights as a checkpoint."""
        tensors: dict[str, Tensor] = {f"model.{n}": t for n, t in self.network.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.items()}
        for name, parameter in self.network.named_parameters():
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        temporary = self.folder / f".{STATE}.{os.getpid()}.tmp"
        metadata = {"step": str(self.step), "config": self.config.model_dump_json()}
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, temporary, metadata)
        temporary.replace(self.folder / STATE)

        averaged = MultiTaskNetwork(self.network.config)
        averaged.load_state_dict(self._mixed_with_start())
        card = {
            "licence": self.config.licence,
            "training": json.loads(self.config.model_dump_json()),
            "step": self.step,
            "losses": {name: round(value, 4) for name, value in losses.items()},
        }
        save_checkpoint(self.folder / CHECKPOINT, averaged, self.labels, averaged.config.tasks, card)

    def _mixed_with_start(self) -> dict[str, Tensor]:
        share = self.config.start_share
        return {
            name: tensor.lerp(self.start[name], share) if tensor.is_floating_point() else tensor
            for name, tensor in self.average.items()
        }

    def _one_step(self, batch: TrainingBatch, class_weights: Tensor) -> dict[str, float]:
        self.network.train()
        factor = self._learning_rate_factor()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * optimizer.defaults["lr"]
        losses = compute_losses(self.network, batch, class_weights)
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                raise FloatingPointError(f"step {self.step}: the loss of task '{name}' is {loss.item()}")
        weights = self.config.weights.model_dump()
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        self.network.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self._update_average()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _learning_rate_factor(self) -> float:
        """Linear warm-up, then half a cosine down to 1 % at the end."""
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        fraction = self.step / self.config.steps
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction)))

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the average follows quickly, so that it never holds the random start.
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def _optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Muon for hidden convolution kernels; AdamW for the first and last layers, norms and biases, as Muon asks."""
        hidden = [
            parameter
            for name, parameter in self.network.named_parameters()
            if parameter.ndim == 4 and "logits" not in name and not name.startswith("encoder.stem")
        ]
        taken = {id(parameter) for parameter in hidden}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in taken]
        return (
            Muon(hidden, lr=self.config.kernel_learning_rate),
            torch.optim.AdamW(rest, lr=self.config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0),
        )

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.is_file():
            return
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if metadata["config"] != self.config.model_dump_json():
            raise ValueError(f"{path} belongs to another configuration: choose another --out or remove the file")
        self.step = int(metadata["step"])
        self.network.load_state_dict(_part(tensors, "model."))
        self.average = _part(tensors, "average.")
        owner = {id(p): o for o in self.optimizers for group in o.param_groups for p in group["params"]}
        for name, parameter in self.network.named_parameters():
            for key in ("momentum", "step", "exp_avg", "exp_avg_sq"):
                if f"optimizer.{key}.{name}" in tensors:
                    owner[id(parameter)].state[parameter][key] = tensors[f"optimizer.{key}.{name}"]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
