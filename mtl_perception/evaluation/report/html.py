# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from mtl_perception.evaluation.report import figures
from mtl_perception.evaluation.report.tables import (
    ARROWS,
    MetricRow,
    between,
    facts,
    metric_rows,
    number,
    readable,
    reasons,
)
from mtl_perception.evaluation.result import BagResult, Picture
from mtl_perception.evaluation.score import Score

if TYPE_CHECKING:
    from mtl_perception.evaluation.run import RunResult

_TEMPLATE = "report.html.j2"
_PICTURES_PER_KIND = 3
_MOST_PICTURE_BYTES = 9_000_000
_QUALITY = 82
_MOST_CURVES = 8
_POINTS_PER_CURVE = 300
_MOST_BAGS_TIMED = 20


@dataclass
class _Section:
    """One task on the page."""

    task: str
    rows: list[MetricRow]
    sources: list[str]
    diagrams: list[Markup]
    class_names: list[str]
    classes: Mapping[str, Mapping[str, float]]
    pictures: dict[str, list[_Shown]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Shown:
    """One picture on the page."""

    caption: str
    address: str
    width: int
    height: int


def report_html(run: RunResult) -> str:
    """Return the page."""
    metrics = run.metrics()
    album = _Album(run)
    sections = [
        _section(run, score, rows, metrics, album)
        for score in run.scores
        for task, rows in metric_rows(run).items()
        if task == score.task
    ]
    keys = {section.task: section.rows[0] for section in sections}
    environment = Environment(
        loader=PackageLoader("mtl_perception.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "between": between, "readable": readable}
    return environment.get_template(_TEMPLATE).render(
        metrics=metrics,
        sections=sections,
        keys=keys,
        maps=album.maps(),
        not_shown=album.not_shown,
        left_out=reasons(metrics["left_out"]),
        runtimes=_runtimes(run),
        retried=dict(sorted(run.retried.items())),
        settings=facts(metrics["settings"]),
        arrows=ARROWS,
    )


def _section(
    run: RunResult, score: Score, rows: list[MetricRow], metrics: Mapping[str, Any], album: _Album
) -> _Section:
    totals = run.totals[score.task]
    classes = metrics["per_class"].get(score.task, {})
    class_names = list(dict.fromkeys(name for values in classes.values() for name in values))
    diagrams = list(_class_diagrams(score, classes, class_names))
    key = next((row for row in rows if row.is_key), rows[0])
    lines = list(_curves(run, score))
    if any(np.isfinite(line.values).sum() > 1 for line in lines):
        unit = f", {key.unit}" if key.unit else ""
        diagrams.append(figures.curves("Over time", f"{score.key}{unit}", lines))
    diagrams += [figures.error_histogram(h) for h in score.histograms(totals) if np.sum(h.counts) > 0]
    diagrams += [figures.reliability_diagram(r) for r in score.reliability(totals) if np.sum(r.counts) > 0]
    return _Section(
        score.task,
        rows,
        metrics["truth"].get(score.task, []),
        [Markup(diagram) for diagram in diagrams],  # made by matplotlib, which escapes what it is given
        class_names,
        classes,
        album.frames(score),
    )


def _class_diagrams(score: Score, classes: Mapping[str, Mapping[str, float]], names: list[str]) -> Iterable[str]:
    if names:
        shown = score.key if score.key in names else names[0]
        values = {label: values[shown] for label, values in classes.items() if shown in values}
        yield figures.class_bars("Part by part", shown, values)


def _curves(run: RunResult, score: Score) -> Iterable[figures.Curve]:
    """Yield the key metric over time of the first bags, over runs of frames where there are many."""
    scored = [bag for bag in run.bags if score.task in bag.statistics]
    for bag in scored[:_MOST_CURVES]:
        statistics = bag.statistics[score.task]
        order = np.argsort(statistics.frames, kind="stable")
        parts = np.array_split(order, min(len(order), _POINTS_PER_CURVE))
        seconds = (bag.stamps_ns - bag.stamps_ns[0])[statistics.frames] * 1e-9
        values = [score.metrics(statistics.sample(part)).get(score.key, np.nan) for part in parts]
        times = np.array([float(seconds[part].mean()) for part in parts])
        yield figures.Curve(bag.name, times, np.array(values, dtype=np.float64))


def _runtimes(run: RunResult) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(name, facts(values)) for name, values in list(run.runtime()["bags"].items())[:_MOST_BAGS_TIMED]]


class _Album:
    """The pictures of all bags, as many as the page can hold."""

    def __init__(self, run: RunResult) -> None:
        self._bags = run.bags
        self._left = _MOST_PICTURE_BYTES
        self.not_shown = 0

    def frames(self, score: Score) -> dict[str, list[_Shown]]:
        """Return the best and worst frames of a task, over all bags."""
        higher = score.better.get(score.key) == "higher"
        found = {}
        for kind in ("worst", "best"):
            pick = heapq.nlargest if (kind == "best") == higher else heapq.nsmallest
            candidates = [entry for entry in self._of_kind(kind) if entry[1].task == score.task]
            chosen = pick(_PICTURES_PER_KIND, candidates, key=lambda entry: entry[1].value)
            shown = [self._shown(bag, picture, f"{score.key} {number(picture.value)}") for bag, picture in chosen]
            found[kind] = [picture for picture in shown if picture is not None]
        return {kind: pictures for kind, pictures in found.items() if pictures}

    def maps(self) -> list[_Shown]:
        """Return the maps from above."""
        shown = [self._shown(bag, picture, "") for bag, picture in self._of_kind("map")]
        return [picture for picture in shown if picture is not None]

    def _of_kind(self, kind: str) -> list[tuple[BagResult, Picture]]:
        return [(bag, picture) for bag in self._bags for picture in bag.pictures if picture.kind == kind]

    def _shown(self, bag: BagResult, picture: Picture, value: str) -> _Shown | None:
        image = _decoded(picture.png)
        _, encoded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
        if encoded.size > self._left:
            self.not_shown += 1
            return None
        self._left -= encoded.size
        seconds = (picture.stamp_ns - int(bag.stamps_ns[0])) * 1e-9
        place = f"{bag.name}, {seconds:.2f} s" if picture.kind != "map" else bag.name
        caption = ", ".join(part for part in (place, picture.camera, value) if part)
        address = f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"
        return _Shown(caption, address, image.shape[1], image.shape[0])


def _decoded(png: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a picture of the result is not a PNG")
    return np.asarray(image, dtype=np.uint8)
