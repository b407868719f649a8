# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Things that keep their ids, lose them, and are lost from sight."""

from types import SimpleNamespace

import numpy as np

from mtl_perception.core.ground_truth import Box
from mtl_perception.core.transforms import transform_from
from mtl_perception.data.world.truth.world_truth import WorldObject
from mtl_perception.evaluation.kept_ids import KeptIds

CHAIR, TABLE = 3, 4


def watched() -> KeptIds:
    """A chair at the origin, and one five metres ahead that is turned by 45 degrees."""
    turned = transform_from((5.0, 0.0, 0.0), (0.0, 0.0, np.sin(np.pi / 8), np.cos(np.pi / 8)))
    boxes = [Box(frame, (2.0, 0.2, 1.0), "chair") for frame in (np.eye(4), turned)]
    return KeptIds([(WorldObject(number, "chair", box, False), CHAIR) for number, box in enumerate(boxes)])


def an_object(number: int, at: tuple[float, float, float], label: int = CHAIR, vertices: int = 50):
    return SimpleNamespace(id=number, label=label, centroid=np.array(at), vertices=vertices)


def test_the_same_object_again_is_kept_and_another_is_not():
    ids = watched()
    ids.look([an_object(7, (0.9, 0.0, 0.0)), an_object(8, (5.6, 0.6, 0.1))])
    assert (ids.looks, ids.kept) == (0, 0)
    ids.look([an_object(7, (0.5, 0.1, 0.0)), an_object(9, (5.6, 0.6, 0.1))])
    assert (ids.looks, ids.kept) == (2, 1)


def test_what_is_out_of_sight_between_is_compared_with_what_it_was():
    ids = watched()
    for objects in ([an_object(7, (0, 0, 0))], [], [an_object(7, (0, 0, 0))]):
        ids.look(objects)
    assert (ids.looks, ids.kept) == (1, 1)


def test_the_largest_of_its_class_within_the_box_counts():
    ids = watched()
    ids.look([an_object(1, (0, 0, 0), vertices=90), an_object(2, (0.1, 0, 0)), an_object(3, (0, 0, 0), TABLE, 900)])
    ids.look([an_object(1, (0, 0, 0)), an_object(4, (0, 1.0, 0), vertices=900)])
    assert (ids.looks, ids.kept) == (1, 1)
