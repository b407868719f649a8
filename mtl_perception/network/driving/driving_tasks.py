# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tasks of the whole vehicle together: steering, and the four scene-level classifications."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.network.batch import CameraBatch, History
from mtl_perception.network.config import SCENE_TASKS, DrivingConfig, NetworkConfig, SteeringConfig
from mtl_perception.network.driving.attentive_pooler import (
    AttentivePooler,
    FrameTokens,
    MotionToken,
    SteeringHead,
    with_past,
)
from mtl_perception.network.driving.dual_branch import DualBranchEmbedding
from mtl_perception.network.driving.scene_heads import SceneHeads
from mtl_perception.network.driving.streams import CabinBatch, MotionStream, SceneStreams

DRIVER_TASKS = ("driver_behaviour", "driver_emotion")
"""These need a cabin camera or the driver's joints."""
HISTORY_FRAMES = 15
"""Frames before the current one; with it 16, as both sources have."""


class DrivingTasks(nn.Module):
    """Coarsest level of all outside cameras, recent frames, cabin -> steering and scene-level logits."""

    def __init__(self, config: NetworkConfig, tasks: Collection[str]) -> None:
        """Build what `tasks` need."""
        super().__init__()
        if "steering" in tasks and config.steering is not None:
            self.steering = Steering(config.neck.width, config.steering)
        scene = tuple(task for task in SCENE_TASKS if task in tasks)
        if scene and config.driving is not None:
            self.scene = SceneClassification(config.neck.width, config.driving, scene)

    def forward(
        self,
        coarsest: Tensor,
        batch: CameraBatch,
        tasks: Collection[str],
        history: History | None,
        cabin_maps: Tensor | None,
        cabin: CabinBatch | None,
        twist: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return what `NetworkOutput` says of these tasks, `frame_memory` included.

        Args:
            coarsest: (N, C, h, w).
            batch: the outside images.
            tasks: those that are wanted.
            history: what was kept of the frames before, or None.
            cabin_maps: (B, S, C, h, w), the coarsest level of the cabin's images, or None.
            cabin: the cabin's images and joints, or None: the tasks of the driver then give nothing.
            twist: (B, 6), see `Steering`, or None: not known. Taken by what the configuration gives it to.
        """
        result: dict[str, Any] = {"frame_memory": {}}
        if "steering" in tasks:
            angle, log_variance, tokens = self.steering(coarsest, batch, history, twist)
            result |= {"steering": angle, "steering_log_variance": log_variance}
            result["frame_memory"]["tokens"] = tokens
        scene = [task for task in SCENE_TASKS if task in tasks]
        if scene:
            if cabin is None:
                scene = [task for task in scene if task not in DRIVER_TASKS]
            logits, kept = self.scene(coarsest, batch, scene, history, cabin_maps, cabin, twist)
            result["scene_logits"] = logits
            result["frame_memory"] |= kept
        return result

    def frame_memory(
        self,
        coarsest: Tensor,
        frame_index: Tensor,
        num_frames: int,
        tasks: Collection[str],
        twist: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return what `NetworkOutput.frame_memory` holds, and compute nothing else: for frames of the past in training.

        Args:
            coarsest: (N, C, h, w).
            frame_index: (N,) int64, the frame of each.
            num_frames: B.
            tasks: those that are wanted.
            twist: (B, 6), see `Steering`, or None: not known.
        """
        memory = {}
        if "steering" in tasks:
            memory["tokens"] = self.steering.frame_tokens(coarsest, frame_index, num_frames, twist)
        if set(tasks).intersection(SCENE_TASKS):
            memory |= self.scene.frame_memory(coarsest, frame_index, num_frames, twist)
        return memory


class Steering(nn.Module):
    """The steering angle from tokens of the last frames (unified encoder, section III-D).

    With `motion`, our addition, each frame has one more token: how the rig has moved since the frame before as the
    network itself tells from the images. Maps that are averaged over cameras and cells do not show that.
    """

    def __init__(self, inputs: int, config: SteeringConfig) -> None:
        """Build it for maps of `inputs` channels."""
        super().__init__()
        self.frames = config.frames
        self.reduce = nn.Conv2d(inputs, config.width, 1)
        self.tokens = FrameTokens()
        if config.motion:
            self.motion = MotionToken(config.width)
        rows, columns = self.tokens.grid
        self.pooler = AttentivePooler(config.width, config.frames, tokens=rows * columns + config.motion)
        self.head = SteeringHead(config.width)

    def frame_tokens(self, coarsest: Tensor, frame_index: Tensor, num_frames: int, twist: Tensor | None) -> Tensor:
        """Return the tokens (B, L, width) of frames.

        Args:
            coarsest: (N, C, h, w).
            frame_index: (N,) int64, the frame of each.
            num_frames: B.
            twist: (B, 6) rates of rotation (rad/s) and translation (m/s) of the base since the frame before, in its
                axes then; NaN, or None, where they are not known.
        """
        tokens: Tensor = self.tokens(self.reduce(coarsest), frame_index, num_frames)
        if not hasattr(self, "motion"):
            return tokens
        return torch.cat([tokens, self.motion(_or_unknown(twist, tokens, num_frames)).to(tokens.dtype)], dim=1)

    def forward(
        self, coarsest: Tensor, batch: CameraBatch, history: History | None, twist: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the angle (B,) rad, its log variance (B,) and this frame's tokens (B, L, width), to be kept."""
        now = self.frame_tokens(coarsest, batch.frame_index, batch.num_frames, twist)
        tokens, age, valid = with_past(now, history, "tokens", self.frames)
        angle, log_variance = self.head(self.pooler(tokens, age, valid))
        return angle, log_variance, now


class SceneClassification(nn.Module):
    """Driver behaviour and emotion, vehicle behaviour, traffic context (UV-M3TL, arXiv 2602.01594).

    The task-shared branch joins the driver's stream with those of the scene, then with the joints. With `motion`, our
    addition, how the rig has moved is one of the scene's streams: a car that waits looks like one that is parked.
    """

    def __init__(self, inputs: int, config: DrivingConfig, tasks: Collection[str]) -> None:
        """Build it for maps of `inputs` channels."""
        super().__init__()
        width = config.width
        self.reduce = nn.Conv2d(inputs, width, 1)
        self.streams = SceneStreams(width, HISTORY_FRAMES)
        groups = (1, 2, 1)
        if config.motion:
            self.motion = MotionStream(width, HISTORY_FRAMES + 1)
            groups = (1, 3, 1)
        self.embedding: nn.Module
        if config.dual_branch:
            self.embedding = DualBranchEmbedding(width, groups, tuple(tasks), dense=False)
        else:
            self.embedding = nn.Linear(sum(groups) * width, width)
        self.heads = SceneHeads(width, {task: len(SCENE_CLASSES[task]) for task in tasks})

    def forward(
        self,
        coarsest: Tensor,
        batch: CameraBatch,
        tasks: Collection[str],
        history: History | None,
        cabin_maps: Tensor | None,
        cabin: CabinBatch | None,
        twist: Tensor | None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return logits (B, classes) per task, and what is to be kept of this frame, see `frame_memory`."""
        past = past_valid = None
        if history is not None and "scene" in history.features:
            past, past_valid = history.features["scene"], history.valid
        reduced = None
        if cabin_maps is not None:
            reduced = self.reduce(cabin_maps.flatten(0, 1)).unflatten(0, cabin_maps.shape[:2])
        streams, valid = self.streams(
            self.reduce(coarsest), batch.frame_index, batch.num_frames, cabin, reduced, past, past_valid
        )
        scene = streams[1]
        assert scene is not None  # there are always outside cameras
        kept = {"scene": scene}
        if hasattr(self, "motion"):
            kept["twist"] = _or_unknown(twist, scene, batch.num_frames)
            moved, moved_valid = self.motion(kept["twist"], history)
            streams.insert(-1, moved)
            valid.insert(-1, moved_valid)
        if isinstance(self.embedding, DualBranchEmbedding):
            return self.heads(self.embedding(streams, tuple(tasks), valid).fused), kept
        pooled = [scene.new_zeros(scene.shape[:2]) if s is None else s.mean(dim=(2, 3)) for s in streams]
        vector = functional.relu(self.embedding(torch.cat(pooled, dim=1)))
        return self.heads(dict.fromkeys(tasks, vector)), kept

    def frame_memory(
        self, coarsest: Tensor, frame_index: Tensor, num_frames: int, twist: Tensor | None
    ) -> dict[str, Tensor]:
        """Return what later frames look back at: the scene's stream (B, width, 7, 7), and the twist with `motion`."""
        scene, _ = self.streams.scene(self.reduce(coarsest), frame_index, num_frames)
        return {"scene": scene} | ({"twist": _or_unknown(twist, scene, num_frames)} if hasattr(self, "motion") else {})


def _or_unknown(twist: Tensor | None, like: Tensor, num_frames: int) -> Tensor:
    """Return the twist (B, 6) float32, NaN where there is none."""
    return torch.full((num_frames, 6), torch.nan, device=like.device) if twist is None else twist
