# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The page: all in one file, everything on it, nothing that a bag's name could inject, the same bytes each time."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mtl_perception.evaluation.report import html
from mtl_perception.evaluation.report.html import report_html
from mtl_perception.evaluation.run import RunResult

_VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """Collects text and addresses, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.addresses += [known[name] for name in ("src", "href", "xlink:href") if name in known]
        if "id" in known and "svg" not in self.open:
            self.ids.append(known["id"])
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        known = dict(attributes)
        self.addresses += [known[name] for name in ("src", "href", "xlink:href") if name in known]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(" ".join(data.split()))

    @property
    def text(self):
        return " ".join(word for word in self.words if word)


@pytest.fixture(scope="module")
def run(small_scores, small_bag, small_picture):
    pictures = (
        small_picture("depth", "worst", 2.0),
        small_picture("depth", "best", 0.5),
        small_picture("map", "map", float("nan")),
    )
    bags = (
        small_bag("street", pictures=pictures, left_out={"map": "no depth"}),
        small_bag("room", seed=1, left_out={"map": "no depth", "normals": "not trained"}, detections=False),
    )
    return RunResult(bags, {"broken": "no metadata.yaml"}, {"room": 2}, small_scores, {"max_depth": 80.0})


@pytest.fixture(scope="module")
def page(run):
    return Page(report_html(run))


def test_everything_is_in_one_file(page):
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert sum(address.startswith("data:image/") for address in page.addresses) == 3
    assert len(set(page.ids)) == len(page.ids)
    assert {address[1:] for address in page.addresses if re.fullmatch(r"#[a-z]\w+", address)} <= {
        *page.ids,
        *(a[1:] for a in page.addresses if a.startswith("#m")),
    }


def test_every_part_of_the_run_is_on_the_page(page, run):
    for words in (
        "1 bag failed and is not in the figures below",
        "no metadata.yaml",
        "nano.safetensors",
        "2 bags",
        "80 frames",
        "Errors",
        "Trust",
        "Over time",
        "road",
        "Worst frames",
        "Best frames",
        "street, 0.50 s, front, error 2.000",
        "From above" if "map" in run.totals else "Map from above",
        "Per bag",
        "frames per second",
        "room (2×)",
        "not trained",
        "no image",
        "max depth",
    ):
        assert words in page.text, words
    low, high = run.intervals["depth"]["error"]
    assert f"{low:.4f}" in page.text or f"{low:.3f}" in page.text
    assert high > low


def test_names_from_outside_cannot_inject_anything(small_scores, small_bag):
    evil = "<script>alert(1)</script>&"
    bag = replace(small_bag("a"), name=evil, truth={"depth": evil}, left_out={evil: evil}, dropped={evil: 1})
    text = report_html(RunResult((bag, small_bag("b")), {f"{evil}2": evil}, {evil: 1}, small_scores, {"x": evil}))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "alert(1)" in Page(text).text


def test_the_page_is_the_same_each_time(run):
    again = RunResult(run.bags, run.failed, run.retried, run.scores, run.settings)
    assert report_html(again) == report_html(run)


def test_a_run_without_any_score_has_a_page_that_says_so(small_scores):
    assert "Nothing could be scored" in Page(report_html(RunResult((), {"a": "damaged"}, {}, small_scores))).text


def test_a_page_does_not_grow_beyond_what_it_can_hold(small_scores, small_bag, small_picture, monkeypatch):
    bag = small_bag("a", pictures=tuple(small_picture("depth", kind, 1.0) for kind in ("worst", "best")))
    one = len(_first_picture(report_html(RunResult((bag,), {}, {}, small_scores))))
    monkeypatch.setattr(html, "_MOST_PICTURE_BYTES", one)
    text = report_html(RunResult((bag,), {}, {}, small_scores))
    assert text.count("data:image") == 1
    assert "1 picture more than this page can hold" in Page(text).text


def test_of_many_bags_the_best_and_the_worst_frames_are_shown(small_scores, small_bag, small_picture):
    bags = [
        small_bag(
            f"bag{i}", pictures=(small_picture("depth", "worst", float(i)), small_picture("depth", "best", i / 10))
        )
        for i in range(6)
    ]
    text = Page(report_html(RunResult(tuple(bags), {}, {}, small_scores))).text
    worst, best = text.index("Worst frames"), text.index("Best frames")
    assert re.findall(r"(bag\d), 0\.50 s", text[worst:best]) == ["bag5", "bag4", "bag3"]
    assert re.findall(r"(bag\d), 0\.50 s", text[best:]) == ["bag0", "bag1", "bag2"]


def test_hundreds_of_curve_points_are_averaged_by_sums(small_scores, small_bag):
    bag = small_bag("long", frames=1000)
    (curve,) = html._curves(RunResult((bag,), {}, {}, small_scores), small_scores[0])
    assert len(curve.seconds) == 300 and np.all(np.diff(curve.seconds) > 0)
    column = bag.statistics["depth"].sums["sum"]
    assert curve.values[0] == pytest.approx(column[:4].sum() / 80)


def _first_picture(text):
    encoded = re.search(r"base64,([A-Za-z0-9+/=]+)", text)[1]
    return encoded[: len(encoded) * 3 // 4]
