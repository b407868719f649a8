# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a map for other programs belong together."""

import dataclasses
import json

import numpy as np
import pytest
import spark_dsg

from mtl_perception.core.ply import read_mesh
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.products import map_products


@pytest.fixture
def folder(scene, frame, labels, tmp_path):
    """A map with two chairs that touch, told apart by panoptic images."""
    scene.box("floor", (-1, -3, -0.1), (4, 3, 0))
    scene.box("furniture", (2, -0.6, 0), (2.6, 0, 0.8)).box("furniture", (2, 0, 0), (2.6, 0.6, 0.8))
    mapper = Mapper(MapperConfig(), labels)
    for step in range(3):
        look = scene.look((0.1 * step, 0.0, 1.2), pitch=0.3)
        left = np.arange(look.depth.shape[1]) < look.depth.shape[1] / 2
        things = look.semantic.astype(np.int32) * 1000 + np.where(look.semantic == labels.id_of("furniture"), 1, 0)
        panoptic = np.where(left & (things % 1000 > 0), things + 1, things).astype(np.int32)
        mapper.integrate(frame(dataclasses.replace(look, panoptic=panoptic), stamp_ns=step * 10**8))
    return mapper.save(tmp_path / "map")


def test_vertices_have_the_instances_of_the_objects(folder):
    objects = json.loads((folder / "objects.json").read_text())["objects"]
    instances = {item["instance"] for item in objects}
    assert len(instances) == 2 and 0 not in instances
    vertices = read_mesh(folder / "mesh.ply").vertices
    assert set(vertices["instance"].tolist()) == {0, *instances}
    for item in objects:
        own = vertices[vertices["instance"] == item["instance"]]
        assert (own["label"] == item["label"]).all()
        points = np.stack([own[axis] for axis in "xyz"], axis=1)
        assert points.min(axis=0) == pytest.approx(item["minimum"])
        assert points.max(axis=0) == pytest.approx(item["maximum"])


def test_both_files_of_the_scene_graph_have_the_same_nodes(folder):
    binary, text = (spark_dsg.DynamicSceneGraph.load(folder / f"scene_graph.{kind}") for kind in ("sparkdsg", "json"))
    assert {str(node.id) for node in binary.nodes} == {str(node.id) for node in text.nodes} != set()
    assert binary.mesh.num_vertices() == len(read_mesh(folder / "mesh.ply").vertices) and not text.has_mesh()


def test_a_mesh_that_is_too_large_for_gltf_is_left_out(folder, labels, tmp_path, monkeypatch, caplog):
    mapper = Mapper(MapperConfig(), labels)
    mapper.load(folder)
    monkeypatch.setattr(map_products, "MOST_BYTES", 1000)
    files = json.loads((mapper.save(tmp_path / "other") / "manifest.json").read_text())["files"]
    assert "mesh.glb" not in files and "mesh.ply" in files
    assert "too large for mesh.glb" in caplog.text
