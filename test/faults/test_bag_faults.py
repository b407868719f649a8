# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that are damaged, or made by somebody who means harm, played by the player."""

import shutil
import sqlite3
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from backports import zstd
from fault_map import memory_within
from fault_system import HEALTHY_WITHIN_S, overrides, until
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from mtl_perception.data.bags import BagReader, BagWriter
from mtl_perception.data.errors import BagError
from mtl_perception.messages.poses import StampedTransform, to_odometry
from mtl_perception.nodes.player_node import PlayerNode
from mtl_perception.ros.process import Spinning, close

MESSAGES = 40
BOMB = zstd.compress(bytes(2**28), 1)


@pytest.fixture(scope="module")
def context():
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """A good bag of each kind: a robot that only says where it is."""
    folder = tmp_path_factory.mktemp("bags")
    for storage in ("mcap", "sqlite3"):
        with BagWriter(folder / storage, storage) as writer:
            for number in range(MESSAGES):
                stamp = 10**18 + number * 10**7
                message = to_odometry(StampedTransform(stamp, "odom", "base_link", np.eye(4)))
                message.pose.covariance = np.random.default_rng(number).random(36)  # which is not compressed to nothing
                writer.write("/odom", message, stamp)
    return folder


def play(context, bag, during=lambda player: None, **values):
    """Play a bag to its end, and return what the player says of it."""
    finished = []
    values = {"bag": str(bag), "mode": "every", "progress_timeout": 1.0, **values}
    node = PlayerNode(context=context, on_finished=finished.append, parameter_overrides=overrides(values))
    spinning = Spinning(context, [node])
    try:
        during(node)
        until(lambda: finished, "the end of the bag")
    finally:
        spinning.stop()
        close([node])
    return finished[0]


def data_of(bag):
    return next(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))


def change(edit):
    def changed(bag):
        path = data_of(bag)
        path.write_bytes(edit(path.read_bytes()))

    return changed


def sql(*statements):
    def changed(bag):
        with sqlite3.connect(data_of(bag)) as connection:
            for statement, *values in statements:
                connection.execute(statement, values)
        connection.close()

    return changed


def in_metadata(old, new):
    def changed(bag):
        path = bag / "metadata.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return changed


def yaml_bomb(bag):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (bag / "metadata.yaml").write_text("\n".join(lines))


def chunk_index(content):
    """Return where the summary's record of the first chunk begins, behind opcode and length."""
    (summary,) = struct.unpack_from("<Q", content, len(content) - 28)
    at = summary
    while content[at] != 0x08:
        at += 9 + struct.unpack_from("<Q", content, at + 1)[0]
    return at + 9


def absurd_record(content):
    """The first record of the summary says to have 2^63 bytes."""
    (summary,) = struct.unpack_from("<Q", content, len(content) - 28)
    return content[: summary + 1] + struct.pack("<Q", 2**63 + 5) + content[summary + 9 :]


def absurd_chunk(content):
    """The index says that the chunk becomes 2^50 bytes."""
    changed, at = bytearray(content), chunk_index(content)
    (offsets,) = struct.unpack_from("<I", changed, at + 32)
    (name,) = struct.unpack_from("<I", changed, at + 36 + offsets + 8)
    struct.pack_into("<Q", changed, at + 36 + offsets + 8 + 4 + name + 8, 2**50)
    return bytes(changed)


def chunk_bomb(content):
    """The chunk's data become 256 MiB, not what is said of them."""
    at = chunk_index(content)
    start, _ = struct.unpack_from("<QQ", content, at + 16)
    (length,) = struct.unpack_from("<Q", content, start + 1)
    (name,) = struct.unpack_from("<I", content, start + 9 + 28)
    fixed = start + 9 + 32 + name
    (size,) = struct.unpack_from("<Q", content, fixed)
    assert length == 32 + name + 8 + size
    changed, shift = bytearray(content), len(BOMB) - size
    changed[fixed : fixed + 8 + size] = struct.pack("<Q", len(BOMB)) + BOMB
    struct.pack_into("<Q", changed, start + 1, length + shift)
    struct.pack_into("<I", changed, start + 9 + 24, 0)  # no checksum
    at += shift
    (offsets,) = struct.unpack_from("<I", changed, at + 32)
    struct.pack_into("<Q", changed, at + 24, length + 9 + shift)
    struct.pack_into("<Q", changed, at + 36 + offsets + 8 + 4 + name, len(BOMB))
    footer = len(changed) - 28
    for place in (footer, footer + 8):
        (offset,) = struct.unpack_from("<Q", changed, place)
        struct.pack_into("<Q", changed, place, offset + shift)
    return bytes(changed)


PLAYED = ("mcap truncated", "mcap with an absurd record", "db3 truncated", "metadata of a bag is a bomb")
"""To play takes a second each, which not all of them need: they fail at the same place."""
EVIL = "x/msg/A:\n    pass\nimport os\nos.system('touch ran')\nclass B"
BAGS = [
    ("mcap", change(lambda content: content[: len(content) // 2]), "mcap truncated", "half of the file", "magic"),
    ("mcap", change(lambda content: content[:20]), "mcap ends after its header", "20 bytes", ""),
    ("mcap", change(lambda content: b""), "mcap empty", "no byte", "seems to be empty"),
    ("mcap", change(absurd_record), "mcap with an absurd record", "a record of 2^63 bytes", "it is damaged"),
    ("mcap", change(absurd_chunk), "mcap with an absurd chunk", "a chunk of 2^50 bytes", "says to have 11258999"),
    ("mcap", change(chunk_bomb), "mcap with a chunk that is a bomb", "256 MiB in a few kB", "become more than the"),
    ("mcap", yaml_bomb, "metadata of a bag is a bomb", "aliases of aliases", "metadata.yaml has anchors"),
    ("mcap", in_metadata("version: 8", "version: [8"), "metadata of a bag is no YAML", "a bracket", "Could not load"),
    (
        "mcap",
        in_metadata("nanoseconds_since_epoch: 1", "nanoseconds_since_epoch: x1"),
        "start of a bag is no number",
        "x1000",
        "",
    ),
    ("sqlite3", change(lambda content: content[: len(content) // 2]), "db3 truncated", "half of the file", ""),
    ("sqlite3", change(lambda content: content[:4096] + bytes(len(content) - 4096)), "db3 wiped", "zeros", ""),
    (
        "sqlite3",
        sql(("DROP TABLE topics",)),
        "db3 of another schema",
        "no table of topics",
        "missing tables",
    ),
    (
        "sqlite3",
        sql(("UPDATE messages SET data = ? WHERE id = 5", "text")),
        "db3 with text for a message",
        "text in place of bytes",
        "",
    ),
    (
        "sqlite3",
        sql(("UPDATE message_definitions SET encoded_message_definition = ?", "int32 a\nint32 a b c"),),
        "message definition that is none",
        "int32 a b c",
        "",
    ),
]


@pytest.mark.parametrize(
    ("kind", "spoil", "text"),
    [
        pytest.param(
            kind,
            spoil,
            text,
            id=name.replace(" ", "_"),
            marks=pytest.mark.fault(
                name, done=f"played: {done}", expected="names the bag; the player ends; good ones play"
            ),
        )
        for kind, spoil, name, done, text in BAGS
    ],
)
def test_bag_that_cannot_be_played(context, bags, case, tmp_path, monkeypatch, kind, spoil, text):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / kind
    shutil.copytree(bags / kind, bad)
    spoil(bad)
    with memory_within(150):
        said = read(bad)
        if case.name in PLAYED:
            said = play(context, bad).error or said
    assert str(bad) in said and text in said and len(said) < 1000, said
    case.saw(f"{said.replace(str(tmp_path), '/tmp/bags/')}"[:300])
    began_s = time.monotonic()
    with BagReader(bags / kind) as bag:
        assert sum(1 for _ in bag.messages()) == MESSAGES
    case.healthy_again_s = time.monotonic() - began_s
    assert case.healthy_again_s <= HEALTHY_WITHIN_S
    assert not Path("ran").exists()


def read(bag):
    """Read all messages as `evaluate` does; return what is wrong."""
    try:
        with BagReader(bag) as reader:
            list(reader.messages())
    except BagError as error:
        return str(error)
    return ""


@pytest.mark.fault(
    "message type that is code", done="a topic's type with lines of Python", expected="refused, nothing is run"
)
def test_type_that_is_code(context, bags, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bag.db3"
    shutil.copy(data_of(bags / "sqlite3"), bad)
    with sqlite3.connect(bad) as connection:
        connection.execute("UPDATE topics SET type = ?", [EVIL])
        connection.execute("UPDATE message_definitions SET topic_type = ?", [EVIL])
    connection.close()
    summary = play(context, bad)
    assert "which is none" in summary.error and not Path("ran").exists()
    case.saw(summary.error.replace(str(tmp_path), "/tmp/bags/")[:300])


@pytest.mark.fault(
    "compressed message that is a bomb", done="256 MiB in a message of a few kB", expected="refused within bounds"
)
def test_message_bomb(context, bags, case, tmp_path, monkeypatch):
    bad = tmp_path / "sqlite3"
    shutil.copytree(bags / "sqlite3", bad)
    with sqlite3.connect(data_of(bad)) as connection:
        connection.execute("UPDATE messages SET data = ?", [BOMB])
    connection.close()
    in_metadata("compression_format: ''", "compression_format: zstd")(bad)
    in_metadata("compression_mode: ''", "compression_mode: MESSAGE")(bad)
    for module in ("bags", "bag_checks"):
        monkeypatch.setattr(f"mtl_perception.data.{module}.MOST_BYTES", 2**20)  # 1 GiB, as it is, takes a while
    with memory_within(100):
        summary = play(context, bad)
    assert str(bad) in summary.error and "become more than the 1048576 bytes" in summary.error
    case.saw(summary.error.replace(str(tmp_path), "/tmp/bags/")[:300])


@pytest.mark.fault(
    "bag removed while playing", done="its folder is removed in the first loop", expected="it plays on, and can end"
)
def test_bag_removed_while_playing(context, bags, case, tmp_path):
    bag = tmp_path / "mcap"
    shutil.copytree(bags / "mcap", bag)

    def remove(player):
        until(lambda: player.summary.messages >= 5, "the first messages")
        shutil.rmtree(bag)
        case.saw(f"removed after {player.summary.messages} messages")

    summary = play(context, bag, remove, mode="realtime", rate=0.5)
    assert not summary.error and summary.messages == MESSAGES
    case.saw("all messages were played")


@pytest.mark.fault(
    "bag truncated while playing", done="the file is cut in the first loop", expected="the player ends, names the bag"
)
def test_bag_truncated_while_playing(context, bags, case, tmp_path):
    bag = tmp_path / "mcap"
    shutil.copytree(bags / "mcap", bag)

    def cut(player):
        until(lambda: player.summary.messages >= 5, "the first messages")
        with data_of(bag).open("r+b") as file:
            file.truncate(100)

    summary = play(context, bag, cut, mode="realtime", rate=1.0, loop=True)
    assert str(bag) in summary.error
    case.saw(summary.error.replace(str(tmp_path), "/tmp/bags/")[:300])
