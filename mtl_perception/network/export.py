# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a checkpoint to ONNX, checked against the network itself with onnxruntime.

The file takes one frame of a fixed number of cameras, at a fixed size, and gives what one pass without memory does:

    inputs:  images (N, 3, H, W), K (N, 3, 3), base_from_camera (N, 4, 4), ground_known (N,), as in `CameraBatch`
    outputs: those of `OUTPUTS` for its tasks, as in `NetworkOutput` ('.' becomes '_'), B = 1

Parts that also look back where they can (cross-view module, dense dual branch) do as they do on a first frame. Tasks in
`NEED_MORE` are not exported. The metadata say what a user of the file has to know: `preset`, `checkpoint`, `tasks`,
`labels`, `config` (of the network) and `card` are JSON or plain text.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.checkpoint import Checkpoint
from mtl_perception.network.config import VOLUME_TASKS
from mtl_perception.network.multi_task import MultiTaskNetwork
from mtl_perception.network.output import NetworkOutput

FORMAT = "mtl_perception-onnx-1"
OPSET = 20
INPUTS = ("images", "K", "base_from_camera", "ground_known")
_QUERIES = ("queries.class_logits", "queries.mask_logits")
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "depth": ("depth", "depth_std", "surface"),
    "semantic": ("semantic_logits", *_QUERIES),
    "normals": ("normals",),
    "edges": ("edge_logits",),
    "panoptic": ("centre_logits", "centre_offsets", *_QUERIES),
    "occupancy": ("occupancy_logits", "reached"),
    "bev_map": ("map_logits",),
    "detections": tuple(
        f"boxes.{name}" for name in ("heatmap", "offset", "height", "log_size", "direction", "velocity")
    ),
}
"""Per task that can be exported, what it may give; which of these there are depends on the network's heads."""
NEED_MORE: Mapping[str, str] = {
    **dict.fromkeys(("motion_mask", "scene_flow", "ego_motion"), "it compares with the frame before"),
    "steering": "it looks at the frames before",
    **dict.fromkeys(
        ("driver_behaviour", "driver_emotion", "vehicle_behaviour", "traffic_context"),
        "it looks at the cabin and at the frames before",
    ),
}
"""Per task that cannot be exported, why one pass over the cameras' images is not enough for it."""
FEW = 0.02
"""Prototypes are means over the voxels that are most confident of a class, and rounding decides where two classes are
equally likely: no more than this share of the outputs that are made of them may differ. All else is continuous."""


@dataclass(frozen=True)
class Difference:
    """How far onnxruntime's result is from the network's own, at worst.

    Attributes:
        name: of the output.
        shape: its shape.
        absolute: the largest difference, in the output's unit.
        relative: that over the largest magnitude of the output.
        share: of its values, how many differ by more than the tolerance.
        accepted: whether none does; of what is made of prototypes a few may (see `FEW`).
    """

    name: str
    shape: tuple[int, ...]
    absolute: float
    relative: float
    share: float
    accepted: bool


@dataclass(frozen=True)
class Export:
    """What came of an export.

    Attributes:
        tasks: what the file computes.
        left_out: per other task of the network, why it is not in the file.
        differences: one for each output.
        accepted: whether all of them are within the tolerance; only then the file was written.
    """

    tasks: tuple[str, ...]
    left_out: Mapping[str, str]
    differences: tuple[Difference, ...]
    accepted: bool


def export(
    checkpoint: Checkpoint,
    path: str | Path,
    batches: Sequence[CameraBatch],
    tasks: Sequence[str] | None = None,
    tolerance: float = 1e-3,
) -> Export:
    """Write the ONNX file if it computes what the network does: to a temporary name that is then renamed.

    Args:
        checkpoint: its network is on the CPU, in float32.
        path: of the file. One that is there stays as it is when the new one is not accepted.
        batches: one frame each, all of one shape, which becomes the file's. All are used for the comparison.
        tasks: None takes all that the checkpoint was trained for and that can be exported.
        tolerance: the largest difference that is accepted, as a share of an output's largest magnitude.

    Raises:
        ValueError: a task was asked for that the checkpoint was not trained for, or that cannot be exported; nothing is
            left to export; or the batches do not have one shape, or more than one frame.
    """
    chosen, left_out = exportable(checkpoint, tasks)
    inputs = [_inputs(batch) for batch in batches]
    shapes = {tuple(tensor.shape for tensor in given) for given in inputs}
    if len(shapes) != 1 or any(batch.num_frames != 1 for batch in batches):
        raise ValueError("an export needs frames of one shape, each in a batch of its own")
    module = _OnePass(checkpoint.network, chosen).eval()
    with torch.no_grad():
        expected = [module(*given) for given in inputs]
        names = module.names(*inputs[0])
        program = _to_onnx(module, inputs[0], names)
    program.model.metadata_props.update(_metadata(checkpoint, chosen))
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        program.save(str(temporary), external_data=False)
        volume = checkpoint.network.config.volume
        few = FEW if volume is not None and volume.prototypes else 0.0
        differences = _differences(_run(temporary, inputs), expected, names, tolerance, few)
        accepted = all(difference.accepted for difference in differences)
        if accepted:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Export(chosen, left_out, differences, accepted)


def exportable(checkpoint: Checkpoint, tasks: Sequence[str] | None = None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the tasks to export, and for each other one of the network why it is left out.

    Raises:
        ValueError: one of `tasks` cannot be exported, or there is none at all.
    """
    known = checkpoint.network.config.tasks
    reasons = {}
    for task in dict.fromkeys((*known, *(tasks or ()))):
        if task not in checkpoint.trained_tasks:  # random weights must not leave
            reasons[task] = f"{checkpoint.name} was not trained for it"
        elif task not in OUTPUTS:
            reasons[task] = NEED_MORE[task]
        elif tasks is not None and task not in tasks:
            reasons[task] = "not asked for"
    for task in tasks or ():
        if task in reasons:
            raise ValueError(f"task '{task}' cannot be exported: {reasons[task]}")
    chosen = tuple(task for task in known if task not in reasons)
    if not chosen:
        why = "; ".join(f"{task}: {reason}" for task, reason in reasons.items())
        raise ValueError(f"{checkpoint.name} has no task that can be exported ({why})")
    return chosen, reasons


class _OnePass(nn.Module):
    """The network with tensors in and tensors out."""

    def __init__(self, network: MultiTaskNetwork, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, images: Tensor, K: Tensor, base_from_camera: Tensor, ground_known: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._results(images, K, base_from_camera, ground_known).values())

    def names(self, *inputs: Tensor) -> list[str]:
        """Return what the results are called in the file."""
        return [name.replace(".", "_") for name in self._results(*inputs)]

    def _results(self, images: Tensor, K: Tensor, base_from_camera: Tensor, ground_known: Tensor) -> dict[str, Tensor]:
        frame_index = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        batch = CameraBatch(images, K, base_from_camera, ground_known, frame_index, 1)
        output = self.network(batch, self.tasks)
        wanted = dict.fromkeys(name for task in self.tasks for name in OUTPUTS[task])
        results = {name: _part(output, name) for name in wanted}
        return {name: tensor for name, tensor in results.items() if tensor is not None}


def _part(output: NetworkOutput, name: str) -> Tensor | None:
    """Return a part of the output by its dotted name; None where the pass did not give it."""
    return reduce(lambda whole, field: getattr(whole, field, None), name.split("."), output)  # type: ignore[arg-type, return-value]


def _inputs(batch: CameraBatch) -> tuple[Tensor, ...]:
    return tuple(getattr(batch, name).contiguous() for name in INPUTS)


def _to_onnx(module: _OnePass, inputs: tuple[Tensor, ...], names: list[str]) -> Any:
    with _quiet(), _transformers_without_checks():
        return torch.onnx.export(
            module,
            inputs,
            input_names=INPUTS,
            output_names=names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


def _metadata(checkpoint: Checkpoint, tasks: tuple[str, ...]) -> dict[str, str]:
    config = checkpoint.network.config
    return {
        "format": FORMAT,
        "preset": config.preset,
        "checkpoint": checkpoint.name,
        "tasks": json.dumps(tasks),
        "labels": json.dumps(checkpoint.labels.to_dict()),
        "config": config.model_dump_json(),
        "card": json.dumps(dict(checkpoint.card)),
    }


def _run(path: Path, inputs: Sequence[tuple[Tensor, ...]]) -> list[list[NDArray]]:
    # Only here: nothing but the comparison needs it.
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [
        session.run(None, {name: tensor.numpy() for name, tensor in zip(INPUTS, given, strict=True)})
        for given in inputs
    ]


def _differences(
    found: Sequence[Sequence[NDArray]],
    expected: Sequence[tuple[Tensor, ...]],
    names: Sequence[str],
    tolerance: float,
    few: float,
) -> tuple[Difference, ...]:
    of_prototypes = {name.replace(".", "_") for task in VOLUME_TASKS for name in OUTPUTS[task]}
    result = []
    for index, name in enumerate(names):
        theirs = np.stack([outputs[index] for outputs in found])
        ours = np.stack([outputs[index].numpy() for outputs in expected])
        # What is not a number is as wrong as can be.
        difference = np.nan_to_num(np.abs(theirs - ours), nan=np.inf)
        scale = float(np.abs(ours).max()) or 1.0
        share = float((difference > tolerance * scale).mean())
        absolute = float(difference.max())
        accepted = share <= (few if name in of_prototypes else 0.0)
        result.append(Difference(name, ours.shape[1:], absolute, absolute / scale, share, accepted))
    return tuple(result)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter has to say about itself: operators of packages that are not there, deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _transformers_without_checks() -> Iterator[None]:
    """Let transformers leave out its checks of values while it is traced: they have no counterpart in ONNX."""
    name = "TRANSFORMERS_DISABLE_TORCH_CHECK"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
