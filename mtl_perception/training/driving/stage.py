# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The driving stage: trains what looks at driver, vehicle and traffic, on features of a frozen encoder."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mtl_perception.core.prediction import TASKS
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.files import write_whole
from mtl_perception.network import Checkpoint, MultiTaskNetwork, NetworkConfig, load_checkpoint, save_checkpoint
from mtl_perception.network.driving.driving_tasks import DrivingTasks
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import checkpoint_file, config_file
from mtl_perception.training.balancing import make_balancer
from mtl_perception.training.driving.config import DrivingStageConfig
from mtl_perception.training.driving.drivers import cached_drivers
from mtl_perception.training.driving.features import ClipFeatures, cached_features, class_counts, feature_key
from mtl_perception.training.driving.heads import DRIVING_TASKS, DrivingHeads
from mtl_perception.training.driving.held_out import held_out_figures
from mtl_perception.training.driving.losses import balanced_class_weights
from mtl_perception.training.driving.moments import Thinning, drawn, random_moments
from mtl_perception.training.interruption import Interruption
from mtl_perception.training.run_card import name_of, past
from mtl_perception.training.trainer import LARGEST_GRADIENT

STATE = "driving_state.safetensors"
CHECKPOINT = "checkpoint.safetensors"
FIGURES = "held_out.json"
_DEVIATION = 4.0  # of the features' channels, once they are standardised


class DrivingStage:
    """One run in one folder. The state is saved every `save_every` steps and when interrupted.

    A step is a function of the configuration, the weights before it and its number alone, so that a run that was
    interrupted and goes on gives the same weights as one that was not.
    """

    def __init__(
        self, config: DrivingStageConfig, folder: Path, *, cache: Path | None = None, processes: int = 1
    ) -> None:
        """Load the checkpoint, make clips and features that are missing, and take up the saved state if there is one.

        Args:
            config: the run's.
            folder: where the run is kept.
            cache: where clips and their features are kept; None: in the folder.
            processes: how many render and encode.

        Raises:
            FileNotFoundError: the checkpoint or the preset is not there.
            ValueError: the saved state belongs to another configuration or encoder, or the checkpoint or the clips make
                no sense.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.step = config, folder, 0
        self._start = load_checkpoint(config.start)
        self._encoder = feature_key(self._start.network, config.clips)
        perceiver = Perceiver(self._start)
        place = cache or folder / "clips"
        self.clips, self.held_out = (
            cached_features(perceiver, clips, place, checkpoint=checkpoint_file(config.start), processes=processes)
            for clips in (config.clips, config.held_out)
        )
        self.drivers: list[ClipFeatures] = []
        if config.drivers is not None:
            shape, start = (config.clips.height, config.clips.width), checkpoint_file(config.start)
            self.drivers = cached_drivers(
                perceiver, config.drivers, shape, place, checkpoint=start, processes=processes
            )
        self.counts = class_counts([*self.clips, *self.drivers])
        torch.manual_seed(config.seed)
        preset = NetworkConfig.load(config_file("networks", config.network))
        self.network = with_driving_tasks(self._start, preset)
        standardise_inputs(self.network.driving, self.clips)
        self.balancer = make_balancer(config.balancing, DRIVING_TASKS)
        weights = {task: balanced_class_weights(list(counts.values())) for task, counts in self.counts.items()}
        self.heads = DrivingHeads(self.network.driving, weights, _angle_variance(self.clips), config)
        self.average = {name: tensor.clone() for name, tensor in self.network.driving.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            [*self.network.driving.parameters(), *self.balancer.parameters()],
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
        )
        self.seconds = 0.0
        self._restore()

    def train(self, until: int | None = None) -> None:
        """Run the remaining steps, or those up to `until`. A signal ends the run after the step that it is in.

        Raises:
            FloatingPointError: a loss or the gradient is not finite; the message names task, step and batch. The last
                saved state stays.
            KeyboardInterrupt, SystemExit: the process was asked to stop; the state is saved.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        means: dict[str, float] = {}
        board = SummaryWriter(str(self.folder), purge_step=self.step + 1)
        with Interruption() as interruption, board, Progress(*columns) as progress:
            _tell_classes(progress.console, self.counts)
            bar = progress.add_task("driving", total=self.config.steps, completed=self.step)
            while self.step < last and interruption.asked is None:
                for name, value in self._one_step().items():
                    means[name] = 0.95 * means.get(name, value) + 0.05 * value
                    board.add_scalar(f"loss/{name}", value, self.step)
                text = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
                progress.update(bar, completed=self.step, description=text)
                if self.step % self.config.save_every == 0:
                    progress.console.print(f"step {self.step}: {text}")
                    self.save()
            self.save()
            if interruption.asked is not None:
                interruption.end()

    def save(self) -> None:
        """Write the state to go on from, and the averaged weights with the frozen rest as a checkpoint."""
        tensors = {f"model.{name}": tensor for name, tensor in self.network.driving.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        tensors |= {f"balancer.{name}": tensor for name, tensor in self.balancer.state_dict().items()}
        for row, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{row}.{key}": torch.as_tensor(value) for key, value in state.items()}
        temporary = self.folder / f".{STATE}.{os.getpid()}.tmp"
        metadata = {
            "step": str(self.step),
            "seconds": str(self.seconds),
            "config": self.config.model_dump_json(),
            "encoder": self._encoder,
        }
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, temporary, metadata)
        temporary.replace(self.folder / STATE)
        network, card = self.averaged(), self.card()
        save_checkpoint(self.folder / CHECKPOINT, network, self._start.labels, network.config.tasks, card)

    def averaged(self) -> MultiTaskNetwork:
        """Return the network with the averaged weights, in evaluation mode."""
        network = MultiTaskNetwork(self.network.config)
        weights = {f"driving.{name}": tensor for name, tensor in self.average.items()}
        network.load_state_dict({**self.network.state_dict(), **weights})
        return network.eval()

    def evaluate(self) -> dict[str, Any]:
        """Return, and write to `held_out.json`, the scores of the averaged weights on the clips that are held out."""
        figures = held_out_figures(self.averaged().driving, self.held_out, self._start.labels)
        write_whole(self.folder / FIGURES, json.dumps(figures, indent=1) + "\n")
        return figures

    def card(self) -> dict[str, Any]:
        """Return what the checkpoint says of its training: what stays true of what it said before, and this stage."""
        stage = {
            "training": json.loads(self.config.model_dump_json()) | {"start": name_of(self.config.start)},
            "step": self.step,
            "hours": round(self.seconds / 3600, 2),
            "frames": {task: dict(counts) for task, counts in self.counts.items()},
        }
        return {**past(self._start.card), "driving": stage}

    def _one_step(self) -> dict[str, float]:
        began = time.perf_counter()
        generator = np.random.default_rng([self.config.seed, self.step])
        batch = random_moments(self.clips, self.config.batch, generator, Thinning(), self.drivers)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._learning_rate_factor()
        self.network.driving.train()
        losses, terms = self.heads.losses(batch)
        for name, loss in {**losses, **terms}.items():
            if not torch.isfinite(loss):
                raise FloatingPointError(f"step {self.step}: the loss of '{name}' is {loss.item()}{self._batch()}")
        total = self.balancer.total(losses) + sum(terms.values())
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.driving.parameters(), LARGEST_GRADIENT))
        if not math.isfinite(norm):
            raise FloatingPointError(f"step {self.step}: the gradient's norm is {norm}{self._batch()}")
        self.optimizer.step()
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self.balancer.update(values)
        self.step += 1
        self._update_average()
        self.seconds += time.perf_counter() - began
        return values | {name: float(loss.detach()) for name, loss in terms.items()}

    def _batch(self) -> str:
        """Return in words what the batch of the step is."""
        generator = np.random.default_rng([self.config.seed, self.step])
        moments = drawn(self.clips, self.config.batch, generator, Thinning(), self.drivers)
        return f"; the batch, seed {self.config.seed}, by numbers and their frames: {'; '.join(map(str, moments))}"

    def _learning_rate_factor(self) -> float:
        """Linear warm-up, then half a cosine down to 1 % at the end."""
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.step / self.config.steps)))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        for name, tensor in self.network.driving.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.is_file():
            return
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        saved = DrivingStageConfig.model_validate_json(metadata["config"])
        # Where the checkpoint lies does not matter; what is in it, `encoder` tells.
        if saved.model_copy(update={"start": self.config.start}) != self.config:
            raise ValueError(f"{path} belongs to another configuration: choose another --out or remove the file")
        if metadata.get("encoder") != self._encoder:
            raise ValueError(f"{path} was trained on another encoder: choose another --out or remove the file")
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.network.driving.load_state_dict(_part(tensors, "model."))
        self.average = _part(tensors, "average.")
        self.balancer.load_state_dict(_part(tensors, "balancer."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            row, _, key = name.partition(".")
            state.setdefault(int(row), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def with_driving_tasks(start: Checkpoint, preset: NetworkConfig) -> MultiTaskNetwork:
    """Return a checkpoint's network with the tasks of driving added, their heads as the preset has them and random.

    All but these heads is frozen. They look at the rig's motion if the preset has it so and the checkpoint was trained
    to tell it.

    Raises:
        ValueError: the preset has no section `steering` or `driving`.
    """
    known = {*start.trained_tasks, *DRIVING_TASKS}
    content = start.network.config.model_dump() | {"tasks": tuple(task for task in TASKS if task in known)}
    for name, section in (("steering", preset.steering), ("driving", preset.driving)):
        told = {"motion": section is not None and section.motion and "ego_motion" in known}
        content[name] = None if section is None else section.model_dump() | told
    network = MultiTaskNetwork(NetworkConfig.model_validate(content))
    known_weights = start.network.state_dict()
    network.load_state_dict(
        {
            name: tensor if name.startswith("driving.") else known_weights[name]
            for name, tensor in network.state_dict().items()
        }
    )
    network.requires_grad_(False).driving.requires_grad_(True)
    return network


@torch.no_grad()
def standardise_inputs(driving: DrivingTasks, clips: Sequence[ClipFeatures]) -> None:
    """Change the first layers so that each channel of the features comes to them with mean 0 and the same deviation.

    A neck's channels differ in scale and lie far from zero, which heads that start at random are slow to make up for.
    With a deviation well above 1, what is averaged over a view is still large enough to be learnt from.
    """
    outside = torch.stack([_channel_moments(clip.outside) for clip in clips]).mean(dim=0)
    cabin = torch.stack([_channel_moments(clip.cabin) for clip in clips]).mean(dim=0)
    for layer, moments in ((driving.steering.reduce, outside), (driving.scene.reduce, (outside + cabin) / 2)):
        mean, squares = moments
        deviation = (squares - mean.square()).clamp(min=1e-6).sqrt()
        assert layer.bias is not None
        layer.weight *= (_DEVIATION / deviation)[None, :, None, None]
        layer.bias -= layer.weight[:, :, 0, 0] @ mean


def _channel_moments(maps: NDArray[np.float16]) -> Tensor:
    """Return (2, C), the means of a clip's channels (..., C, h, w) and of their squares."""
    values = maps.astype(np.float32)
    others = tuple(axis for axis in range(values.ndim) if axis != values.ndim - 3)
    return torch.from_numpy(np.stack([values.mean(axis=others), np.square(values).mean(axis=others)]))


def _angle_variance(clips: list[ClipFeatures]) -> float:
    angles = np.concatenate([clip.steering for clip in clips])
    return max(float(np.nanvar(angles)), 1e-4)


def _tell_classes(console: Console, counts: Mapping[str, Mapping[str, int]]) -> None:
    for task, found in counts.items():
        total = max(1, sum(found.values()))
        console.print(f"{task}: " + ", ".join(f"{name} {count / total:.1%}" for name, count in found.items()))
    absent = [f"{task} '{name}'" for task in SCENE_CLASSES for name, count in counts[task].items() if not count]
    if absent:
        console.print(f"no frame shows {', '.join(absent)}: more worlds are needed", style="bold red")


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
