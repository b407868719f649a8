# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When whole grids and updates are sent, with which stamps; that copies are the grid is tested with the nodes."""

from itertools import pairwise

import numpy as np
import pytest

from mtl_perception.bench.mapping import Canyon
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.messages.grid_updates import OccupancyGridMessages
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.scenes import SCENES

SECOND = 10**9


@pytest.fixture(scope="module")
def canyon():
    return Canyon((48, 36))


@pytest.fixture
def mapper(canyon):
    mapper = Mapper(MapperConfig(**SCENES["street"]), canyon.labels)
    mapper.integrate(canyon.look(0.0))
    yield mapper
    mapper.close()


def stamps(messages):
    return {stamp_ns_from(message.header.stamp) for message in messages}


def test_updates_have_the_stamp_and_the_frame_of_their_grid_and_lie_in_it(mapper, canyon):
    messages = OccupancyGridMessages()
    first = messages.next(mapper, 0.0, 5 * SECOND, "odom")
    assert first.updates == () and first.is_all and stamps([first.whole]) == {5 * SECOND}
    nothing = messages.next(mapper, 10.0, 5 * SECOND, "odom")
    assert nothing.whole is None and nothing.updates == () and nothing.is_all
    mapper.integrate(canyon.look(2.0))
    then = messages.next(mapper, 20.0, 6 * SECOND, "odom")
    assert then.whole is None and then.is_all
    assert stamps(then.updates) == {5 * SECOND} and {update.header.frame_id for update in then.updates} == {"odom"}
    for update in then.updates:
        assert update.x >= 0 and update.x + update.width <= first.whole.info.width
        assert update.y >= 0 and update.y + update.height <= first.whole.info.height
        assert len(update.data) == update.width * update.height
    data, part = mapper.occupancy_grid(), then.updates[0]
    x, y = first.whole.info.origin.position.x, first.whole.info.origin.position.y
    column, row = (round((origin - low) / data.resolution) for origin, low in zip(data.origin, (x, y), strict=True))
    cells = np.full((first.whole.info.height, first.whole.info.width), -1, np.int8)
    cells[row : row + data.data.shape[0], column : column + data.data.shape[1]] = data.data
    expected = cells[part.y : part.y + part.height, part.x : part.x + part.width]
    assert np.array_equal(np.array(part.data).reshape(part.height, part.width), expected)


def test_what_comes_soon_after_a_whole_grid_is_told_once_more(mapper, canyon):
    messages = OccupancyGridMessages()
    messages.next(mapper, 0.0, 0, "odom")
    mapper.integrate(canyon.look(2.0))
    soon = messages.next(mapper, 1.9, 1, "odom")
    assert soon.updates and not soon.is_all
    waiting = messages.next(mapper, 1.95, 1, "odom")
    assert waiting.updates == () and not waiting.is_all
    later = messages.next(mapper, 2.1, 1, "odom")
    assert [update.data for update in later.updates] == [update.data for update in soon.updates] and later.is_all
    assert messages.next(mapper, 2.2, 1, "odom").updates == ()


def test_a_whole_grid_waits_until_the_last_update_has_been_put_into_the_one_before(mapper, canyon):
    messages = OccupancyGridMessages()
    messages.next(mapper, 0.0, 0, "odom")
    mapper.integrate(canyon.look(2.0))
    assert messages.next(mapper, 5.0, 1, "odom").updates
    messages.follower.start_anew()
    waits = messages.next(mapper, 5.4, 1, "odom")
    assert waits.whole is None and waits.updates == () and not waits.is_all
    assert messages.next(mapper, 5.6, 1, "odom").whole is not None
    mapper.integrate(canyon.look(4.0))
    assert messages.next(mapper, 9.0, 2, "odom").updates
    messages.hurry()
    assert messages.next(mapper, 9.0, 2, "odom").whole is not None


def test_no_two_grids_in_a_row_have_the_same_stamp(mapper):
    messages, seen = OccupancyGridMessages(), []
    for stamp_ns in (0, 0, 0, 1, 2, 2, 7, 3, 3):
        messages.follower.start_anew()
        seen.append(stamp_ns_from(messages.next(mapper, 0.0, stamp_ns, "odom").whole.header.stamp))
    assert all(one != other for one, other in pairwise(seen))
    assert seen[0] == 0 and seen[6] == 7
