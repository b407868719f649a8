# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The truth of a whole world comes back from its files as it went in, and says what its numbers mean."""

import json
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Light, Region, Scene, Sensor
from mtl_perception.data.world.truth.world_truth import WorldTruth, load_world_truth, save_world_truth, world_truth

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config" / "labels" / "default.yaml")


@pytest.fixture(scope="module")
def truth() -> WorldTruth:
    scene = Scene(LABELS, Light((0, 0, 1), True, (1, 1, 1), (1, 1, 1)), Sensor(1, (1, 1, 1), 0, 0.1, 0, 1))
    grey, red = scene.material("dull", (0.5, 0.5, 0.5)), scene.material("dull", (0.8, 0.1, 0.1))
    scene.add(shapes.box((12, 8, 0.2), (6, 4, -0.1), grey), "road", layer="road")
    scene.add(shapes.box((1, 1, 1), (0, 0, 0.5), red), "car", upright((3, 2, 0), 0.5))
    scene.add_actor(shapes.box((2, 1, 1), (0, 0, 0.5), red), "truck", lambda t: upright((5 + 2 * t, 6, 0), 0.0)[None])
    outline = np.array([[0, 0], [6, 0], [6, 8], [0, 8]], float)
    scene.regions = [Region("part 1", "road segment", outline, 0.0, np.inf, ("part 2",))]
    scene.regions += [Region("part 2", "road segment", outline + [6, 0], 0.0, 3.0, ("part 1",))]
    return world_truth(scene)


def test_mesh_is_all_that_stands_still_with_labels_and_colours(truth: WorldTruth) -> None:
    mesh = truth.mesh
    assert len(mesh.triangles) == 24 and len(mesh.vertices) < 3 * 24, "equal corners are one vertex"
    corners = mesh.vertices[mesh.triangles].astype(float)
    volume = np.einsum("ij,ij->", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]) / 6
    assert volume == pytest.approx(12 * 8 * 0.2 + 1, rel=1e-4)
    is_car = mesh.labels == LABELS.id_of("car")
    assert set(mesh.labels) == {LABELS.id_of("car"), LABELS.id_of("road")}
    assert mesh.colours[is_car][:, 0].mean() > 150 and mesh.colours[is_car][:, 1:].mean() < 60
    assert np.abs(mesh.colours[~is_car].astype(int) - 128).max() < 40


def test_objects_are_all_that_can_be_counted(truth: WorldTruth) -> None:
    car, truck = truth.objects
    assert (car.instance, car.label, car.moves) == (1, "car", False)
    assert (truck.instance, truck.label, truck.moves) == (2, "truck", True)
    assert car.box.frame_from_box[:3, 3] == pytest.approx([3, 2, 0.5], abs=1e-6)
    assert truck.box.frame_from_box[:3, 3] == pytest.approx([5, 6, 0.5], abs=1e-6)
    assert truck.box.velocity == pytest.approx([2, 0, 0], abs=1e-6)


def test_files_give_back_what_was_written(truth: WorldTruth, tmp_path: Path) -> None:
    save_world_truth(truth, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["world.ply", "world_objects.json"]
    again = load_world_truth(tmp_path)
    for name in ("vertices", "triangles", "labels", "colours"):
        assert np.array_equal(getattr(truth.mesh, name), getattr(again.mesh, name)), name
    assert again.labels == truth.labels == LABELS.names
    for old, new in zip(truth.objects, again.objects, strict=True):
        assert (old.instance, old.label, old.moves, old.box.track) == (
            new.instance,
            new.label,
            new.moves,
            new.box.track,
        )
        assert new.box.frame_from_box == pytest.approx(old.box.frame_from_box, abs=1e-4)
        assert new.box.size == pytest.approx(old.box.size, abs=1e-4)
        assert new.box.velocity == pytest.approx(old.box.velocity, abs=1e-4)
    for first, second in zip(truth.regions, again.regions, strict=True):
        assert np.array_equal(first.outline, second.outline)
        assert (first.name, first.kind, first.floor, first.height, first.neighbours) == (
            second.name, second.kind, second.floor, second.height, second.neighbours,
        )  # fmt: skip
    assert len(truth.places.positions) > 12 and set(truth.places.region) == {0, 1}
    assert np.allclose(again.places.positions, truth.places.positions, atol=1e-3)
    assert np.array_equal(again.places.edges, truth.places.edges)
    assert np.array_equal(again.places.region, truth.places.region)


def test_files_are_plain_and_explain_themselves(truth: WorldTruth, tmp_path: Path) -> None:
    save_world_truth(truth, tmp_path)
    mesh = o3d.io.read_triangle_mesh(str(tmp_path / "world.ply"))
    assert len(mesh.triangles) == 24 and mesh.has_vertex_colors()
    content = json.loads((tmp_path / "world_objects.json").read_text())
    assert {"frame", "units", "objects", "regions", "places", "mesh"} <= set(content["about"])
    assert content["labels"][content["labels"].index("car")] == content["objects"][0]["label"]
    assert content["regions"][0]["height"] is None and content["regions"][1]["height"] == 3.0
    before = (tmp_path / "world.ply").read_bytes()
    save_world_truth(truth, tmp_path)
    assert (tmp_path / "world.ply").read_bytes() == before


def test_files_that_are_wrong_are_refused_by_name(truth: WorldTruth, tmp_path: Path) -> None:
    save_world_truth(truth, tmp_path)
    content = json.loads((tmp_path / "world_objects.json").read_text())
    (tmp_path / "world_objects.json").write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(ValueError, match=r"world_objects\.json.*99"):
        load_world_truth(tmp_path)
    (tmp_path / "world_objects.json").write_text(json.dumps(content))
    (tmp_path / "world.ply").write_bytes((tmp_path / "world.ply").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"world\.ply"):
        load_world_truth(tmp_path)


def test_nothing_is_left_where_a_file_cannot_be_written(truth: WorldTruth, tmp_path: Path) -> None:
    (tmp_path / "world.ply").mkdir()
    with pytest.raises(OSError):
        save_world_truth(truth, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["world.ply"]
