# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Diagrams: well-formed SVG in the colours of the page that says what it should, the same each time."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mtl_perception.evaluation.report import figures
from mtl_perception.evaluation.score import Histogram, Reliability

EVEN = np.linspace(0, 1, 11)
SAID = np.array([0.1, 0.5, 0.9, np.nan])


def histogram(edges=EVEN):
    return Histogram("Depth <error>", "m", edges, np.arange(10) * 100)


def reliability(predicted=SAID):
    return Reliability("Trust", "says", "is", predicted, predicted**2, np.array([10, 20, 30, 0]))


def diagrams():
    seconds = np.arange(20.0)
    values = np.where(seconds == 7, np.nan, np.sin(seconds))
    yield figures.class_bars("Part by part", "iou", {"car": 0.5, "road & path": 0.9})
    yield figures.curves("Over time", "rmse, m", [figures.Curve(n, seconds, values) for n in ("one", "two")])
    yield figures.error_histogram(histogram())
    yield figures.error_histogram(histogram(np.concatenate([[0], np.geomspace(0.01, 10, 10)])))
    yield figures.reliability_diagram(reliability())
    yield figures.reliability_diagram(reliability(np.array([0.01, 1.0, 100.0, np.nan])))


def texts(svg):
    return " ".join(
        "".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter() if "text" in node.tag
    )


def test_diagrams_are_well_formed_take_the_pages_ink_and_its_width():
    for svg in diagrams():
        root = ElementTree.fromstring(svg)
        assert "viewBox" in root.attrib and "width" not in root.attrib
        assert "var(--ink)" in svg and "#010203" not in svg and "#040506" not in svg
        assert "http" not in svg.replace("http://www.w3.org/", "").replace("http://purl.org/", "").replace(
            "http://creativecommons.org/", ""
        )
        assert len(svg) < 60_000
        assert ' id="text_1"' not in svg, "several diagrams are on one page"


def test_the_same_diagram_has_the_same_bytes():
    assert list(diagrams()) == list(diagrams())


def test_bars_keep_the_order_and_name_their_values():
    text = texts(figures.class_bars("t", "iou", {"near": 0.25, "far": 0.5}))
    assert text.index("near") < text.index("far")
    assert "0.25" in text and "0.5" in text and "iou" in text


def test_a_histogram_of_a_wide_range_has_a_logarithmic_axis_and_an_even_one_has_not():
    wide = texts(figures.error_histogram(histogram(np.concatenate([[0], np.geomspace(0.001, 100, 10)]))))
    assert "10" in wide and "0.2" not in wide
    assert "0.2" in texts(figures.error_histogram(histogram()))


def test_empty_bins_are_not_drawn():
    svg = figures.reliability_diagram(reliability())
    assert "nan" not in svg.lower()
    with_all = figures.reliability_diagram(
        Reliability("Trust", "says", "is", np.array([0.1, 0.5, 0.9, 1.0]), np.full(4, 0.5), np.array([1, 2, 3, 4]))
    )
    assert with_all.count("<use ") > svg.count("<use ")


@pytest.mark.parametrize("count", [1, 60])
def test_any_number_of_classes(count):
    svg = figures.class_bars("t", "iou", {f"class{i}": i / count for i in range(count)})
    assert texts(svg).count("class") == min(count, 40)
