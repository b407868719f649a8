# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The sync suite: its streams, how sets are compared, the command. No time is ever asserted."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from tf2_msgs.msg import TFMessage

from mtl_perception import cli
from mtl_perception.bench import command, sync
from mtl_perception.bench.sync import Reference, installed_reference, run_suite
from mtl_perception.bench.sync_streams import TOPICS, Arrival, Stream, bag_stream, rig_stream
from mtl_perception.data.bags import BagWriter
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform

MS = 1_000_000


def test_a_rig_sends_each_image_with_a_pose_of_its_stamp():
    stream = rig_stream(2.0)
    assert len(stream.topics) == TOPICS and stream.topics[0] == "front"
    stamps = [{a.stamp_ns for a in stream.arrivals if a.topic == topic} for topic in range(TOPICS)]
    assert [len(of_topic) for of_topic in stamps] == [20] * 6 + [120]
    assert set.union(*stamps[:6]) == stamps[6]
    assert list(stream.arrivals) == sorted(stream.arrivals)


def test_disturbed_streams_lose_repeat_and_reorder_and_are_the_same_each_time():
    sent = {(a.topic, a.stamp_ns) for a in rig_stream(8.0).arrivals}
    one, other = rig_stream(8.0, seed=1), rig_stream(8.0, seed=2)
    assert one == rig_stream(8.0, seed=1) and one.arrivals != other.arrivals
    came = Counter((a.topic, a.stamp_ns) for a in one.arrivals)
    assert 0.9 * len(sent) < len(came) < len(sent)
    assert max(came.values()) == 2
    assert all(later.at_ns >= earlier.at_ns for earlier, later in pairwise(one.arrivals))
    front = [a.stamp_ns for a in one.arrivals if a.topic == 0]
    assert front != sorted(front)


def test_a_bag_without_cameras_gives_what_has_stamps_the_slowest_first(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        for at in range(12):
            wheel = StampedTransform(1 + at * 50 * MS, "base_link", "wheel", np.eye(4))
            bag.write("/tf", TFMessage(transforms=[to_transform(wheel)]), at * 50 * MS)
            if at % 3 == 0:
                pose = StampedTransform(2 + at * 50 * MS, "odom", "base_link", np.eye(4))
                bag.write("/odom", to_odometry(pose), at * 50 * MS)
        bag.write("/tf_static", TFMessage(transforms=[to_transform(wheel)]), 0)
    stream = bag_stream(tmp_path / "bag")
    assert stream.topics == ("/odom", *["/tf wheel"] * 6)
    assert Counter(a.topic for a in stream.arrivals) == {0: 4, **dict.fromkeys(range(1, 7), 12)}
    assert (150 * MS, 0, 2 + 150 * MS) in stream.arrivals


def test_sets_are_compared_by_their_reference_image():
    # The camera that is lost in the second frame; a wrong order in the third, which only one of both lets out.
    cameras = [(1000, 0), (1000, 1), (1100, 0), (1300, 0), (1300, 1), (1200, 0), (1200, 1), (1400, 0), (1400, 1)]
    arrivals = [Arrival(at * 30 * MS, topic, stamp * MS) for at, (stamp, topic) in enumerate(cameras)]
    poses = [Arrival(at.at_ns + MS, 2, at.stamp_ns) for at in arrivals if at.topic == 1]
    stream = Stream("two", ("front", "left", "odom"), tuple(sorted([*arrivals, *poses])))
    steps = []
    found = run_suite([stream], Reference("a reference", True, ""), rounds=2, advanced=steps.append)
    results = {r.name.removeprefix("two_"): (r.value, r.reference_value) for r in found}
    assert steps == ["two", "two"] and {r.reference for r in found} == {"a reference"}
    assert results["sets"] == (4, 4) and results["complete_sets"] == (3, 4)
    assert results["same_sets"] == results["same_images"] == results["same_or_nearer_sets"] == (3, 4)
    assert results["sets_out_of_order"] == (0, 1)
    assert "mean_gap" not in results  # 0 of both
    assert min(results["time_per_message"]) > 0


def test_the_stand_in_does_not_count(tmp_path, monkeypatch):
    reference = installed_reference()
    assert reference.path.endswith("__init__.py")
    assert reference.is_real != ("no claim" in reference.name)
    package = tmp_path / "lib" / "site-packages" / "message_filters" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("")
    monkeypatch.setattr(sync.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sync.message_filters, "__file__", str(package))
    assert installed_reference() == Reference("message_filters sha256 e3b0c44298fc", True, str(package))
    manifest = tmp_path / "share" / "message_filters" / "package.xml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("<package><version>4.11.9</version></package>")
    assert installed_reference().name == "message_filters 4.11.9"


def test_the_command_writes_the_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "_STREAM_S", 3.0)
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "--suite", "sync", "--rounds", "1", "--out", str(out)]) == 0
    results = {result["name"]: result for result in json.loads(out.read_text())["results"]}
    streams = ("rig", "rig_disturbed_1", "rig_disturbed_2", "rig_disturbed_3")
    assert {f"{name}_time_per_message" for name in streams} <= set(results)
    assert results["rig_same_or_nearer_sets"]["ratio"] == 1.0 and results["rig_same_images"]["ratio"] == 1.0
    assert "message_filters is the" in capsys.readouterr().out


@pytest.mark.parametrize("topics", [(), ("/odom",)])
def test_a_bag_without_two_topics_is_refused(topics, tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        for topic in topics:
            for at in (1, 2):
                bag.write(topic, to_odometry(StampedTransform(at, "odom", "base_link", np.eye(4))), at)
    with pytest.raises(ValueError, match="no two topics with stamps"):
        bag_stream(tmp_path / "bag")
