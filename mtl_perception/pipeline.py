# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perceiver: a RigFrame in, a Prediction out. No ROS."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_perception.core import CabinFrame, CameraPrediction, LabelSpace, Prediction, RigFrame, VoxelGrid
from mtl_perception.core.camera import Camera
from mtl_perception.core.frame import GESTURE_JOINTS, POSTURE_JOINTS
from mtl_perception.core.prediction import TASKS
from mtl_perception.memory import Memory, Past
from mtl_perception.network import (
    CameraBatch,
    Checkpoint,
    MultiTaskNetwork,
    NetworkConfig,
    NetworkOutput,
    load_checkpoint,
)
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.network.driving.driving_tasks import DRIVER_TASKS
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.network.motion.ego_motion import base_twist
from mtl_perception.postprocessing import OUTSIDE, Postprocessing, Thresholds
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file, default_checkpoint

MAX_ASPECT_RATIO = 8.0
"""Of the network's input; images that are longer are squeezed."""
MIN_CAMERA_HEIGHT = 0.3
"""A camera at least this high above the base's z = 0 tells that the base frame lies on the ground (REP-105)."""


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
        the number of cameras changes. The results differ by rounding.

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
        self._trained = frozenset(checkpoint.trained_tasks)
        self.tasks = tuple(task for task in TASKS if task in asked and not self._why_not(task))
        self.tasks_left_out: dict[str, str] = {
            task: self._why_not(task) or "not asked for" for task in TASKS if task not in self.tasks
        }
        self.rehearsed_tasks: tuple[str, ...] = ()
        self._rectifications: dict[str, Rectification] = {}
        self._memory = Memory(self.device)
        self._postprocessing = Postprocessing(self.network.config, self.labels)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        *,
        tasks: Iterable[str] | None = None,
        device: str = "cpu",
        compiled: bool = False,
    ) -> Perceiver:
        """Load a checkpoint: a file, one of the package by its name (`nano`, the default), or a hub id.

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

    @property
    def comparing_tasks(self) -> tuple[str, ...]:
        """Those of `tasks` whose results are better with the frame before, or that there are none of without it."""
        return tuple(task for task in self.tasks if self.network.looks_back(task))

    @property
    def thresholds(self) -> Thresholds:
        """How likely something has to be to be in a prediction; they can be replaced between two frames."""
        return self._postprocessing.thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        self._postprocessing.thresholds = thresholds

    def reset(self) -> None:
        """Forget the previous frames (time jumped, or another recording begins)."""
        self._memory.clear()

    @torch.inference_mode()
    def __call__(
        self,
        frame: RigFrame,
        tasks: Collection[str] | None = None,
        *,
        cabin: CabinFrame | None = None,
        next_tasks: Collection[str] = (),
    ) -> Prediction:
        """Look at one frame, and at the driver in `cabin`.

        `tasks` narrows what is computed in this pass (default: `self.tasks`); what `next_tasks` compare with is
        remembered for the next frame, as it is for those that are computed. Motion masks, scene flow and ego motion
        need a previous image of the same camera no older than 0.6 s. Masks and flow need
        poses, too, unless the network was trained for ego motion. The tasks of the driver need
        `cabin`. `Prediction.tasks` has those that could be computed.

        Raises:
            ValueError: a task was asked for that this perceiver does not have.
        """
        wanted = self.tasks if tasks is None else tuple(tasks)
        absent = [task for task in (*wanted, *next_tasks) if task not in self.tasks]
        if absent:
            raise ValueError(f"task '{absent[0]}': {self.tasks_left_out.get(absent[0], 'there is no such task')}")
        self._memory.clear_if_not_before(frame.stamp_ns)
        started = time.perf_counter()
        rectified, batch = self._prepare(frame)
        seen = {name: camera for name, (camera, _) in rectified.items()}
        past, history = self._memory.past(frame, seen), self._memory.history(frame.stamp_ns)
        wanted = tuple(task for task in wanted if task not in self._impossible(frame, past, cabin))
        computing = self._computing(wanted, past)
        inside = None
        if cabin is not None and computing.intersection(SCENE_TASKS):
            inside = self._cabin_batch(cabin, batch)
        previous = None if past is None else past.previous
        prepared = time.perf_counter()
        output = self.network(batch, computing, previous, history=history, cabin=inside, next_tasks=next_tasks)
        computed = time.perf_counter()
        images = self._postprocessing.images(output, wanted, batch, past)
        rig = self._postprocessing.rig(output, wanted, batch, past)
        cameras = self._camera_predictions(frame, rectified, images, past)
        self._memory.remember(frame, seen, output)
        finished = time.perf_counter()
        return Prediction(
            stamp_ns=frame.stamp_ns,
            cameras=cameras,
            base_frame=frame.rig.base_frame,
            world_frame=frame.world_frame,
            world_from_base=frame.world_from_base,
            missing=frame.missing,
            tasks=wanted,
            seconds={
                "preprocess": prepared - started,
                "network": computed - prepared,
                "postprocess": finished - computed,
            },
            **rig,
        )

    @torch.inference_mode()
    def encode(
        self, frame: RigFrame, cabin: CabinFrame | None = None
    ) -> tuple[Tensor, Tensor | None, CabinBatch | None, Tensor | None]:
        """Return what the tasks of driver, vehicle and traffic look at: to train them on features as they will be.

        Returns:
            The coarsest level of the outside images (N, C, h, w), that of the cabin's (1, S, C, h, w), and the cabin
            itself, None without a cabin; and how the base has moved per second since the frame that was encoded before
            (1, 6), see `base_twist`, None if the network cannot tell.
        """
        self._memory.clear_if_not_before(frame.stamp_ns)
        rectified, batch = self._prepare(frame)
        seen = {name: camera for name, (camera, _) in rectified.items()}
        past = self._memory.past(frame, seen)
        inside = None if cabin is None else self._cabin_batch(cabin, batch)
        tasks = ("ego_motion",) if "ego_motion" in self.network.config.tasks else ()
        previous = None if past is None else past.previous
        features, cabin_maps = self.network.encode(batch, previous, tasks=tasks, cabin=inside)
        self._memory.remember(frame, seen, NetworkOutput(memory=features.kept))
        twist = base_twist(features.ego_motion, previous, batch)
        return features.own[-1], cabin_maps, inside, twist

    @torch.inference_mode()
    def encode_cabins(self, cabins: Sequence[CabinFrame], shape: tuple[int, int]) -> Tensor:
        """Return what `encode` returns of the cabins of T frames, (T, S, C, h, w), beside outside images of that shape.

        Args:
            cabins: at least one, all with the same views, at least one.
            shape: (height, width) of the rig's images, pixels.
        """
        size = self._input_size(shape[1] / shape[0])
        images = np.concatenate([_resized(cabin, size) for cabin in cabins])
        return self.network.encode_cabin(self._images(images)).unflatten(0, (len(cabins), -1))

    def _prepare(self, frame: RigFrame) -> tuple[dict[str, tuple[Camera, NDArray[np.uint8]]], CameraBatch]:
        """Rectify all images to one size and put them into one batch."""
        cameras = [frame.rig[name] for name in frame.present]
        # One size for the whole rig, so that one batch holds it: that of the mean aspect ratio.
        ratio = float(np.exp(np.mean([np.log(c.width / c.height) for c in frame.rig])))
        width, height = self._input_size(ratio)
        rectified = {}
        for camera in cameras:
            known = self._rectifications.get(camera.name)
            prepare = Rectification.prepare if known is None else known.renewed
            known = self._rectifications[camera.name] = prepare(camera, width, height)
            rectified[camera.name] = (known.target, known.apply(frame.images[camera.name]))
        poses = np.stack([camera.base_from_camera for camera in cameras])
        batch = CameraBatch(
            images=self._images(np.stack([image for _, image in rectified.values()])),
            K=self._tensor(np.stack([camera.K for camera, _ in rectified.values()])),
            base_from_camera=self._tensor(poses),
            ground_known=torch.from_numpy(poses[:, 2, 3] > MIN_CAMERA_HEIGHT).to(self.device),
            frame_index=torch.zeros(len(cameras), dtype=torch.int64, device=self.device),
            num_frames=1,
        )
        return rectified, batch

    def _input_size(self, ratio: float) -> tuple[int, int]:
        """Return width and height of the network's input for images of a width of `ratio` heights."""
        ratio = min(max(ratio, 1 / MAX_ASPECT_RATIO), MAX_ASPECT_RATIO)  # the input of a strip would be very large
        return self.network.config.input_size(round(1000 * ratio), 1000)

    def _why_not(self, task: str) -> str:
        """Return why the checkpoint cannot do a task, or nothing."""
        panoptic = self.network.config.panoptic
        if task not in self._trained:
            return f"{self.checkpoint} was not trained for it"
        if task == "panoptic" and panoptic is not None and panoptic.kind == "light" and "semantic" not in self._trained:
            return f"it needs semantics, and {self.checkpoint} was not trained for them"
        return ""

    def _impossible(self, frame: RigFrame, past: Past | None, cabin: CabinFrame | None) -> set[str]:
        """Return the tasks whose input is lacking."""
        lacking = set(DRIVER_TASKS) if cabin is None else set()
        without_poses = frame.world_from_base is None or (past is not None and not past.has_poses)
        if without_poses and "ego_motion" not in self._trained:
            lacking |= {"scene_flow", "motion_mask"}
        return lacking

    def _computing(self, wanted: Collection[str], past: Past | None) -> set[str]:
        """Return what the network has to compute for the wanted tasks."""
        tasks = {*wanted, *self.rehearsed_tasks}
        if "normals" in wanted and "depth" in self._trained:
            tasks.add("depth")  # says where there is a surface
        panoptic = self.network.config.panoptic
        if "panoptic" in wanted and panoptic is not None and panoptic.kind == "light":
            tasks.add("semantic")
        if "scene_flow" in wanted and past is not None and not past.has_poses:
            tasks.add("ego_motion")
        return tasks

    def _cabin_batch(self, cabin: CabinFrame, batch: CameraBatch) -> CabinBatch:
        height, width = batch.images.shape[-2:]
        # Without an image there is a black one that is marked as none.
        images = _resized(cabin, (width, height)) if cabin.images else np.zeros((1, height, width, 3), np.uint8)
        posture = np.full((POSTURE_JOINTS, 3), np.nan) if cabin.posture is None else cabin.posture
        gestures = np.full((GESTURE_JOINTS, 3), np.nan) if cabin.gestures is None else cabin.gestures
        joints = cabin.posture is not None or cabin.gestures is not None
        return CabinBatch(
            images=self._images(images)[None],
            valid=torch.full((1, len(images)), bool(cabin.images), device=self.device),
            posture=self._tensor(posture[None]),
            gestures=self._tensor(gestures[None]),
            joints_valid=torch.tensor([joints], device=self.device),
        )

    def _camera_predictions(
        self,
        frame: RigFrame,
        rectified: dict[str, tuple[Camera, NDArray[np.uint8]]],
        images: Mapping[str, NDArray],
        past: Past | None,
    ) -> dict[str, CameraPrediction]:
        result = {}
        for row, (name, (camera, colour)) in enumerate(rectified.items()):
            own: dict[str, NDArray] = {field: rows[row] for field, rows in images.items()}
            if past is None or not past.previous.valid[row]:
                own.pop("motion_mask", None)
            valid = self._rectifications[name].valid
            if valid is not None:
                for field, image in own.items():
                    image[~valid] = OUTSIDE[field]
            pose = frame.world_from_camera.get(name)
            result[name] = CameraPrediction(camera, frame.image_stamps_ns[name], pose, colour, **own)
        return result

    def _images(self, images: NDArray) -> Tensor:
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255.0

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).float().to(self.device)


def _resized(cabin: CabinFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the views of a cabin, (S, height, width, 3) with `size` as (width, height)."""
    return np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in cabin.images.values()])


def _compile(network: MultiTaskNetwork, device: torch.device) -> None:
    """Compile, in place, what does the same on every frame; the rest looks back or has shapes that depend on data."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise FileNotFoundError(f"the network cannot be compiled: there is no C++ compiler '{compiler}'")
    for part in ("encoder", "neck", "dense"):
        if hasattr(network, part):
            getattr(network, part).compile()
