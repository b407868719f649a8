# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A map is judged by the world's own surface and things, as far as they were seen."""

from dataclasses import replace

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Prediction, Rig, pixel_rays
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.data.world.truth.places import Places
from mtl_perception.data.world.truth.world_truth import WorldMesh, WorldObject, WorldTruth
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.map import MapScore
from mtl_perception.evaluation.scores.scene_graph import SceneGraphScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.evaluation.world_reference import WorldReference
from mtl_perception.mapping import MapObject, Mapper, MapperConfig
from mtl_perception.mapping.graph.ground_graph import GroundGraph
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
CUPBOARD, BEHIND = (2.3, 0.0, 0.4), (8.0, 0.0, 0.4)
NO_GROUND = GroundGraph(MapperConfig(), LABELS).view()
_NO_PLACES = Places(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int32), np.zeros((0, 2), np.int32))


def world():
    """Return a floor, a wall, a cupboard before it and one behind it, each with its box."""
    parts = [
        ("floor", (-1, -3, -0.1), (9, 3, 0)),
        ("wall", (4, -3, 0), (4.2, 3, 3)),
        ("furniture", (2, -0.5, 0), (2.6, 0.5, 0.8)),
        ("furniture", (7.7, -0.5, 0), (8.3, 0.5, 0.8)),
    ]
    box = o3d.geometry.TriangleMesh.create_box
    meshes = [box(*np.subtract(high, low).tolist()).translate(low) for _, low, high in parts]
    vertices, triangles, labels, start = [], [], [], 0
    for (name, _, _), mesh in zip(parts, meshes, strict=True):
        vertices.append(np.asarray(mesh.vertices))
        triangles.append(np.asarray(mesh.triangles) + start)
        labels.append(np.full(len(mesh.vertices), LABELS.id_of(name), np.uint8))
        start += len(mesh.vertices)
    objects = [
        WorldObject(number, "furniture", Box(transform_from(centre, (0, 0, 0, 1)), (0.6, 1.0, 0.8), "furniture"), False)
        for number, centre in enumerate((CUPBOARD, BEHIND), start=1)
    ]
    mesh = WorldMesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(labels),
        np.zeros((start, 3), np.uint8),
    )
    return WorldTruth(LABELS.names, mesh, tuple(objects), (), _NO_PLACES)


def looks(truth):
    """Return judged frames of exact predictions."""
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(truth.mesh.vertices), o3d.core.Tensor(truth.mesh.triangles.astype(np.uint32)))
    camera = Camera("front", 200, 150, np.array([[120.0, 0, 99.5], [0, 120, 74.5], [0, 0, 1]]), np.eye(4))
    frames = []
    for step in range(6):
        yaw = 0.15 * (step - 2.5)
        pose = transform_from((0.1 * step, 0.3 * step - 0.7, 1.2), (0, 0, np.sin(yaw / 2), np.cos(yaw / 2)))
        tilted = pose @ transform_from((0, 0, 0), (0, np.sin(0.15), 0, np.cos(0.15))) @ BODY_FROM_OPTICAL
        rays = pixel_rays(camera) @ tilted[:3, :3].T
        origin = np.broadcast_to(tilted[:3, 3], rays.shape)
        hit = scene.cast_rays(o3d.core.Tensor(np.concatenate([origin, rays], axis=-1).astype(np.float32)))
        depth, triangle = hit["t_hit"].numpy(), hit["primitive_ids"].numpy().astype(np.int64)
        there = np.isfinite(depth)
        corner = truth.mesh.triangles[np.where(there, triangle, 0), 0]
        semantic = np.where(there, truth.mesh.labels[corner], LABELS.id_of("sky")).astype(np.uint8)
        known = CameraTruth(depth=depth, semantic=semantic)
        stamp_ns, colour = step * 10**9, np.zeros((150, 200, 3), np.uint8)
        seen = CameraPrediction(camera, stamp_ns, tilted, colour, np.where(there, depth, np.nan), semantic=semantic)
        prediction = Prediction(stamp_ns, {"front": seen}, "base_link", "odom", pose, tasks=("depth", "semantic"))
        judged = {"front": JudgedCamera(camera, seen, known)}
        frames.append(JudgedFrame(prediction, GroundTruth({"front": known}), judged, Rig((camera,))))
    return frames


@pytest.fixture(scope="module")
def seen():
    """Return the reference, and a map of exact predictions."""
    truth = world()
    reference = WorldReference(truth, LABELS)
    mapper = Mapper(MapperConfig(voxel_size=0.04, truncation_voxels=2), LABELS)
    for frame in looks(truth):
        reference.add(frame)
        mapper.fuse(frame.prediction)
    return reference, mapper


def metrics(score, row):
    return score(LABELS, ScoreOptions()).metrics(TaskStatistics.of([(0, row)]).total())


def thing(label, centroid, number=0):
    point = np.array(centroid, float)
    return MapObject(
        id=number,
        label=LABELS.id_of(label),
        instance=0,
        confidence=1.0,
        class_share=1.0,
        centroid=point,
        minimum=point - 0.3,
        maximum=point + 0.3,
        colour=(0, 0, 0),
        vertices=90,
        first_seen_ns=0,
        last_seen_ns=0,
        absorbed=(),
        blocks=np.zeros((0, 3), np.int32),
        cells=np.zeros(0, np.int64),
    )


def of_objects(reference, objects):
    found = metrics(SceneGraphScore, reference.graph_statistics(objects, NO_GROUND))
    return {name: value for name, value in found.items() if name.startswith("object") and name != "object_ids_kept"}


def test_a_map_of_exact_depth_comes_near_the_worlds_surface(seen):
    reference, mapper = seen
    found = metrics(MapScore, reference.map_statistics(mapper.mesh()))
    assert found["f1"] > 0.97 and found["label_accuracy"] > 0.97 and found["accuracy"] < 0.02


def test_a_map_that_is_moved_or_labelled_wrongly_is_found_out(seen):
    reference, mapper = seen
    mesh = mapper.mesh()
    moved = metrics(MapScore, reference.map_statistics(replace(mesh, vertices=mesh.vertices + np.float32(0.1))))
    assert moved["precision"] < 0.3 and moved["accuracy"] > 0.06
    wrong = metrics(MapScore, reference.map_statistics(replace(mesh, labels=np.full_like(mesh.labels, 7))))
    assert wrong["label_accuracy"] == 0.0
    assert metrics(MapScore, reference.map_statistics(Mapper(MapperConfig(), LABELS).mesh()))["f1"] == 0.0


def test_things_are_asked_for_as_far_as_they_were_seen(seen):
    reference, mapper = seen
    (cupboard,) = reference.seen_objects()  # nobody looked behind the wall
    assert cupboard.label == LABELS.id_of("furniture") and cupboard.centroid[0] < CUPBOARD[0]  # its front was seen
    found = of_objects(reference, mapper.objects())
    assert found == {"object_precision": 1.0, "object_recall": 1.0, "object_f1": 1.0}


def test_objects_that_are_elsewhere_or_else_or_twice_are_wrong(seen):
    reference, _ = seen
    (cupboard,) = reference.seen_objects()
    right = thing("furniture", cupboard.centroid)
    for other in (thing("furniture", cupboard.centroid, 1), thing("furniture", (0, 2, 0), 1)):
        found = of_objects(reference, [right, other])
        assert found["object_precision"] == 0.5 and found["object_recall"] == 1.0
        assert found["object_f1"] == pytest.approx(2 / 3)
    for other in (thing("sign", cupboard.centroid), thing("furniture", cupboard.centroid + [0.6, 0, 0])):
        found = of_objects(reference, [other])
        assert found == {"object_precision": 0.0, "object_recall": 0.0, "object_f1": 0.0}


def test_nothing_seen_is_nothing_to_judge_by(seen):
    empty = WorldReference(world(), LABELS)
    assert empty.map_statistics(seen[1].mesh()) is None and empty.graph_statistics([], NO_GROUND) is None


def test_a_world_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="'unicorn'"):
        WorldReference(replace(world(), labels=("unicorn",)), LABELS)
