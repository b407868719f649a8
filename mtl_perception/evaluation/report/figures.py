# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report's diagrams, as SVG that takes its ink from the page: readable on light and on dark paper."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mtl_perception.evaluation.score import Histogram, Reliability

_INK, _FAINT = "#010203", "#040506"  # stand-ins that become the page's own colours
_PAGE_COLOURS = {_INK: "var(--ink)", _FAINT: "var(--line)"}
_COLOURS = ("#3f7fd0", "#e08a2c", "#3aa66a", "#cf5470", "#8d6fd1", "#2ba6b8", "#b58a3a", "#8a8f98")
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mtl_perception",
    "font.size": 9.0,
    "font.family": "sans-serif",
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
_WIDTH = 4.5  # inches; the page scales them
_MOST_BARS = 40
_WIDE_RANGE = 50  # from here on an axis of sizes is logarithmic


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric over the time of one bag: seconds since its first frame, values (NaN where it is not defined)."""

    name: str
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]


def class_bars(title: str, metric: str, values: Mapping[str, float]) -> str:
    """Return a horizontal bar a class, from top to bottom as they are given; at most 40."""
    shown = list(values.items())[:_MOST_BARS]
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 0.75 + 0.2 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(shown))[::-1]
        heights = [value for _, value in shown]
        axes.barh(places, heights, height=0.68, color=_COLOURS[0])
        axes.set_yticks(places, [name for name, _ in shown])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        greatest = max([*heights, 1e-9])
        reach = 1.0 if 0.4 < greatest <= 1 else greatest  # shares are shown as parts of the whole
        axes.set_xlim(0, reach * 1.12)
        for place, value in zip(places, heights, strict=True):
            axes.text(value + 0.01 * reach, place, f"{value:.3g}", va="center", fontsize=8)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlabel(metric)
        axes.set_title(title)
        return _svg(figure, title)


def curves(title: str, metric: str, lines: Sequence[Curve]) -> str:
    """Return a metric over time, a line a bag."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 2.4), layout="constrained")
        axes = figure.add_subplot()
        for index, line in enumerate(lines):
            colour = _COLOURS[index % len(_COLOURS)]
            alone = len(line.seconds) < 3
            axes.plot(line.seconds, line.values, color=colour, marker="o" if alone else None, label=line.name)
        axes.set_xlabel("seconds")
        axes.set_ylabel(metric)
        axes.set_title(title)
        axes.margins(x=0.01)
        if len(lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        return _svg(figure, title)


def error_histogram(histogram: Histogram) -> str:
    """Return which share of the errors is of which size."""
    counts = np.asarray(histogram.counts, dtype=np.float64)
    edges = np.asarray(histogram.edges, dtype=np.float64)
    shares = 100 * counts / max(counts.sum(), 1.0)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 2.4), layout="constrained")
        axes = figure.add_subplot()
        inner = edges[edges > 0]
        if edges[0] >= 0 and len(inner) > 2 and inner[-1] / inner[0] > _WIDE_RANGE and not _even(edges):
            axes.set_xscale("log")
            first = inner[0] / (inner[1] / inner[0]) if edges[0] == 0 else edges[0]
            edges = np.concatenate([[first], edges[1:]])
        axes.stairs(shares, edges, fill=True, color=_COLOURS[0])
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel("" if histogram.unit == "1" else histogram.unit)
        axes.set_ylabel("share, %")
        axes.set_title(histogram.title)
        return _svg(figure, histogram.title)


def reliability_diagram(reliability: Reliability) -> str:
    """Return what the network says of its errors against what they are, with how often it says so below."""
    filled = np.asarray(reliability.counts) > 0
    predicted = np.asarray(reliability.predicted, dtype=np.float64)[filled]
    observed = np.asarray(reliability.observed, dtype=np.float64)[filled]
    counts = np.asarray(reliability.counts, dtype=np.float64)[filled]
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        positive = np.concatenate([predicted, observed])
        low, high = (float(positive.min()), float(positive.max())) if len(positive) else (0.0, 1.0)
        wide = low > 0 and high / low > _WIDE_RANGE and high > 1
        ends = (low, high) if wide else (min(0.0, low), 1.0 if 0.4 < high <= 1 or high == 0 else high)
        axes.plot(ends, ends, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)), label="as it should be")
        axes.plot(predicted, observed, color=_COLOURS[1], marker="o", markersize=3.5, label="as it is")
        if wide:
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.set_ylabel(reliability.observed_name)
        axes.set_title(reliability.title)
        axes.legend(loc="upper left", fontsize=8)
        below.vlines(predicted, 0, 100 * counts / max(counts.sum(), 1.0), color=_COLOURS[0], linewidth=5)
        below.set_ylim(bottom=0)
        below.set_ylabel("share, %")
        below.set_xlabel(reliability.predicted_name)
        return _svg(figure, reliability.title)


def _even(edges: NDArray[np.float64]) -> bool:
    steps = np.diff(edges[:-1]) if len(edges) > 3 else np.diff(edges)
    return bool(np.allclose(steps, steps[0], rtol=1e-3))


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    nothing: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(buffer, metadata={**nothing, "Title": title})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, colour in _PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # they would be on the page several times
    # The size in the file is in points; without it the page decides.
    opening, rest = text.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*pt"', "", opening) + ">" + rest
