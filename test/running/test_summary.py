# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The keys of summary.json are part of the interface."""

import json

import pytest

from mtl_perception.running.summary import FrameLedger, NetworkFacts, TopicCount, summary, write_summary


def test_the_file_has_the_promised_keys(tmp_path):
    ledger = FrameLedger()
    ledger.report("perception", 1, True, "", ["infer", "publish"], [0.1, 0.2])
    content = summary(
        frames=ledger.frames(),
        topics={"/odom": TopicCount("nav_msgs/msg/Odometry", 3, 2.0)},
        stamp_age_ms=ledger.stamp_age_ms(),
        map_facts={"blocks": 2, "mesh_distance_m": 0.05},
        network=NetworkFacts("nano", "nano.safetensors", ("depth",), {"edges": "not trained"}),
        pictures=[tmp_path / "pictures" / "depth.png"],
        folder=tmp_path,
        seconds=1.23456,
        measured={"depth_abs_rel": 0.1},
    )
    path = write_summary(content, tmp_path)
    assert json.loads(path.read_text()) == {
        "frames": {"in": 1, "used": 1, "dropped": {}},
        "topics": {"/odom": {"type": "nav_msgs/msg/Odometry", "count": 3, "rate_hz": 2.0}},
        "stamp_age_ms": {
            "perception/infer": {"p50": 100.0, "p95": 100.0, "p99": 100.0},
            "perception/publish": {"p50": 200.0, "p95": 200.0, "p99": 200.0},
        },
        "map": {"blocks": 2, "vertices": 0, "objects": 0, "places": 0, "rooms": 0, "mesh_distance_m": 0.05},
        "network": {
            "preset": "nano",
            "checkpoint": "nano.safetensors",
            "tasks_published": ["depth"],
            "tasks_left_out": {"edges": "not trained"},
        },
        "pictures": ["pictures/depth.png"],
        "seconds": 1.235,
        "depth_abs_rel": 0.1,
    }
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_a_frame_counts_once_and_is_used_when_no_node_dropped_it():
    ledger = FrameLedger()
    for stamp in (1, 2, 3):
        ledger.report("perception", stamp, stamp != 3, "a newer frame came" if stamp == 3 else "", [], [])
    ledger.report("mapping", 1, True, "", [], [])
    ledger.report("mapping", 2, False, "no pose", [], [])
    assert ledger.frames(unanswered=1) == {
        "in": 4,
        "used": 1,
        "dropped": {"mapping: no pose": 1, "no node reported on it": 1, "perception: a newer frame came": 1},
    }
    assert ledger.reported("perception") == 3
    assert ledger.reported("perception", used_only=True) == 2
    assert ledger.reported("mapping") == 2


def test_percentiles_are_those_of_all_frames():
    ledger = FrameLedger()
    for stamp in range(101):
        ledger.report("mapping", stamp, True, "", ["integrate"], [stamp / 1000])
    assert ledger.stamp_age_ms() == {"mapping/integrate": {"p50": 50.0, "p95": 95.0, "p99": 99.0}}


def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path):
    write_summary({"seconds": 1}, tmp_path)
    with pytest.raises(ValueError):
        write_summary({"seconds": float("nan")}, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == {"seconds": 1}
