# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter files of a run say what the command line said."""

import os
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mtl_perception.running.settings import (
    UpSettings,
    configured_cameras,
    give_images_room,
    ros_arguments,
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
    assert values["node_names"] == ["perception", "mapping", "evaluation"]
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


def test_a_transport_profile_of_the_users_own_stays(monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    give_images_room()
    assert os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] == "mine.xml"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ


def _written(settings: UpSettings, folder: Path) -> dict[str, Any]:
    content = yaml.safe_load(write_parameters(settings, folder / "p.yaml").read_text())
    return content["/**"]["ros__parameters"]
