# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects follow a mesh that changes block by block: as if found from scratch, with ids that last."""

import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph import object_files
from mtl_perception.mapping.graph.object_ids import REMEMBERED, REMEMBERED_NS
from mtl_perception.mapping.graph.objects import ObjectRegistry

SECOND = 10**9


def row(first, last, y=0):
    return [(x, y, 0) for x in range(first, last + 1)]


def facts(objects):
    return [
        (
            *(item.id, item.label, item.vertices, item.absorbed, item.first_seen_ns, item.last_seen_ns, item.colour),
            *(item.confidence, item.class_share, item.centroid.tolist(), item.minimum.tolist(), item.maximum.tolist()),
            *(item.cells.tolist(), item.blocks.tolist()),
        )
        for item in objects
    ]


def surfaces(objects):
    """What the objects are, but for their ids and stamps."""
    return {(fact[1], fact[2], fact[6:]) for fact in map(hashable, facts(objects))}


def hashable(value):
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def components(cells):
    """Connected cells of one label by flood fill: a list of (label, set of cells, vertices)."""
    left, found = dict(cells), []
    while left:
        (label, cell), count = left.popitem()
        members, vertices, border = {cell}, count, [cell]
        while border:
            at = border.pop()
            for step in product((-1, 0, 1), repeat=3):
                near = tuple(np.add(at, step).tolist())
                count = left.pop((label, near), None)
                if count is not None:
                    members.add(near)
                    border.append(near)
                    vertices += count
        found.append((label, members, vertices))
    return found


def saved_and_loaded(bricks):
    """The registry after a save and a load."""
    state = bricks.registry.state(bricks.measured, bricks.stamp_ns)
    registry = ObjectRegistry(bricks.config, bricks.labels)
    registry.restore(object_files.from_files(*object_files.to_files(state)))
    return registry


def edit(bricks, rng):
    """Put or take a few bricks in a small space, so that things grow, shrink, merge, split, vanish and come back."""
    for _ in range(rng.integers(1, 5)):
        cells = sorted(bricks.cells)
        if rng.random() < len(cells) / 80:
            del bricks.cells[cells[rng.integers(len(cells))]]
        else:
            label = ("pole", "sign", "wall")[rng.integers(3)]
            bricks.put(label, [tuple(rng.integers((-7, -1, 0), (8, 2, 2)).tolist())], int(rng.integers(1, 9)))


@pytest.mark.parametrize("seed", range(2))
def test_random_edits_give_what_clustering_from_scratch_gives(bricks, labels, seed):
    rng = np.random.default_rng(seed)
    for step in range(80):
        edit(bricks, rng)
        objects = bricks.objects(after_s=rng.random() * 10)
        true = {
            (label, tuple(sorted(pack(np.array(sorted(cells))).tolist()))): vertices
            for label, cells, vertices in components(bricks.cells)
            if labels.names[label] != "wall"
        }
        found = {(item.label, tuple(item.cells.tolist())): item.vertices for item in objects}
        assert found.items() <= true.items()
        assert {what for what, vertices in true.items() if vertices >= 12} <= found.keys()
        assert min(found.values(), default=9) >= 9
        assert [item.id for item in objects] == sorted({item.id for item in objects})
        if step % 10 == 9:
            fresh = type(bricks)(labels)
            fresh.cells = bricks.cells
            assert surfaces(fresh.objects()) == surfaces(item for item in objects if item.vertices >= 12)


@pytest.mark.parametrize("seed", range(2))
def test_saving_loading_and_continuing_equals_never_having_stopped(bricks, labels, seed):
    rng = np.random.default_rng(seed)
    twin, absorbed, away = None, 0, 0
    for step in range(80):
        edit(bricks, rng)
        objects = bricks.objects(after_s=rng.random() * 5)
        state = bricks.registry.state(bricks.measured, bricks.stamp_ns)
        absorbed += any(item.absorbed for item in objects)
        away += len(state.vanished)
        if twin is not None:
            twin.cells, twin.measured = bricks.cells, bricks.measured
            twin.stamp_ns = bricks.stamp_ns
            assert facts(twin.objects(after_s=0)) == facts(objects)
            assert twin.registry.state(bricks.measured, bricks.stamp_ns).next_id == state.next_id
        if step % 20 == 0:
            twin = type(bricks)(labels)
            twin.cells = bricks.cells
            twin.changes()
            twin.registry = saved_and_loaded(bricks)
    assert absorbed > 10 and away > 10  # else nothing is shown


def test_objects_say_what_they_consist_of(bricks, labels):
    bricks.put("pole", row(0, 3)).put("wall", row(0, 1, y=5)).put("sign", row(0, 3, y=-1), vertices=2)
    (pole,) = bricks.objects()
    assert pole.label == labels.id_of("pole")
    assert pole.vertices == 24
    assert pole.confidence == pytest.approx(0.525)
    assert pole.class_share == pytest.approx(1.0)  # the sign is in other cells
    assert pole.minimum == pytest.approx([0.02, 0.07, 0.10]) and pole.maximum == pytest.approx([0.67, 0.07, 0.15])
    assert pole.centroid == pytest.approx([0.345, 0.07, 0.125])
    assert pole.blocks.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (pole.first_seen_ns, pole.last_seen_ns) == (SECOND, SECOND)


def test_the_class_share_tells_where_classes_are_mixed(bricks):
    bricks.put("pole", row(0, 3)).put("building", row(0, 1))  # stuff counts
    (pole,) = bricks.objects()
    assert pole.class_share == pytest.approx(2 / 3)


def test_an_object_keeps_its_id_while_it_grows_shrinks_and_moves(bricks):
    bricks.put("pole", row(0, 3)).put("furniture", row(0, 3, y=6))
    assert bricks.ids() == [0, 1]
    assert bricks.put("pole", row(4, 7)).ids() == [0, 1]
    assert bricks.take("pole", row(0, 4)).ids() == [0, 1]
    assert bricks.take("pole", [(5, 0, 0)]).put("pole", [(8, 0, 0)]).ids() == [0, 1]
    assert [item.cells[0] for item in bricks.objects()] == pack(np.array([[6, 0, 0], [0, 6, 0]])).tolist()


def test_a_small_object_that_moves_into_other_cells_keeps_its_id(bricks):
    assert bricks.put("sign", row(0, 0), 12).ids() == [0]
    assert bricks.take("sign", row(0, 0)).put("sign", [(0, 0, 1)], 13).ids() == [0]  # by 0.195 m
    assert bricks.take("sign", [(0, 0, 1)]).put("sign", [(0, 0, 3)], 13).ids() == [1]


def test_of_two_that_merge_the_larger_gives_the_id_and_both_are_themselves_after_a_split(bricks):
    bricks.put("furniture", row(0, 3)).put("furniture", row(5, 10))
    small, large = bricks.objects()
    assert (small.id, large.id) == (0, 1)
    (both,) = bricks.put("furniture", row(4, 4)).objects()
    assert both.id == 1 and both.absorbed == (0,)
    assert both.vertices == small.vertices + large.vertices + 6
    # the smaller one grows to be the larger one while they are one
    (both,) = bricks.put("furniture", row(-12, -1)).objects()
    assert both.id == 1
    left, right = bricks.take("furniture", row(4, 4)).objects()
    assert (left.id, right.id) == (0, 1)
    assert left.absorbed == right.absorbed == ()
    assert left.maximum[0] < right.minimum[0]


def test_a_split_gives_back_each_ones_own_stamps(bricks):
    bricks.put("pole", row(0, 3)).objects(after_s=1)
    bricks.put("pole", row(5, 10)).objects(after_s=1)
    (both,) = bricks.put("pole", row(4, 4)).objects(after_s=1)
    assert (both.first_seen_ns, both.last_seen_ns) == (1 * SECOND, 3 * SECOND)
    early, late = bricks.take("pole", row(4, 4)).objects(after_s=1)
    assert early.first_seen_ns == SECOND
    assert late.first_seen_ns == 2 * SECOND


def test_what_breaks_off_is_new_once_and_comes_back_as_itself(bricks):
    assert bricks.put("furniture", row(0, 9)).ids() == [0]
    for _ in range(3):
        assert bricks.take("furniture", row(5, 5)).ids() == [0, 1]
        assert bricks.put("furniture", row(5, 5)).ids() == [0]
    (item,) = bricks.objects()
    assert item.absorbed == (1,)


def test_three_that_merge_one_after_the_other_part_in_any_order(bricks):
    bricks.put("pole", row(0, 2)).put("pole", row(4, 7)).put("pole", row(9, 13))
    assert bricks.ids() == [0, 1, 2]
    assert bricks.put("pole", row(3, 3)).ids() == [1, 2]
    (one,) = bricks.put("pole", row(8, 8)).objects()
    assert (one.id, one.absorbed) == (1, (0, 2))  # together they were larger than the third
    assert bricks.take("pole", row(8, 8)).ids() == [1, 2]
    assert bricks.put("pole", row(8, 8)).take("pole", row(3, 3)).ids() == [0, 1]
    assert bricks.take("pole", row(8, 8)).ids() == [0, 1, 2]


def test_when_the_part_that_gave_the_id_is_carved_away_the_other_is_itself_again(bricks):
    bricks.put("pole", row(0, 3)).put("pole", row(5, 10)).ids()
    assert bricks.put("pole", row(4, 4)).ids() == [1]
    assert bricks.take("pole", row(4, 10)).ids() == [0]


def test_a_thing_that_flickers_at_the_least_number_of_vertices_stays(bricks):
    assert bricks.put("sign", row(0, 0), 11).ids() == []
    assert bricks.put("sign", row(0, 0), 12).ids() == [0]
    assert bricks.put("sign", row(0, 0), 9).ids() == [0]
    assert bricks.put("sign", row(0, 0), 8).ids() == []
    assert bricks.put("sign", row(0, 0), 9).ids() == []
    assert bricks.put("sign", row(0, 0), 12).ids() == [0]


def test_what_is_gone_for_a_short_time_gets_its_id_back_and_after_that_it_is_new(bricks):
    (first,) = bricks.put("sign", row(0, 3)).objects()
    for seconds, number in ((REMEMBERED_NS / SECOND, 0), (REMEMBERED_NS / SECOND + 1, 1)):
        assert bricks.take("sign", row(0, 3)).ids() == []
        bricks.put("sign", row(0, 3))
        (item,) = bricks.objects(after_s=seconds)
        assert item.id == number
    assert item.first_seen_ns > first.first_seen_ns


def test_another_class_or_another_place_is_another_thing(bricks):
    assert bricks.put("sign", row(0, 3)).ids() == [0]
    assert bricks.take("sign", row(0, 3)).put("pole", row(0, 3)).put("sign", row(0, 3, y=5)).ids() == [1, 2]


def test_two_that_vanish_merged_come_back_merged(bricks):
    bricks.put("pole", row(0, 3)).put("pole", row(5, 10)).ids()
    (before,) = bricks.put("pole", row(4, 4)).objects()
    assert bricks.take("pole", row(0, 10)).ids() == []
    (after,) = bricks.put("pole", row(0, 10)).objects()
    assert (after.id, after.absorbed) == (before.id, before.absorbed) == (1, (0,))
    assert bricks.take("pole", row(4, 4)).ids() == [0, 1]


def test_only_so_many_vanished_things_are_remembered(bricks):
    count = REMEMBERED + 5
    for number in range(count):
        bricks.put("sign", [(4 * number, 0, 0)], 12)
    assert bricks.ids() == list(range(count))
    assert bricks.take("sign", [(4 * number, 0, 0) for number in range(count)]).ids() == []
    assert bricks.put("sign", [(0, 0, 0)], 12).ids() == [count]
    assert bricks.put("sign", [(20, 0, 0)], 12).ids() == [5, count]


def test_being_measured_again_without_a_change_is_being_seen(bricks):
    bricks.put("pole", row(0, 3)).put("sign", row(0, 3, y=8))
    assert [item.last_seen_ns for item in bricks.objects()] == [SECOND, SECOND]
    for registry in (bricks.registry, saved_and_loaded(bricks)):
        keys = np.array([[1, 0, 0], [7, 7, 7]], np.int32)
        bricks.measured.note(keys, 5 * SECOND)
        registry.note_measured(keys)
        pole, sign = registry.current(bricks.measured, 6 * SECOND)
        assert (pole.first_seen_ns, pole.last_seen_ns) == (SECOND, 5 * SECOND)
        assert sign.last_seen_ns == SECOND


def test_vertices_need_not_be_kept(bricks):
    changed, _ = bricks.put("pole", row(0, 3)).changes()
    bricks.registry.note(changed, ())
    for block in changed.values():
        block.vertices[:] = np.nan
    (pole,) = bricks.registry.current(bricks.measured, 1)
    assert np.isfinite(pole.centroid).all()


def calls_of_a_step(bricks, count):
    """How many function calls a change of one block takes with `count` objects in the map."""
    for number in range(count):
        bricks.put("sign", row(0, 1, y=4 * number), 12)
    assert len(bricks.objects()) == count
    changed, removed = bricks.put("sign", row(0, 0), 13).changes()
    calls = 0

    def count_calls(*_):
        nonlocal calls
        calls += 1

    sys.setprofile(count_calls)
    try:
        bricks.registry.note(changed, removed)
        bricks.registry.current(bricks.measured, bricks.stamp_ns)
    finally:
        sys.setprofile(None)
    return calls


def test_a_step_does_as_much_in_a_large_map_as_in_a_small_one(bricks, labels):
    assert calls_of_a_step(bricks, 800) <= 1.02 * calls_of_a_step(type(bricks)(labels), 20)


def test_the_parts_of_a_thing_are_one_object_though_its_middle_was_not_seen(bricks):
    assert bricks.put("furniture", row(0, 3), thing=7).put("furniture", row(18, 21), thing=7).ids() == [0]
    (found,) = bricks.objects()
    assert found.instance == 7 and len(found.cells) == 8 and found.maximum[0] - found.minimum[0] > 4.2
    assert bricks.put("furniture", row(37, 40), thing=7).ids() == [0, 1]  # too far from the others
    assert bricks.put("furniture", row(29, 29), thing=7).ids() == [0]
    assert bricks.objects()[0].absorbed == (1,)
    bricks.take("furniture", row(29, 29))
    assert bricks.ids() == [0, 1]
    loaded = saved_and_loaded(bricks)
    assert facts(loaded.current(bricks.measured, bricks.stamp_ns)) == facts(bricks.objects())


def test_without_a_number_or_with_another_one_parts_are_things(bricks):
    assert bricks.put("furniture", row(0, 3)).put("furniture", row(5, 8)).ids() == [0, 1]
    bricks.put("furniture", row(0, 3, y=9), thing=1).put("furniture", row(5, 8, y=9), thing=2)
    assert bricks.ids() == [0, 1, 2, 3]


def line(first, count):
    return [(x, 0, 0) for x in range(first, first + count)]


def still(points, _):
    return points


def adopted(there, first):
    """The things of another map with the ids from `first` on."""
    state = there.registry.state(there.measured, there.stamp_ns)
    things = []
    for number, (item, identity) in enumerate(zip(state.objects, state.identities, strict=True), first):
        known = tuple(replace(each, id=number) for each in identity.known)
        origins = np.full(len(item.cells), number)
        things.append((replace(item, id=number), replace(identity, id=number, known=known, origins=origins)))
    return things


def test_things_of_another_map_get_the_ids_that_were_taken_for_them(bricks, labels):
    assert bricks.put("furniture", line(0, 6)).ids() == [0]
    there = type(bricks)(labels).put("furniture", line(20, 6)).put("furniture", line(40, 6))
    before = there.objects(after_s=50.0)
    things = adopted(there, bricks.registry.take_ids(2))
    bricks.registry.adopt(things, still)
    bricks.put("furniture", line(20, 6)).put("furniture", line(40, 6)).change_unmeasured()
    found = bricks.registry.current(bricks.measured, bricks.stamp_ns)
    assert [item.id for item in found] == [0, 1, 2]
    for item, known in zip(found[1:], before, strict=True):
        assert (item.first_seen_ns, item.last_seen_ns) == (known.first_seen_ns, known.last_seen_ns)
        assert item.vertices == known.vertices
    assert bricks.registry.become_of([item for item, _ in things], still) == {1: 1, 2: 2}
    assert bricks.put("furniture", line(60, 6)).ids() == [0, 1, 2, 3]


def test_a_thing_of_another_map_that_is_one_of_this_is_absorbed_however_large_it_is(bricks, labels):
    assert bricks.put("furniture", line(0, 6)).ids() == [0]
    there = type(bricks)(labels).put("furniture", line(3, 20))
    (before,) = there.objects(after_s=90.0)
    things = adopted(there, bricks.registry.take_ids(1))
    bricks.registry.adopt(things, still)
    bricks.put("furniture", line(3, 20)).change_unmeasured()
    (found,) = bricks.registry.current(bricks.measured, bricks.stamp_ns)
    assert (found.id, found.absorbed, found.last_seen_ns) == (0, (1,), before.last_seen_ns)
    assert bricks.registry.become_of([things[0][0]], still) == {1: 0}
    bricks.take("furniture", line(6, 4))  # it was two things after all
    assert bricks.ids() == [0, 1]


def test_a_thing_of_another_map_inside_of_one_of_this_needs_no_id(bricks, labels):
    assert bricks.put("furniture", line(0, 12)).ids() == [0]
    there = type(bricks)(labels).put("furniture", line(2, 5))
    (before,) = there.objects(after_s=90.0)
    things = adopted(there, bricks.registry.take_ids(1))
    bricks.registry.adopt(things, still)
    assert bricks.registry.become_of([things[0][0]], still) == {1: 0}
    (found,) = bricks.put("furniture", [(5, 0, 1)]).objects(after_s=0.1)
    assert (found.id, found.last_seen_ns) == (0, before.last_seen_ns)


def test_what_has_changed_is_told_once(bricks, labels):
    rng = np.random.default_rng(3)
    known, seen = {}, set()
    for step in range(60):
        for _ in range(3):
            x, y = (2 * rng.integers(0, 12, 2)).tolist()
            cells = [(x + at, y, 0) for at in range(int(rng.integers(1, 4)))]
            there = [cell for cell in cells if (labels.id_of("sign"), cell) in bricks.cells]
            bricks.take("sign", there) if there and rng.random() < 0.6 else bricks.put("sign", cells)
        objects = bricks.objects()
        if step % 4 != 1:  # nobody has asked meanwhile
            changed, gone = bricks.registry.take_changes()
            assert not any(known.get(item.id) is item for item in changed)
            known = {number: item for number, item in known.items() if number not in gone}
            known |= {item.id: item for item in changed}
            assert list(objects) == [known[number] for number in sorted(known)]
            assert bricks.registry.take_changes() == ([], [])
            seen |= known.keys()
    assert len(seen) > len(known) + 3
