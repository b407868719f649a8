# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of spark-dsg: whole, or an error."""

import os
import resource

import pytest
import spark_dsg

from mtl_perception.mapping.graph.graph_files import write_graph, write_graph_json


@pytest.fixture
def graph():
    result = spark_dsg.DynamicSceneGraph()
    for number in range(50):
        attributes = spark_dsg.ObjectNodeAttributes()
        attributes.name = f"object {number}"
        result.add_node(spark_dsg.DsgLayers.OBJECTS, spark_dsg.NodeSymbol("O", number), attributes)
    result.mesh = spark_dsg.Mesh(has_timestamps=False, has_first_seen_stamps=False)
    result.mesh.resize_vertices(100)
    return result


WAYS = {"sparkdsg": write_graph, "json": write_graph_json}


@pytest.mark.parametrize("kind", WAYS)
def test_a_written_graph_is_read_again(graph, kind, tmp_path):
    WAYS[kind](tmp_path / f"graph.{kind}", graph)
    assert spark_dsg.DynamicSceneGraph.load(tmp_path / f"graph.{kind}").num_nodes() == 50


@pytest.mark.parametrize("kind", WAYS)
def test_a_file_that_is_cut_short_is_an_error(graph, kind, tmp_path):
    """spark-dsg writes as much as there is room for and says nothing."""
    WAYS[kind](tmp_path / f"whole.{kind}", graph)
    for room in (1, 1000, (tmp_path / f"whole.{kind}").stat().st_size - 1):
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
                WAYS[kind](tmp_path / f"graph.{kind}", graph)
                os._exit(0)
            except OSError:
                os._exit(28)
            except BaseException:
                os._exit(1)
        assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 28
