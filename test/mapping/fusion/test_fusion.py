# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labels, weights and gates of fusion."""

from dataclasses import replace

import numpy as np

from mtl_perception.mapping import Mapper, MapperConfig


def labels_after(config, labels, frame, look, names):
    mapper = Mapper(config, labels)
    for name in names:
        semantic = np.full(look.depth.shape, 255 if name is None else labels.id_of(name), np.uint8)
        mapper.integrate(frame(replace(look, semantic=semantic)))
    return mapper.mesh().labels


def test_the_majority_label_wins_in_any_order(scene, frame, labels):
    look = scene.box("wall", (2, -3, -2), (2.2, 3, 2)).look((0, 0, 0))
    for names in (
        ["wall", "building", "wall", "building", "wall"],
        ["building", "building", "wall", "wall", "wall"],
        ["wall", "wall", "wall", "building", "building"],
        [None, "building", None, "wall", "wall", None],
    ):
        found = labels_after(MapperConfig(), labels, frame, look, names)
        assert len(found) and (found == labels.id_of("wall")).all(), names


def test_a_surface_without_labels_is_unknown(scene, frame, labels):
    look = scene.box("wall", (2, -3, -2), (2.2, 3, 2)).look((0, 0, 0))
    assert (labels_after(MapperConfig(), labels, frame, look, [None, None]) == 255).all()


def test_a_confident_label_outvotes_unsure_ones(scene, frame, labels):
    look = scene.box("wall", (2, -3, -2), (2.2, 3, 2)).look((0, 0, 0))
    mapper = Mapper(MapperConfig(), labels)
    for name, confidence in (("building", 0.3), ("wall", 0.9), ("building", 0.3)):
        semantic = np.full(look.depth.shape, labels.id_of(name), np.uint8)
        sure = np.full(look.depth.shape, confidence, np.float32)
        mapper.integrate(frame(replace(look, semantic=semantic, semantic_confidence=sure)))
    assert (mapper.mesh().labels == labels.id_of("wall")).all()


def test_certain_depth_counts_more_than_uncertain_depth(scene, frame, labels):
    look = scene.box("wall", (2, -3, -2), (2.2, 3, 2)).look((0, 0, 0))
    mapper = Mapper(MapperConfig(), labels)
    for _ in range(4):
        mapper.integrate(frame(replace(look, depth_std=np.full(look.depth.shape, 0.01, np.float32))))
        off = (look.depth + 0.1).astype(np.float32)
        mapper.integrate(frame(replace(look, depth=off, depth_std=np.full(look.depth.shape, 0.4, np.float32))))
    assert np.abs(mapper.mesh().vertices[:, 0] - 2).max() < 0.03


def test_very_uncertain_depth_is_left_out(scene, frame, labels):
    look = scene.box("wall", (2, -3, -2), (2.2, 3, 2)).look((0, 0, 0))
    std = np.where(np.arange(look.depth.shape[1]) < 80, 0.02, 1.0) * np.ones(look.depth.shape)
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(replace(look, depth_std=std.astype(np.float32))))
    vertices = mapper.mesh().vertices
    assert len(vertices) > 200
    assert vertices[:, 1].min() > -0.1  # the left half of the image is y > 0


def test_a_smeared_edge_makes_no_surface_between_near_and_far(scene, frame, labels):
    scene.box("wall", (4, -4, -3), (4.2, 4, 3)).box("furniture", (2, 0, -3), (2.2, 4, 3))
    look = scene.look((0, 0, 0))
    smeared = look.depth.copy()
    edge = int(np.argmax(np.diff(look.depth[60])))
    smeared[:, edge - 3 : edge + 5] = np.linspace(2, 4, 8, dtype=np.float32)
    mapper = Mapper(MapperConfig(max_depth_ramp=0.05), labels)
    mapper.integrate(frame(replace(look, depth=smeared)))
    x = mapper.mesh().vertices[:, 0]
    assert ((np.abs(x - 2) < 0.3) | (np.abs(x - 4) < 0.3)).all()
    assert np.count_nonzero(np.abs(x - 4) < 0.05) > 200


def test_a_floor_seen_at_a_flat_angle_is_no_smeared_edge(scene, frame, labels):
    look = scene.box("floor", (-1, -6, -0.1), (20, 6, 0)).look((0, 0, 1.2))
    mapper = Mapper(MapperConfig(), labels)
    mapper.integrate(frame(look))
    assert mapper.mesh().vertices[:, 0].max() > 5.5


def test_depth_beyond_reach_makes_no_surface(scene, frame, labels):
    look = scene.box("wall", (5, -4, -3), (5.2, 4, 3)).look((0, 0, 0))
    mapper = Mapper(MapperConfig(max_depth=4), labels)
    mapper.integrate(frame(look))
    assert mapper.stats.blocks == 0
