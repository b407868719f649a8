# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model card of a checkpoint, as Markdown, from what the checkpoint and its validation say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mtl_perception.network import Checkpoint
from mtl_perception.training.validation.tables import FigureRow, headlines, number
from mtl_perception.training.validation.worlds import JOINT

SOURCES: Mapping[str, tuple[str, str, str]] = {
    "camvid": ("CamVid, its training images", "street semantics", "non-commercial research"),
    "rgbd": ("RGB-D recording, frames below id {last_id}", "depth and what follows from it", "non-commercial research"),
    "street": ("rendered streets", "all tasks", "this project's own"),
    "indoor": ("rendered interiors", "all tasks", "this project's own"),
    "bag": ("the user's own bag {folder}", "what it has truth for", "the user's own"),
}
"""Per kind of source what it is, what it teaches, and its licence."""
_KNOWN = ("licence", "training", "step", "hours", "losses", "metrics", "validation", "start")
_WORST_CLASSES = 3


@dataclass(frozen=True)
class CardPicture:
    """A picture of the card.

    Attributes:
        file: its path as the card names it.
        facts: as the validation has them.
    """

    file: str
    facts: Mapping[str, Any]


def card_text(
    name: str,
    checkpoint: Checkpoint,
    size_bytes: int,
    report: Mapping[str, Any],
    pictures: Sequence[CardPicture],
    notes: str = "",
) -> str:
    """Return the card.

    Args:
        name: of the model.
        checkpoint: with its own card.
        size_bytes: of its file.
        report: as `validate` writes it.
        pictures: of the best and worst frames.
        notes: Markdown that people have written; it stands in the card as it is.
    """
    parts = [
        [f"# Model card: {name}"],
        _summary(checkpoint, size_bytes, report),
        [notes.strip()] if notes.strip() else [],
        ["## Data", *_data(checkpoint.card)],
        ["## Recipe", *_recipe(checkpoint.card)],
        ["## Figures", *_figures(report)],
        ["## Limits", *_limits(checkpoint, report)],
        ["## Known failures", *_failures(report, pictures)],
        ["## Best frames", *_gallery(pictures, "best")] if any(p.facts["kind"] == "best" for p in pictures) else [],
    ]
    return "\n\n".join(block for part in parts for block in part) + "\n"


def _summary(checkpoint: Checkpoint, size_bytes: int, report: Mapping[str, Any]) -> list[str]:
    facts = report["checkpoint"]
    return [
        f"{facts['parameters'] / 1e6:.1f} million parameters, {size_bytes / 1e6:.1f} MB (float16 safetensors; the "
        "network's and the training's configuration, the label space and these figures are in its metadata; SHA-256 "
        f"of the weights that were measured: `{facts['sha256'][:16]}`). Network: `{facts['preset']}`.",
        f"Tasks: {', '.join(checkpoint.trained_tasks)}.",
        f"**Licence of the weights: {checkpoint.card.get('licence', 'not stated')}.**",
    ]


def _parts(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the cards of a training and of those that it started from, the first one first."""
    return [*_parts(card["start"]), card] if card.get("start") else [card]


def _sources(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(card.get("training", {}).get("sources", []))


def _data(card: Mapping[str, Any]) -> list[str]:
    rows = []
    for index, part in enumerate(_parts(card), start=1):
        for source in _sources(part):
            what, teaches, licence = SOURCES.get(source["kind"], (source["kind"], "", ""))
            name = what.format_map(_Default(source))
            rows.append([index, name, _amount(source), teaches, licence, source["frames_per_step"]])
    if not rows:
        return ["The checkpoint does not say what it was trained on."]
    return [_table(("part", "source", "worlds", "teaches", "licence", "frames a step"), rows)]


def _amount(source: Mapping[str, Any]) -> str:
    if not source.get("worlds"):
        return ""
    first = source.get("first_seed", 0)
    hard = source.get("difficult", 0)
    seeds = f"{source['worlds']} (seeds {first} to {first + source['worlds'] - 1}), rig {source['cameras']}"
    seeds += ", its first camera alone" if source.get("first_camera_only") else ""
    return seeds + (f", {100 * hard:.0f} % of them under difficult conditions" if hard else "")


def _recipe(card: Mapping[str, Any]) -> list[str]:
    parts = _parts(card)
    hours = sum(stage.get("hours", 0.0) for part in parts for stage in (part, *_stages(part).values()))
    blocks = [f"{hours:.1f} hours on the machine that it was trained on, in {len(parts)} parts."] if hours else []
    for index, part in enumerate(parts, start=1):
        training, stages = part.get("training"), _stages(part)
        if training:
            steps = part.get("step", training["steps"])
            took = f", {part['hours']:g} hours" if "hours" in part else ""
            blocks.append(f"Part {index}: {steps} steps, seed {training['seed']}{took}. The configuration:")
            blocks.append(_yaml({key: value for key, value in training.items() if key != "sources"}))
        elif not stages:
            blocks.append(f"Part {index}: the checkpoint does not say how it was trained.")
        for key, value in stages.items():
            blocks += [f"Part {index}, {key.replace('_', ' ')}:", _yaml(value)]
        facts = {key: value for key, value in part.items() if key not in _KNOWN and key not in stages}
        if facts:
            blocks += [f"Part {index}, what else is known:", _yaml(facts)]
    return blocks


def _stages(card: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the further stages of a training."""
    return {key: value for key, value in card.items() if key not in _KNOWN and isinstance(value, Mapping)}


def _figures(report: Mapping[str, Any]) -> list[str]:
    settings = report["settings"]
    blocks = [
        "Measured by `python -m mtl_perception validate`, through the same `Perceiver` as in the node. The worlds have "
        f"seeds from {settings['first_seed']}, which no training uses, and fair conditions: {settings['worlds']} "
        f"of each kind ({', '.join(settings['kinds'])}) for each rig ({', '.join(settings['rigs'])}), "
        f"{settings['scored_frames_per_world']} frames of each, 0.1 s apart. Ego motion is estimated without any "
        "pose. Intervals are 95 % bootstrap intervals, over worlds, or over blocks of recorded frames. *Constant* is "
        "what always predicting the same would have had on these frames:"
    ]
    constants = {
        f"{task}: {entry['constant']}": None
        for tasks in report["figures"].values()
        for task, entry in tasks.items()
        if entry.get("constant")
    }
    blocks.append(_bullets(list(constants)))
    rows = list(headlines(report["figures"]))
    for data in dict.fromkeys(row.data for row in rows):
        own = [row for row in rows if row.data == data]
        frames = max(entry["frames"] for entry in report["figures"][data].values())
        blocks.append(f"### {data} ({frames} frames)")
        blocks.append(_table(*_columns(own)))
    for data, task, metric, values in _classes(report["figures"]):
        ordered = sorted(values.items(), key=lambda item: -item[1])
        blocks.append(f"{data}, {task}, {metric} of each class: " + _listed(ordered) + ".")
    return blocks


def _columns(rows: Sequence[FigureRow]) -> tuple[list[str], list[list[Any]]]:
    """Return the table of some figures, without columns that are empty."""
    names = ["task", "metric", "value", "95 % interval", "constant", "beats it"]
    table = [[row.task, row.metric, row.value, row.interval, row.baseline, row.beats] for row in rows]
    kept = [column for column in range(len(names)) if any(row[column] for row in table)]
    return [names[column] for column in kept], [[row[column] for column in kept] for row in table]


def _classes(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, dict[str, float]]]:
    """Yield data, task, metric and its value for each class, of tasks whose key metric is a mean over classes."""
    for data in (JOINT, "camvid"):
        for task, entry in figures.get(data, {}).items():
            for metric in ("iou", "ap"):
                values = {name: each[metric] for name, each in entry["per_class"].items() if metric in each}
                if values:
                    yield data, task, metric, values


def _limits(checkpoint: Checkpoint, report: Mapping[str, Any]) -> list[str]:
    lines = []
    absent = sorted(set(checkpoint.network.config.tasks) - set(checkpoint.trained_tasks))
    if absent:
        lines.append(f"Not trained, and never published: {', '.join(absent)}.")
    kinds = {source["kind"] for part in _parts(checkpoint.card) for source in _sources(part)}
    if kinds and not kinds - {"street", "indoor"}:
        lines.append("No real image was trained on.")
    elif kinds and "bag" not in kinds:
        real = {"rgbd": "depth of the one recorded room", "camvid": "classes of the one recorded city"}
        seen = " and ".join(text for kind, text in real.items() if kind in kinds)
        lines.append(f"Of real images only the {seen} could be learned; all else comes from made-up worlds.")
    for row in headlines(report["figures"]):
        if row.is_key and row.data != JOINT and row.beats in ("no", "undecided"):
            told = "is no better than" if row.beats == "no" else "is not certain to be better than"
            lines.append(
                f"{row.data}, {row.task}: {row.name} {row.value} {told} a constant prediction's, {row.baseline}."
            )
    missing = report["settings"].get("recordings_missing")
    if missing:
        lines.append(f"Not measured, since the recordings were not there: {', '.join(missing)}.")
    return [_bullets(lines)] if lines else ["None that the figures tell."]


def _failures(report: Mapping[str, Any], pictures: Sequence[CardPicture]) -> list[str]:
    lines = []
    for data, task, metric, values in _classes(report["figures"]):
        worst = sorted(values.items(), key=lambda item: item[1])[:_WORST_CLASSES]
        lines.append(f"{data}, {task}: the lowest {metric} have {_listed(worst)}.")
    blocks = [_bullets(lines)] if lines else []
    gallery = _gallery(pictures, "worst")
    if gallery:
        blocks.append("The worst frames by each task's key metric, chosen by the program:")
    return [*blocks, *gallery]


def _gallery(pictures: Sequence[CardPicture], kind: str) -> list[str]:
    blocks = []
    for picture in pictures:
        facts = picture.facts
        if facts["kind"] == kind:
            camera = f", camera {facts['camera']}" if facts["camera"] else ""
            what = f"{facts['task']}: {facts['metric']} {number(facts['value'])} ({facts['place']}{camera})"
            blocks.append(f"{what}\n\n![{what}]({picture.file})")
    return blocks


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(names), ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _listed(values: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values)


def _yaml(content: Any) -> str:
    return "```yaml\n" + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120) + "```"


class _Default(dict[str, Any]):
    """Values for a format string, in which those that are not there stay empty."""

    def __missing__(self, key: str) -> str:
        return ""
