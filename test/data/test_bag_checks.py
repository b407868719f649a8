# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What would hang, exhaust memory or fill the disk when a bag is opened is refused before, by name."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from std_msgs.msg import String

from mtl_perception.data.bags import BagError, BagReader, BagWriter

DEEP = "[" * 20_000
MANY = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 8)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.fixture
def bag(tmp_path: Path) -> Callable[[str], Path]:
    def write(storage: str) -> Path:
        path = tmp_path / storage
        with BagWriter(path, storage) as writer:
            for number in range(20):
                writer.write("/said", String(data=f"{number}"), number)
        return path

    return write


def packed(path: Path) -> Path:
    """Pack the only file of a bag as `ros2 bag record --compression-mode file` does."""
    [file] = path.glob("*.db3")
    Path(f"{file}.zstd").write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    about = path / "metadata.yaml"
    text = about.read_text().replace(f"{file.name}", f"{file.name}.zstd")
    text = text.replace("compression_format: ''", "compression_format: zstd")
    about.write_text(text.replace("compression_mode: ''", "compression_mode: FILE"))
    return Path(f"{file}.zstd")


@pytest.mark.parametrize("text", [DEEP, MANY], ids=["brackets", "anchors"])
def test_hostile_qos_texts_in_a_file_are_refused_at_once(bag: Callable[[str], Path], text: str) -> None:
    [file] = bag("sqlite3").glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE topics SET offered_qos_profiles = ?", [text])
    started = time.process_time()
    with pytest.raises(BagError, match=rf"{file.name}.*offered_qos_profiles"), BagReader(file):
        pass
    assert time.process_time() - started < 2


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_qos_profiles_of_each_storage_are_read(bag: Callable[[str], Path], storage: str) -> None:
    path = bag(storage)
    for each in (path, *path.glob("*.mcap"), *path.glob("*.db3")):
        with BagReader(each) as reader:
            assert [qos.depth for qos in reader.topics["/said"].qos] == [10]


def test_a_packed_bag_is_read(bag: Callable[[str], Path]) -> None:
    path = bag("sqlite3")
    packed(path)
    with BagReader(path) as reader:
        assert [message.data for _, _, message in reader.messages()] == [str(number) for number in range(20)]


def test_a_packed_bag_that_would_fill_the_disk_is_refused_before_it_is_unpacked(
    bag: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bag("sqlite3")
    file = packed(path)
    file.write_bytes(zstd.compress(bytes(8 << 20)))
    usage = shutil.disk_usage(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4 << 20))
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: pytest.fail("it is unpacked"))
    with pytest.raises(BagError, match=rf"{path.name}.*{file.name}.*75%"), BagReader(path):
        pass


def test_a_packed_bag_that_is_cut_short_is_refused_by_name(bag: Callable[[str], Path]) -> None:
    path = bag("sqlite3")
    file = packed(path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BagError, match=path.name), BagReader(path):
        pass
