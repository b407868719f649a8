# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A student learns from what teachers say of a bag."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import LabelSpace
from mtl_perception.data.recordings.bag import BagRecording
from mtl_perception.files import write_whole
from mtl_perception.network import CameraBatch, MultiTaskNetwork, NetworkConfig, load_checkpoint, save_checkpoint
from mtl_perception.pipeline import MIN_CAMERA_HEIGHT
from mtl_perception.resources import config_file, default_checkpoint
from mtl_perception.training.config import SourceConfig, StageConfig, TrainingConfig
from mtl_perception.training.distillation.bag_frames import BagFrame, BagFrames
from mtl_perception.training.distillation.bag_objective import LEARNT, BagObjective, drift_term
from mtl_perception.training.distillation.class_names import map_classes
from mtl_perception.training.distillation.labelled_source import DATASET, LabelledSource
from mtl_perception.training.distillation.labelling import Labeller, Rows, label_bag, label_file
from mtl_perception.training.distillation.pretrained import DepthIs, DepthTeacher, SegmentationTeacher
from mtl_perception.training.losses.reduction import nearest
from mtl_perception.training.run_card import past
from mtl_perception.training.samples import collate
from mtl_perception.training.trainer import CHECKPOINT, Trainer

LOG = logging.getLogger(__name__)
RESULT = "student.safetensors"
_HELD_OUT_PART = 10
_FEWEST_HELD_OUT = 2
_MOST_MEASURED = 20


@dataclass(frozen=True)
class Request:
    """What is to be distilled.

    Attributes:
        bag: folder or file.
        depth_teacher, segmentation_teacher: hub ids or folders of transformers models.
        out: folder of labels, run and result.
        student: "" for the checkpoint that comes with the package; a checkpoint; or a preset, with random weights.
        labels: of a preset: its label space.
        classes: what the segmentation teacher's classes are, see `map_classes`.
        frames: label at most so many, spread evenly.
        steps: of training.
        frames_per_step: how many frames (of all cameras) a step takes.
        device: of the teachers.
        depth_is: what the depth teacher gives, see `DepthTeacher`.
        quiet: show no progress.
    """

    bag: Path
    depth_teacher: str
    segmentation_teacher: str
    out: Path
    student: str = ""
    labels: str = "default"
    classes: str = "default"
    frames: int = 500
    steps: int = 1000
    frames_per_step: int = 2
    device: str = "cpu"
    depth_is: DepthIs = "auto"
    quiet: bool = False


@dataclass(frozen=True, eq=False)
class Start:
    """What a student is before it learns. `network` has random weights where nothing is `trained`."""

    network: MultiTaskNetwork
    labels: LabelSpace
    trained: tuple[str, ...]
    name: str
    card: dict[str, Any]


def distil(request: Request) -> dict[str, Any]:
    """Label the bag, train the student, and write `student.safetensors`.

    What is there already, of labels and of training, is not done again.

    Returns:
        The result's model card.

    Raises:
        FileNotFoundError: bag, teacher or student is not there.
        ValueError: one of them is not what it should be, the folder is of another request, or no image's depth could be
            brought to metres.
        BagError: a frame cannot be read.
    """
    start = load_start(request.student, request.labels)
    bag = BagRecording(request.bag, truth=("depth", "lidar"))
    depth = DepthTeacher(request.depth_teacher, request.device, request.depth_is)
    segmentation = SegmentationTeacher(request.segmentation_teacher, request.device)
    mapping = map_classes(segmentation.id2label, start.labels, request.classes)
    if mapping.void:
        LOG.warning("classes of the segmentation teacher that are no label here: %s", ", ".join(mapping.void))
    if not bag.has_poses:
        LOG.warning("%s has no poses: %s", bag.name, _without_poses(start))

    config = start.network.config
    ratio = float(np.exp(np.mean([np.log(camera.width / camera.height) for camera in bag.rig])))
    size = _training_size(config, ratio)
    frames = BagFrames(bag, size)
    count = min(len(frames), request.frames)
    indices = sorted({int(index) for index in np.linspace(0, len(frames) - 1, count).round()})
    labeller = Labeller(depth, segmentation, mapping, start.labels, lambda frame: _seen_by(start, frame))
    signature = {
        "bag": str(request.bag.resolve()),
        "depth": _located(request.depth_teacher),
        "depth_is": "metres" if depth.metric else "inverse",
        "segmentation": _located(request.segmentation_teacher),
        "student": _located(request.student or str(default_checkpoint())),
        "size": list(size),
        "frames": indices,
    }
    folder = request.out / "labels"
    ways = label_bag(frames, indices, labeller, folder, signature, quiet=request.quiet)
    LOG.info("depth was brought to metres by: %s", ", ".join(f"{way} ({n} images)" for way, n in ways.most_common()))
    if set(ways) == {"unknown"}:
        raise ValueError(
            f"what {depth.name} says of {bag.name} could not be brought to metres: the bag has neither depth nor "
            "LiDAR, nor poses or a camera's height over the ground that agree with it (metres, or inverse depth)"
        )
    training, measured, held_out = _split([label_file(folder, index) for index in indices])

    labels = replace(start.labels, datasets={**start.labels.datasets, DATASET: labeller.rows.dataset})
    recipe = _recipe(request, start, labels, size)
    trainer = Trainer(
        recipe,
        request.bag.parent,
        request.out / "training",
        sources=[LabelledSource(training)],
        objective=lambda weights: _objective(weights, labels, labeller.rows, start),
        quiet=request.quiet,
    )
    first = against_teachers(start.network, measured, labels)
    trainer.train()
    learnt = load_checkpoint(request.out / "training" / CHECKPOINT).network
    last = against_teachers(learnt, measured, labels)
    trained, not_held = _trained(start, trainer.record.terms)
    if not_held:
        LOG.warning(
            "%s has nothing by which these tasks could be held, so the result does not claim them: %s",
            bag.name,
            ", ".join(not_held),
        )
    card = {
        "licence": _licence(start, depth, segmentation),
        "teachers": {
            "depth": {"name": depth.name, "licence": depth.licence, "metric": depth.metric},
            "semantic": {"name": segmentation.name, "licence": segmentation.licence, "void": list(mapping.void)},
        },
        "student": start.name,
        "bag": request.bag.name,
        "frames": len(training),
        "steps": request.steps,
        "depth_in_metres_by": dict(ways),
        "measured_on": f"{len(measured)} frames " + ("that were held out" if held_out else "that it was trained on"),
        "first": first,
        "last": last,
        "not_held": not_held,
        "start": past(start.card),
    }
    save_checkpoint(request.out / RESULT, learnt, start.labels, trained, card)
    write_whole(request.out / "distillation.json", json.dumps(card, indent=1) + "\n")
    return card


def load_start(student: str, labels: str) -> Start:
    """Load what a student starts from; see `Request`.

    Raises:
        FileNotFoundError: there is neither a checkpoint nor a preset of that name.
        ValueError: it cannot be read, has no depth or no semantics of its own, or the label space does not fit the
            preset.
    """
    is_preset = bool(student) and not Path(student).is_file() and "/" not in student
    if is_preset or Path(student).suffix in (".yaml", ".yml"):
        config, space = (
            NetworkConfig.load(config_file("networks", student)),
            LabelSpace.load(config_file("labels", labels)),
        )
        if len(space) != config.num_labels:
            raise ValueError(f"preset '{student}' has {config.num_labels} labels, '{space.name}' has {len(space)}")
        torch.manual_seed(0)
        network = MultiTaskNetwork(_checked(config, student).restricted(LEARNT))
        return Start(network.eval().requires_grad_(False), space, (), f"{student}, random weights", {})
    checkpoint = load_checkpoint(student or default_checkpoint())
    _checked(checkpoint.network.config, checkpoint.name)
    trained = tuple(checkpoint.trained_tasks)
    network = checkpoint.network.requires_grad_(False)
    return Start(network, checkpoint.labels, trained, checkpoint.name, dict(checkpoint.card))


@torch.no_grad()
def against_teachers(network: MultiTaskNetwork, files: Sequence[Path], labels: LabelSpace) -> dict[str, float]:
    """Return how far a network is from the teachers.

    Returns:
        `depth_abs_rel`: mean of |difference| over the teacher's depth; `depth_log`: mean of |difference of logarithms|;
        `semantic_agreement`: share of the pixels, of those that are not void, whose label is one of those named;
        `semantic_nll`: mean negative log of their probability; `loss`: `depth_log` + `semantic_nll`. What the teachers
        say nothing of in these files is left out.
    """
    source, random = LabelledSource(files), np.random.default_rng(0)
    sums: dict[str, list[Tensor]] = {"depth_abs_rel": [], "depth_log": [], "semantic_agreement": [], "semantic_nll": []}
    network.eval()
    device = next(network.parameters()).device
    for index, path in enumerate(files):
        with np.load(path) as stored:
            height, width = stored["depth"].shape[1:]
        sample = source.sample(index, (width, height), random)
        batch = collate([sample], labels, network.config.grid.shape, ()).to(device)
        output = network(batch.cameras, LEARNT)
        assert output.depth is not None and output.semantic_logits is not None
        truth = nearest(batch.depth, output.depth)
        known = torch.isfinite(truth) & (truth < network.config.depth_bins.farthest)
        sums["depth_abs_rel"].append(((output.depth - truth).abs() / truth)[known])
        sums["depth_log"].append((output.depth.log() - truth.log()).abs()[known])
        named = batch.label_table[nearest(batch.semantic, output.semantic_logits)]
        taught = named.any(dim=-1)
        probability = functional.softmax(output.semantic_logits, dim=1).permute(0, 2, 3, 1)
        together = (probability * named).sum(dim=-1).clamp(min=1e-6)
        sums["semantic_nll"].append(-together.log()[taught])
        chosen = named.gather(3, probability.argmax(dim=-1, keepdim=True))[..., 0]
        sums["semantic_agreement"].append(chosen[taught].float())
    joined = {name: torch.cat(values) for name, values in sums.items()}
    means = {name: float(values.mean()) for name, values in joined.items() if len(values)}
    means["loss"] = sum(means[name] for name in ("depth_log", "semantic_nll") if name in means)
    return {name: round(value, 4) for name, value in means.items()}


def _checked(config: NetworkConfig, name: str) -> NetworkConfig:
    """Return the configuration of a student.

    Raises:
        ValueError: it cannot learn what the teachers say.
    """
    absent = [task for task in LEARNT if task not in config.tasks]
    if absent:
        raise ValueError(f"student {name} cannot learn: it has no task {', '.join(absent)}")
    if config.dense.semantic_from == "queries":
        raise ValueError(f"student {name} cannot learn: its semantics have no head, they come from panoptic queries")
    return config


def _without_poses(start: Start) -> str:
    """Return what becomes of the comparison of two frames."""
    if "ego_motion" in start.trained:
        return "frames are compared by the ego motion that the student tells from the images"
    return "nothing that compares two frames is learnt or held, as the student does not tell its ego motion"


def _located(name: str) -> str:
    """Return a path in full, and a hub id or the name of a preset as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


class _Recipe(TrainingConfig):
    """A training configuration whose network keeps all its tasks, those without truth as well."""

    def network_config(self) -> NetworkConfig:
        """Return the network that the file describes."""
        return NetworkConfig.load(config_file("networks", self.network))


def _recipe(request: Request, start: Start, labels: LabelSpace, size: tuple[int, int]) -> _Recipe:
    """Return how the student is trained: gently where it has learnt before."""
    request.out.mkdir(parents=True, exist_ok=True)
    network, space = request.out / "network.yaml", request.out / "labels.yaml"
    write_whole(network, yaml.safe_dump(json.loads(start.network.config.model_dump_json()), sort_keys=False))
    write_whole(space, yaml.safe_dump(labels.to_dict(), sort_keys=False))
    gentle = 0.25 if start.trained else 1.0
    return _Recipe(
        network=str(network),
        labels=str(space),
        licence="see the result's own card",
        start=request.student or str(default_checkpoint()) if start.trained else "",
        sources=(SourceConfig(kind="bag", frames_per_step=request.frames_per_step, folder=request.bag.name),),
        stages=(StageConfig(until=1.0, width=size[0], height=size[1]),),
        steps=request.steps,
        kernel_learning_rate=0.02 * gentle,
        learning_rate=0.002 * gentle,
        warmup_steps=max(1, min(50, request.steps // 10)),
        average_decay=0.98,
        save_every=100,
    )


def _objective(weights: Tensor, labels: LabelSpace, rows: Rows, start: Start) -> BagObjective:
    return BagObjective(labels, weights, rows, start.network if start.trained else None, start.trained)


def _trained(start: Start, terms: Collection[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the tasks that the student can do after a run that had these terms, and those that it could do before.

    What was neither taught nor held is no longer known to work: the encoder below it has changed. Nor is what takes the
    rig's motion from a network whose motion was not held.
    """
    config = start.network.config
    able = {*LEARNT, *(task for task in start.trained if drift_term(task) in terms)}
    if "ego_motion" not in able:
        able = {task for task in able if not config.sections_with_motion({task})}
    trained = tuple(task for task in config.tasks if task in able)
    return trained, [task for task in start.trained if task not in able]


def _training_size(config: NetworkConfig, ratio: float) -> tuple[int, int]:
    """Return the network's own input size for images of a width over height, in steps that training can do, too."""
    step = math.lcm(16, config.input_multiple)
    width, height = (max(1, round(side / step)) * step for side in config.input_size(round(1000 * ratio), 1000))
    return width, height


def _split(files: list[Path]) -> tuple[list[Path], list[Path], bool]:
    """Return the files to train on, those to measure on, and whether these were held out."""
    count = len(files) // _HELD_OUT_PART
    if count < _FEWEST_HELD_OUT:
        return files, files[:_MOST_MEASURED], False
    # The last ones: a frame between two that are trained on looks like either.
    return files[:-count], files[-count :: -(-count // _MOST_MEASURED)], True


@torch.inference_mode()
def _seen_by(start: Start, frame: BagFrame) -> NDArray[np.float32]:
    """Return the depth that the student sees before it learns; NaN where it sees no surface, or has learnt nothing."""
    height, width = frame.images.shape[1:3]
    if "depth" not in start.trained:
        return np.full((len(frame.images), height, width), np.nan, np.float32)
    batch = CameraBatch(
        images=torch.from_numpy(frame.images).permute(0, 3, 1, 2).float() / 255.0,
        K=torch.from_numpy(frame.K).float(),
        base_from_camera=torch.from_numpy(frame.base_from_camera).float(),
        ground_known=torch.from_numpy(frame.base_from_camera[:, 2, 3] > MIN_CAMERA_HEIGHT),
        frame_index=torch.zeros(len(frame.images), dtype=torch.int64),
        num_frames=1,
    )
    output = start.network(batch, ("depth",))
    assert output.depth is not None and output.surface is not None
    seen = torch.where(output.surface > 0.5, output.depth, torch.nan)[:, None]
    return np.asarray(functional.interpolate(seen, (height, width), mode="nearest")[:, 0].numpy(), np.float32)


def _licence(start: Start, depth: DepthTeacher, segmentation: SegmentationTeacher) -> str:
    parts = [f"depth teacher: {depth.licence}", f"segmentation teacher: {segmentation.licence}"]
    if start.trained:
        parts.insert(0, f"start: {start.card.get('licence', 'unknown: check')}")
    return "; ".join([*parts, "bag: yours"])
