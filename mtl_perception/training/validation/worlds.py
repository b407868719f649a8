# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures on worlds that no training sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.validation.baselines import BASELINES, ConstantPrediction
from mtl_perception.training.validation.clips import Clip, ClipPlan, ClipStore
from mtl_perception.training.validation.figures import Row, Tally, world_figures
from mtl_perception.training.validation.judging import (
    EGO_MOTION,
    judged_clip,
    judged_motion,
    motions,
    scores_for,
)
from mtl_perception.training.validation.pictures import Shot, Shots

JOINT = "all worlds"
RIG_MARK = "/"
"""In the names of data that are of one rig: `street/mono`."""

Advanced = Callable[[], None]
"""Told after each clip that was looked at; there are two passes."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Figures per data and task, as JSON has them, and pictures."""

    figures: dict[str, dict[str, Any]]
    shots: list[Shot]


def validate_worlds(
    perceiver: Perceiver,
    plans: Sequence[ClipPlan],
    store: ClipStore,
    tasks: Collection[str],
    advanced: Advanced = lambda: None,
) -> Findings:
    """Return figures for each kind of world, for all together, and for each rig where there are several.

    The first pass shows the frames to the network; the second has the constant predictions that the first has learned
    from the truth, one for each kind of world.

    Raises:
        ValueError: the perceiver does not do one of the tasks.
        OSError: clips cannot be kept.
    """
    scores = scores_for(perceiver, ScoreOptions(), tasks)
    tally, baseline = Tally(scores), Tally([score for score in scores if score.task in BASELINES])
    kinds = tuple(dict.fromkeys(plan.kind for plan in plans))
    constants = {kind: constant_for(perceiver, scores[0]) for kind in kinds}
    shots = {kind: Shots(kind, scores, perceiver.labels) for kind in kinds}
    for number, plan in enumerate(plans):
        _show(perceiver, store.clip(plan), plan, number, tasks, tally, constants[plan.kind], shots[plan.kind])
        advanced()
    for number, plan in enumerate(plans):
        _show_constant(store.clip(plan), number, baseline, constants[plan.kind], EGO_MOTION in tasks)
        advanced()
    figures = {}
    for name, numbers in _groups(plans).items():
        figures[name] = {
            score.task: {
                **world_figures(score, own, _of(baseline.rows.get(score.task, []), numbers)),
                "constant": BASELINES.get(score.task, ""),
            }
            for score in scores
            if (own := _of(tally.rows[score.task], numbers))
        }
    return Findings(figures, [shot for kind in kinds for shot in shots[kind].shots()])


def constant_for(perceiver: Perceiver, score: Score) -> ConstantPrediction:
    """Return a constant prediction of what a perceiver predicts, which has not learned anything yet."""
    volume = perceiver.network.config.volume
    layers = () if volume is None else tuple(volume.map_layers)
    scene_tasks = [task for task in perceiver.tasks if task in SCENE_CLASSES]
    limits = score.options.min_depth, score.options.max_depth
    return ConstantPrediction(perceiver.labels, limits, layers, scene_tasks)


def _show(
    perceiver: Perceiver,
    clip: Clip,
    plan: ClipPlan,
    number: int,
    tasks: Collection[str],
    tally: Tally,
    constant: ConstantPrediction,
    shots: Shots,
) -> None:
    for index, frame in enumerate(judged_clip(perceiver, clip, tasks)):
        constant.learn(frame)
        shots.consider(frame, tally.add(number, frame), f"{plan.kind} {plan.seed}, {plan.rig}, frame {index}")
    if EGO_MOTION in tasks:
        for frame in judged_motion(perceiver, clip):
            constant.learn_motion(frame)
            tally.add(number, frame)


def _show_constant(clip: Clip, number: int, tally: Tally, constant: ConstantPrediction, motion: bool) -> None:
    with constant.without([sample.truth for sample in clip.samples]):
        for sample in clip.samples:
            tally.add(number, constant.judged(sample.frame, replace(sample.truth, ego_motion=None)))
    if motion:
        for _, now, truth in motions(clip):
            tally.add(number, constant.judged(now, truth))


def _groups(plans: Sequence[ClipPlan]) -> dict[str, set[int]]:
    groups: dict[str, set[int]] = {}
    several = {kind: len({plan.rig for plan in plans if plan.kind == kind}) > 1 for kind in ("street", "indoor")}
    kinds = dict.fromkeys(plan.kind for plan in plans)
    for kind in kinds:
        groups[kind] = {number for number, plan in enumerate(plans) if plan.kind == kind}
    if len(kinds) > 1:
        groups[JOINT] = set(range(len(plans)))
    for number, plan in enumerate(plans):
        if several[plan.kind]:
            groups.setdefault(f"{plan.kind}{RIG_MARK}{Path(plan.rig).stem}", set()).add(number)
    return groups


def _of(rows: Sequence[Row], numbers: Collection[int]) -> list[Row]:
    return [row for row in rows if row[0] in numbers]
