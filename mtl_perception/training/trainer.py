# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: shows progress, can be interrupted or killed, and resumes exactly where it was."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, save_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training.balancing import gradient_conflicts, make_balancer
from mtl_perception.training.balancing.balancer import summed
from mtl_perception.training.batches import StepDataset
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.interruption import Interruption, ignore_signals
from mtl_perception.training.muon import Muon
from mtl_perception.training.objective.batch_losses import Losses
from mtl_perception.training.objective.objective import Objective
from mtl_perception.training.processes import Processes
from mtl_perception.training.run_card import run_card, trained_tasks, without_effect
from mtl_perception.training.run_log import RunLog
from mtl_perception.training.samples import TrainingBatch
from mtl_perception.training.sources import Source, make_source
from mtl_perception.training.start import freeze, load_start
from mtl_perception.training.state import (
    Record,
    identity_of,
    load_state,
    optimizer_tensors,
    part,
    restore_optimizers,
    save_state,
)

STATE = "state.safetensors"
CHECKPOINT = "checkpoint.safetensors"
LARGEST_GRADIENT = 5.0
"""The norm that gradients are clipped to."""
MOST_WITHOUT_TRUTH = 100
"""Steps in a row without a loss after which a run ends: a sparsely annotated bag has some, a wrong one only such."""

Validate = Callable[[MultiTaskNetwork], Mapping[str, float]]
"""Averaged network in evaluation mode -> metrics by name."""


class Trainer:
    """One training run in one folder, made by one process or by all that `accelerate launch` started.

    The run is a function of its configuration: on the CPU, with one number of threads and of processes, two runs give
    the same bits, and so does one that was killed and resumed. Batches and random numbers follow from seed and step;
    all else is in the saved state. The checkpoint is written after the state and follows from it.

    Attributes:
        network: as trained; `average`: the exponential moving average of its weights, which the checkpoint holds.
        dataset: item k is this process's batch of step k.
        record: how far the run is.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: Path,
        folder: Path,
        *,
        cache: Path | None = None,
        sources: Sequence[Source] | None = None,
        objective: Callable[[Tensor], Objective] | None = None,
        validate: Validate | None = None,
        quiet: bool = False,
    ) -> None:
        """Prepare the run, and take up the saved state if the folder holds one.

        Args:
            config: of the run.
            data: folder of the recordings.
            folder: of the run.
            cache: folder of rendered worlds, which runs may share; by default the run has its own.
            sources: to draw from instead of those that the configuration describes, in their order.
            objective: makes what is trained for from the class weights, instead of what the configuration says.
            validate: called every `config.validate_every` steps.
            quiet: show nothing.

        Raises:
            ValueError: the saved state belongs to another configuration or is not that of the main process, a recording
                is not there, the checkpoint to start from cannot be read or is of another encoder, or the network has
                no part that is named in `start_parts` or `frozen`.
            FileNotFoundError: a configuration file is not there.
        """
        torch.manual_seed(config.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.validate, self.quiet = config, folder, validate, quiet
        self.processes = Processes()
        self.labels = LabelSpace.load(config_file("labels", config.labels))
        network_config = config.network_config()
        grid = network_config.grid.to_grid()
        layers = tuple(network_config.volume.map_layers) if network_config.volume else ()
        if sources is None:
            worlds = cache or folder / "worlds"
            sources = [make_source(source, data, worlds, self.labels, grid, layers) for source in config.sources]
        self.dataset = StepDataset(
            config,
            sources,
            self.labels,
            grid.shape,
            layers,
            rank=self.processes.index,
            processes=self.processes.count,
        )
        self.network = _channels_last(self._build(network_config).to(self.processes.device))
        self.start = load_start(self.network, config)
        self._frozen = freeze(self.network, config.frozen, self.start.weights)
        self._identity = identity_of(network_config, self.labels, self.start.weights, config.objective.teacher)
        self._without_truth = 0
        self.average = copy.deepcopy(self.network).eval()
        self.balancer = make_balancer(config.balancing, network_config.tasks).to(self.processes.device)
        self.optimizers = self._optimizers()
        self.record = Record()
        self.class_weights: Tensor | None = None
        self._make_objective = objective or (lambda weights: Objective(config.objective, self.labels, weights))
        self._restore()
        step = torch.tensor([self.record.step], device=self.processes.device)
        main = int(self.processes.of_main(step.clone()))
        if main != self.record.step:
            raise ValueError(
                f"{folder} has the state of step {main} for the main process, and for process "
                f"{self.processes.index} that of step {self.record.step}: all machines need one folder"
            )

    def train(self, until: int | None = None) -> None:
        """Make the remaining steps, or those up to step `until`. A signal ends the run after the step that it is in.

        Raises:
            FloatingPointError: a loss or the gradient is not finite; the message names task, step and batch, and the
                saved state is that before the step.
            ValueError: no batch has had truth for any of the tasks for too long; the message names step and batch.
            KeyboardInterrupt, SystemExit: the process was asked to stop; the state is saved.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        steps = range(self.record.step, last)
        log = RunLog(
            self.folder,
            self.record.step,
            self.config.steps,
            tensorboard=self.config.tensorboard,
            quiet=self.quiet,
            is_main=self.processes.is_main,
        )
        loader = DataLoader(
            Subset(self.dataset, steps),
            batch_size=None,
            num_workers=1,
            prefetch_factor=4,
            worker_init_fn=ignore_signals,
        )
        with Interruption() as interruption, log:
            # Alone, a process may stop while it waits for a batch; with others, they have to agree first.
            interruption.waiting = self.processes.count == 1
            stopped: BaseException | None = None
            try:
                objective = self._make_objective(self._class_weights())
                for batch in loader:
                    interruption.waiting = False
                    stop = self._step(batch.to(self.processes.device), objective, log, interruption.asked is not None)
                    if self.record.step % self.config.save_every == 0 and self.record.step < last:
                        log.flush()
                        self.save()
                        log.saved(self.record.step, self.record.losses)
                    if stop or (self.processes.count == 1 and interruption.asked is not None):
                        interruption.end()
                    interruption.waiting = self.processes.count == 1
            except FloatingPointError:
                self.save()
                raise
            except (KeyboardInterrupt, SystemExit) as error:
                # It may have come while a batch was waited for; the frames on its way hold the loader, whose worker
                # would not end as long as they are there.
                stopped = error.with_traceback(None)
            interruption.waiting = False
            self.save()
            if stopped is not None:
                raise stopped
            log.saved(self.record.step, self.record.losses)
            if self.record.step == self.config.steps and self.config.teacher is None:
                log.warn(without_effect(self.average.config, self.config, self.record, self.start))

    def _build(self, config: NetworkConfig) -> MultiTaskNetwork:
        """Return the network that is trained, with random weights."""
        return MultiTaskNetwork(config)

    def save(self) -> None:
        """Write the state to go on from, then the averaged weights as a checkpoint."""
        if not self.processes.is_main:
            return
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        tensors |= {f"balancer.{name}": tensor for name, tensor in self.balancer.state_dict().items()}
        kept = optimizer_tensors(self.optimizers, self._named_parameters())
        tensors |= {f"optimizer.{name}": tensor for name, tensor in kept.items()}
        if self.class_weights is not None:
            tensors["class_weights"] = self.class_weights
        save_state(self.folder / STATE, self.config, self.record, self._identity, tensors)
        self._save_checkpoint()

    def _step(self, batch: TrainingBatch, objective: Objective, log: RunLog, stop: bool) -> bool:
        """Make one step; return whether a process was asked to stop.

        Raises:
            FloatingPointError: nothing has changed but random numbers and gradients.
            ValueError: there has been no loss for too long.
        """
        began = time.perf_counter()
        step = self.record.step
        self.network.train()
        for module in self._frozen:
            module.eval()
        rates = self._set_learning_rates()
        buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        losses = self._losses(objective, batch)
        if self.config.conflicts_every and step % self.config.conflicts_every == 0 and self.processes.is_main:
            log.conflicts(step + 1, gradient_conflicts(losses.tasks, list(self.network.encoder.parameters())))
        values, terms, trouble = losses.numbers()
        self.network.zero_grad(set_to_none=True)
        self.balancer.zero_grad(set_to_none=True)
        if trouble is None and (losses.tasks or losses.terms):
            weighted = [self.balancer.total(losses.tasks)] if losses.tasks else []
            total = summed([*weighted, *losses.terms.values()])
            if total.requires_grad:  # there may be truth for nothing but what is frozen
                total.backward()
        parameters = [parameter for _, parameter in self._named_parameters()]
        agreed = self.processes.agree(parameters, self.balancer.tasks, values, stop, trouble is not None)
        norm = float(nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT))
        if trouble is None and not agreed.failed and not math.isfinite(norm):
            trouble = f"the gradient's norm is {norm}{self._culprit(objective, batch)}"
        if trouble is not None or agreed.failed:
            for buffer, before in buffers:
                buffer.copy_(before)
            self.network.zero_grad(set_to_none=True)
            raise FloatingPointError(f"step {step}: {trouble or 'it failed in another process'}{self._drawn(step)}")
        self._without_truth = 0 if agreed.losses or terms else self._without_truth + 1
        if self._without_truth == MOST_WITHOUT_TRUTH:
            raise ValueError(
                f"step {step}: there was truth for none of the tasks that are trained, as in the "
                f"{MOST_WITHOUT_TRUTH - 1} steps before{self._drawn(step)}"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.processes.average_buffers(self.network)
        self.balancer.update(agreed.losses)
        self.record.step += 1
        self._update_average()
        for means, found in ((self.record.losses, agreed.losses), (self.record.terms, terms)):
            for name, value in found.items():
                means[name] = 0.98 * means.get(name, value) + 0.02 * value
        self.record.seconds += time.perf_counter() - began
        log.losses(self.record.step, agreed.losses, terms, self.record.losses, self.balancer.weights(), rates)
        self._maybe_validate(log)
        return agreed.stop

    def _losses(self, objective: Objective, batch: TrainingBatch) -> Losses:
        """Return the losses of the step that is to be made: the same ones each time, but for what batch norms count."""
        torch.manual_seed(self._seed(self.record.step))
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.processes.device.type, dtype=torch.bfloat16, enabled=half):
            return objective(self.network, batch, self.record.step)

    def _culprit(self, objective: Objective, batch: TrainingBatch) -> str:
        """Return in words whose gradient is not finite; "" where they only are so together, or in another process."""
        losses = self._losses(objective, batch)
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        for name, loss in {**losses.tasks, **losses.terms}.items():
            if loss.requires_grad:
                gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                if not all(gradient is None or gradient.isfinite().all() for gradient in gradients):
                    return f", because of '{name}'"
        return ""

    def _maybe_validate(self, log: RunLog) -> None:
        every, step = self.config.validate_every, self.record.step
        if self.validate is None or not every or (step % every and step < self.config.steps):
            return
        if self.processes.is_main:
            self.record.metrics = dict(self.validate(self.average))
            log.metrics(step, self.record.metrics)
        self.processes.wait()

    def _class_weights(self) -> Tensor:
        if self.class_weights is None:
            weights = self.dataset.class_weights() if self.processes.is_main else torch.zeros(len(self.labels))
            self.class_weights = self.processes.of_main(weights.to(self.processes.device))
        return self.class_weights

    def _seed(self, step: int) -> int:
        """Return what random numbers of a step (dropout, say) begin with: there is no generator's state to keep."""
        words = np.random.SeedSequence([self.config.seed, step, self.processes.index]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def _drawn(self, step: int) -> str:
        """Return in words what this process's batch of a step is."""
        samples = ", ".join(f"{kind} {index}" for kind, index in self.dataset.drawn(step))
        process = f", process {self.processes.index} of {self.processes.count}" if self.processes.count > 1 else ""
        return f"; the batch, seed {self.config.seed}{process}: {samples}"

    def _set_learning_rates(self) -> dict[str, float]:
        factor = self.config.learning_rate_factor(self.record.step)
        rates = {"kernels": factor * self.config.kernel_learning_rate, "others": factor * self.config.learning_rate}
        for optimizer, rate in zip(self.optimizers, rates.values(), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
        return rates

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the average follows quickly, so that it never holds the random start.
        decay = min(self.config.average_decay, (1 + self.record.step) / (10 + self.record.step))
        average, current = self.average.state_dict(), self.network.state_dict()
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([average[name] for name in floating], [current[name] for name in floating], 1 - decay)
        for name in current.keys() - set(floating):
            average[name].copy_(current[name])

    def _optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Muon for hidden convolution kernels; AdamW for the first and last layers, norms and biases, as Muon asks."""
        hidden = [
            parameter
            for name, parameter in self.network.named_parameters()
            if parameter.ndim == 4 and "logits" not in name and "encoder.stem" not in name
        ]
        taken = {id(parameter) for parameter in hidden}
        rest = [parameter for _, parameter in self._named_parameters() if id(parameter) not in taken]
        return (
            Muon(hidden, lr=self.config.kernel_learning_rate),
            torch.optim.AdamW(rest, lr=self.config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        )

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        balanced = [(f"balancer.{name}", parameter) for name, parameter in self.balancer.named_parameters()]
        return [*self.network.named_parameters(), *balanced]

    def _restore(self) -> None:
        """Take up the saved state.

        Raises:
            ValueError: it belongs to another configuration or network.
        """
        path = self.folder / STATE
        if self.processes.is_main:
            for left in self.folder.glob(f".{CHECKPOINT}.*.tmp"):
                left.unlink()  # of a process that was killed while it wrote
        if not path.is_file():
            return
        self.record, tensors = load_state(path, self.config, self._identity)
        saved = part(tensors, "network.")
        if {name: t.shape for name, t in saved.items()} != {n: t.shape for n, t in self.network.state_dict().items()}:
            # Its configuration is the same, but what the code makes of it is not.
            raise ValueError(f"{path} is of another network: choose another --out, or start from its checkpoint")
        self.network.load_state_dict(saved)
        self.average.load_state_dict(part(tensors, "average."))
        self.balancer.load_state_dict(part(tensors, "balancer."))
        restore_optimizers(self.optimizers, self._named_parameters(), part(tensors, "optimizer."))
        if "class_weights" in tensors:
            self.class_weights = tensors["class_weights"].to(self.processes.device)
        if self.processes.is_main:
            self._save_checkpoint()  # it may be older than the state, if the run was killed between the two

    def _save_checkpoint(self) -> None:
        averaged = copy.deepcopy(self.average)
        share = self.config.start_share
        if share:
            for name, tensor in averaged.state_dict().items():
                if tensor.is_floating_point() and name in self.start.weights:
                    tensor.lerp_(self.start.weights[name], share)
        trained = trained_tasks(averaged.config, self.config, self.record, self.start)
        card = run_card(self.config, self.record, self.start)
        save_checkpoint(self.folder / CHECKPOINT, averaged, self.labels, trained, card)


def _channels_last(network: MultiTaskNetwork) -> MultiTaskNetwork:
    """Keep the kernels of 2D convolutions in the order that is faster; `Module.to` refuses a network with 3D ones."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
