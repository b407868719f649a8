# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Things that touch stay apart in the map when panoptic images part them, however these number their segments."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.fusion.blocks import BlockStore
from mtl_perception.mapping.fusion.instances import NONE, Instances
from mtl_perception.mapping.fusion.views import views_of

CONFIG = MapperConfig(truncation_voxels=2)


@pytest.fixture
def chairs(labels, scene):
    """Return the function that looks at three touching pieces of furniture on a floor, numbered anew each time."""
    scene.box("floor", (-1, -3, -0.1), (5, 3, 0))
    names = [("furniture", (2, y, 0), (2.4, y + 0.4, height)) for y, height in ((-0.6, 0.5), (-0.2, 0.9), (0.2, 0.5))]
    for name, low, high in names:
        scene.box(name, low, high)
    ids = labels.id_of("furniture")

    def look(position, yaw=0.0, numbers=(1, 2, 3)):
        seen = scene.look(position, yaw, 0.3)
        points = seen.depth[..., None] * np.stack(
            np.broadcast_arrays(*np.meshgrid((np.arange(160) - 79.5) / 96, (np.arange(120) - 59.5) / 96), 1.0), axis=-1
        )
        y = (points @ seen.world_from_camera[:3, :3].T + seen.world_from_camera[:3, 3])[..., 1]
        part = np.array(numbers)[np.clip(np.floor((np.nan_to_num(y) + 0.6) / 0.4), 0, 2).astype(int)]
        panoptic = np.where(seen.semantic == ids, ids * 1000 + part, seen.semantic.astype(int) * 1000)
        return replace(seen, panoptic=panoptic.astype(np.int32))

    return look


def parts_of(mapper):
    """Return, for each instance of the map's surface with enough vertices, where it is along y."""
    mesh, known = mapper.mesh(), mapper.instances
    root = known.meant(mesh.instances, mesh.labels)
    found = {number: mesh.vertices[root == number, 1] for number in np.unique(root).tolist() if number != NONE}
    return {number: tuple(np.percentile(y, [5, 95]).tolist()) for number, y in found.items() if len(y) > 40}


def test_touching_things_stay_apart_whatever_their_numbers(chairs, frame, labels):
    mapper, rng = Mapper(CONFIG, labels), np.random.default_rng(0)
    for step in range(8):
        numbers = tuple((rng.permutation(900)[:3] + 1).tolist())
        mapper.fuse(frame(chairs((0.1 * step, 0.2 * step - 0.8, 1.2), numbers=numbers), stamp_ns=step))
    spans = sorted(parts_of(mapper).values())
    assert len(spans) == 3
    for (low, high), begin in zip(spans, (-0.6, -0.2, 0.2), strict=True):
        assert low == pytest.approx(begin, abs=0.08) and high == pytest.approx(begin + 0.4, abs=0.08)


def test_what_was_taken_for_one_is_parted_and_what_was_taken_for_two_is_joined(chairs, frame, labels):
    mapper = Mapper(CONFIG, labels)
    for step in range(2):
        mapper.fuse(frame(chairs((0, 0, 1.2), numbers=(7, 7, 8)), stamp_ns=step))
    assert len(parts_of(mapper)) == 2
    for step in range(2, 12):
        mapper.fuse(frame(chairs((0, 0, 1.2)), stamp_ns=step))
    assert len(parts_of(mapper)) == 3
    for step in range(12, 16):
        mapper.fuse(frame(chairs((0, 0, 1.2), numbers=(5, 5, 5)), stamp_ns=step))
    assert len(parts_of(mapper)) == 1


def test_objects_are_the_things_and_follow_when_these_are_joined(chairs, frame, labels):
    mapper, plain = (Mapper(CONFIG.model_copy(update={"object_gap": 0.1}), labels) for _ in range(2))
    for step in range(6):
        look = chairs((0, 0.1 * step, 1.2))
        mapper.fuse(frame(look, stamp_ns=step))
        plain.fuse(frame(replace(look, panoptic=None), stamp_ns=step))
    assert len(plain.objects()) == 1
    found = {item.id: item.centroid[1] for item in mapper.objects()}
    assert sorted(found.values()) == pytest.approx([-0.4, 0.0, 0.4], abs=0.08)
    for step in range(6, 10):
        mapper.fuse(frame(chairs((0, 0, 1.2), numbers=(5, 5, 5)), stamp_ns=step))
    (whole,) = mapper.objects()
    assert whole.id in found and whole.vertices > 0.9 * plain.objects()[0].vertices


def test_without_panoptic_images_or_depth_nothing_is_an_instance(chairs, frame, labels):
    store, known = BlockStore(0.05, 64), Instances(labels)
    look = chairs((0, 0, 1.2))
    for changed in (replace(look, panoptic=None), replace(look, depth=np.full_like(look.depth, np.nan))):
        (view,) = views_of(frame(changed), CONFIG, labels)
        assert not known.assign(view, store).any()
    assert len(known) == 0


def test_a_speck_is_no_thing_and_stuff_has_no_instance(chairs, frame, labels):
    store, known = BlockStore(0.05, 64), Instances(labels)
    look = chairs((0, 0, 1.2))
    panoptic = np.where(look.semantic == labels.id_of("furniture"), look.panoptic, -1)
    rows, columns = np.nonzero(panoptic == labels.id_of("furniture") * 1000 + 2)
    speck = np.full_like(look.panoptic, labels.id_of("floor") * 1000)
    speck[rows[:6], columns[:6]] = panoptic[rows[0], columns[0]]
    (view,) = views_of(frame(replace(look, panoptic=speck)), CONFIG, labels)
    assert not known.assign(view, store).any()


def test_the_state_goes_on_where_it_was(chairs, frame, labels):
    whole, first, second = (Instances(labels) for _ in range(3))
    store = BlockStore(0.05, 64)
    views = [views_of(frame(chairs((0, 0, 1.2), numbers=n)), CONFIG, labels)[0] for n in ((1, 2, 3), (4, 4, 5))]
    whole.assign(views[0], store)
    expected = whole.assign(views[1], store)
    first.assign(views[0], store)
    second.restore(first.state())
    np.testing.assert_array_equal(second.assign(views[1], store), expected)
    assert len(second) == len(whole) > 3


def test_a_saved_map_knows_its_things(chairs, frame, labels, tmp_path):
    whole, first, second = (Mapper(CONFIG, labels) for _ in range(3))
    numbered = [chairs((0, 0.1 * step, 1.2), numbers=(step + 3, step + 1, step + 2)) for step in range(6)]
    frames = [frame(look, stamp_ns=step) for step, look in enumerate(numbered)]
    for step, seen in enumerate(frames):
        whole.fuse(seen)
        (first if step < 3 else second).fuse(seen)
        if step == 2:
            second.load(first.save(tmp_path / "map"))
    assert len(second.instances) == len(whole.instances) == 3
    for name in ("vertices", "instances"):
        np.testing.assert_array_equal(getattr(second.mesh(), name), getattr(whole.mesh(), name))


def test_numbers_that_nobody_has_given_stand_for_nothing(chairs, frame, labels):
    known, furniture = Instances(labels), labels.id_of("furniture")
    (view,) = views_of(frame(chairs((0, 0, 1.2))), CONFIG, labels)
    known.assign(view, BlockStore(0.05, 64))
    numbers, classes = np.array([1, 9, 2, 0], np.uint16), np.array([furniture, furniture, 0, furniture], np.uint8)
    assert known.meant(numbers, classes).tolist() == [1, NONE, NONE, NONE]
