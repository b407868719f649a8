# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter files of a run say what the command line said."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mtl_perception.resources import config_folder
from mtl_perception.running.settings import (
    UpSettings,
    configured_cameras,
    ros_arguments,
    set_up_middleware,
    write_parameters,
)


def test_a_bag_is_played_frame_by_frame(tmp_path):
    settings = UpSettings(bag=tmp_path / "bag", cameras=("front", "left"), scene="street", out=tmp_path)
    values = _written(settings, tmp_path)
    assert values["use_sim_time"] is True
    assert values["frame_policy"] == values["mode"] == "every"
    assert values["tasks"] == ["all"]
    assert values["cameras"] == ["front", "left"]
    assert values["voxel_size"] == 0.2
    assert values["bag"] == str(tmp_path / "bag")
    assert values["map_folder"] == str(tmp_path)


def test_the_player_waits_for_the_evaluation_where_there_is_one(tmp_path):
    plain = _written(UpSettings(bag=tmp_path / "bag"), tmp_path)
    assert plain["wait_for"] == ["perception/progress", "mapping/progress"] and "report_folder" not in plain
    values = _written(UpSettings(bag=tmp_path / "walk.mcap", out=tmp_path, evaluate=True), tmp_path)
    assert values["wait_for"] == ["perception/progress", "mapping/progress", "evaluation/progress"]
    assert values["node_names"] == values["clock_listeners"] == ["perception", "mapping", "evaluation"]
    assert (values["report_folder"], values["report_name"]) == (str(tmp_path / "evaluation"), "walk")


def test_a_checkpoint_is_a_file_or_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.safetensors").touch()
    file = _written(UpSettings(checkpoint="mine.safetensors"), tmp_path)["checkpoint"]
    assert file == str(tmp_path / "mine.safetensors")
    assert _written(UpSettings(checkpoint="group/model@v1"), tmp_path)["checkpoint"] == "group/model@v1"
    assert "checkpoint" not in _written(UpSettings(), tmp_path)


@pytest.mark.parametrize("settings", [UpSettings(), UpSettings(bag=Path("bag"), realtime=True)])
def test_live_topics_and_realtime_take_the_newest_frame(tmp_path, settings):
    assert _written(settings, tmp_path)["frame_policy"] == "newest"


@pytest.mark.parametrize("section", ["/**", "/**/perception", "/robot/perception"])
def test_the_users_file_wins_and_the_namespace_holds(tmp_path, section):
    config = tmp_path / "mine.yaml"
    config.write_text(f"{section}:\n  ros__parameters:\n    tasks: [depth]\n    cameras: [mast]\n")
    settings = UpSettings(config=config, cameras=("front",), namespace="/robot")
    context = Context()
    rclpy.init(
        args=ros_arguments(settings, write_parameters(settings, tmp_path / "p.yaml")),
        context=context,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    node = Node("perception", context=context, automatically_declare_parameters_from_overrides=True)
    assert node.get_fully_qualified_name() == "/robot/perception"
    assert node.get_parameter("tasks").value == ["depth"]  # the user's
    assert node.get_parameter("cameras").value == ["mast"]
    assert node.get_parameter("frame_policy").value == "newest"  # the command line's
    assert node.get_parameter("base_frame").value == "base_link"  # config/perception.yaml's
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_cameras_are_found_in_a_parameter_file(tmp_path):
    config = tmp_path / "p.yaml"
    config.write_text("mapping:\n  ros__parameters: {voxel_size: 0.1}\n")
    assert configured_cameras(config) == ()
    config.write_text("perception:\n  ros__parameters: {cameras: [a, b]}\n")
    assert configured_cameras(config) == ("a", "b")


@pytest.mark.parametrize("text", ["[1, 2]", "a: b", "{"])
def test_what_is_no_parameter_file_is_refused_by_name(tmp_path, text):
    config = tmp_path / "wrong.yaml"
    config.write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.yaml"):
        configured_cameras(config)


VARIABLES = (
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_STATIC_PEERS",
    "ROS_LOCALHOST_ONLY",
    "ROS_DISCOVERY_SERVER",
    "ROS_DISTRO",
)


@pytest.fixture
def environment(monkeypatch):
    """The process's environment, without what says how ROS is to reach others; as before after the test."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is put back even where it was not set
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_transport_profile_of_the_users_own_stays(environment):
    environment.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    set_up_middleware()
    assert os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] == "mine.xml"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ


@pytest.mark.parametrize("room", [2**30, 2**26])
def test_nothing_but_the_loopback_is_used_unasked(environment, room):
    environment.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=room))
    # what tools/env.sh sets is no choice of the user's
    environment.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(config_folder() / "fastdds.xml"))
    set_up_middleware()
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    profile = Path(os.environ["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert "<address>127.0.0.1</address>" in profile.read_text()
    assert ("67108864" in profile.read_text()) == (room == 2**30)
    listens = "import rclpy; from rclpy.node import Node; rclpy.init(); n = Node('x'); " + _LISTENING
    asked = subprocess.run([sys.executable, "-c", listens], check=True, capture_output=True, text=True, timeout=60)
    addresses = asked.stdout.split()
    assert addresses and set(addresses) == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY"])
def test_who_says_how_far_ros_reaches_is_obeyed(environment, name):
    environment.setenv(name, "SUBNET")
    environment.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=2**30))
    set_up_middleware()
    assert os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "") != "LOCALHOST"
    assert Path(os.environ["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "fastdds.xml"


# The addresses of this process's UDP sockets at ports of DDS: those above are where it sends from.
_LISTENING = """
import os, socket
mine = set()
for number in os.listdir('/proc/self/fd'):
    try:
        mine.add(os.readlink(f'/proc/self/fd/{number}'))
    except OSError:
        pass
for line in open('/proc/net/udp').readlines()[1:]:
    fields = line.split()
    address, port = fields[1].split(':')
    if f'socket:[{fields[9]}]' in mine and 7000 <= int(port, 16) < 32768:
        print(socket.inet_ntoa(bytes.fromhex(address)[::-1]))
"""


def _written(settings: UpSettings, folder: Path) -> dict[str, Any]:
    content = yaml.safe_load(write_parameters(settings, folder / "p.yaml").read_text())
    return content["/**"]["ros__parameters"]
