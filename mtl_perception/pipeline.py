# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perceiver: a RigFrame in, a Prediction out. No ROS."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import (
    FREE,
    UNKNOWN,
    UNOBSERVED,
    CameraPrediction,
    LabelSpace,
    Occupancy,
    Prediction,
    RigFrame,
    VoxelGrid,
)
from mtl_perception.core.camera import Camera
from mtl_perception.core.prediction import TASKS
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.network import (
    CameraBatch,
    Checkpoint,
    History,
    MultiTaskNetwork,
    NetworkConfig,
    NetworkOutput,
    PreviousFrame,
    load_checkpoint,
)
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file, default_checkpoint

MAX_PREVIOUS_AGE_NS = 600_000_000
"""A camera's image is compared with its previous one only when that is no older than this."""
HISTORY_FRAMES = 15
"""How many frames before the current one are remembered for tasks of the whole rig (16 with it; unified encoder)."""
MIN_CAMERA_HEIGHT = 0.3
"""A camera at least this high above the base's z = 0 tells that the base frame lies on the ground (REP-105)."""


@dataclass(frozen=True)
class _Memory:
    """What is kept of a camera's last image; the pose is None where none was known."""

    stamp_ns: int
    world_from_camera: Transform | None
    camera: Camera
    features: Mapping[str, Tensor]


@dataclass(frozen=True)
class _FrameMemory:
    """What is kept of a frame of the whole rig."""

    stamp_ns: int
    features: Mapping[str, Tensor]


class Perceiver:
    """One network looking through all cameras of a rig at once.

    Attributes:
        labels: the label space of its semantics.
        preset, checkpoint: the network's preset and the checkpoint file's name.
        card: what the checkpoint says about its training.
        grid: the occupancy grid, in the base frame.
        tasks: what it computes unless told otherwise: trained for, and asked for.
        tasks_left_out: per other task of the suite, why it is left out.
        rehearsed_tasks: what it computes and keeps to itself, because the weights are random (see `from_preset`).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        tasks: Iterable[str] | None = None,
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        """Take a loaded checkpoint.

        `compiled` turns the shared part and the dense decoders into machine code for the images at hand (torch.compile;
        on a CPU that needs a C++ compiler): the first frame then takes a minute or so, and again when the image size or
        the number of cameras changes; later ones are faster. The results differ by rounding.

        Raises:
            ValueError: a task was asked for that does not exist.
            FileNotFoundError: `compiled`, on a CPU, without a C++ compiler.
        """
        asked = tuple(TASKS if tasks is None else tasks)
        unknown = [task for task in asked if task not in TASKS]
        if unknown:
            raise ValueError(f"tasks: '{unknown[0]}' is not one of {', '.join(TASKS)}")
        self.device = torch.device(device)
        self.network = checkpoint.network.to(self.device).eval()
        if compiled:
            _compile(self.network, self.device)
        self.labels, self.checkpoint, self.card = checkpoint.labels, checkpoint.name, checkpoint.card
        self.preset = self.network.config.preset
        self.grid: VoxelGrid = self.network.config.grid.to_grid()
        self.tasks = tuple(task for task in TASKS if task in asked and task in checkpoint.trained_tasks)
        self.tasks_left_out = {
            task: "not asked for" if task in checkpoint.trained_tasks else f"{checkpoint.name} was not trained for it"
            for task in TASKS
            if task not in self.tasks
        }
        self.rehearsed_tasks: tuple[str, ...] = ()
        self._rectifications: dict[str, Rectification] = {}
        self._memory: dict[str, _Memory] = {}
        self._history: deque[_FrameMemory] = deque(maxlen=HISTORY_FRAMES)
        self._last_stamp_ns: int | None = None
        self._occupancy_labels = torch.tensor([self.labels.id_of(n) for n in self.labels.subsets["occupancy"]])

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        *,
        tasks: Iterable[str] | None = None,
        device: str = "cpu",
        compiled: bool = False,
    ) -> Perceiver:
        """Load a checkpoint by path; without one, that which comes with the package.

        Raises:
            FileNotFoundError: there is no such file (or no C++ compiler, see above).
            ValueError: it is not a checkpoint of this suite, or a task does not exist.
        """
        return cls(load_checkpoint(path or default_checkpoint()), tasks=tasks, device=device, compiled=compiled)

    @classmethod
    def from_preset(cls, name: str, labels: LabelSpace, *, device: str = "cpu", compiled: bool = False) -> Perceiver:
        """Build a preset (its name, or a YAML file) with random weights, to see what it costs on a machine.

        Everything that the preset has is computed in each pass, and nothing of it is in the predictions.

        Raises:
            FileNotFoundError: there is no such preset.
            ValueError: the file is wrong, or the label space has another number of labels.
        """
        config = NetworkConfig.load(config_file("networks", name))
        if len(labels) != config.num_labels:
            raise ValueError(f"preset '{name}' has {config.num_labels} labels, '{labels.name}' has {len(labels)}")
        checkpoint = Checkpoint(MultiTaskNetwork(config).eval(), labels, (), {}, f"{config.preset}, random weights")
        perceiver = cls(checkpoint, device=device, compiled=compiled)
        perceiver.rehearsed_tasks = config.tasks
        return perceiver

    def reset(self) -> None:
        """Forget the previous frames (time jumped, or another recording begins)."""
        self._memory.clear()
        self._history.clear()
        self._last_stamp_ns = None

    @torch.inference_mode()
    def __call__(self, frame: RigFrame, tasks: Collection[str] | None = None) -> Prediction:
        """Look at one frame.

        `tasks` narrows what is computed in this pass (default: `self.tasks`). A motion mask needs poses and a previous
        image of the same camera no older than 0.6 s: where there is none, that camera's mask is None.

        Raises:
            ValueError: a task was asked for that this perceiver does not have.
        """
        wanted = self.tasks if tasks is None else tuple(tasks)
        absent = [task for task in wanted if task not in self.tasks]
        if absent:
            raise ValueError(f"task '{absent[0]}': {self.tasks_left_out.get(absent[0], 'there is no such task')}")
        if self._last_stamp_ns is not None and frame.stamp_ns <= self._last_stamp_ns:
            self.reset()
        if frame.world_from_base is None and self.network.config.reprojection_motion is not None:
            wanted = tuple(task for task in wanted if task != "motion_mask")
        started = time.perf_counter()
        rectified, batch = self._prepare(frame)
        previous = self._previous(frame, rectified)
        prepared = time.perf_counter()
        output = self.network(batch, (*wanted, *self.rehearsed_tasks), previous, history=self._past(frame))
        computed = time.perf_counter()
        published = NetworkOutput() if self.rehearsed_tasks else output
        cameras = self._camera_predictions(frame, rectified, published, previous)
        occupancy = None if published.occupancy_logits is None else self._occupancy(published)
        self._remember(frame, rectified, output)
        finished = time.perf_counter()
        return Prediction(
            stamp_ns=frame.stamp_ns,
            cameras=cameras,
            base_frame=frame.rig.base_frame,
            world_frame=frame.world_frame,
            world_from_base=frame.world_from_base,
            missing=frame.missing,
            occupancy=occupancy,
            tasks=wanted,
            seconds={
                "preprocess": prepared - started,
                "network": computed - prepared,
                "postprocess": finished - computed,
            },
        )

    def _prepare(self, frame: RigFrame) -> tuple[dict[str, tuple[Camera, NDArray[np.uint8]]], CameraBatch]:
        """Rectify all images to one size and put them into one batch."""
        cameras = [frame.rig[name] for name in frame.present]
        # One size for the whole rig, so that one batch holds it: that of the mean aspect ratio.
        ratio = float(np.exp(np.mean([np.log(c.width / c.height) for c in frame.rig])))
        width, height = self.network.config.input_size(round(1000 * ratio), 1000)
        rectified = {}
        for camera in cameras:
            known = self._rectifications.get(camera.name)
            if known is None or not _same_calibration(known.source, camera) or known.target.width != width:
                known = self._rectifications[camera.name] = Rectification.prepare(camera, width, height)
            rectified[camera.name] = (known.target, known.apply(frame.images[camera.name]))
        images = torch.from_numpy(np.stack([image for _, image in rectified.values()]))
        poses = np.stack([camera.base_from_camera for camera in cameras])
        batch = CameraBatch(
            images=(images.to(self.device).permute(0, 3, 1, 2).float() / 255.0),
            K=self._tensor(np.stack([camera.K for camera, _ in rectified.values()])),
            base_from_camera=self._tensor(poses),
            ground_known=torch.from_numpy(poses[:, 2, 3] > MIN_CAMERA_HEIGHT).to(self.device),
            frame_index=torch.zeros(len(cameras), dtype=torch.int64, device=self.device),
            num_frames=1,
        )
        return rectified, batch

    def _previous(
        self, frame: RigFrame, rectified: dict[str, tuple[Camera, NDArray[np.uint8]]]
    ) -> PreviousFrame | None:
        """Return what is remembered of each camera; None when nothing of any camera is usable."""
        usable = {}
        for name, (camera, _) in rectified.items():
            memory = self._memory.get(name)
            if memory is None or (memory.camera.width, memory.camera.height) != (camera.width, camera.height):
                continue
            if 0 < frame.image_stamps_ns[name] - memory.stamp_ns <= MAX_PREVIOUS_AGE_NS:
                usable[name] = memory
        if not usable:
            return None
        # Cameras without a usable previous image borrow another's row; `valid` marks it as meaningless.
        rows = [usable.get(name, next(iter(usable.values()))) for name in rectified]
        motion = [
            inverse(memory.world_from_camera) @ frame.world_from_camera[name]
            for name, memory in zip(rectified, rows, strict=True)
            if memory.world_from_camera is not None and name in frame.world_from_camera
        ]
        kept = set.intersection(*(set(memory.features) for memory in rows))
        return PreviousFrame(
            features={key: torch.stack([memory.features[key] for memory in rows]) for key in sorted(kept)},
            K=self._tensor(np.stack([memory.camera.K for memory in rows])),
            previous_from_current=self._tensor(np.stack(motion)) if len(motion) == len(rows) else None,
            valid=torch.tensor([name in usable for name in rectified], device=self.device),
        )

    def _past(self, frame: RigFrame) -> History | None:
        """Return what is remembered of the frames before, oldest first; None when there are none."""
        past = list(self._history)
        if not past:
            return None
        kept = set.intersection(*(set(memory.features) for memory in past))
        age = [[(frame.stamp_ns - memory.stamp_ns) * 1e-9 for memory in past]]
        return History(
            features={key: torch.stack([memory.features[key] for memory in past], dim=1) for key in sorted(kept)},
            age=self._tensor(np.array(age)),
            valid=torch.ones(1, len(past), dtype=torch.bool, device=self.device),
        )

    def _camera_predictions(
        self,
        frame: RigFrame,
        rectified: dict[str, tuple[Camera, NDArray[np.uint8]]],
        output: NetworkOutput,
        previous: PreviousFrame | None,
    ) -> dict[str, CameraPrediction]:
        size = next(iter(rectified.values()))[1].shape[:2]
        depth = std = semantic = confidence = moving = None
        if output.depth is not None and output.depth_std is not None and output.surface is not None:
            no_surface = _upsample(output.surface, size) < 0.5
            # Inverse depth is what bends least between two pixels of one plane.
            depth = _numpy((1.0 / _upsample(1.0 / output.depth, size)).masked_fill(no_surface, torch.nan))
            std = _numpy(_upsample(output.depth_std, size).masked_fill(no_surface, torch.nan))
        if output.semantic_logits is not None:
            probability = functional.interpolate(output.semantic_logits, size, mode="bilinear").softmax(dim=1)
            best = probability.max(dim=1)
            semantic, confidence = _numpy(best.indices.to(torch.uint8)), _numpy(best.values)
        if output.motion_logits is not None:
            moving = _numpy((_upsample(output.motion_logits, size) > 0).to(torch.uint8) * 255)
        result = {}
        for row, (name, (camera, image)) in enumerate(rectified.items()):
            has_motion = moving is not None and previous is not None and bool(previous.valid[row])
            outside = self._rectifications[name].valid
            prediction = CameraPrediction(
                camera=camera,
                stamp_ns=frame.image_stamps_ns[name],
                world_from_camera=frame.world_from_camera.get(name),
                colour=image,
                depth=None if depth is None else depth[row],
                depth_std=None if std is None else std[row],
                semantic=None if semantic is None else semantic[row],
                semantic_confidence=None if confidence is None else confidence[row],
                motion_mask=moving[row] if has_motion and moving is not None else None,
            )
            if outside is not None:
                _blank(prediction, ~outside)
            result[name] = prediction
        return result

    def _occupancy(self, output: NetworkOutput) -> Occupancy:
        assert output.occupancy_logits is not None and output.reached is not None
        logits, reached = output.occupancy_logits[0], output.reached[0]
        probability = logits[0].sigmoid()
        candidates = logits[1:][self._occupancy_labels]
        best = self._occupancy_labels[candidates.argmax(dim=0)].to(torch.uint8)
        # Far from a camera its rays are over a voxel apart: what lies beside one is seen, too; what is below is not.
        reached = functional.max_pool3d(reached[None], kernel_size=(3, 3, 1), stride=1, padding=(1, 1, 0))[0]
        labels = torch.full_like(best, UNOBSERVED)
        labels[reached > 0.5] = FREE
        occupied = (probability >= 0.5) & (reached > 0.1)
        labels[occupied] = best[occupied]
        return Occupancy(self.grid, _numpy(labels), _numpy(probability))

    def _remember(
        self, frame: RigFrame, rectified: dict[str, tuple[Camera, NDArray[np.uint8]]], output: NetworkOutput
    ) -> None:
        self._last_stamp_ns = frame.stamp_ns
        if output.frame_memory:
            self._history.append(_FrameMemory(frame.stamp_ns, output.frame_memory))
        if not output.memory:
            self._memory.clear()
            return
        for row, (name, (camera, _)) in enumerate(rectified.items()):
            self._memory[name] = _Memory(
                frame.image_stamps_ns[name],
                frame.world_from_camera.get(name),
                camera,
                {key: rows[row] for key, rows in output.memory.items()},
            )

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).float().to(self.device)


def _compile(network: MultiTaskNetwork, device: torch.device) -> None:
    """Compile, in place, what does the same on every frame; the rest looks back or has shapes that depend on data."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise FileNotFoundError(f"the network cannot be compiled: there is no C++ compiler '{compiler}'")
    for part in ("encoder", "neck", "dense"):
        if hasattr(network, part):
            getattr(network, part).compile()


def _same_calibration(first: Camera, second: Camera) -> bool:
    return first is second or (
        (first.width, first.height, first.distortion_model) == (second.width, second.height, second.distortion_model)
        and np.array_equal(first.K, second.K)
        and np.array_equal(first.distortion, second.distortion)
        and np.array_equal(first.base_from_camera, second.base_from_camera)
    )


def _upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]


def _numpy(tensor: Tensor) -> NDArray:
    return tensor.cpu().numpy()


def _blank(prediction: CameraPrediction, outside: NDArray[np.bool_]) -> None:
    """Mark what lies outside the source image as unknown."""
    if prediction.depth is not None and prediction.depth_std is not None:
        prediction.depth[outside] = np.nan
        prediction.depth_std[outside] = np.nan
    if prediction.semantic is not None:
        prediction.semantic[outside] = UNKNOWN
    if prediction.motion_mask is not None:
        prediction.motion_mask[outside] = 0
