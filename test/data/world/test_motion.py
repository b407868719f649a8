# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paths of continuous curvature, how fast they are driven, and numbers over time."""

import numpy as np
import pytest

from mtl_perception.data.world.motion import (
    EASE_S,
    LATERAL_M_S2,
    Leg,
    Stop,
    Trajectory,
    bend_limit,
    path_through,
    timed,
)


def _corner() -> Leg:
    """30 m along +x, a quarter circle of 8 m to the left, 20 m along +y."""
    angle = np.linspace(0.0, np.pi / 2, 30)
    arc = np.stack([30.0 + 8.0 * np.sin(angle), 8.0 - 8.0 * np.cos(angle)], axis=1)
    before, after = np.array([[-5.0, 0.0]]), np.array([[38.0, 33.0]])
    return Leg(np.concatenate([[[0.0, 0.0]], arc, [[38.0, 28.0]]]), 1, 5.0, before, after)


def _back() -> Leg:
    """10 m back along -y from where the corner ends."""
    return Leg(np.array([[38.0, 28.0], [38.0, 18.0]]), -1, 2.0, np.array([[38.0, 33.0]]), np.array([[38.0, 13.0]]))


def test_a_path_rounds_a_line_off_and_keeps_to_it() -> None:
    path, (given,) = path_through([_corner()])
    x, y, heading, curvature, gear = path.at(np.linspace(0.0, path.length, 500))
    assert (x[0], y[0], heading[0]) == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    assert (x[-1], y[-1], heading[-1]) == pytest.approx((38.0, 28.0, np.pi / 2), abs=0.02)
    assert 0.115 < curvature.max() < 0.13 and np.abs(np.diff(curvature)).max() < 0.01 and (gear == 1).all()
    assert given[0] == 0.0 and given[-1] == pytest.approx(path.length)
    at_given = np.stack(path.at(given)[:2], axis=1)
    assert np.linalg.norm(at_given - _corner().points, axis=1).max() < 0.12


def test_curvature_is_the_change_of_heading_and_heading_the_direction_between_nodes_too() -> None:
    path, _ = path_through([_corner()])
    way = np.arange(0.5, path.length - 0.5, 0.013)
    step = 1e-4
    (x0, y0, before, _, _), (x1, y1, after, _, _) = path.at(way - step), path.at(way + step)
    _, _, heading, curvature, _ = path.at(way)
    assert np.allclose((after - before) / (2 * step), curvature, atol=2e-4)
    assert np.allclose(np.arctan2(y1 - y0, x1 - x0), heading, atol=1e-4)


def test_backward_the_vehicle_faces_where_it_comes_from() -> None:
    path, ways = path_through([_corner(), _back()])
    change, end = ways[1][0], path.length
    x, y, heading, _, gear = path.at(np.array([change - 0.01, change + 0.01, end]))
    assert heading == pytest.approx([np.pi / 2] * 3, abs=0.02)
    assert gear.tolist() == [1, -1, -1]
    assert (x[-1], y[-1]) == pytest.approx((38.0, 18.0), abs=0.05)


def test_timing_slows_for_the_bend_and_stops_where_and_as_long_as_told() -> None:
    path, _ = path_through([_corner()])
    limit = np.minimum(9.0, bend_limit(path))
    timing = timed(path, limit, [Stop(20.0, 3.0)], 5.0, 6.0, (-0.5, 40.0))
    assert np.interp(0.0, timing.time, timing.way) == pytest.approx(5.0, abs=0.1)
    standing = (timing.speed < 1e-3) & (np.abs(timing.way - 20.0) < 0.05)
    assert 3.0 <= np.ptp(timing.time[standing]) < 3.0 + EASE_S
    assert timing.way[standing] == pytest.approx(20.0, abs=1e-3)
    assert timing.way[-1] == pytest.approx(path.length, abs=1e-3)
    curvature = path.at(timing.way)[3]
    assert (timing.speed**2 * np.abs(curvature)).max() < LATERAL_M_S2 * 1.2
    acceleration = np.gradient(timing.speed, timing.time)[timing.time > -0.5]
    assert np.abs(acceleration).max() < 2.2 and np.abs(np.gradient(acceleration, 0.02)).max() < 5.0
    driven = np.concatenate([[0.0], np.cumsum(timing.speed[1:] + timing.speed[:-1]) * 0.01])
    assert np.allclose(timing.way, timing.way[0] + driven, atol=0.02)


def test_a_stop_at_the_begin_lasts_from_before_second_0() -> None:
    path, _ = path_through([_corner()])
    timing = timed(path, np.full(len(path.way), 8.0), [Stop(0.0, 4.0)], 0.0, 0.0, (-3.0, 30.0))
    assert np.interp([-3.0, 0.0, 4.0], timing.time, timing.way) == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert np.interp(8.0, timing.time, timing.way) > 2.0


def test_a_trajectory_passes_its_values_with_their_rates_and_holds_its_ends() -> None:
    times = np.arange(0.0, 4.0, 0.1)
    values = np.stack([np.sin(times), times**2], axis=1)
    rates = np.stack([np.cos(times), 2 * times], axis=1)
    motion = Trajectory(0.0, 0.1, values, rates)
    for seconds in (0.0, 0.1, 1.234, 3.05):
        assert motion(seconds) == pytest.approx([np.sin(seconds), seconds**2], abs=1e-5)
        rate = (motion(seconds + 1e-5) - motion(seconds - 1e-5)) / 2e-5 if seconds else rates[0]
        assert rate == pytest.approx([np.cos(seconds), 2 * seconds], abs=1e-3)
    assert motion(-5.0) == pytest.approx(values[0]) and motion(50.0) == pytest.approx(values[-1])
