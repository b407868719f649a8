# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What features are worth for another task: steering from sequences, on an encoder that is frozen or learns, too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_perception.core import LabelSpace, Sample
from mtl_perception.network import CameraBatch, Checkpoint, MultiTaskNetwork, NetworkConfig, load_checkpoint
from mtl_perception.network.driving.driving_tasks import Steering
from mtl_perception.training.ablation.study import SteeringRecipe
from mtl_perception.training.driving.clips import clips_key
from mtl_perception.training.driving.config import ClipsConfig
from mtl_perception.training.driving.losses import steering_loss
from mtl_perception.training.driving.sequences import render_clips
from mtl_perception.training.validation.clips import FIRST_UNSEEN_SEED

SIZE = (96, 64)
LARGEST_GRADIENT = 5.0


@dataclass(frozen=True, eq=False)
class SteeringClip:
    """T consecutive frames of one camera.

    Attributes:
        images: uint8 (T, H, W, 3).
        K: float32 (3, 3) at that size; base_from_camera: float32 (4, 4).
        seconds: float32 (T,); angle: float32 (T,) radians, left positive.
    """

    images: NDArray[np.uint8]
    K: NDArray[np.float32]
    base_from_camera: NDArray[np.float32]
    seconds: NDArray[np.float32]
    angle: NDArray[np.float32]


def train_steering(start: Path, recipe: SteeringRecipe, seed: int, cache: Path) -> dict[str, float]:
    """Train steering on the encoder of a checkpoint, and return its figures on held-out clips.

    The unified encoder's section III-D: attentive pooling over the last frames, a weighted squared error. It takes less
    than a minute, so an interrupted one begins anew.

    Args:
        start: checkpoint whose encoder and neck are used.
        recipe: how.
        seed: of the head's weights and of the order of the clips.
        cache: folder that keeps the rendered clips.

    Raises:
        ValueError, FileNotFoundError: the checkpoint is none.
    """
    checkpoint = load_checkpoint(start)
    torch.manual_seed(seed)
    network = _with_steering(checkpoint, recipe)
    train = steering_clips(recipe.clips(recipe.worlds, 0), checkpoint.labels, cache)
    held_out = steering_clips(recipe.clips(recipe.held_out_worlds, FIRST_UNSEEN_SEED), checkpoint.labels, cache)
    shared = [*network.encoder.parameters(), *network.neck.parameters()]
    head = list(network.driving.steering.parameters())
    groups: list[dict[str, Any]] = [{"params": head, "lr": recipe.learning_rate}]
    if not recipe.frozen:
        groups.append({"params": shared, "lr": recipe.encoder_learning_rate})
    learning = head if recipe.frozen else head + shared
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    rates = [group["lr"] for group in optimizer.param_groups]
    variance = float(np.var(np.concatenate([clip.angle for clip in train])))
    network.eval().requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    network.driving.train()
    if not recipe.frozen:
        network.encoder.train()
        network.neck.train()
    for step in range(recipe.steps):
        rng = np.random.default_rng([seed, step])
        clips = [train[index] for index in rng.integers(len(train), size=recipe.batch)]
        last = [int(rng.integers(recipe.frames - 1, len(clip.angle))) for clip in clips]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (1.0 - step / recipe.steps)
        angle, log_variance = _steer(network, clips, last, recipe.frames)
        true = torch.tensor([clip.angle[row] for clip, row in zip(clips, last, strict=True)])
        loss = steering_loss(angle, log_variance, true, recipe.emphasis, max(variance, 1e-4))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step}: the loss of steering is {loss.item()}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, LARGEST_GRADIENT)
        optimizer.step()
    return _figures(network.eval(), held_out, recipe.frames)


def steering_clips(config: ClipsConfig, labels: LabelSpace, cache: Path) -> list[SteeringClip]:
    """Return clips, rendered when they are first asked for and read from a folder afterwards."""
    folder = cache / f"{clips_key(config)}_{SIZE[0]}x{SIZE[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for seed in range(config.first_seed, config.first_seed + config.worlds):
        paths = [folder / f"{seed:07d}_{number}.npz" for number in range(config.clips_per_world)]
        if not all(path.is_file() for path in paths):
            for path, samples in zip(paths, render_clips(config, seed, labels), strict=True):
                _save(path, _clip(samples))
        clips += [_load(path) for path in paths]
    return clips


def _with_steering(start: Checkpoint, recipe: SteeringRecipe) -> MultiTaskNetwork:
    content = start.network.config.model_dump()
    content |= {"tasks": (*start.network.config.tasks, "steering")}
    content |= {"steering": {"width": recipe.width, "frames": recipe.frames}}
    network = MultiTaskNetwork(NetworkConfig.model_validate(content))
    fresh = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("driving.")}
    network.load_state_dict({**start.network.state_dict(), **fresh})
    return network


def _steer(
    network: MultiTaskNetwork, clips: Sequence[SteeringClip], last: Sequence[int], frames: int
) -> tuple[Tensor, Tensor]:
    """Return angles (B,) and log variances (B,) at one frame of each clip, from it and those before."""
    rows = [np.arange(row - frames + 1, row + 1) for row in last]
    images = np.concatenate([clip.images[chosen] for clip, chosen in zip(clips, rows, strict=True)])
    count = len(images)
    poses = np.stack([clip.base_from_camera for clip in clips]).repeat(frames, axis=0)
    batch = CameraBatch(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0,
        K=torch.from_numpy(np.stack([clip.K for clip in clips]).repeat(frames, axis=0)),
        base_from_camera=torch.from_numpy(poses),
        ground_known=torch.ones(count, dtype=torch.bool),
        frame_index=torch.arange(count),
        num_frames=count,
    )
    coarsest = network.encode(batch, tasks=("steering",))[0].own[-1]
    steering = network.driving.steering
    assert isinstance(steering, Steering)
    tokens = steering.tokens(steering.reduce(coarsest), batch.frame_index, count).unflatten(0, (len(clips), frames))
    seconds = torch.from_numpy(np.stack([clip.seconds[chosen] for clip, chosen in zip(clips, rows, strict=True)]))
    age = seconds[:, -1:] - seconds
    angle, log_variance = steering.head(steering.pooler(tokens, age, torch.ones_like(age, dtype=torch.bool)))
    return angle, log_variance


@torch.inference_mode()
def _figures(network: MultiTaskNetwork, clips: Sequence[SteeringClip], frames: int) -> dict[str, float]:
    errors, angles = [], []
    for clip in clips:
        last = list(range(frames - 1, len(clip.angle)))
        found, _ = _steer(network, [clip] * len(last), last, frames)
        errors.append(found.numpy() - clip.angle[last])
        angles.append(clip.angle[last])
    error, angle = np.concatenate(errors).astype(np.float64), np.concatenate(angles).astype(np.float64)
    return {
        "steering.mse": float(np.mean(error**2)),
        "steering.mae_deg": float(np.degrees(np.mean(np.abs(error)))),
        "steering.mse_of_mean": float(np.var(angle)),
        "parameters": float(sum(parameter.numel() for parameter in network.parameters())),
    }


def _clip(samples: Sequence[Sample]) -> SteeringClip:
    (camera,) = samples[0].frame.rig
    small = camera.resized(*SIZE)
    images = [cv2.resize(s.frame.images[camera.name], SIZE, interpolation=cv2.INTER_AREA) for s in samples]
    stamps = np.array([sample.frame.stamp_ns for sample in samples])
    angles = [np.nan if sample.truth.steering is None else sample.truth.steering for sample in samples]
    return SteeringClip(
        np.stack(images).astype(np.uint8),
        small.K.astype(np.float32),
        camera.base_from_camera.astype(np.float32),
        ((stamps - stamps[0]) * 1e-9).astype(np.float32),
        np.array(angles, np.float32),
    )


def _save(path: Path, clip: SteeringClip) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(temporary, **{field.name: getattr(clip, field.name) for field in fields(clip)})
    temporary.replace(path)


def _load(path: Path) -> SteeringClip:
    with np.load(path) as file:
        return SteeringClip(**{field.name: file[field.name] for field in fields(SteeringClip)})
