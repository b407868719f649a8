# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter files with names that no node knows."""

import pytest

from mtl_perception.resources import config_folder
from mtl_perception.ros.node_parameters import NODES, flat
from mtl_perception.running import parameter_files
from mtl_perception.running.parameter_files import unknown_parameters


@pytest.fixture
def said(tmp_path):
    def write(text):
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        return [line.removeprefix(f"{file}: ") for line in unknown_parameters(file)]

    return write


def test_the_packages_own_file_and_all_that_nodes_have_are_known(said, tmp_path):
    assert unknown_parameters(config_folder() / "perception.yaml") == []
    assert {node.node for node in NODES} == set(parameter_files._NODES)
    names = sorted({name.replace("<camera>", "front") for node in NODES for name in node.fields()})
    assert "front.rectified" in names
    assert said("/**:\n  ros__parameters:\n" + "".join(f"    {name}: 0\n" for name in names)) == []
    nested = "robot:\n  perception:\n    ros__parameters:\n      front: {image_topic: a}\n      use_sim_time: true\n"
    assert said(nested) == [] and flat({"a": {"b": 1}}) == {"a.b": 1}
    assert said("/**:\n  ros__parameters:\n    qos_overrides./front/image.subscription.depth: 3\n") == []


def test_names_that_nobody_knows_are_told_with_file_and_node(said):
    assert said("/**/mapping:\n  ros__parameters:\n    voxelsize: 0.1\n") == [
        "node '/**/mapping': parameter 'voxelsize' is ignored: no node has it; 'voxel_size' is meant?"
    ]
    assert said(
        "/**:\n  ros__parameters:\n    cameras: [a]\n    b: {compressed: true}\n    a: {rectified: true}\n"
    ) == ["node '/**': parameter 'b.compressed' is ignored: there is no camera 'b' in cameras"]
    assert said("perceptoin:\n  ros__parameters:\n    device: cpu\nslam:\n  ros__parameters:\n    any: 1\n") == [
        "there is no node 'perceptoin', so its parameters are ignored; 'perception' is meant?"
    ]


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "a: 1", "a:\n  ros__parameters: 3\n"])
def test_what_is_no_parameter_file_is_left_to_the_nodes(said, text):
    assert said(text) == []


def test_a_file_that_is_not_there_is_left_to_the_nodes(tmp_path):
    assert unknown_parameters(tmp_path / "none.yaml") == []
