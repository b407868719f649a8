# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The transport suite: what it measures, whom it compares with, the command. No time is ever asserted."""

import importlib.util
import json
from collections import Counter

import pytest
from cv_bridge import CvBridge

from mtl_perception import cli
from mtl_perception.bench import transport
from mtl_perception.bench.transport import Bridge, installed_bridge, run_suite

WITHOUT_COPY = ("read_rgb8", "read_rgb8_padded", "read_32FC1")
PICTURES = ("rgb8", "rgb8_padded", "bgr8", "mono8", "bayer_rggb8", "yuv422", "rgb16", "nv12", "jpeg", "png")
NAMES = {f"read_{name}" for name in (*PICTURES, "16UC1", "32FC1", "compressedDepth")} | {"write_rgb8", "write_32FC1"}


def test_every_way_is_compared_with_the_least_and_with_a_cv_bridge_that_is_given():
    steps = []
    results = run_suite((64, 48), repeats=2, bridge=Bridge("a cv_bridge", CvBridge()), advanced=steps.append)
    assert len(steps) == transport.STEPS and set(steps) == NAMES
    references = {name: {r.reference for r in results if r.name == name} for name in NAMES}
    own = {"read_nv12", "read_16UC1", "read_32FC1", "read_compressedDepth"}  # what cv_bridge does not do
    decoded = {"read_jpeg", "read_png", "read_compressedDepth"}
    for name, found in references.items():
        least = "cv2.imdecode alone" if name in decoded else "a copy of the data"
        assert found == ({least} if name in own else {least, "a cv_bridge"})
    assert all(result.value > 0 and result.reference_value > 0 for result in results)


def test_what_needs_no_copy_takes_no_memory():
    ratios = {r.name: r.ratio for r in run_suite((320, 240), repeats=1, bridge=None) if r.unit == "kB"}
    assert set(ratios) == {f"{name}_memory" for name in NAMES}
    for name, ratio in ratios.items():
        assert ratio < 0.05 if name.removesuffix("_memory") in WITHOUT_COPY else ratio > 0.9


def test_the_stand_in_does_not_count_and_neither_does_one_that_does_not_work(monkeypatch):
    if importlib.util.find_spec("cv_bridge.boost") is None:
        assert installed_bridge() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert installed_bridge() is not None  # as if it had a compiled part
    monkeypatch.setattr(CvBridge, "imgmsg_to_cv2", lambda *_: (_ for _ in ()).throw(AttributeError("_ARRAY_API")))
    assert installed_bridge() is None


def test_the_command_writes_the_file(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "--suite", "transport", "--size", "64x48", "--rounds", "2", "--out", str(out)]) == 0
    names = Counter(result["name"] for result in json.loads(out.read_text())["results"])
    assert {name for name in names if not name.endswith("_memory")} == NAMES
    text = capsys.readouterr().out
    assert "read_rgb8_padded" in text
    assert installed_bridge() is not None or "it is left out" in text


def test_an_odd_size_is_refused():
    with pytest.raises(ValueError, match="size 63x48"):
        run_suite((63, 48), repeats=1, bridge=None)
