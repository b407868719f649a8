# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags in both formats: what is written is read, in order, and nothing is left of what was not finished."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from nav_msgs.msg import Odometry
from rosbags.interfaces import QosDurability
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.bags import STORAGES, BagReader, BagWriter, bag_cameras
from mtl_perception.data.errors import BagError
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image, image_to_array
from mtl_perception_msgs.msg import Progress, RigPrediction

CAMERA = Camera("c", 8, 6, np.array([[5.0, 0, 4], [0, 5, 3], [0, 0, 1]]), BODY_FROM_OPTICAL, frame_id="f")


@pytest.mark.parametrize("storage", STORAGES)
def test_what_is_written_is_read_in_order(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "sub" / "bag"
    with BagWriter(path, storage) as writer:
        for stamp in range(100, 130, 10):
            # At equal stamps the order of writing counts: the pose before the image.
            writer.write("/odom", Odometry(child_frame_id=str(stamp)), stamp)
            writer.write("/front/image", array_to_image(np.full((600, 800, 3), stamp, np.uint8), "rgb8", 0, "f"), stamp)
        writer.write("/tf_static", TFMessage(), 130)
    with BagReader(path) as bag:
        read = [(topic, stamp) for topic, stamp, _ in bag.messages()]
        assert read == [(t, s) for s in (100, 110, 120) for t in ("/odom", "/front/image")] + [("/tf_static", 130)]
        assert (bag.start_ns, bag.end_ns, bag.message_count) == (100, 130, 7)
        later = list(bag.messages(["/front/image"], start_ns=110))
        assert [image_to_array(message)[0, 0, 0] for _, _, message in later] == [110, 120]
        between = list(bag.messages(["/front/image", "/odom"], start_ns=110, stop_ns=120))
        assert [(topic, stamp) for topic, stamp, _ in between] == [("/odom", 110), ("/front/image", 110)]
        assert bag.stamps_ns("/front/image") == [100, 110, 120]
        assert bag.topics["/tf_static"].qos[0].durability is QosDurability.TRANSIENT_LOCAL
        assert bag.topics["/odom"].qos[0].durability is QosDurability.VOLATILE
        assert bag.topics["/odom"].count == 3


@pytest.mark.parametrize("storage", STORAGES)
def test_types_of_other_packages_carry_their_definition(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / "bag", storage) as writer:
        writer.write("/progress", Progress(node="perception", stages=["a"], stamp_age_s=[0.5]), 1)
        writer.write("/frame", RigPrediction(base_frame="base_link"), 2)
        writer.write("/boxes", Detection3DArray(), 3)
    with BagReader(tmp_path / "bag") as bag:
        messages = {topic: message for topic, _, message in bag.messages()}
    assert messages["/progress"].stages == ["a"]
    assert messages["/frame"].base_frame == "base_link"


def test_the_metadata_is_what_rosbag2_reads(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/chatter", String(data="hello"), 5)
    metadata = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["storage_identifier"] == "mcap"
    assert metadata["relative_file_paths"] == ["bag.mcap"]
    assert isinstance(metadata["custom_data"], dict)
    topic = metadata["topics_with_message_count"][0]["topic_metadata"]
    assert (topic["name"], topic["type"], topic["serialization_format"]) == ("/chatter", "std_msgs/msg/String", "cdr")
    assert topic["type_description_hash"].startswith("RIHS01_")
    # Humble wants the profiles as text with rmw's numbers, and later distributions read it, too.
    (profile,) = yaml.safe_load(topic["offered_qos_profiles"])
    assert (profile["history"], profile["depth"], profile["reliability"], profile["durability"]) == (1, 10, 1, 2)
    # The mcap file's chunks are compressed, which is no matter of rosbag2's own compression.
    assert (metadata["compression_mode"], metadata["compression_format"]) == ("", "")
    # rosbag2's mcap plugin wants this profile in the header.
    assert (tmp_path / "bag" / "bag.mcap").read_bytes()[:32].find(b"ros2") > 0


def test_what_repeats_takes_little_space_and_files_may_go_with_a_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for stamp in range(10):
            writer.write("/front/image", array_to_image(np.zeros((600, 800, 3), np.uint8), "rgb8", 0, "f"), stamp)
        (writer.folder / "notes.txt").write_text("beside it")
    assert (tmp_path / "bag" / "bag.mcap").stat().st_size < 0.01 * 10 * 600 * 800 * 3
    assert (tmp_path / "bag" / "notes.txt").read_text() == "beside it"
    with BagReader(tmp_path / "bag") as bag:
        assert len(list(bag.messages())) == 10


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_bag_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), BagWriter(tmp_path / "bag") as writer:
        writer.write("/chatter", String(data="hello"), 5)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_cameras_have_an_image_and_a_camera_info_and_front_is_first(tmp_path: Path) -> None:
    image = array_to_image(np.zeros((6, 8, 3), np.uint8), "rgb8", 0, "f")
    with BagWriter(tmp_path / "bag") as writer:
        for name in ("back", "front", "ground_truth/back"):
            writer.write(f"/{name}/image", image, 1)
            writer.write(f"/{name}/camera_info", to_camera_info(CAMERA, 1), 1)
        writer.write("/no_info/image", image, 1)
    assert bag_cameras(tmp_path / "bag") == ["front", "back"]


def test_what_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="storage 'rosbag1' is not one of mcap, sqlite3"):
        BagWriter(tmp_path / "bag", "rosbag1")
    with pytest.raises(BagError, match=r"exists already"):
        BagWriter(tmp_path)
    with pytest.raises(BagError, match="nothing"):
        BagReader(tmp_path / "nothing")
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/a", String(), 1)
        with pytest.raises(BagError, match="topic /a is std_msgs/msg/String, not nav_msgs/msg/Odometry"):
            writer.write("/a", Odometry(), 2)
        with pytest.raises(BagError, match="foo_msgs/msg/Bar: no definition is installed"):
            writer.write_raw("/b", "foo_msgs/msg/Bar", b"", 2)
    with BagReader(tmp_path / "bag") as bag, pytest.raises(BagError, match="has no topic /c, it has /a"):
        list(bag.messages(["/c"]))


def test_a_damaged_bag_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/a", String(), 1)
    (tmp_path / "bag" / "bag.mcap").write_bytes(b"\x89MCAP0\r\nbroken")
    with pytest.raises(BagError, match="bag"), BagReader(tmp_path / "bag") as bag:
        list(bag.messages())


@pytest.mark.recordings
@pytest.mark.parametrize(("name", "topic"), [("nav2_turtlebot.mcap", "/odom"), ("tf_example", "/tf")])
def test_bags_of_others_are_read(recordings: Path, name: str, topic: str) -> None:
    with BagReader(recordings / "bags" / name) as bag:
        messages = list(bag.messages([topic]))
        assert len(messages) == bag.topics[topic].count > 100
        assert [stamp for _, stamp, _ in messages] == sorted(stamp for _, stamp, _ in messages)
