# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The teacher of the unified encoder: the same decoders, each group of tasks with an encoder of its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.config import DENSE_TASKS, BackboneConfig, NetworkConfig
from mtl_perception.network.multi_task import MultiTaskNetwork
from mtl_perception.network.output import NetworkOutput

FORMAT = "mtl_perception-teacher-1"
FLOW_TASKS = ("scene_flow", "motion_mask")
_BRANCHES = ("scene", "pose", "motion")


class MultiBackboneTeacher(nn.Module):
    """Three networks that share nothing (unified encoder, section III-C).

    Children: `scene`, depth and segmentation (the paper: Swin); `pose`, the cameras' motion from two images
    (ResNet-18); `motion`, complete scene flow and motion masks (ResNet-18). Nothing but depth and pose goes from one to
    another: the motion branch is told the pose, known or estimated by `pose`, and the flow is composed with the depth
    of `scene`.

    The student learns from the motion branch; the others are there to train it without truth, and to compose its flow.
    """

    def __init__(self, scene: NetworkConfig, pose: NetworkConfig, motion: NetworkConfig) -> None:
        """Build it with random weights; of each configuration only the tasks of that branch are taken.

        Raises:
            ValueError: a configuration lacks one of its branch's tasks.
        """
        super().__init__()
        seen = [task for task in scene.tasks if task in (*DENSE_TASKS, "panoptic")]
        if "depth" not in seen:
            raise ValueError(f"network '{scene.preset}' has no depth: the teacher's flow is composed with it")
        self.scene = MultiTaskNetwork(scene.restricted(seen))
        self.pose = MultiTaskNetwork(_by_pyramids(pose).restricted(("ego_motion",)))
        self.motion = MultiTaskNetwork(_by_pyramids(motion).restricted(FLOW_TASKS))
        # Depth and pose come from the other branches.
        del self.motion.dense, self.motion.motion.ego_motion

    @classmethod
    def of(
        cls, student: NetworkConfig, scene: BackboneConfig, pose: BackboneConfig, motion: BackboneConfig
    ) -> MultiBackboneTeacher:
        """Build the teacher of a student: its decoders, with other backbones."""
        return cls(*(student.model_copy(update={"backbone": backbone}) for backbone in (scene, pose, motion)))

    @property
    def branches(self) -> Mapping[str, MultiTaskNetwork]:
        """The three networks by name."""
        return {"scene": self.scene, "pose": self.pose, "motion": self.motion}

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it has decoders for."""
        return (*self.scene.config.tasks, "ego_motion", *FLOW_TASKS)

    def forward(
        self, current: CameraBatch, previous: CameraBatch, previous_from_current: Tensor | None = None
    ) -> NetworkOutput:
        """Look at images and those before: depth, ego motion, flow and mask.

        Args:
            current: N images.
            previous: the same cameras' images before, row by row.
            previous_from_current: (N, 4, 4) metres; None: as `pose` estimates it.

        Returns:
            `depth`, `ego_motion` (only where the motion is not known), `complete_flow`, `independent_flow`,
            `flow_mask_logits` and, the same, `motion_logits`.
        """
        features, _ = self.scene.encode(current, tasks=("depth",))
        depth = self.scene.decode_dense(features, current, ("depth",))["depth"]
        result: dict[str, Any] = {"depth": depth}
        if previous_from_current is None:
            result["ego_motion"] = self.pose(current, ("ego_motion",), _before(self.pose, previous, None)).ego_motion
            previous_from_current = result["ego_motion"].previous_from_current
        return NetworkOutput(**result, **self.flow(current, previous, previous_from_current, depth))

    def flow(
        self, current: CameraBatch, previous: CameraBatch, previous_from_current: Tensor, depth: Tensor
    ) -> dict[str, Any]:
        """Return what the motion branch alone says, given the cameras' motion and the depth (N, h, w) metres."""
        before = _before(self.motion, previous, previous_from_current)
        features, _ = self.motion.encode(current, before, tasks=FLOW_TASKS)
        return self.motion.decode_motion(features, current, FLOW_TASKS, depth)

    def train_only(self, tasks: Collection[str]) -> None:
        """Let learn what these tasks need; everything else stands still, the statistics of its batch norms too.

        Flow and mask share an encoder, which learns as long as one of them does.

        Raises:
            ValueError: there is no decoder for a task.
        """
        absent = sorted(set(tasks) - set(self.tasks))
        if absent:
            raise ValueError(f"the teacher has no decoder for {', '.join(absent)}")
        wanted = set(tasks)
        _learning(self.scene, bool(wanted.intersection(self.scene.config.tasks)))
        _learning(self.pose, "ego_motion" in wanted)
        _learning(self.motion, bool(wanted.intersection(FLOW_TASKS)))
        if wanted.intersection(FLOW_TASKS):
            _learning(self.motion.motion.scene_flow, "scene_flow" in wanted)
            _learning(self.motion.motion.motion_mask, "motion_mask" in wanted)

    def frozen(self) -> MultiBackboneTeacher:
        """Return itself, as a teacher is used: in evaluation mode, nothing learns."""
        self.eval().requires_grad_(False)
        return self

    def save(self, path: str | Path) -> None:
        """Write weights and configurations as safetensors, to a temporary name that is then renamed."""
        path = Path(path)
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        metadata = {name: branch.config.model_dump_json() for name, branch in self.branches.items()}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        save_file(tensors, temporary, {"format": FORMAT, **metadata})
        temporary.chmod(0o644)
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> MultiBackboneTeacher:
        """Read a teacher, frozen.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a teacher of this suite; names the file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"teacher {path} does not exist")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if metadata.get("format") != FORMAT:
                raise ValueError(f"format is {metadata.get('format')!r}, expected {FORMAT!r}")
            teacher = cls(*(_stored_config(metadata[name]) for name in _BRANCHES))
            teacher.load_state_dict(tensors)
        except (SafetensorError, KeyError, ValidationError, ValueError, RuntimeError) as error:
            raise ValueError(f"teacher {path}: {error}") from error
        return teacher.frozen()


def _by_pyramids(config: NetworkConfig) -> NetworkConfig:
    """Return the configuration with the unified encoder's own decoders of pose, mask and flow."""
    without = dict.fromkeys(("alignment", "reprojection_motion", "cross_view"))
    return config.model_copy(update=without | {"scene_flow": "pyramid"})


def _stored_config(text: str) -> NetworkConfig:
    config = NetworkConfig.model_validate_json(text)
    backbone = config.backbone.model_copy(update={"pretrained": None})  # its weights are in the file
    return config.model_copy(update={"backbone": backbone})


def _before(network: MultiTaskNetwork, previous: CameraBatch, previous_from_current: Tensor | None) -> PreviousFrame:
    valid = torch.ones(len(previous.images), dtype=torch.bool, device=previous.images.device)
    return PreviousFrame(network.memory_of(previous), previous.K, previous_from_current, valid)


def _learning(module: nn.Module, learns: bool) -> None:
    module.train(learns)
    module.requires_grad_(learns)
