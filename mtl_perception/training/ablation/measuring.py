# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a trained variant is worth and costs: scores on held-out worlds, time, weights, what else claims ask for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mtl_perception.bench.description import describe
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.network import load_checkpoint
from mtl_perception.network.driving.dual_branch import DualBranchEmbedding, DualBranchOutput
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.ablation.study import HeldOutConfig
from mtl_perception.training.balancing.feature_decoupling import summary
from mtl_perception.training.run_log import TENSORBOARD
from mtl_perception.training.validation.clips import ClipPlan, ClipStore, held_out
from mtl_perception.training.validation.judging import EGO_MOTION, judged_clip, judged_motion, scores_for

IMAGE_SIZE = (240, 176)
TIMED_PASSES = 15
LEAST_WEIGHT_STEPS = 50
"""Weights of earlier steps do not count for their spread: losses are then only measured."""


def measure(checkpoint: Path, held_out_worlds: Sequence[HeldOutConfig], clips: Path) -> dict[str, float]:
    """Return the figures of a checkpoint by the names of `metrics`; those that it does not define are left out.

    Args:
        checkpoint: of a finished run.
        held_out_worlds: what it is scored on.
        clips: folder that keeps the rendered worlds.

    Raises:
        ValueError: it is no checkpoint.
        OSError: the folder cannot be used.
    """
    perceiver = Perceiver(load_checkpoint(checkpoint))
    store = ClipStore(clips, perceiver.labels, perceiver.grid)
    plans = [plan for config in held_out_worlds for plan in _plans(config)]
    similarities = _Similarities(perceiver)
    figures, gaps = _scores(perceiver, plans, store)
    similarities.end()  # it would count among the costs
    if gaps:
        figures["normal_gap_deg"] = float(np.mean(np.concatenate(gaps)))
    if similarities.values:
        figures["similarity"] = float(np.mean(similarities.values))
    figures |= _costs(perceiver, plans[0], store)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def weight_spread(folder: Path) -> float:
    """Return how much a run's balancing weights vary over its steps, of the TensorBoard files in its folder.

    The standard deviation over the mean, averaged over tasks; NaN where there are no such files or too few steps.
    """
    # It takes a second to import.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    if not (folder / TENSORBOARD).is_dir():
        return float("nan")
    events = EventAccumulator(str(folder / TENSORBOARD), size_guidance={"scalars": 0})
    events.Reload()
    spreads = []
    for tag in events.Tags()["scalars"]:
        if tag.startswith("weight/"):
            values = np.array([event.value for event in events.Scalars(tag) if event.step > LEAST_WEIGHT_STEPS])
            if len(values) > 1:
                spreads.append(float(values.std() / values.mean()))
    return float(np.mean(spreads)) if spreads else float("nan")


def normal_gap(depth: NDArray[np.float32], normals: NDArray[np.float32], K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles in degrees between normals and those of a depth image, where both are defined.

    The latter are the cross products of the differences between the points right and left, and below and above, of a
    pixel; not where depth jumps by more than a tenth, which is no surface.

    Args:
        depth: (H, W) metres, NaN unknown.
        normals: (H, W, 3), towards the camera, in its optical frame.
        K: (3, 3).
    """
    height, width = depth.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(depth)], axis=-1)
    points = rays * depth[..., None]
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    of_depth = np.cross(down, across)  # towards the camera: x right, y down, z away
    length = np.linalg.norm(of_depth, axis=-1)
    inner = depth[1:-1, 1:-1]
    jump = np.maximum(np.abs(across[..., 2]), np.abs(down[..., 2]))
    predicted = normals[1:-1, 1:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (of_depth * predicted).sum(axis=-1) / length
        known = np.isfinite(cosine) & (jump < 0.1 * inner)
    return np.degrees(np.arccos(np.clip(cosine[known], -1.0, 1.0)))


def _plans(config: HeldOutConfig) -> list[ClipPlan]:
    return held_out((config.kind,), (config.cameras,), config.worlds, driving=False, image_size=IMAGE_SIZE)


def _scores(
    perceiver: Perceiver, plans: Sequence[ClipPlan], store: ClipStore
) -> tuple[dict[str, float], list[NDArray[np.float64]]]:
    """Return the scores' metrics, and the gaps between normals and depth."""
    scores = scores_for(perceiver, ScoreOptions())
    rows: dict[str, list[tuple[int, FrameStatistics]]] = {score.task: [] for score in scores}
    gaps: list[NDArray[np.float64]] = []
    both = {"depth", "normals"} <= set(perceiver.tasks)

    def add(number: int, frame: JudgedFrame) -> None:
        for score in scores:
            row = score.frame(frame)
            if row is not None:
                rows[score.task].append((number, row))

    for number, plan in enumerate(plans):
        clip = store.clip(plan)
        for frame in judged_clip(perceiver, clip, perceiver.tasks):
            add(number, frame)
            if both:
                gaps.extend(_gaps(frame))
        if EGO_MOTION in perceiver.tasks:
            for frame in judged_motion(perceiver, clip):
                add(number, frame)
    figures: dict[str, float] = {}
    for score in scores:
        if rows[score.task]:
            metrics = score.metrics(TaskStatistics.of(rows[score.task]).total())
            figures |= {f"{score.task}.{name}": float(value) for name, value in metrics.items()}
    return figures, gaps


def _gaps(frame: JudgedFrame) -> list[NDArray[np.float64]]:
    gaps = []
    for camera in frame.cameras.values():
        seen = camera.prediction
        if seen.depth is not None and seen.normals is not None:
            gaps.append(normal_gap(seen.depth, seen.normals, seen.camera.K))
    return gaps


def _costs(perceiver: Perceiver, plan: ClipPlan, store: ClipStore) -> dict[str, float]:
    """Return weights, floating-point operations and time of a frame with what is remembered of the one before."""
    clip, network, tasks = store.clip(plan), perceiver.network, perceiver.tasks
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = network.register_forward_pre_hook(lambda _, args, named: calls.append((args, named)), with_kwargs=True)
    perceiver.reset()
    perceiver(clip.early[-1], tasks)
    perceiver(clip.samples[0].frame, tasks)
    hook.remove()
    (batch, asked, previous), named = calls[-1]
    description = describe(network, batch, asked, previous, repeats=1, **named)
    return {
        "parameters": float(description.parameters),
        "gflops": description.flops * 1e-9,
        "forward_ms": 1e3 * _cpu_seconds(partial(network, batch, asked, previous, **named)),
    }


@torch.inference_mode()
def _cpu_seconds(run: partial[Any]) -> float:
    """Return the median CPU time of a call: what else the machine does hardly changes it."""
    run()
    seconds = []
    for _ in range(TIMED_PASSES):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return median(seconds)


class _Similarities:
    """Takes down how alike shared and task-specific features are, pass by pass, where a network has both."""

    def __init__(self, perceiver: Perceiver) -> None:
        self.values: list[float] = []
        self._hooks = [
            module.register_forward_hook(self._take_down)
            for module in perceiver.network.modules()
            if isinstance(module, DualBranchEmbedding)
        ]

    def end(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()

    def _take_down(self, _: torch.nn.Module, __: Any, output: DualBranchOutput) -> None:
        if not output.specific:
            return
        shared = summary(output.shared)
        cosines = [functional.cosine_similarity(summary(own), shared, dim=1) for own in output.specific.values()]
        self.values.append(float(torch.cat(cosines).abs().mean()))
