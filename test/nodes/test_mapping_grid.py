# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 2D grid of the mapping node and its updates, as those receive them who keep a copy."""

from collections import deque

import numpy as np
import pytest
from map_msgs.msg import OccupancyGridUpdate
from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from mtl_perception.bench.mapping import Canyon
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.ros import qos
from mtl_perception.scenes import SCENES

GRID = "mapping/occupancy_grid"
SUCCESS = TransitionCallbackReturn.SUCCESS


class Copy:
    """A copy of the grid, made as docs/mapping.md says."""

    def __init__(self, node, profile=None):
        self.grids, self.updates = [], []
        self.cells, self.waiting = None, deque(maxlen=100)
        self.subscriptions = [
            node.create_subscription(OccupancyGrid, GRID, self.take_grid, profile or qos.latched()),
            node.create_subscription(OccupancyGridUpdate, f"{GRID}_updates", self.hear_update, QoSProfile(depth=100)),
        ]

    def take_grid(self, grid):
        self.grids.append(grid)
        self.cells = np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)
        waiting, self.waiting = self.waiting, deque(maxlen=100)
        for update in waiting:
            self.take_update(update)

    def hear_update(self, update):
        self.updates.append(update)
        self.take_update(update)

    def take_update(self, update):
        if not self.grids or update.header.stamp != self.grids[-1].header.stamp:
            self.waiting.append(update)  # for a grid that has not come yet, or for an older one
            return
        self.put(update)

    def put(self, update):
        x, y, width, height = update.x, update.y, update.width, update.height
        self.cells[y : y + height, x : x + width] = np.array(update.data, np.int8).reshape(height, width)

    def is_like(self, grid):
        """Whether the copy is a grid, and unknown around it."""
        if not self.grids:
            return False
        info, (rows, columns) = self.grids[-1].info, grid.data.shape
        origin = np.array([info.origin.position.x, info.origin.position.y])
        column, row = np.round((np.array(grid.origin) - origin) / grid.resolution).astype(int).tolist()
        inside = self.cells[row : row + rows, column : column + columns] if min(row, column) >= 0 else None
        known = np.count_nonzero(self.cells >= 0) == np.count_nonzero(grid.data >= 0)
        return inside is not None and known and np.array_equal(inside, grid.data)


class Displayed(Copy):
    """A copy as RViz and Nav2 keep it: they look at no stamp, and a whole grid waits until a timer takes it over."""

    def __init__(self, node):
        self.next_grid = None
        super().__init__(node)
        node.create_timer(0.5, self.take_over)

    def take_grid(self, grid):
        if self.cells is None:
            super().take_grid(grid)
        else:
            self.next_grid = grid

    def take_over(self):
        if self.next_grid is not None:
            super().take_grid(self.next_grid)
            self.next_grid = None

    def take_update(self, update):
        height, width = (0, 0) if self.cells is None else self.cells.shape
        if update.y + update.height <= height and update.x + update.width <= width:
            self.put(update)


@pytest.fixture(scope="module")
def canyon():
    return Canyon((48, 36))


@pytest.fixture
def start(graph, tmp_path):
    def start(**values):
        values = {"frame_policy": "every", "map_folder": str(tmp_path), "occupancy_grid_rate": 30.0, **values}
        node = MappingNode(
            context=graph.context, in_process=True, parameter_overrides=graph.overrides(**SCENES["street"], **values)
        )
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        graph.add(node)
        graph.until(lambda: node.count_subscribers("mapping/progress"), "a listener")
        return node

    return start


@pytest.fixture
def drive(graph, canyon):
    """The function that lets a node map frames from somewhere on."""

    def drive(node, first, count, step=2.0):
        before = len(graph.progress["mapping"])
        for number in range(count):
            node.submit(canyon.look(first + step * number))
        graph.until(lambda: len(graph.progress["mapping"]) == before + count, "progress")
        return node._mapper.occupancy_grid()

    return drive


def test_a_copy_is_the_grid_all_along_a_drive(graph, start, drive):
    node, copy = start(), Copy(graph.watcher)
    for part in range(6):
        grid = drive(node, 20.0 * part, 10)
        graph.until(lambda grid=grid: copy.is_like(grid), f"the copy of part {part}")
    assert len(copy.grids) <= 5 and len(copy.updates) > 5  # an empty one, and those that the map has outgrown
    stamps = [stamp_ns_from(message.header.stamp) for message in copy.grids]
    assert len(set(stamps)) == len(stamps)
    assert {stamp_ns_from(message.header.stamp) for message in copy.updates} <= set(stamps)
    assert {message.header.frame_id for message in copy.updates} == {"odom"}
    late = Copy(graph.watcher)
    graph.until(lambda: late.is_like(grid), "the copy of who comes late")
    volatile = Copy(graph.watcher, qos.output())  # as RViz does unless told otherwise
    graph.until(lambda: volatile.is_like(grid), "the copy of who asks for nothing that was sent before")
    count = len(copy.updates)
    assert graph.call(Trigger, "mapping/reset").success
    graph.until(lambda: all(each.grids[-1].info.width == 0 for each in (copy, late, volatile)), "an empty grid")
    grid = drive(node, 200.0, 3)
    graph.until(lambda: all(each.is_like(grid) for each in (copy, late, volatile)), "all copies")
    assert copy.grids[-1].info.width and len(copy.updates) >= count


def test_who_looks_at_no_stamp_and_takes_grids_over_late_has_the_same_in_the_end(graph, start, drive):
    node, copy = start(), Displayed(graph.watcher)
    for part in range(4):
        grid = drive(node, 30.0 * part, 15)
        graph.until(lambda grid=grid: copy.is_like(grid), f"the copy of part {part}")
    assert len(copy.grids) > 1 and copy.updates  # of several whole grids within 0.5 s one is taken over


def test_who_takes_whole_grids_only_gets_them(graph, start, drive):
    node, grids = start(), graph.hear(OccupancyGrid, GRID)
    graph.until(lambda: grids, "an empty grid")
    for part in range(3):
        count, grid = len(grids), drive(node, 4.0 * part, 2)
        known = np.count_nonzero(grid.data >= 0)
        graph.until(
            lambda known=known: np.count_nonzero(np.array(grids[-1].data) >= 0) == known, f"the grid after part {part}"
        )
        assert len(grids) > count


def test_who_leaves_and_comes_back_at_once_gets_the_grid_as_it_is_now(graph, start, drive):
    node, first = start(), Copy(graph.watcher)
    grid = drive(node, 0.0, 3)
    graph.until(lambda: first.is_like(grid), "the copy")
    grid = drive(node, 6.0, 3)
    graph.until(lambda: first.is_like(grid) and first.updates, "the copy with updates")
    for subscription in first.subscriptions:
        graph.watcher.destroy_subscription(subscription)
    again = Copy(graph.watcher)
    graph.until(lambda: again.is_like(grid), "the grid as it is")


def test_a_node_that_is_not_active_leaves_the_grid_as_it_was_last(graph, start, drive):
    node, copy = start(occupancy_grid_rate=0.5), Copy(graph.watcher)
    drive(node, 0.0, 2)
    graph.until(lambda: copy.grids, "a grid")
    grid = drive(node, 4.0, 2)
    assert node.trigger_deactivate() == SUCCESS
    graph.until(lambda: copy.is_like(grid), "the copy")
    late = Copy(graph.watcher)
    graph.until(lambda: late.is_like(grid), "the copy of who comes late")


def test_a_node_that_nobody_listens_to_leaves_the_grid_as_it_is_when_it_stops(graph, start, drive):
    node, grids = start(), graph.hear(OccupancyGrid, GRID, "latched")
    graph.until(lambda: grids, "an empty grid")
    (subscription,) = (each for each in graph.watcher.subscriptions if each.topic_name == f"/{GRID}")
    graph.watcher.destroy_subscription(subscription)
    graph.until(lambda: not node.count_subscribers(GRID), "the end of the subscription")
    grid = drive(node, 0.0, 3)
    assert node.trigger_deactivate() == SUCCESS
    late = Copy(graph.watcher)
    graph.until(lambda: late.is_like(grid), "the copy of who comes late")
