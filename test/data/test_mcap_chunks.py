# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Spans of time out of .mcap files: the same messages in the same order as when the whole file is read."""

from pathlib import Path

import numpy as np
import pytest
from std_msgs.msg import String, UInt8MultiArray

from mtl_perception.data import mcap_chunks
from mtl_perception.data.bags import BagReader, BagWriter
from mtl_perception.data.errors import BagError

TOPICS = ("/a", "/b", "/c")


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 25 chunks of random sizes, with equal stamps, and some messages that were written late."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("chunks") / "bag"
    with BagWriter(path) as writer:
        for step in range(200):
            for topic in TOPICS:
                size = int(generator.choice([10, 20_000, 150_000, 400_000], p=[0.4, 0.4, 0.15, 0.05]))
                data = generator.integers(0, 4, size, dtype=np.uint8)
                late = int(generator.choice([0, 0, 0, 25]))
                writer.write(topic, UInt8MultiArray(data=data.tobytes()), 1000 + 10 * step - late)
    return path


@pytest.mark.parametrize("kept", [64 * 2**20, 2 * 2**20])
def test_spans_hold_what_the_whole_file_holds(bag: Path, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcap_chunks, "_KEPT_BYTES", kept)
    generator = np.random.default_rng(1)
    with BagReader(bag) as reader:
        whole = list(reader.raw_messages())
        for number in range(120):
            start = 1000 + 15 * number if number < 90 else int(generator.integers(900, 3100))
            stop = start + int(generator.integers(0, 60))
            topics = [topic for topic in TOPICS if generator.random() < 0.6]
            found = list(reader.raw_messages(topics, start, stop))
            assert found == [entry for entry in whole if entry[0] in topics and start <= entry[2] < stop]


def test_two_spans_at_once_do_not_disturb_each_other(bag: Path) -> None:
    with BagReader(bag) as reader:
        first, second = (list(reader.raw_messages([topic], 1500, 1900)) for topic in ("/a", "/b"))
        together = zip(reader.raw_messages(["/a"], 1500, 1900), reader.raw_messages(["/b"], 1500, 1900), strict=False)
        for (one, other), expected_one, expected_other in zip(together, first, second, strict=False):
            assert (one, other) == (expected_one, expected_other)


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for stamp in range(10):
            writer.write("/a", String(data="x" * stamp), 100 + stamp)
    file = tmp_path / "bag" / "bag.mcap"
    content = bytearray(file.read_bytes())
    with BagReader(file) as reader:
        (chunk,) = reader._reader.storage.chunks
        assert len(list(reader.raw_messages(["/a"], 100, 105))) == 5
    (offset,) = chunk.message_index_offsets.values()
    content[offset + 15 + 8] ^= 1  # the offset of the first message
    (tmp_path / "wrong.mcap").write_bytes(content)
    with (
        BagReader(tmp_path / "wrong.mcap") as reader,
        pytest.raises(BagError, match=r"wrong\.mcap: the index of the chunk"),
    ):
        list(reader.raw_messages(["/a"], 100, 105))


@pytest.mark.recordings
def test_spans_of_a_robots_bag_are_those_of_the_whole(recordings: Path) -> None:
    with BagReader(recordings / "bags" / "nav2_turtlebot.mcap") as reader:
        whole = list(reader.raw_messages())
        middle = whole[len(whole) // 2][2]
        for start in range(middle, middle + 2_000_000_000, 300_000_000):
            found = list(reader.raw_messages(None, start, start + 500_000_000))
            assert found == [entry for entry in whole if start <= entry[2] < start + 500_000_000]
            assert found
